//! Which processors workers run on.

use std::num::NonZeroU8;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use weft_netio::processors::Processors;
use weft_netio::steer::{Steering, steer};

use super::pace::Load;
use super::{Lane, Shared};

/// How long the data plane counts as busy after a worker was. A plain choice: long beside the pauses of bulk data, and
/// the filter on the port changes twice in it at most.
const BUSY: Duration = Duration::from_millis(500);

/// How busy the data plane is, all workers together.
///
/// A packet that is handed to a thread on an idle processor waits until that is awake, tens of microseconds on a virtual
/// machine, and a request and its answer wake four workers. So while there is little to do, each lane keeps
/// to processors of its own, and gets what the kernel receives on these. Where there is much to do, one
/// processor cannot do the kernel's work, both workers' and the Pod's: then workers run wherever there is room, and sessions
/// are shared out among sockets, as packets of a session would overtake each other if they changed sockets with the
/// processor.
#[derive(Debug)]
pub(super) struct SharedLoad {
    /// Until when some worker is busy, microseconds since the start.
    busy_until: AtomicU64,
    steering: Mutex<Steering>,
}

impl SharedLoad {
    pub(super) fn new() -> Self {
        Self { busy_until: AtomicU64::new(0), steering: Mutex::new(Steering::BySession) }
    }

    /// Takes note of a worker's load at `now`, the time since the start. Returns whether all have little to do.
    fn all_light(&self, load: Load, now: Duration) -> bool {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if load == Load::Heavy {
            self.busy_until.fetch_max(micros(now + BUSY), Ordering::Relaxed);
        }
        self.busy_until.load(Ordering::Relaxed) <= micros(now)
    }

    /// Has the kernel choose sockets so. Whoever finds another worker at it leaves it to that one.
    fn steer(&self, lane: &Lane, lanes: NonZeroU8, wanted: Steering) {
        let mut steering = match self.steering.try_lock() {
            Ok(steering) => steering,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return,
        };
        // What the kernel refuses stays as it was, and is asked for again.
        if *steering != wanted && steer(&lane.socket, lanes, wanted).is_ok() {
            *steering = wanted;
        }
    }
}

/// Where one worker runs.
#[derive(Debug)]
pub(super) struct Placement {
    /// Those that the process was allowed at the start.
    allowed: Processors,
    /// Those of its lane; `None` where it runs wherever there is room, always.
    home: Option<Processors>,
    at_home: bool,
}

impl Placement {
    /// For the worker of a lane, before it runs. `None` for one that is not to be confined to processors.
    pub(super) fn new(place: usize, lanes: NonZeroU8) -> Option<Self> {
        if lanes == NonZeroU8::MIN {
            return None;
        }
        let allowed = Processors::allowed().ok()?;
        let home = allowed.every(lanes.get().into(), place);
        Some(Self { allowed, home, at_home: false })
    }

    /// Goes where the calling worker, whose load that is, runs best.
    pub(super) fn follow(&mut self, load: Load, shared: &Shared, lane: &Lane) {
        let light = shared.load.all_light(load, shared.started.elapsed());
        let steering = if light { Steering::ByProcessor } else { Steering::BySession };
        shared.load.steer(lane, shared.lanes, steering);
        let Some(home) = &self.home else { return };
        if light != self.at_home {
            let processors = if light { home } else { &self.allowed };
            // Refused where the process was given other processors since; then it runs on those.
            if processors.confine().is_ok() {
                self.at_home = light;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_worker_makes_all_busy_for_a_while() {
        let shared = SharedLoad::new();
        let at = Duration::from_millis;
        assert!(shared.all_light(Load::Light, at(0)));
        assert!(!shared.all_light(Load::Heavy, at(100)));
        assert!(!shared.all_light(Load::Light, at(101)));
        assert!(!shared.all_light(Load::Heavy, at(400)));
        assert!(!shared.all_light(Load::Light, at(899)));
        assert!(shared.all_light(Load::Light, at(900)));
    }

    #[test]
    fn one_lane_is_confined_to_nothing() {
        assert!(Placement::new(0, NonZeroU8::MIN).is_none());
        let two = NonZeroU8::new(2).unwrap();
        let homes = [0, 1].map(|place| Placement::new(place, two).unwrap().home);
        assert!(homes.iter().any(Option::is_some));
        assert_ne!(homes[0], homes[1]);
    }
}
