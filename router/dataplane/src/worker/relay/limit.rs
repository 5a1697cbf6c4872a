//! How much is passed on for each origin.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::relay::ShortId;

/// What is passed on for one origin while the worker cannot keep up, bytes a second, and at once: half a gigabit, so
/// that one member cannot take a relay's processor from all others.
const RATE: u64 = 64 << 20;
const BURST: u64 = 8 << 20;

/// Origins that are counted one by one. Beyond it a new one takes the place of one that was quiet, if any was.
const MAX_ORIGINS: usize = 256;

/// A bucket of bytes for each origin.
#[derive(Default)]
pub(super) struct Limits {
    buckets: BTreeMap<ShortId, Bucket>,
}

struct Bucket {
    bytes: u64,
    /// Since the start of the data plane.
    at: Duration,
}

impl Limits {
    /// Whether `len` bytes of an origin may pass at `now`, the time since some start. `behind` is whether the worker has
    /// more to do than it can; else all may pass that comes from origins that are counted.
    pub(super) fn allow(
        &mut self,
        origin: ShortId,
        len: usize,
        now: Duration,
        behind: bool,
    ) -> bool {
        if !self.buckets.contains_key(&origin) {
            if self.buckets.len() >= MAX_ORIGINS {
                self.buckets.retain(|_, bucket| bucket.filled(now) < BURST);
            }
            if self.buckets.len() >= MAX_ORIGINS {
                return false;
            }
            self.buckets.insert(origin, Bucket { bytes: BURST, at: now });
        }
        let Some(bucket) = self.buckets.get_mut(&origin) else { return false };
        *bucket = Bucket { bytes: bucket.filled(now), at: now };
        let left = bucket.bytes.checked_sub(len as u64);
        if left.is_none() && behind {
            return false;
        }
        bucket.bytes = left.unwrap_or(0);
        true
    }
}

impl Bucket {
    fn filled(&self, now: Duration) -> u64 {
        let micros = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        self.bytes.saturating_add(micros.saturating_mul(RATE) / 1_000_000).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_gets_its_rate_and_leaves_others_theirs() {
        let mut limits = Limits::default();
        let mut passed = 0;
        for millis in 0..10_000 {
            for _ in 0..100 {
                let now = Duration::from_millis(millis);
                passed += u64::from(limits.allow(ShortId([1; 8]), 1400, now, true)) * 1400;
            }
        }
        assert!((10 * RATE..10 * RATE + 2 * BURST).contains(&passed), "{passed}");
        let now = Duration::from_secs(10);
        assert!(limits.allow(ShortId([2; 8]), 1400, now, true));
        assert!((0..10_000).all(|_| limits.allow(ShortId([1; 8]), 1400, now, false)));
        assert!(!limits.allow(ShortId([1; 8]), 1400, now, true));
    }

    #[test]
    fn origins_are_bounded_and_quiet_ones_make_room() {
        let mut limits = Limits::default();
        let origin = |n: u16| {
            ShortId([n.to_le_bytes(), [0; 2], [0; 2], [0; 2]].concat().try_into().unwrap())
        };
        for n in 0..256 {
            assert!(limits.allow(origin(n), 1400, Duration::ZERO, false));
        }
        assert!(!limits.allow(origin(256), 1400, Duration::ZERO, false));
        assert!(limits.allow(origin(256), 1400, Duration::from_secs(1), false));
        assert!(limits.buckets.len() <= MAX_ORIGINS);
    }
}
