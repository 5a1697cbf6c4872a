//! The laws of everything that nodes merge, stated once. For tests.

use std::fmt::Debug;

use proptest::prelude::*;

/// What is known, and can be joined with what somebody else knows.
pub(crate) trait Merge: Clone {
    /// What of it can be seen: two that look alike are equal for all purposes.
    type Seen: PartialEq + Debug;

    /// Takes over what `other` knows.
    fn merge(&mut self, other: &Self);

    /// What can be seen.
    fn seen(&self) -> Self::Seen;

    /// Whether `self` knows all that `other` knows, judged without a merge.
    fn covers(&self, other: &Self) -> bool;
}

fn joined<T: Merge>(a: &T, b: &T) -> T {
    let mut both = a.clone();
    both.merge(b);
    both
}

/// Checks, on three states, that merging is commutative, associative, idempotent and monotone.
pub(crate) fn check<T: Merge>(a: &T, b: &T, c: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(joined(a, b).seen(), joined(b, a).seen(), "commutative");
    let (left, right) = (joined(&joined(a, b), c), joined(a, &joined(b, c)));
    prop_assert_eq!(left.seen(), right.seen(), "associative");
    prop_assert_eq!(joined(a, a).seen(), a.seen(), "idempotent");
    prop_assert_eq!(joined(&joined(a, b), b).seen(), joined(a, b).seen(), "idempotent");
    prop_assert!(joined(a, b).covers(a) && joined(a, b).covers(b), "monotone");
    prop_assert!(left.covers(&joined(b, c)), "monotone");
    Ok(())
}
