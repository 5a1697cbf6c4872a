//! How much is free here, as others are told.

use super::{Ipam, limits, validate::NO_RING};
use crate::Time;

impl Ipam {
    /// Tells how much is free: with any other change of the record; at once if it matters to those
    /// who look for a donor; else a while later.
    pub(super) fn advertise(&mut self, now: Time) {
        if self.own.ring == NO_RING {
            self.advert_at = None;
            return;
        }
        let free = |place| u64::try_from(self.free(place)).unwrap_or(u64::MAX);
        let free: Vec<u64> = self.universe.iter().map(|(place, _)| free(place)).collect();
        let current = (free, self.active());
        if current == self.advert {
            self.advert_at = None;
            return;
        }
        let told = |place: usize| self.advert.0.get(place).copied().unwrap_or(0);
        let matters = current.0.iter().enumerate().any(|(place, &is)| {
            let was = told(place);
            (was == 0) != (is == 0) || is / 2 > was || is < was / 2
        });
        let due = self.advert_at.is_some_and(|at| at <= now);
        if self.touched || matters || due {
            self.advert = current;
            self.advert_at = None;
            self.touched = true;
        } else if self.advert_at.is_none() {
            self.advert_at = Some(now + limits::ADVERT_DELAY);
        }
    }
}
