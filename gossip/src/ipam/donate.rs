//! Space changes hands: taking over what was granted, granting what is asked for, asking.

use std::collections::BTreeSet;

use weft_crypto::PeerName;

use super::{
    Init, Ipam, Misbehaved,
    limits::*,
    removal::same_view,
    universe::Range,
    validate::NO_RING,
    view::taken_from,
    wire::{Grant, RangeWant, Space, Span, Want},
};
use crate::Time;

/// This node's request for space and its history.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    pub(super) current: Option<Want>,
    /// The number of the last want, this or an earlier one.
    pub(super) seq: u64,
    /// When to look for another donor.
    pub(super) retry_at: Time,
    /// Who was asked in this round and did not answer in time.
    pub(super) tried: BTreeSet<PeerName>,
    /// Whether everybody was asked, so that the round starts over at `retry_at`.
    pub(super) resting: bool,
}

impl Ipam {
    /// Takes over what `origin` grants this node in `space` and was not taken over before. All or
    /// nothing, so that the highest accepted number stands for all below it.
    pub(super) fn take_over(&mut self, origin: PeerName, space: &Space) -> Result<(), Misbehaved> {
        let known = self.own.accepted.get(&origin).copied().unwrap_or(0);
        let me = *self.config.name.as_bytes();
        let grants: Vec<Grant> = space
            .grants
            .iter()
            .filter(|grant| grant.to == me && grant.number > known)
            .copied()
            .collect();
        let Some(last) = grants.last() else { return Ok(()) };
        // Space changes hands within a view of removals only; the other side will come to this one.
        let apart = self.removals.is_removed(origin)
            || self.removals.out().is_some()
            || self.own.left
            || !same_view(space, self.removals.id());
        if apart {
            return Ok(());
        }
        let ring = if self.own.ring == NO_RING { self.own.joins } else { self.own.ring };
        let elsewhere = ring == NO_RING && self.removals.is_of_another(space.ring);
        if elsewhere || (ring != NO_RING && ring != space.ring) {
            return Ok(());
        }
        if grants.iter().any(|grant| self.granted_before(&grant.span)) {
            return Ok(());
        }
        let owned = self.own.owned.len() + self.removals.rest.spans();
        let too_many = owned + grants.len() > MAX_OWNED
            || (known == 0 && self.own.accepted.len() >= MAX_GRANTERS);
        if too_many {
            return Err(Misbehaved::TooLong(origin));
        }
        if grants.iter().any(|grant| self.held_by_others(origin, space, &grant.span)) {
            return Err(Misbehaved::ForeignGrant(origin));
        }
        for grant in &grants {
            self.own.owned.insert(grant.span);
            self.settle_kept(grant.span.start, grant.span.end);
            if self.removals.is_pending() {
                let root = PeerName::from_bytes(grant.root);
                let Span { start, end, .. } = grant.span;
                self.removals.roots.insert(start, end, root);
            }
            self.stats.accepted += 1;
        }
        self.own.accepted.insert(origin, last.number);
        self.own.ring = space.ring;
        self.own.joins = NO_RING;
        self.touched = true;
        if self.asking.current.as_ref().is_some_and(|want| want.donor == *origin.as_bytes()) {
            self.take_back_want();
        }
        Ok(())
    }

    /// Takes over what others granted while they and this node were not of one view.
    pub(super) fn take_over_late(&mut self) {
        let spaces = self.spaces.clone();
        for (origin, space) in &spaces {
            self.stats.misbehaved += u64::from(self.take_over(*origin, space).is_err());
        }
    }

    /// Whether part of `span` is in flight from this node by an older grant: then it has come back by way
    /// of others before the record is here of who took it over. That record is waited for, since one
    /// that shows an address both in flight and owned makes no sense to anybody.
    fn granted_before(&self, span: &Span) -> bool {
        let meets = |other: &Span| other.start <= span.end && other.end >= span.start;
        let mut granted = self.own.grants.iter().map(|grant| &grant.span);
        granted.any(|other| meets(other) && other.version < span.version)
    }

    /// Whether this node, or a third one, has a claim on part of `span` that is not older than it.
    /// Of an honest granter none has: claims with higher versions come from this very grant.
    fn held_by_others(&self, granter: PeerName, space: &Space, span: &Span) -> bool {
        let meets = |other: &Span| other.start <= span.end && other.end >= span.start;
        let own = self.own.owned.overlaps(span.start, span.end)
            || self
                .own
                .grants
                .iter()
                .any(|grant| meets(&grant.span) && grant.span.version >= span.version);
        own || self
            .spaces
            .iter()
            .filter(|(name, other)| {
                **name != granter && other.ring == space.ring && same_view(other, space.view)
            })
            .flat_map(|(_, other)| {
                other.owned.iter().chain(other.grants.iter().map(|grant| &grant.span))
            })
            .any(|other| meets(other) && other.version >= span.version)
    }

