//! How much a worker has to do, and when it lets packets gather before it looks for more.

use std::thread;
use std::time::{Duration, Instant};

use crate::Traffic;

/// Wake-ups between two looks at the clock, so that none falls to a packet.
const LOOK: u32 = 32;

/// Wake-ups that lie closer together than this are dense: 20,000 a second. A wake-up costs up to a fifth of it where
/// it goes from one virtual processor to another.
const DENSE: Duration = Duration::from_micros(50);

/// A worker that rests goes on with that until its wake-ups, rests included, are further apart than this.
const SPARSE: Duration = Duration::from_micros(100);

/// Wake-ups that move less than this, on average, find small packets. Bulk data comes in more, and gathers by itself.
const SMALL: u64 = 16 << 10;

/// Bytes and packets a second beyond which a worker has much to do: plain choices, some hundredths of what a processor
/// moves.
const MUCH: u128 = 32 << 20;
const MANY: u128 = 20_000;

/// How long a worker rests. What comes meanwhile costs one wake-up instead of one each, as with network cards that
/// hold their interrupts back (`docs/performance.md`).
const REST: Duration = Duration::from_micros(50);

/// How much a worker has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// A small part of what one processor can.
    Light,
    /// So much, in bytes or in packets, that a processor should be free for it.
    Heavy,
}

/// What a worker does about the rate at which it is woken up.
///
/// A wake-up for each of many small packets takes longer than the packet. Where they are dense, a worker rests after
/// it has found its queue empty, so that each is late by [`REST`] at most and several come with the next wake-up. There
/// is no timer where nothing comes: a worker rests after work only.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since the last look.
    woken: u32,
    moved: Traffic,
    looked: Instant,
    resting: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { woken: 0, moved: Traffic::default(), looked: Instant::now(), resting: false }
    }

    /// The worker was woken up. Returns its load where it has looked at the clock.
    pub(super) fn woken(&mut self) -> Option<Load> {
        self.woken += 1;
        (self.woken == LOOK).then(|| self.look(Instant::now()))
    }

    /// It has moved so much.
    pub(super) fn moved(&mut self, traffic: Traffic) {
        self.moved.packets += traffic.packets;
        self.moved.bytes += traffic.bytes;
    }

    /// It has found its queue empty: rests, if that is worth it.
    pub(super) fn rest(&self) {
        if self.resting {
            thread::sleep(REST);
        }
    }

    fn look(&mut self, now: Instant) -> Load {
        let time = now.saturating_duration_since(self.looked);
        let limit = if self.resting { SPARSE } else { DENSE };
        self.resting = time / LOOK < limit && self.moved.bytes / u64::from(LOOK) < SMALL;
        let beyond = |moved: u64, rate| u128::from(moved) * 1_000_000 > rate * time.as_micros();
        let much = beyond(self.moved.bytes, MUCH) || beyond(self.moved.packets, MANY);
        (self.woken, self.moved, self.looked) = (0, Traffic::default(), now);
        if self.resting || much { Load::Heavy } else { Load::Light }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a worker rests after a look that found such a time between wake-ups, each of so many bytes.
    fn rests(pace: &mut Pace, gap: u64, bytes: u64) -> bool {
        pace.moved(Traffic { packets: 0, bytes: bytes * u64::from(LOOK) });
        pace.look(pace.looked + Duration::from_micros(gap) * LOOK);
        pace.resting
    }

    #[test]
    fn small_packets_that_are_dense_gather_until_they_are_sparse() {
        let mut pace = Pace::new();
        assert!(!rests(&mut pace, 60, 100));
        assert!(rests(&mut pace, 25, 100));
        assert!(rests(&mut pace, 90, 400), "its own rests make them sparser");
        assert!(!rests(&mut pace, 110, 400));
        assert!(!rests(&mut pace, 90, 400));
    }

    #[test]
    fn bulk_data_is_never_rested_on() {
        let mut pace = Pace::new();
        assert!(!rests(&mut pace, 10, 60_000));
        assert!(rests(&mut pace, 10, 1_000));
        assert!(!rests(&mut pace, 10, 60_000));
    }

    #[test]
    fn packets_or_bytes_make_a_load_heavy() {
        let mut pace = Pace::new();
        let mut load_of = |gap, packets, bytes| {
            let look = u64::from(LOOK);
            pace.moved(Traffic { packets: packets * look, bytes: bytes * look });
            pace.look(pace.looked + Duration::from_micros(gap) * LOOK)
        };
        assert_eq!(load_of(2000, 1, 100), Load::Light);
        assert_eq!(load_of(60, 1, 100), Load::Light, "requests and answers, one after the other");
        assert_eq!(load_of(25, 1, 100), Load::Heavy);
        assert_eq!(load_of(90, 1, 100), Load::Heavy, "still resting");
        assert_eq!(load_of(110, 1, 100), Load::Light);
        assert_eq!(load_of(110, 3, 300), Load::Heavy, "27,000 packets a second");
        assert_eq!(load_of(100, 40, 60_000), Load::Heavy);
        assert_eq!(load_of(2000, 39, 60_000), Load::Light, "240 Mbit/s");
    }

    #[test]
    fn the_clock_is_looked_at_once_in_many_wake_ups() {
        let mut pace = Pace::new();
        let before = pace.looked;
        assert!((1..LOOK).all(|_| pace.woken().is_none()));
        assert_eq!(pace.looked, before);
        assert!(pace.woken().is_some());
        assert!(pace.looked > before);
        assert_eq!(pace.woken, 0);
    }
}
