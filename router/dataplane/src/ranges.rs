//! A map from ranges of keys to values, in which the narrower range wins.

use std::collections::BTreeMap;

/// What can be the key of a [`RangeMap`]: an unsigned integer.
pub(crate) trait Key: Copy + Ord {
    /// The next higher key, if there is one.
    fn above(self) -> Option<Self>;
    /// The next lower key, if there is one.
    fn below(self) -> Option<Self>;
    /// How far `end` is from `self`; 0 where `end` is lower.
    fn distance(self, end: Self) -> u128;
}

macro_rules! key {
    ($type:ty) => {
        impl Key for $type {
            fn above(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn below(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn distance(self, end: Self) -> u128 {
                u128::from(end.saturating_sub(self))
            }
        }
    };
}
key!(u32);
key!(u128);

/// Disjoint ranges with a value each, for look-ups by binary search.
///
/// Invariant: `entries` is sorted and its ranges (inclusive ends) are disjoint.
#[derive(Debug)]
pub(crate) struct RangeMap<K, V> {
    entries: Vec<(K, K, V)>,
}

impl<K: Key, V: Copy + PartialEq> RangeMap<K, V> {
    /// Builds the map from ranges `(first, last, value)` that may overlap: a key has the value of the
    /// narrowest range around it, of equally narrow ones the latest. Empty ranges are ignored.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (K, K, V)>) -> Self {
        let mut ranges: Vec<_> =
            ranges.into_iter().filter(|(first, last, _)| first <= last).collect();
        // Widest first, so that each narrower range is painted over it.
        ranges.sort_by_key(|(first, last, _)| std::cmp::Reverse(first.distance(*last)));
        let mut painted = BTreeMap::new();
        for (first, last, value) in ranges {
            paint(&mut painted, first, last, value);
        }
        let mut entries: Vec<(K, K, V)> = Vec::with_capacity(painted.len());
        for (first, (last, value)) in painted {
            match entries.last_mut() {
                Some(previous) if previous.2 == value && previous.1.above() == Some(first) => {
                    previous.1 = last;
                }
                _ => entries.push((first, last, value)),
            }
        }
        Self { entries }
    }

    /// The value at `key`.
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let after = self.entries.partition_point(|(first, _, _)| *first <= key);
        let (_, last, value) = self.entries.get(after.checked_sub(1)?)?;
        (key <= *last).then_some(*value)
    }
}

/// Gives every key from `first` to `last` the value, cutting what lies there.
fn paint<K: Key, V: Copy>(painted: &mut BTreeMap<K, (K, V)>, first: K, last: K, value: V) {
    // The range that begins before `first` and reaches into it.
    let before = painted.range(..first).next_back().map(|(start, entry)| (*start, *entry));
    if let Some((start, (end, old))) = before
        && end >= first
    {
        if let Some(cut) = first.below() {
            painted.insert(start, (cut, old));
        }
        if end > last
            && let Some(rest) = last.above()
        {
            painted.insert(rest, (end, old));
        }
    }
    // The ranges that begin inside; the last of them may reach beyond.
    while let Some((start, (end, old))) =
        painted.range(first..=last).next().map(|(start, entry)| (*start, *entry))
    {
        painted.remove(&start);
        if end > last
            && let Some(rest) = last.above()
        {
            painted.insert(rest, (end, old));
        }
    }
    painted.insert(first, (last, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_search_through_all_ranges(
            ranges in prop::collection::vec((0u32..40, 0u32..40, 0u8..4), 0..12),
        ) {
            let map = RangeMap::new(ranges.iter().copied());
            for key in 0..41 {
                let around = ranges.iter().filter(|(first, last, _)| (*first..=*last).contains(&key));
                // `max_by_key` takes the last of equals, and so the latest.
                let narrowest = around.max_by_key(|(first, last, _)| std::cmp::Reverse(last - first));
                prop_assert_eq!(map.get(key), narrowest.map(|(_, _, value)| *value), "at {}", key);
            }
            for pair in map.entries.windows(2) {
                prop_assert!(pair[0].1 < pair[1].0);
            }
        }
    }

    #[test]
    fn the_ends_of_the_key_space_are_reached() {
        let map = RangeMap::new([(0, u32::MAX, 'a'), (u32::MAX, u32::MAX, 'b'), (0, 0, 'c')]);
        assert_eq!(map.get(0), Some('c'));
        assert_eq!(map.get(1), Some('a'));
        assert_eq!(map.get(u32::MAX), Some('b'));
    }
}
