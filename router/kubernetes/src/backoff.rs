//! How long to wait after a failure.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(250);

/// The longest. With the time that a connection may take it keeps below the 10 s in which an API server that has come
/// back is to be in use.
const LONGEST: Duration = Duration::from_secs(5);

/// Grows to double with each failure, and is drawn from its upper half: a thousand nodes that lost the API server in the
/// same moment come back spread over seconds.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole.mul_f64(0.5 + 0.5 * fraction())
    }

    /// After a success that lasted.
    pub(crate) const fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// From 0 to 1. Where the kernel has no randomness, 0: a shorter wait.
fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_are_spread() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST, "{:?}", waits[0]);
        for wait in &waits[8..] {
            assert!(*wait >= LONGEST / 2 && *wait <= LONGEST, "{wait:?}");
        }
        assert!(waits[8..].windows(2).any(|pair| pair[0] != pair[1]), "no two waits differ");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
