//! Removal: the word of each owner on who is gone, and what follows when all have said theirs.
//!
//! The rules and the argument are in `docs/ipam.md`.

mod apply;
mod parked;
mod rest;
mod roots;
mod state;
mod verdict;
mod words;

use std::collections::BTreeMap;

use weft_crypto::PeerName;

use self::{
    apply::Valid,
    state::set_name,
    verdict::{Excused, closure, greatest, group, removed_by, short},
    words::{check, check_view},
};
pub(super) use self::{roots::Roots, state::Removals};
use super::{
    Ipam, Misbehaved, RemovalView, RemoveError,
    limits::{MAX_KNOWN, MAX_REMOVED},
    validate::NO_RING,
    wire::{Ack, ShortName, Space, Tombstone, View, ViewId},
};
use crate::Time;

impl Ipam {
    /// See [`Ipam::remove`].
    pub(super) fn start_removal(
        &mut self,
        name: PeerName,
        force: bool,
        at: u64,
        now: Time,
    ) -> Result<(), RemoveError> {
        if name == self.config.name {
            return Err(RemoveError::Myself);
        }
        if self.removals.out.is_some() {
            return Err(RemoveError::Out);
        }
        if self.own.ring == NO_RING {
            return Err(RemoveError::NoRing);
        }
        if self.own.leaving {
            return Err(RemoveError::Leaving);
        }
        self.bury(name, false, at)?;
        self.settle(now);
        if force {
            for name in self.waits_for() {
                self.bury(name, true, at)?;
            }
            self.settle(now);
        }
        Ok(())
    }

    fn bury(&mut self, name: PeerName, forced: bool, at: u64) -> Result<(), RemoveError> {
        if self.removals.is_removed(name) {
            return Ok(());
        }
        if self.removals.removed.len() >= MAX_REMOVED {
            return Err(RemoveError::TooMany(MAX_REMOVED));
        }
        let by = *self.config.name.as_bytes();
        let tombstone = Tombstone { name: *name.as_bytes(), by, at, forced };
        self.removals.removed.insert(name, tombstone);
        self.acknowledge();
        Ok(())
    }

    /// See [`Ipam::handle_pending`].
    pub(super) fn take_pending(
        &mut self,
        origin: PeerName,
        ack: Option<Ack>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        let checked = ack.as_ref().map_or(Ok(()), |ack| check(origin, ack, &self.universe));
        self.take_word(origin, checked, now, |words| &mut words.0, ack)
    }

    /// See [`Ipam::handle_completed`].
    pub(super) fn take_completed(
        &mut self,
        origin: PeerName,
        view: Option<View>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        let checked = view.as_ref().map_or(Ok(()), |view| check_view(origin, view, &self.universe));
        self.take_word(origin, checked, now, |words| &mut words.1, view)
    }

    fn take_word<T: PartialEq>(
        &mut self,
        origin: PeerName,
        checked: Result<(), Misbehaved>,
        now: Time,
        slot: impl Fn(&mut (Option<Ack>, Option<View>)) -> &mut Option<T>,
        word: Option<T>,
    ) -> Result<(), Misbehaved> {
        if origin == self.config.name {
            return Ok(());
        }
        self.stats.misbehaved += u64::from(checked.is_err());
        checked?;
        let slot = slot(self.removals.heard.entry(origin).or_default());
        if *slot != word {
            *slot = word;
            self.removals.stale = true;
        }
        self.settle(now);
        Ok(())
    }

    /// Draws the consequences of all words: completes what is complete, goes along with what is new.
    pub(super) fn settle_removals(&mut self, now: Time) {
        if self.stale {
            self.learn_owners();
        }
        // What one who left said of removals is its last word: others build on it.
        if !std::mem::take(&mut self.removals.stale) || self.own.left {
            return;
        }
        let before = self.removals.id();
        self.follow_ring();
        // Each round makes the weight greater or goes along with a removal more: both are bounded.
        while self.removals.out.is_none()
            && (self.complete(now) || self.trust(now) || self.resign(now) || self.go_along())
        {
        }
        if self.removals.id() != before {
            self.take_over_late();
        }
    }

    /// A node in no ring goes along with the removals of the one it looks at.
    fn follow_ring(&mut self) {
        let nowhere = self.own.ring == NO_RING && self.own.joins == NO_RING;
        let Some(ring) = self.ring_in_view().filter(|_| nowhere) else { return };
        let elsewhere = self.removals.out.is_none() && self.removals.is_of_another(ring);
        if elsewhere && self.removals.look_at(ring) {
            self.touched = true;
            self.stale = true;
            self.dirty = true;
        }
    }

