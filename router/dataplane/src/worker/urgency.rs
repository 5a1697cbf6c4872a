//! When a worker runs before ordinary threads.

use weft_netio::priority::set_realtime;

/// How many batches in a row, without ever finding its queue empty, make a worker overloaded: some 10 ms of bulk
/// data or 50 ms of small frames. A plain choice, far above what bursts need.
const OVERLOADED: u32 = 256;

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

    /// A batch was done, and there may be more.
    pub(super) fn worked(&mut self) {
        self.busy = self.busy.saturating_add(1);
        if self.raised && self.busy >= OVERLOADED {
            // Going down is always permitted.
            self.raised = set_realtime(false).is_err();
        }
    }
}
