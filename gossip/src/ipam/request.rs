//! Requests for addresses: from the own space at once, or when there is some.

use std::{collections::VecDeque, net::IpAddr};

use ipnet::IpNet;

use super::{
    AllocateError, Ipam, Request, RequestId, Waiting,
    limits::MAX_PENDING,
    universe::{Range, address, number},
};
use crate::Time;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) id: RequestId,
    pub(super) key: String,
    /// Addresses asked for by name, each with the place of its range; empty for any.
    pub(super) wanted: Vec<(usize, u128)>,
    /// Where the addresses of some ranges must be from.
    pub(super) within: Parts,
    pub(super) deadline: Time,
}

/// A part of a range that an address must be from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    pub(super) subnet: IpNet,
    /// The place of the range.
    pub(super) place: usize,
    /// The first and the last address that can be given.
    pub(super) bounds: (u128, u128),
}

impl Within {
    fn holds(&self, number: u128) -> bool {
        (self.bounds.0..=self.bounds.1).contains(&number)
    }
}

/// Parts of different ranges.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(Vec<Within>);

impl Parts {
    /// The part of the range at `place`, if one is asked for.
    fn of(&self, place: usize) -> Option<&Within> {
        self.iter().find(|within| within.place == place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Within> {
        self.0.iter()
    }
}

/// Addresses asked for by name, each with the place of its range, and where others must be from.
type Named = (Vec<(usize, u128)>, Parts);

/// What became of one look at a request.
enum Progress {
    Done(Vec<IpNet>),
    Failed(AllocateError),
    Waits,
}

impl Ipam {
    /// Queues a request, or fails it if it can never be met.
    pub(super) fn queue_request(
        &mut self,
        key: &str,
        request: &Request,
        deadline: Time,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request = self.next_request.wrapping_add(1);
        let checked = match self.named(request) {
            Ok(_) if self.pending.len() >= MAX_PENDING => Err(AllocateError::TooMany),
            other => other,
        };
        match checked {
            Ok((wanted, within)) => {
                self.pending.push_back(Pending {
                    id,
                    key: key.to_owned(),
                    wanted,
                    within,
                    deadline,
                });
            }
            Err(error) => self.finish(id, Err(error)),
        }
        id
    }

    /// Addresses asked for by name and the parts of ranges, checked against the ranges.
    fn named(&self, request: &Request) -> Result<Named, AllocateError> {
        let mut within = Parts::default();
        for subnet in &request.within {
            let part = self.part(*subnet)?;
            if within.of(part.place).is_some() {
                return Err(AllocateError::TwoParts(part.subnet));
            }
            within.0.push(part);
        }
        let mut named: Vec<(usize, u128)> =
            Vec::with_capacity(request.wanted.len().min(self.universe.len()));
        for net in &request.wanted {
            let ip = net.addr();
            let number = number(ip);
            let Some((place, range)) = self.universe.range_of(number, number) else {
                return Err(AllocateError::OutsideRange { ip, ranges: self.universe.to_string() });
            };
            if !range.usable(number) {
                return Err(AllocateError::Reserved(ip));
            }
            if named.iter().any(|(other, _)| *other == place) {
                return Err(AllocateError::Twice(ip));
            }
            if let Some(within) = within.of(place).filter(|within| !within.holds(number)) {
                return Err(AllocateError::NotWithin { ip, subnet: within.subnet });
            }
            named.push((place, number));
        }
        Ok((named, within))
    }

    fn part(&self, subnet: IpNet) -> Result<Within, AllocateError> {
        let subnet = subnet.trunc();
        let Some((place, range)) = self.universe.range_around(&subnet) else {
            let ranges = self.universe.to_string();
            return Err(AllocateError::SubnetOutside { subnet, ranges });
        };
        let bounds = range
            .bounds_of(&subnet)
            .ok_or(AllocateError::NotWithin { ip: subnet.network(), subnet })?;
        Ok(Within { subnet, place, bounds })
    }

    /// Meets the requests that can be met, fails those whose time is up.
    pub(super) fn serve_requests(&mut self, now: Time) {
        if self.own.leaving {
            for pending in std::mem::take(&mut self.pending) {
                self.finish(pending.id, Err(AllocateError::Leaving));
            }
        }
        for pending in std::mem::take(&mut self.pending) {
            match self.try_request(&pending) {
                Progress::Done(nets) => self.finish(pending.id, Ok(nets)),
                Progress::Failed(error) => self.finish(pending.id, Err(error)),
                Progress::Waits => self.pending.push_back(pending),
            }
        }
        // What they wait for is judged with all of them in the queue.
        let (late, rest): (VecDeque<Pending>, VecDeque<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| p.deadline <= now);
        let waiting: Vec<Waiting> = late.iter().map(|p| self.waiting_for(p)).collect();
        self.pending = rest;
        for (pending, waiting) in late.into_iter().zip(waiting) {
            self.finish(pending.id, Err(AllocateError::Deadline { waiting }));
        }
    }

    fn try_request(&mut self, pending: &Pending) -> Progress {
        if let Some(held) = self.local.held_by(&pending.key) {
            let named = pending.wanted.is_empty()
                || (pending.wanted.len() == held.len()
                    && pending.wanted.iter().all(|(_, number)| held.contains(number)));
            let inside = |within: &Within| held.iter().any(|number| within.holds(*number));
            let same = named && pending.within.iter().all(inside);
            let nets: Vec<IpNet> = held.iter().map(|n| self.universe.with_prefix(*n)).collect();
            return match nets.first() {
                Some(first) if !same => Progress::Failed(AllocateError::HeldOtherwise {
                    key: pending.key.clone(),
                    held: *first,
                }),
                _ => Progress::Done(nets),
            };
        }
        let numbers = if pending.wanted.is_empty() {
            let lowest = |(place, range): (usize, &Range)| {
                let part = pending.within.of(place);
                let bounds = part.map_or_else(|| range.bounds(), |within| within.bounds);
                let number = self.local.lowest_free(place, bounds, &self.own.owned)?;
                Some((place, number))
            };
            match self.universe.iter().map(lowest).collect::<Option<Vec<_>>>() {
                Some(numbers) => numbers,
                None => return Progress::Waits,
            }
        } else {
            for &(place, number) in &pending.wanted {
                match self.check_named(place, number) {
                    None => {}
                    Some(progress) => return progress,
                }
            }
            pending.wanted.clone()
        };
        self.local.hold(&pending.key, &numbers);
        self.touched |= std::mem::take(&mut self.own.tentative);
        self.dirty = true;
        Progress::Done(numbers.iter().map(|&(_, n)| self.universe.with_prefix(n)).collect())
    }

    /// Whether an address asked for by name stands in the way; `None` if it can be had. One that is
    /// cooling can: whoever asks for it by name wants it back.
    fn check_named(&self, place: usize, number: u128) -> Option<Progress> {
        let ip = address(number);
        if let Some(holder) = self.local.holder(place, number) {
            let key = holder.to_owned();
            return Some(Progress::Failed(AllocateError::InUse { ip, key }));
        }
        if self.own.owned.contains(number) {
            return None;
        }
        Some(Progress::Waits)
    }

    /// What a request waits for.
    pub(super) fn waiting_for(&self, pending: &Pending) -> Waiting {
        if self.ring_in_view().is_none() || self.removals.out().is_some() {
            return self.why_not();
        }
        let missing = pending.wanted.iter().find(|(_, n)| !self.own.owned.contains(*n));
        let mut parts = pending.within.iter().filter(|_| pending.wanted.is_empty());
        match (missing, parts.find(|within| self.free_within(within).is_none())) {
            (Some(&(_, number)), _) => {
                let ip = address(number);
                match self.owner_of(ip) {
                    None => Waiting::Unowned(ip),
                    Some(owner) if self.reachable.contains(&owner) => Waiting::Owner { ip, owner },
                    Some(owner) => Waiting::OwnerUnreachable { ip, owner },
                }
            }
            (None, Some(within)) => Waiting::Subnet(within.subnet),
            (None, None) => self.why_not(),
        }
    }

    /// The lowest address of a part of a range that could be handed out at once.
    pub(super) fn free_within(&self, within: &Within) -> Option<u128> {
        self.local.lowest_free(within.place, within.bounds, &self.own.owned)
    }

    /// Whether somebody waits for any address of a range and there is none.
    pub(super) fn short_of(&self, place: usize) -> bool {
        // Any space does not help one that must have an address of a part of the range.
        let any =
            |pending: &Pending| pending.wanted.is_empty() && pending.within.of(place).is_none();
        self.free(place) == 0 && self.pending.iter().any(any)
    }

    /// Frees what `key` holds and fails what it waits for.
    pub(super) fn release_key(&mut self, key: &str, now: Time) -> Vec<IpAddr> {
        let (gone, rest): (VecDeque<Pending>, VecDeque<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.key == key);
        self.pending = rest;
        for pending in gone {
            self.finish(pending.id, Err(AllocateError::Released));
        }
        let numbers = self.release_held(key, now);
        self.dirty |= !numbers.is_empty();
        self.stats.released += numbers.len() as u64;
        numbers.into_iter().map(address).collect()
    }

    pub(super) fn finish(&mut self, id: RequestId, outcome: Result<Vec<IpNet>, AllocateError>) {
        match outcome {
            Ok(_) => self.stats.allocated += 1,
            Err(_) => self.stats.failed += 1,
        }
        self.outcomes.push_back((id, outcome));
    }
}