    /// Drops the grants to `receiver` that its record shows as taken over.
    pub(super) fn drop_taken(&mut self, receiver: PeerName, space: &Space) {
        let taken = taken_from(space, self.config.name);
        // What a removed node says no longer counts: by the own word the space is still in flight.
        if space.ring != self.own.ring || self.removals.is_removed(receiver) {
            return;
        }
        let before = self.own.grants.len();
        self.own.grants.retain(|grant| grant.to != *receiver.as_bytes() || grant.number > taken);
        self.touched |= self.own.grants.len() != before;
        self.dirty |= self.removals.rest.drop_taken(receiver, taken);
    }

    /// Grants what others ask of this node, those first where somebody waits for an address.
    pub(super) fn serve_wants(&mut self) {
        if self.own.ring == NO_RING || self.removals.out().is_some() || self.own.leaving {
            return;
        }
        let me = *self.config.name.as_bytes();
        let mut open: Vec<(bool, PeerName, Want)> = self
            .wants
            .iter()
            .filter(|(asker, want)| want.donor == me && self.served.get(*asker) != Some(&want.seq))
            .map(|(asker, want)| {
                (!want.ranges.iter().any(|range| range.urgent), *asker, want.clone())
            })
            .collect();
        open.sort_unstable_by_key(|(patient, asker, _)| (*patient, *asker));
        for (_, asker, want) in open {
            let apart = !self.of_one_mind(self.spaces.get(&asker));
            if apart || self.removals.is_removed(asker) || self.removals.rest.is_for(asker) {
                continue;
            }
            let mut served = false;
            for part in &want.ranges {
                served |= match part.within {
                    None => self.grant(asker, part),
                    Some(within) => self.grant_named(asker, part, within),
                };
            }
            if served {
                self.served.insert(asker, want.seq);
            }
        }
    }

    /// Grants one block to `asker` if there is one to spare.
    fn grant(&mut self, asker: PeerName, part: &RangeWant) -> bool {
        let place = usize::from(part.range);
        let Some(range) = self.universe.get(place).cloned() else { return false };
        let under_way = self.own.grants.iter().any(|grant| {
            grant.to == *asker.as_bytes()
                && range.start <= grant.span.start
                && grant.span.end <= range.end
        });
        if under_way
            || self.grants_full()
            || self.own.owned.len() >= MANY_OWNED
            || self.short_of(place)
        {
            return false;
        }
        let most = self.to_spare(asker, part, place, &range);
        let Some((start, end)) =
            self.local.free_block(place, &range, (range.start, range.end), &self.own.owned, most)
        else {
            return false;
        };
        let Some((start, end, root)) = self.of_one_root(start, end, &range) else { return false };
        self.give(asker, start, end, root)
    }

    /// Whether as much is in flight as a record can list, with what may be again.
    pub(super) fn grants_full(&self) -> bool {
        self.own.grants.len() + self.removals.rest.grants() >= MAX_GRANTS
    }

    /// Grants `start` to `end`, which are owned, neither in use nor cooling, and came from one root.
    pub(super) fn give(&mut self, to: PeerName, start: u128, end: u128, root: PeerName) -> bool {
        let Some(next_grant) = self.own.next_grant.checked_add(1) else { return false };
        let Some(version) =
            self.own.owned.covering(start, end).and_then(|span| span.version.checked_add(1))
        else {
            return false;
        };
        if self.own.owned.remove(start, end).is_none() {
            return false;
        }
        let number = std::mem::replace(&mut self.own.next_grant, next_grant);
        let span = Span { start, end, version };
        self.removals.forget_roots(start, end);
        self.dirty |= self.removals.learn(to);
        let root = *root.as_bytes();
        self.own.grants.push(Grant { number, to: *to.as_bytes(), span, root });
        self.own.tentative = false;
        self.stats.granted += 1;
        self.touched = true;
        true
    }

    /// The largest part of a free block that came from one root and has an address to hand out.
    pub(super) fn of_one_root(
        &self,
        start: u128,
        end: u128,
        range: &Range,
    ) -> Option<(u128, u128, PeerName)> {
        let pieces = self.removals.roots.pieces(start, end, self.config.name);
        pieces
            .into_iter()
            .filter(|(start, end, _)| range.usable_in(*start, *end) > 0)
            .max_by_key(|(start, end, _)| end - start)
    }

    /// How many addresses of a range this node gives `asker`: what it asks for, at most as many as
    /// it owns (so that blocks double), and at most half of what is free. Where nobody waits for an
    /// address, the asker who owns some gets none that this node would soon ask back.
    fn to_spare(&self, asker: PeerName, part: &RangeWant, place: usize, range: &Range) -> u128 {
        let free = self.free(place);
        let half = if part.urgent { free.div_ceil(2) } else { free / 2 };
        let owns = self.spaces.get(&asker).map_or(0, |space| owned_in(space, range));
        let most = half.min(u128::from(part.count)).min(owns.max(u128::from(range.first_block())));
        if part.urgent || owns == 0 {
            most
        } else {
            most.min(free.saturating_sub(2 * range.low_water()))
        }
    }

