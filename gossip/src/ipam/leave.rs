//! A node that leaves for good: it hands all its space over to owners who stay.

use std::{collections::BTreeSet, num::NonZeroUsize};

use weft_crypto::PeerName;

use super::{
    Ipam, Leaving,
    limits::{MANY_OWNED, MAX_GRANTERS},
    named::is_free,
    removal::same_view,
    validate::NO_RING,
    view::taken_from,
    wire::{Grant, Space, Span},
};

impl Ipam {
    /// See [`Ipam::leave`].
    pub(super) fn start_leaving(&mut self) {
        if self.own.leaving || self.own.left {
            return;
        }
        self.own.leaving = true;
        self.touched = true;
        self.dirty = true;
    }

    /// Hands over what nobody uses here, and says so when nothing is left.
    pub(super) fn hand_over(&mut self) {
        if !self.own.leaving || self.own.left {
            return;
        }
        let in_use = self.local.iter().next().is_some();
        if !in_use && self.heirs_known() == 0 {
            // There is nobody else who could have any of it, now or later.
            self.own.owned = Default::default();
        }
        for (start, end, place) in self.quiet_pieces() {
            for (start, end, root) in self.removals.roots.pieces(start, end, self.config.name) {
                let Some(heir) = self.heir_of(start) else { return };
                if self.grants_full() {
                    return;
                }
                if self.give(heir, start, end, root) {
                    tracing::debug!(place, heir = %heir.short(), "handed space over");
                }
            }
        }
        let empty = self.own.owned.len() == 0 && self.own.grants.is_empty();
        // What others begin from here on is not waited for here; what is pending is, for whoever needs the
        // own word for it.
        if empty && !in_use && !self.removals.is_pending() && !self.vote_is_open() {
            self.local.forget_outside(&self.own.owned);
            self.own.left = true;
            self.own.last_word = self.removals.last_word();
            self.touched = true;
            tracing::info!("left the ring; all space is handed over");
        }
    }

    /// Owned addresses that are neither in use nor cooling, in pieces as large as possible, each with
    /// the place of its range.
    fn quiet_pieces(&self) -> Vec<(u128, u128, usize)> {
        let mut pieces = Vec::new();
        for (place, range) in self.universe.iter() {
            for span in self.own.owned.within(range.start, range.end) {
                let quiet = self.local.quiet(place, span.start, span.end);
                pieces.extend(quiet.into_iter().map(|(start, end)| (start, end, place)));
            }
        }
        pieces
    }

    /// How many others could own space of this ring: owners that were ever heard of and are not known
    /// to be gone, and reachable nodes in no ring.
    fn heirs_known(&self) -> usize {
        let gone = |name: &PeerName| {
            *name == self.config.name
                || self.removals.is_removed(*name)
                || self.spaces.get(name).is_some_and(|space| self.gave_up(space))
        };
        let owners = self.removals.known().filter(|name| !gone(name));
        let newcomers = self.reachable.iter().filter(|name| !gone(name) && self.may_join(name));
        owners.chain(newcomers.copied()).collect::<BTreeSet<PeerName>>().len()
    }

    /// Whether a node could become part of this node's ring by a grant.
    fn may_join(&self, name: &PeerName) -> bool {
        !self.other_ranges.contains_key(name)
            && self.spaces.get(name).is_none_or(|space| is_free(space, self.own.ring))
    }

    /// Who gets the addresses from `start` on: the owner of those before, so that they are one span,
    /// else the owner with fewest spans; a node without space only if no owner can be reached.
    fn heir_of(&self, start: u128) -> Option<PeerName> {
        let before = self.segments.iter().rev().filter(|segment| segment.end < start);
        let before = before.map(|segment| segment.owner).find(|owner| *owner != self.config.name);
        if let Some(owner) = before.filter(|owner| self.room(owner).is_some()) {
            return Some(owner);
        }
        let owners = self.spaces.iter().filter(|(_, space)| space.ring == self.own.ring);
        let owner = owners
            .filter_map(|(name, _)| Some((self.room(name)?, *name)))
            .max_by_key(|(room, name)| (*room, std::cmp::Reverse(*name)));
        let newcomer = || {
            let fit = |name: &&PeerName| self.may_join(name) && self.room(name).is_some();
            self.reachable.iter().find(fit).copied()
        };
        owner.map(|(_, name)| name).or_else(newcomer)
    }

    /// How many more spans can be given to a node that stays; `None` if none.
    pub(super) fn room(&self, name: &PeerName) -> Option<NonZeroUsize> {
        let sent = self.own.grants.iter().filter(|grant| grant.to == *name.as_bytes()).count();
        let space = self.spaces.get(name);
        let view = self.removals.id();
        let out = space.is_some_and(|space| {
            let knows = taken_from(space, self.config.name) > 0;
            space.left
                || space.leaving
                || !same_view(space, view)
                || !(knows || space.accepted.len() < MAX_GRANTERS)
        });
        let gone = self.removals.is_removed(*name) || self.removals.rest.is_for(*name);
        if out || gone || !self.reachable.contains(name) {
            return None;
        }
        let owned = space.map_or(0, |space| space.owned.len());
        NonZeroUsize::new(MANY_OWNED.saturating_sub(owned + sent))
    }

    /// Takes back what was granted to one who left, or is in another ring, without taking it over, and
    /// never will.
    pub(super) fn take_back(&mut self, receiver: PeerName, space: &Space) {
        let gone = self.own.ring != NO_RING && self.gave_up(space);
        if !gone || self.removals.is_removed(receiver) || self.own.left {
            return;
        }
        let taken = taken_from(space, self.config.name);
        let (back, rest): (Vec<Grant>, Vec<Grant>) = std::mem::take(&mut self.own.grants)
            .into_iter()
            .partition(|grant| grant.to == *receiver.as_bytes());
        self.own.grants = rest;
        self.touched |= !back.is_empty();
        // What it took over it passed on, or gave up with its part of this ring.
        for grant in back.into_iter().filter(|grant| grant.number > taken) {
            let Span { start, end, version } = grant.span;
            self.own.owned.insert(Span { start, end, version: version.saturating_add(1) });
            let root = PeerName::from_bytes(grant.root);
            if self.removals.is_pending() && root != self.config.name {
                self.removals.roots.insert(start, end, root);
            }
        }
    }

    /// See [`Ipam::leaving`].
    pub(super) fn describe_leaving(&self) -> Option<Leaving> {
        if !self.own.leaving {
            return None;
        }
        let owned: u128 = self.own.owned.iter().map(|span| span.end - span.start + 1).sum();
        let to: BTreeSet<PeerName> =
            self.own.grants.iter().map(|grant| PeerName::from_bytes(grant.to)).collect();
        let in_use: usize = self.local.iter().map(|(_, numbers)| numbers.len()).sum();
        let nobody = self.own.owned.len() > 0
            && self.own.owned.iter().all(|span| self.heir_of(span.start).is_none());
        Some(Leaving {
            owned: u64::try_from(owned).unwrap_or(u64::MAX),
            in_use: in_use as u64,
            to: to.into_iter().collect(),
            nobody,
            removal: self.removals.is_pending(),
            vote: self.vote_is_open(),
            done: self.own.left,
        })
    }
}
