//! Two rings that were founded apart become one: the nodes of one move to the other, with the
//! addresses that are in use on them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::{
    Fenced, HealError, Healing, Ipam, Kept,
    limits::{MANY_OWNED, MAX_HEALS, MAX_KEPT},
    named::cut,
    spans::SpanSet,
    universe::address,
    validate::NO_RING,
    wire::{Heal, Refusal, RingId, Space},
};
use crate::Time;

impl Ipam {
    /// See [`Ipam::heal`].
    pub(super) fn start_healing(&mut self, peer: PeerName, at: u64) -> Result<Healing, HealError> {
        if self.removals.out().is_some() || self.own.leaving {
            return Err(HealError::Gone);
        }
        let mine = self.my_ring();
        if mine == NO_RING {
            return Err(HealError::NoRing);
        }
        let theirs = match self.spaces.get(&peer) {
            Some(space) if space.ring != NO_RING && !space.left => space,
            Some(space) if space.joins == mine => return Err(HealError::SameRing(peer)),
            Some(_) | None => return Err(HealError::Unknown(peer)),
        };
        if theirs.ring == mine {
            return Err(HealError::SameRing(peer));
        }
        if self.own.tentative || theirs.tentative {
            return Err(HealError::Tentative(peer));
        }
        let (from, into) = (mine.max(theirs.ring), mine.min(theirs.ring));
        let by = *self.config.name.as_bytes();
        self.say(Heal { from, into, by, at });
        Ok(if from == mine { Healing::Moves } else { Healing::Stays })
    }

    /// The ring that this node is in or on its way to.
    fn my_ring(&self) -> RingId {
        if self.own.ring == NO_RING { self.own.joins } else { self.own.ring }
    }

    /// Whether a node has nothing of this node's ring, and never will have: it left, or it moved to another
    /// ring, or it is in one from which no move leads here.
    pub(super) fn gave_up(&self, space: &Space) -> bool {
        let ring = self.own.ring;
        let at = if space.ring == NO_RING { space.joins } else { space.ring };
        let below = at != NO_RING && at < ring && !space.tentative;
        let moved = space.ring != ring && space.heals.iter().any(|heal| heal.from == ring);
        space.left || below || moved
    }

    /// Makes `heal` part of the own record, unless one of these rings is.
    fn say(&mut self, heal: Heal) {
        let said = |known: &Heal| (known.from, known.into) == (heal.from, heal.into);
        if self.own.heals.iter().any(said) {
            return;
        }
        if self.own.heals.len() >= MAX_HEALS {
            // The oldest one is of rings that were left behind long ago.
            self.own.heals.remove(0);
        }
        self.own.heals.push(heal);
        self.touched = true;
        self.dirty = true;
    }

    /// Goes along with words on this node's ring, and settles what it brought from its former one.
    pub(super) fn settle_heal(&mut self, now: Time) {
        let before = self.my_ring();
        // Each move is to a ring with a lower name.
        while let Some(heal) = self.next_move() {
            self.move_to(heal);
        }
        if self.my_ring() != before {
            // Somebody there may have taken this node for a newcomer before it moved.
            self.take_over_late();
        }
        if !self.kept.is_empty() {
            self.hear_clashes(now);
        }
    }

    /// The word by which this node is to move now: into a ring of which it can reach a node that stays. Not while
    /// a removal is pending here, whose members count on what this node holds.
    fn next_move(&self) -> Option<Heal> {
        let mine = self.my_ring();
        let busy = self.own.ring != NO_RING && self.removals.is_pending();
        // Who leaves moves like the others: what is left of its ring is nobody's.
        let gone = self.removals.out().is_some() || self.own.left;
        if mine == NO_RING || busy || gone {
            return None;
        }
        let others = self.spaces.iter().filter(|(name, _)| !self.removals.is_removed(**name));
        let words = others.flat_map(|(_, space)| &space.heals).chain(&self.own.heals);
        let there = |ring: RingId| {
            self.spaces.iter().any(|(name, space)| {
                let stays = !space.tentative && !space.leaving && !space.left;
                self.reachable.contains(name) && space.ring == ring && stays
            })
        };
        words
            .filter(|heal| heal.from == mine && heal.into < mine && there(heal.into))
            .min_by_key(|heal| heal.into)
            .cloned()
    }

    /// Gives up the former ring, but for the addresses in use, which are kept until their owners in
    /// the other ring say whether they can be had.
    fn move_to(&mut self, heal: Heal) {
        tracing::info!("moving to another ring by the word of an operator");
        let ring = heal.into;
        self.say(heal);
        self.kept = self.local.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect();
        self.own.owned = SpanSet::default();
        self.own.grants.clear();
        self.own.ring = NO_RING;
        self.own.joins = ring;
        self.own.tentative = false;
        self.founded = true;
        self.local.forget_outside(&self.own.owned);
        self.forget_removals();
        self.removals.look_at(ring);
        self.take_back_want();
        self.touched = true;
        self.stale = true;
        self.dirty = true;
    }

