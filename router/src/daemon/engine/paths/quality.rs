//! What a path's answers say of it: round-trip time and loss.

use std::time::Duration;

/// Questions that the loss is taken over.
const WINDOW: u32 = 32;

/// A smoothed round-trip time (RFC 6298) and the fate of the last questions.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon::engine) struct Quality {
    rtt: Option<Rtt>,
    /// One bit for each of the last [`WINDOW`] questions, 1 for a lost one, the newest lowest.
    losses: u32,
    /// How many of those bits mean anything.
    known: u32,
}

#[derive(Debug, Clone, Copy)]
struct Rtt {
    smooth: Duration,
    variance: Duration,
}

impl Quality {
    /// The smoothed round-trip time.
    pub(in crate::daemon::engine) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.smooth)
    }

    /// The share of lost questions or answers among the last, in per cent.
    pub(in crate::daemon::engine) fn loss_percent(&self) -> Option<u8> {
        let percent = (100 * self.losses.count_ones()).checked_div(self.known)?;
        u8::try_from(percent).ok()
    }

    /// How long an answer may take, at most `longest`: the time-out of RFC 6298 without its floor.
    pub(in crate::daemon::engine) fn wait(&self, longest: Duration) -> Duration {
        self.rtt.map_or(longest / 8, |rtt| (rtt.smooth + 4 * rtt.variance).min(longest))
    }

    pub(in crate::daemon::engine) fn answered(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            None => Rtt { smooth: sample, variance: sample / 2 },
            Some(rtt) => Rtt {
                variance: (3 * rtt.variance + rtt.smooth.abs_diff(sample)) / 4,
                smooth: (7 * rtt.smooth + sample) / 8,
            },
        });
        self.push(0);
    }

    pub(in crate::daemon::engine) fn lost(&mut self) {
        self.push(1);
    }

    fn push(&mut self, bit: u32) {
        self.losses = self.losses << 1 | bit;
        self.known = (self.known + 1).min(WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_that_of_the_last_questions() {
        let mut quality = Quality::default();
        assert_eq!(quality.loss_percent(), None);
        quality.lost();
        assert_eq!(quality.loss_percent(), Some(100));
        quality.answered(Duration::from_millis(1));
        assert_eq!(quality.loss_percent(), Some(50));
        for _ in 0..WINDOW {
            quality.answered(Duration::from_millis(1));
        }
        assert_eq!(quality.loss_percent(), Some(0));
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_the_round_trips_ask() {
        let longest = Duration::from_millis(800);
        let mut quality = Quality::default();
        assert_eq!(quality.wait(longest), Duration::from_millis(100));
        quality.answered(Duration::from_millis(40));
        assert_eq!(quality.wait(longest), Duration::from_millis(120));
        for _ in 0..50 {
            quality.answered(Duration::from_millis(40));
        }
        assert!(quality.wait(longest) < Duration::from_millis(45));
        quality.answered(Duration::from_secs(9));
        assert_eq!(quality.wait(longest), longest);
    }
}
