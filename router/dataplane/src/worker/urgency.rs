//! When a worker runs before ordinary threads.

use std::fmt;
use std::io;

use weft_netio::priority::{set_realtime, try_realtime};

/// How many batches in a row, without ever finding its queue empty, make a worker overloaded: some 10 ms of bulk
/// data or 50 ms of small frames. A plain choice, far above what bursts need.
const OVERLOADED: u32 = 256;

/// How many batches in a row make a worker one that cannot keep up: a plain choice, a few milliseconds of work.
const BEHIND: u32 = 32;

/// How the workers of a packet path are scheduled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scheduling {
    /// Before ordinary threads while they keep up.
    Realtime,
    /// As ordinary threads, as was asked for.
    Ordinary,
    /// As ordinary threads, since the kernel refused otherwise; why, in words for the operator.
    Refused(String),
}

impl Scheduling {
    /// What becomes of the wish for real-time workers.
    pub(super) fn found(wished: bool) -> Self {
        if !wished {
            return Self::Ordinary;
        }
        match try_realtime() {
            Ok(()) => Self::Realtime,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = "CAP_SYS_NICE is missing, or the control group has no real-time budget";
                Self::Refused(why.to_owned())
            }
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// One line for log and status.
impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realtime => f.write_str("real-time"),
            Self::Ordinary => f.write_str("ordinary"),
            Self::Refused(why) => write!(f, "ordinary: {why}"),
        }
    }
}

/// The calling worker's place among threads.
///
/// A packet waits for its worker to be run, which on a busy host takes milliseconds: each ordinary thread may finish
/// its slice first. So a worker is a real-time thread, but only while it keeps up with its queue. Under overload it
/// is an ordinary one, as the kernel moves its own packet work to an ordinary thread, so that a flood cannot take a
/// host's processors away from everything else.
pub(super) struct Urgency {
    /// Whether this process may.
    allowed: bool,
    raised: bool,
    /// Batches since the queue was empty.
    busy: u32,
}

impl Urgency {
    /// For a worker that has not been raised yet.
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, raised: false, busy: 0 }
    }

    /// The queue was empty.
    pub(super) fn kept_up(&mut self) {
        self.busy = 0;
        if self.allowed && !self.raised {
            self.raised = set_realtime(true).is_ok();
            // Who was refused once is not refused less later.
            self.allowed = self.raised;
        }
    }

    /// Whether there is more to do than the worker can, as it seems: its queue has not been empty for a while.
    pub(super) fn is_behind(&self) -> bool {
        self.busy >= BEHIND
    }

    /// A batch was done, and there may be more.
    pub(super) fn worked(&mut self) {
        self.busy = self.busy.saturating_add(1);
        if self.raised && self.busy >= OVERLOADED {
            // Going down is always permitted.
            self.raised = set_realtime(false).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use caps::{CapSet, Capability};

    use super::*;

    #[test]
    fn a_refusal_says_what_is_missing() {
        let asked = std::thread::spawn(|| {
            caps::drop(None, CapSet::Effective, Capability::CAP_SYS_NICE).unwrap();
            [Scheduling::found(true), Scheduling::found(false)]
        });
        let [wished, unwished] = asked.join().unwrap();
        assert!(wished.to_string().starts_with("ordinary: CAP_SYS_NICE is missing"), "{wished}");
        assert_eq!(unwished, Scheduling::Ordinary);
        assert_eq!(Scheduling::found(true).to_string(), "real-time", "needs CAP_SYS_NICE");
    }
}
