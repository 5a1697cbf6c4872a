//! What can be seen of the ring from outside: routes, owners, the state in words.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::{
    Conflict, Init, Ipam, OwnerView, Route, Waiting,
    ring::{Claim, fold},
    universe::{Range, address},
    validate::NO_RING,
    wire::{Grant, RingId, Space, Span},
};

impl Ipam {
    /// The ring this node is in, or would join: of those of which it can reach a node that stays the one
    /// with whose removals it goes along, else the one with the lowest name, so that newcomers agree.
    pub(super) fn ring_in_view(&self) -> Option<RingId> {
        if self.own.ring != NO_RING {
            return Some(self.own.ring);
        }
        if self.own.joins != NO_RING {
            return Some(self.own.joins);
        }
        let mine = self.removals.ring;
        let choose = |near: bool| {
            let spaces = self.spaces.iter().filter(|(_, space)| space.ring != NO_RING);
            let stays = |name: &PeerName, space: &Space| {
                let removed = self.removals.is_removed_from(space.ring, *name);
                self.reachable.contains(name) && !removed && !space.left
            };
            let spaces = spaces.filter(|(name, space)| !near || stays(name, space));
            spaces.map(|(_, space)| space.ring).min_by_key(|ring| (*ring != mine, *ring))
        };
        choose(true).or_else(|| choose(false)).or(Some(mine).filter(|ring| *ring != NO_RING))
    }

    /// Computes the map of owners anew.
    pub(super) fn refold(&mut self) {
        let me = self.config.name;
        let mut claims: Vec<Claim> =
            self.own.owned.iter().map(|span| Claim { owner: me, span, current: true }).collect();
        claims.extend(self.in_flight(me, &self.own.grants, true));
        let view = self.removals.id();
        for (name, space) in self.spaces.iter().filter(|(_, space)| self.same_ring(space)) {
            let current = space.view == view;
            let claim = |span: &Span| Claim { owner: *name, span: *span, current };
            claims.extend(space.owned.iter().map(claim));
            claims.extend(self.in_flight(*name, &space.grants, current));
        }
        let segments = fold(&claims, me);
        if segments != self.segments {
            self.segments = segments;
            self.generation += 1;
        }
    }

    /// The claims that `granter` makes for others. Not those that the receiver took over: it says
    /// itself what became of them. And none for this node: what it owns it knows best.
    fn in_flight(
        &self,
        granter: PeerName,
        grants: &[Grant],
        current: bool,
    ) -> impl Iterator<Item = Claim> {
        grants.iter().filter_map(move |grant| {
            let owner = PeerName::from_bytes(grant.to);
            let spent = self.spaces.get(&owner).is_some_and(|space| {
                self.same_ring(space) && taken_from(space, granter) >= grant.number
            });
            let claim = Claim { owner, span: grant.span, current };
            let gone = self.removals.is_done(owner);
            (owner != self.config.name && !spent && !gone).then_some(claim)
        })
    }