    /// Remembers every owner that a record in the own ring shows.
    fn learn_owners(&mut self) {
        if self.own.ring == NO_RING {
            return;
        }
        for (name, space) in &self.spaces {
            if space.ring == self.own.ring {
                self.dirty |= self.removals.learn(*name);
                for grant in &space.grants {
                    self.dirty |= self.removals.learn(PeerName::from_bytes(grant.to));
                }
            }
        }
        for name in self.consensus.iter().flat_map(|consensus| consensus.founders(self.own.ring)) {
            self.dirty |= self.removals.learn(name);
        }
        if self.seed_ring() == Some(self.own.ring) {
            for name in self.founders() {
                self.dirty |= self.removals.learn(name);
            }
        }
    }

    /// Owners that gave up everything for good.
    fn excused(&self) -> Excused<'_> {
        let gone = self.spaces.iter().filter(|(_, space)| self.gave_up(space));
        let resigned = self.removals.heard.iter().filter_map(|(name, (pending, _))| {
            let ack = pending.as_ref().filter(|ack| ack.resigned)?;
            Some((short(*name), removed_by(ack).into_iter().map(short).collect()))
        });
        let gone = gone.map(|(name, space)| (short(*name), space));
        Excused { gone: gone.collect(), resigned: resigned.collect() }
    }

    /// Gives way where nodes remove each other in a circle, so that all of them would wait for ever:
    /// a node that waits for a removal, and is itself to be removed by the word of one with a lower
    /// name whom it does not remove, is out. The lowest of a circle stays. Returns whether it is so.
    fn resign(&mut self, now: Time) -> bool {
        let me = self.config.name;
        let Some(ring) = self.ring_in_view().filter(|_| self.removals.pending.is_some()) else {
            return false;
        };
        let word = self
            .removals
            .words(me, ring)
            .into_iter()
            .filter(|(origin, _)| *origin < me && !self.removals.is_removed(*origin))
            .find_map(|(_, ack)| ack.removed.iter().find(|word| word.name == *me.as_bytes()))
            .cloned();
        let Some(word) = word else { return false };
        if let Some(pending) = &mut self.removals.pending {
            pending.resigned = true;
        }
        self.go_out(word, now);
        true
    }

    /// Joins in the removals that other members, not removed themselves, go along with. Returns
    /// whether there was one.
    fn go_along(&mut self) -> bool {
        let me = self.config.name;
        let Some(ring) = self.ring_in_view() else { return false };
        let mut new: BTreeMap<PeerName, Tombstone> = BTreeMap::new();
        let mut voices = Vec::new();
        for (origin, ack) in self.removals.words(me, ring) {
            let gone = self.removals.is_removed(origin) || new.contains_key(&origin);
            if gone || origin == me || ack.resigned {
                continue;
            }
            voices.push(origin);
            for tombstone in &ack.removed {
                let name = PeerName::from_bytes(tombstone.name);
                if name != me && !self.removals.is_removed(name) {
                    new.insert(name, tombstone.clone());
                }
            }
        }
        if new.is_empty() || self.removals.removed.len() + new.len() > MAX_REMOVED {
            return false;
        }
        if self.own.ring != NO_RING {
            for name in voices {
                self.removals.learn(name);
            }
        }
        self.removals.removed.extend(new);
        self.acknowledge();
        true
    }

    /// Says the own word on all removals this node goes along with: the cut between what was before
    /// and what comes after.
    fn acknowledge(&mut self) {
        let me = self.config.name;
        self.removals.learn(me);
        if let Some(former) = self.removals.pending.take() {
            let roots = std::mem::take(&mut self.removals.roots);
            self.removals.older_roots.insert(set_name(&former.removed), roots);
        }
        // What rested is covered by no word from here on, and falls to an heir.
        self.removals.rest.clear();
        // A share of the ring that was not claimed by now falls to an heir.
        self.founded = true;
        self.removals.roots.clear();
        for grant in &mut self.own.grants {
            grant.root = *me.as_bytes();
        }
        let known = self.removals.known.iter().map(|name| short(*name)).take(MAX_KNOWN).collect();
        self.removals.ring = self.ring_in_view().unwrap_or(NO_RING);
        let ack = Ack {
            ring: self.removals.ring,
            removed: self.removals.removed.values().cloned().collect(),
            after: self.removals.weight(),
            resigned: false,
            known,
            space: Space { kept: Vec::new(), refused: Vec::new(), ..self.space() },
        };
        self.removals.pending = Some(ack);
        self.removals.publish_pending = true;
        self.removals.stale = true;
        self.touched = true;
        self.dirty = true;
    }

    /// Adopts the greatest verdict if it is greater than what was completed. Returns whether it was.
    fn complete(&mut self, now: Time) -> bool {
        let me = self.config.name;
        let Some(ring) = self.ring_in_view() else { return false };
        let words = self.removals.words(me, ring);
        let excused = self.excused();
        let Some(verdict) = greatest(&words, &excused) else { return false };
        if verdict.weight <= self.removals.weight() {
            return false;
        }
        let parts = verdict.parts(&self.universe, &excused);
        let view = View {
            ring,
            weight: verdict.weight,
            removed: verdict
                .members
                .values()
                .next()
                .map(|ack| ack.removed.clone())
                .unwrap_or_default(),
            members: verdict.members.keys().map(|name| short(*name)).collect(),
            ack: verdict.members.get(&me).map(|ack| (*ack).clone()),
        };
        let highest = verdict
            .members
            .values()
            .flat_map(|ack| &ack.space.owned)
            .map(|span| span.version)
            .max()
            .unwrap_or(0);
        self.adopt_view(view, &Valid::Parts(&parts), highest, now);
        true
    }

    /// Believes another member that a greater verdict is complete, where its acknowledgements are not
    /// here, and perhaps cannot be had any more because their writers have gone on. Only a node that
    /// was not asked does; one that was comes to it, or to a greater one, by itself. Returns whether
    /// there was such a word.
    fn trust(&mut self, now: Time) -> bool {
        let me = short(self.config.name);
        let Some(ring) = self.ring_in_view() else { return false };
        let best = self
            .removals
            .heard
            .values()
            .filter_map(|(_, view)| view.as_ref())
            .filter(|view| view.ring == ring && view.weight > self.removals.weight())
            .filter(|view| view.members.binary_search(&me).is_err())
            .max_by_key(|view| view.weight)
            .cloned();
        let Some(view) = best else { return false };
        let members = view.members.iter().copied().collect();
        self.adopt_view(View { ack: None, ..view }, &Valid::From(members), 0, now);
        true
    }

    /// The owners whose word on the pending removals is missing.
    pub(super) fn waits_for(&self) -> Vec<PeerName> {
        let me = self.config.name;
        let pending = self.removals.pending.as_ref().filter(|ack| !ack.resigned);
        let (Some(pending), Some(ring)) = (pending, self.ring_in_view()) else {
            return Vec::new();
        };
        let removed = removed_by(pending);
        let group = group(&self.removals.words(me, ring), &removed);
        let missing =
            closure(short(me), &group, &removed, &self.excused()).err().unwrap_or_default();
        missing.into_iter().map(|name| self.full_name(name)).collect()
    }

    /// The node of a short name. One that nothing was heard of itself is shown by what is known.
    fn full_name(&self, name: ShortName) -> PeerName {
        let known = self.removals.known.iter().chain(self.spaces.keys()).chain(&self.reachable);
        known.copied().find(|full| short(*full) == name).unwrap_or_else(|| {
            let mut bytes = [0; 32];
            bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
            PeerName::from_bytes(bytes)
        })
    }

    /// See [`Ipam::removals`].
    pub(super) fn list_removals(&self) -> Vec<RemovalView> {
        let waits_for = self.waits_for();
        let view = |(name, tombstone): (&PeerName, &Tombstone)| RemovalView {
            name: *name,
            by: PeerName::from_bytes(tombstone.by),
            at: tombstone.at,
            forced: tombstone.forced,
            waits_for: (!self.removals.is_done(*name) && self.removals.out.is_none())
                .then(|| waits_for.clone()),
        };
        self.removals.removed.iter().map(view).collect()
    }

    /// Forgets removals of a ring that was given up.
    pub(super) fn forget_removals(&mut self) {
        let heard = std::mem::take(&mut self.removals.heard);
        let publish = self.removals.pending.is_some() || self.removals.done.is_some();
        self.removals = Removals {
            heard,
            stale: true,
            publish_pending: publish,
            publish_completed: publish,
            parked: std::mem::take(&mut self.removals.parked),
            ..Removals::default()
        };
    }
}

/// Whether `space` may pass addresses on to a node in the state `view`.
pub(super) fn same_view(space: &Space, view: ViewId) -> bool {
    space.view == view
}
