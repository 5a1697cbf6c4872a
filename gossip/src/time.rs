//! The time the machines of this crate live in.

use std::{
    ops::{Add, AddAssign},
    time::Duration,
};

/// A point in time: the distance from a start that the caller chooses and never moves.
///
/// The caller reads a monotonic clock and passes the result in; nothing in this crate reads one.
/// Points of two processes, or of two runs of one process, must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start itself.
    pub const START: Self = Self(Duration::ZERO);

    /// The point that lies `since_start` after the start.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The distance from the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of time instead of panicking.
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}