    /// Takes the addresses from Pods where an owner in the ring uses them itself.
    fn hear_clashes(&mut self, now: Time) {
        let me = *self.config.name.as_bytes();
        let mut clashes: BTreeMap<String, (PeerName, String)> = BTreeMap::new();
        for (name, space) in self.spaces.iter().filter(|(_, space)| self.same_ring(space)) {
            let to_me = space.refused.iter().filter(|refusal| refusal.to == me && refusal.seq == 0);
            for refusal in to_me.filter(|refusal| self.kept.contains(&refusal.start)) {
                let owns = |span: &super::Span| (span.start..=span.end).contains(&refusal.start);
                let place = self.universe.range_of(refusal.start, refusal.start);
                let key = place.and_then(|(place, _)| self.local.holder(place, refusal.start));
                if let Some(key) = key.filter(|_| space.owned.iter().any(owns)) {
                    clashes.insert(key.to_owned(), (*name, refusal.holder.clone()));
                }
            }
        }
        for (key, holder) in clashes {
            let numbers = self.release_held(&key, now);
            let addresses = numbers.iter().map(|n| self.universe.with_prefix(*n)).collect();
            self.stats.fenced += 1;
            self.dirty = true;
            self.touched = true;
            self.removals.fenced.push_back(Fenced { key, addresses, holder: Some(holder) });
        }
    }

    /// Frees what `key` holds. What is kept does not cool down: it is not this node's own.
    pub(super) fn release_held(&mut self, key: &str, now: Time) -> Vec<u128> {
        let numbers = self.local.release(key, now + self.config.cool_down);
        let mut foreign = false;
        for number in &numbers {
            foreign |= self.kept.remove(number);
        }
        if foreign {
            self.local.forget_outside(&self.own.owned);
            // Nobody has to settle these any more.
            self.touched = true;
        }
        numbers
    }

    /// Addresses from `start` to `end`, which now are owned, are no longer kept without right.
    pub(super) fn settle_kept(&mut self, start: u128, end: u128) {
        let settled: Vec<u128> = self.kept.range(start..=end).copied().collect();
        settled.iter().for_each(|number| {
            self.kept.remove(number);
        });
    }

    /// The kept addresses as runs, the first [`MAX_KEPT`] of them.
    pub(super) fn kept_runs(&self) -> Vec<(u128, u128)> {
        let mut runs: Vec<(u128, u128)> = Vec::new();
        for &number in &self.kept {
            if let Some((_, end)) = runs.last_mut()
                && end.checked_add(1) == Some(number)
            {
                *end = number;
            } else if runs.len() < MAX_KEPT {
                runs.push((number, number));
            } else {
                break;
            }
        }
        runs
    }

    /// Those who brought addresses into this ring that are not settled.
    fn keepers(&self) -> impl Iterator<Item = (&PeerName, &Space)> {
        self.spaces.iter().filter(|(name, space)| {
            let here = self.own.ring != NO_RING && !space.kept.is_empty();
            here && self.of_one_mind(Some(space)) && self.room(name).is_some()
        })
    }

    /// Grants what newcomers brought from another ring and is free here.
    pub(super) fn grant_kept(&mut self) {
        if self.removals.out().is_some() || self.own.left {
            return;
        }
        let keepers: Vec<(PeerName, Vec<(u128, u128)>)> =
            self.keepers().map(|(name, space)| (*name, space.kept.clone())).collect();
        for (name, runs) in keepers {
            for (start, end) in runs {
                for (start, end) in self.quiet_in(start, end) {
                    for (start, end, root) in
                        self.removals.roots.pieces(start, end, self.config.name)
                    {
                        let full = self.grants_full()
                            || self.own.owned.len() >= MANY_OWNED
                            || self.room(&name).is_none();
                        if full {
                            return;
                        }
                        self.give(name, start, end, root);
                    }
                }
            }
        }
    }

    /// What of `start` to `end` is this node's own, not in use and not cooling.
    fn quiet_in(&self, start: u128, end: u128) -> Vec<(u128, u128)> {
        let Some((place, _)) = self.universe.range_of(start, end) else { return Vec::new() };
        let own = self.own.owned.clipped(start, end);
        own.flat_map(|span| self.local.quiet(place, span.start, span.end)).collect()
    }

    /// What newcomers brought from another ring and is in use here.
    pub(super) fn refuse_kept(&self) -> Vec<Refusal> {
        let mut refused = Vec::new();
        for (name, space) in self.keepers() {
            for &(start, end) in &space.kept {
                let place = self.universe.range_of(start, end).map_or(0, |(place, _)| place);
                for (number, holder) in self.local.held_between(place, start, end) {
                    if self.own.owned.contains(number) {
                        let (to, holder) = (*name.as_bytes(), cut(holder));
                        refused.push(Refusal { to, seq: 0, start: number, end: number, holder });
                    }
                }
            }
        }
        refused
    }

    /// See [`Ipam::kept`].
    pub(super) fn list_kept(&self) -> Vec<Kept> {
        let keys: BTreeSet<&str> = self
            .local
            .iter()
            .filter(|(_, numbers)| numbers.iter().any(|number| self.kept.contains(number)))
            .map(|(key, _)| key)
            .collect();
        let list = |key: &str| {
            let held = self.local.held_by(key).unwrap_or_default();
            let waits: Vec<u128> =
                held.iter().filter(|number| self.kept.contains(number)).copied().collect();
            let owners = waits.iter().filter_map(|number| self.owner_of(address(*number)));
            let addresses: Vec<IpNet> =
                waits.iter().map(|number| self.universe.with_prefix(*number)).collect();
            Kept { key: key.to_owned(), addresses, owners: owners.collect() }
        };
        keys.into_iter().map(list).collect()
    }
}
