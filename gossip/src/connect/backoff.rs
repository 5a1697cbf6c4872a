//! How long to wait before the next attempt.

use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// What each further failure multiplies it by.
const FACTOR: f64 = 1.5;
/// The longest wait, before jitter: a peer that comes back is found within about half a minute.
const LONGEST: Duration = Duration::from_secs(30);
/// The share by which a wait is lengthened or shortened at random, so that a cluster that lost power
/// does not dial in step.
const JITTER: f64 = 0.25;
/// A connection that lived this long was a good one: what follows its loss starts from the beginning.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// The waits of one endpoint. `unit` is a random number from 0 up to 1 in each call.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The last wait before jitter; `None` before the first failure.
    last: Option<Duration>,
}

impl Backoff {
    /// The wait after another failure.
    pub(super) fn after_failure(&mut self, unit: f64) -> Duration {
        let next = self.last.map_or(FIRST, |last| last.mul_f64(FACTOR).min(LONGEST));
        self.last = Some(next);
        jittered(next, unit)
    }

    /// The longest wait there is, also for what follows.
    pub(super) fn longest(&mut self, unit: f64) -> Duration {
        self.last = Some(LONGEST);
        jittered(LONGEST, unit)
    }

    /// The wait after the loss of a connection that lived for `lived`.
    pub(super) fn after_loss(&mut self, lived: Duration, unit: f64) -> Duration {
        if lived > GOOD_LIFE {
            self.last = None;
        }
        self.after_failure(unit)
    }
}

fn jittered(wait: Duration, unit: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit)
}