    pub(super) fn list_routes(&self) -> Vec<Route> {
        let mut routes: Vec<(u128, u128, PeerName)> = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            match routes.last_mut() {
                Some((_, end, owner))
                    if *owner == segment.owner && end.checked_add(1) == Some(segment.start) =>
                {
                    *end = segment.end;
                }
                _ => routes.push((segment.start, segment.end, segment.owner)),
            }
        }
        let route = |(start, end, owner)| Route { start: address(start), end: address(end), owner };
        routes.into_iter().map(route).collect()
    }

    pub(super) fn list_owners(&self) -> Vec<OwnerView> {
        let Some(range) = self.universe.get(0) else { return Vec::new() };
        let mut counts: BTreeMap<PeerName, u128> = BTreeMap::new();
        for segment in &self.segments {
            let inside = range.start <= segment.start && segment.end <= range.end;
            let size = if inside { segment.end - segment.start + 1 } else { 0 };
            *counts.entry(segment.owner).or_default() += size;
        }
        counts
            .into_iter()
            .map(|(name, count)| {
                let active = if name == self.config.name {
                    self.active()
                } else {
                    self.spaces.get(&name).map_or(0, |space| space.active)
                };
                let share = count as f64 / range.size() as f64;
                OwnerView {
                    name,
                    addresses: u64::try_from(count).unwrap_or(u64::MAX),
                    share,
                    active,
                }
            })
            .collect()
    }

    pub(super) fn list_conflicts(&self) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> = self
            .segments
            .iter()
            .filter_map(|segment| {
                let (start, end) = (address(segment.start), address(segment.end));
                Some(Conflict::Claimed { start, end, shown: segment.owner, other: segment.rival? })
            })
            .collect();
        let ring = self.ring_in_view();
        conflicts.extend(
            self.spaces
                .iter()
                .filter(|(_, space)| space.ring != NO_RING && Some(space.ring) != ring)
                .map(|(name, _)| Conflict::OtherRing { node: *name }),
        );
        conflicts.extend(
            self.other_ranges.iter().map(|(name, theirs)| Conflict::OtherRanges {
                node: *name,
                theirs: theirs.clone(),
            }),
        );
        conflicts.sort();
        conflicts
    }

    /// Whether this node has space of every range.
    pub(super) fn settled(&self) -> bool {
        self.own.ring != NO_RING && self.universe.iter().all(|(_, range)| self.owned_in(range) > 0)
    }

    /// An observer that needs nothing and could get something.
    pub(super) fn idle(&self) -> bool {
        self.removals.out().is_none()
            && matches!(self.config.init, Init::Observer)
            && self.pending.is_empty()
            && self.ring_in_view().is_some()
    }

    pub(super) fn waiting(&self) -> Waiting {
        if let Some(by) = self.removals.out() {
            return Waiting::Removed(by);
        }
        let empty = self.universe.iter().any(|(place, _)| self.free(place) == 0);
        if let Some(pending) = self.pending.front() {
            return self.waiting_for(pending);
        }
        if !self.kept.is_empty() {
            let owners = self.kept.iter().filter_map(|number| self.owner_of(address(*number)));
            let cut_off: BTreeSet<PeerName> =
                owners.filter(|owner| !self.reachable.contains(owner)).collect();
            let unreachable = cut_off.into_iter().collect();
            return Waiting::Moving { addresses: self.kept.len(), unreachable };
        }
        if self.own.ring != NO_RING && !empty {
            Waiting::Ready
        } else if self.idle() {
            Waiting::Idle
        } else {
            self.why_not()
        }
    }

    /// Why there is no address to hand out.
    pub(super) fn why_not(&self) -> Waiting {
        if let Some(by) = self.removals.out() {
            return Waiting::Removed(by);
        }
        if self.ring_in_view().is_none() {
            return match (&self.config.init, &self.consensus) {
                (Init::Seed(_), _) => Waiting::Founders(self.founders()),
                (_, Some(consensus)) if consensus.is_held() => Waiting::Targets,
                (_, Some(consensus)) => Waiting::Consensus {
                    quorum: consensus.quorum(),
                    known: consensus.known(&self.reachable),
                },
                _ => Waiting::Ring,
            };
        }
        if let Some(want) = &self.asking.current {
            let donor = PeerName::from_bytes(want.donor);
            if self.can_donate(donor, &want.ranges) {
                return Waiting::Donor(donor);
            }
        }
        let gives = |name: &PeerName, space: &Space| {
            !self.reachable.contains(name)
                && self.same_ring(space)
                && space.free.iter().any(|free| *free > 0)
        };
        let nobody = !self
            .spaces
            .iter()
            .any(|(name, space)| self.reachable.contains(name) && self.same_ring(space));
        if nobody && self.own.ring == NO_RING
            || self.spaces.iter().any(|(name, space)| gives(name, space))
        {
            Waiting::Unreachable
        } else {
            Waiting::Full
        }
    }

    /// How many addresses of a range this node owns.
    pub(super) fn owned_in(&self, range: &Range) -> u128 {
        self.own.owned.within(range.start, range.end).map(|span| span.end - span.start + 1).sum()
    }

    /// How many addresses of a range this node could hand out at once.
    pub(super) fn free(&self, place: usize) -> u128 {
        let Some(range) = self.universe.get(place) else { return 0 };
        let usable: u128 = self
            .own
            .owned
            .within(range.start, range.end)
            .map(|span| range.usable_in(span.start, span.end))
            .sum();
        let kept = self.kept.range(range.start..=range.end).count() as u128;
        usable.saturating_sub(self.local.busy_count(place).saturating_sub(kept))
    }
}

/// The highest number of a grant of `granter` that the writer of a record took over; 0 for none.
pub(super) fn taken_from(space: &Space, granter: PeerName) -> u64 {
    let found = space.accepted.binary_search_by(|(name, _)| name.cmp(granter.as_bytes()));
    found.ok().and_then(|at| space.accepted.get(at)).map_or(0, |(_, number)| *number)
}
