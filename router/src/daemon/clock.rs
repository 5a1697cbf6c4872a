//! The one place where the daemon reads a clock for its state machines: they take [`Time`], a span
//! since the daemon's start, and never look at a clock themselves.

use std::time::{Duration, Instant, SystemTime};

use weft_gossip::Time;

/// Turns the monotonic clock into [`Time`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose zero is this moment.
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present moment.
    pub(super) fn now(&self) -> Time {
        Time::from_start(self.start.elapsed())
    }

    /// The time of day, seconds since the Unix epoch, for people to read; zero before that.
    pub(super) fn time_of_day() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// The same in milliseconds, for the stamps of objects.
    pub(super) fn millis_of_day() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
    }

    /// How long it is until `time`; zero when it has passed.
    pub(super) fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }
}