    /// Asks for space, asks somebody else, or takes the question back.
    pub(super) fn ask(&mut self, now: Time) {
        if self.ask_named(now) {
            return;
        }
        let needs = self.needs();
        if needs.is_empty() {
            if self.asking.current.is_some() {
                self.take_back_want();
            }
            return;
        }
        let urgent = |ranges: &[RangeWant]| -> Vec<u8> {
            ranges.iter().filter(|part| part.urgent).map(|part| part.range).collect()
        };
        if let Some(want) = &self.asking.current {
            let donor = PeerName::from_bytes(want.donor);
            let asked = urgent(&want.ranges);
            let more_urgent = urgent(&needs).iter().any(|range| !asked.contains(range));
            let newcomer = self.asking.resting && self.choose_donor(&needs).is_some();
            if now < self.asking.retry_at
                && !more_urgent
                && !newcomer
                && self.can_donate(donor, &needs)
            {
                return;
            }
            if more_urgent || (self.asking.resting && now >= self.asking.retry_at) {
                self.asking.tried.clear();
            } else if now >= self.asking.retry_at {
                self.asking.tried.insert(donor);
            }
        }
        if let Some(donor) = self.choose_donor(&needs) {
            self.asking.retry_at = now + WANT_RETRY;
            self.asking.resting = false;
            self.put_want(donor, needs);
        } else if now >= self.asking.retry_at {
            // Everybody was asked. The last question stands; the round starts over after a rest.
            self.asking.resting = true;
            self.asking.retry_at = now + WANT_REST;
        }
    }

    /// Asks `donor`, unless it is asked the same already.
    pub(super) fn put_want(&mut self, donor: PeerName, ranges: Vec<RangeWant>) {
        let donor = *donor.as_bytes();
        let asked = self.asking.current.as_ref();
        if asked.is_some_and(|want| want.donor == donor && want.ranges == ranges) {
            return;
        }
        self.asking.seq = self.asking.seq.wrapping_add(1);
        self.asking.current = Some(Want { seq: self.asking.seq, donor, ranges });
        self.stats.wants += 1;
        self.publish_want = true;
        self.dirty = true;
    }

    pub(super) fn take_back_want(&mut self) {
        self.asking.current = None;
        self.asking.tried.clear();
        self.asking.resting = false;
        self.publish_want = true;
    }

    /// What this node lacks.
    pub(super) fn needs(&self) -> Vec<RangeWant> {
        let gone = self.removals.out().is_some() || self.own.leaving;
        if self.own.owned.len() >= MANY_OWNED || gone {
            return Vec::new();
        }
        let mut needs = Vec::new();
        for (place, range) in self.universe.iter() {
            let urgent = self.short_of(place);
            let owned = self.owned_in(range);
            let hoards = !matches!(self.config.init, Init::Observer) || owned > 0;
            let low = (owned == 0 || self.free(place) < range.low_water()) && hoards;
            if urgent || low {
                let count = u64::try_from(owned)
                    .unwrap_or(u64::MAX)
                    .clamp(range.first_block(), LARGEST_BLOCK.max(range.first_block()));
                let range = u8::try_from(place).unwrap_or(u8::MAX);
                needs.push(RangeWant { range, count, urgent, within: None });
            }
        }
        needs
    }

    /// Whether `donor` can be asked for what is needed most.
    pub(super) fn can_donate(&self, donor: PeerName, needs: &[RangeWant]) -> bool {
        let Some(first) = most_needed(needs) else { return false };
        self.reachable.contains(&donor)
            && !self.removals.is_removed(donor)
            && self.spaces.get(&donor).is_some_and(|space| {
                let known = self.own.accepted.contains_key(&donor);
                self.same_ring(space)
                    && !space.leaving
                    && same_view(space, self.removals.id())
                    && (known || self.own.accepted.len() < MAX_GRANTERS)
                    && space.free.get(first).is_some_and(|free| *free > 0)
            })
    }

    /// The reachable owner with most to give, other than those asked already; by name among equals.
    fn choose_donor(&self, needs: &[RangeWant]) -> Option<PeerName> {
        let first = most_needed(needs)?;
        self.spaces
            .iter()
            .filter(|(name, _)| {
                !self.asking.tried.contains(*name) && self.can_donate(**name, needs)
            })
            .max_by_key(|(name, space)| {
                (space.free.get(first).copied().unwrap_or(0), std::cmp::Reverse(**name))
            })
            .map(|(name, _)| *name)
    }

    /// Whether a node's space is of the ring that this node is in, or of the one it would join.
    pub(super) fn same_ring(&self, space: &Space) -> bool {
        space.ring != NO_RING && Some(space.ring) == self.ring_in_view()
    }
}

/// The range to choose a donor by: the first where somebody waits, else the first of all.
fn most_needed(needs: &[RangeWant]) -> Option<usize> {
    let urgent = needs.iter().find(|part| part.urgent);
    urgent.or(needs.first()).map(|part| usize::from(part.range))
}

/// How many addresses of a range a node owns.
pub(super) fn owned_in(space: &Space, range: &Range) -> u128 {
    space
        .owned
        .iter()
        .filter(|span| range.start <= span.start && span.end <= range.end)
        .map(|span| span.end - span.start + 1)
        .sum()
}
