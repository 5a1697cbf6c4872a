//! Who founds the ring, where nobody is told to: single-decree Paxos over published records.
//!
//! Each node publishes one register with what it promised and what it accepted, and reads those of
//! the others; a register that shows ballot `b` is `prepare(b)` and `promise(b)` in one, whoever
//! wrote it, and one that shows an accepted value is `accept` and `accepted`. The registers are made
//! durable before they are published, so a restart forgets no promise.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use weft_crypto::PeerName;

use super::{
    limits::*,
    wire::{Ballot, Founding, Paxos, RingId},
};
use crate::Time;

/// What [`Consensus::step`] must know of the world.
pub(super) struct View<'a> {
    /// The other nodes that can be reached.
    pub(super) reachable: &'a BTreeSet<PeerName>,
    /// Whether a ring is known: then this node calls for no vote and answers none.
    pub(super) ring_known: bool,
    /// Whether a reachable neighbour held the same records as this node, so that a ring it knows is
    /// known here.
    pub(super) synced: bool,
}

/// This node's part in the vote about the founders.
#[derive(Clone, Debug)]
pub(super) struct Consensus {
    me: PeerName,
    /// Whether a ring may exist that was not heard of yet: then the vote waits for a quiet time.
    patient: bool,
    /// Whether it is not known yet who takes part: then this node calls for no vote and answers none.
    held: bool,
    mine: Paxos,
    others: BTreeMap<PeerName, Paxos>,
    /// When this node may call for a vote.
    call_at: Time,
    /// Since when `call_at` would be the time: the reachable nodes and whether they suffice.
    before: (BTreeSet<PeerName>, bool),
}

impl Consensus {
    /// `size` nodes take part, this one included.
    pub(super) fn new(
        me: PeerName,
        size: usize,
        patient: bool,
        restored: Option<Paxos>,
        now: Time,
    ) -> Self {
        let mut mine = restored.unwrap_or_default();
        mine.electorate = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, MAX_ELECTORATE);
        let before = (BTreeSet::new(), false);
        Self { me, patient, held: false, mine, others: BTreeMap::new(), call_at: now, before }
    }

    /// Sets how many nodes take part, this one included; `None` while that is not known. A smaller
    /// number than before counts only as long as this node promised nothing: a majority that was counted
    /// with its promise must stay one. Returns whether anything changed.
    pub(super) fn set_size(&mut self, size: Option<usize>) -> bool {
        let before = (self.held, self.mine.electorate);
        self.held = size.is_none();
        if let Some(size) = size {
            let told = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, MAX_ELECTORATE);
            let floor = if self.mine.promised.round > 0 { self.mine.electorate } else { 1 };
            self.mine.electorate = told.max(floor);
        }
        before != (self.held, self.mine.electorate)
    }

    /// Whether it is not known yet who takes part.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether nobody else has ever taken part, as far as this node knows, and it promised nothing.
    pub(super) fn is_untouched(&self) -> bool {
        self.others.is_empty() && self.mine.promised.round == 0
    }

    /// The own register.
    pub(super) fn mine(&self) -> &Paxos {
        &self.mine
    }

    /// Takes in another's register.
    pub(super) fn handle(&mut self, origin: PeerName, paxos: Option<Paxos>) {
        match paxos {
            Some(paxos) => self.others.insert(origin, paxos),
            None => self.others.remove(&origin),
        };
    }

    /// The founders of `ring`, if this node accepted that vote.
    pub(super) fn founders(&self, ring: RingId) -> impl Iterator<Item = PeerName> {
        let accepted = self.mine.accepted.iter().filter(move |(_, it)| ring_id(it) == ring);
        accepted.flat_map(|(_, it)| it.founders.iter().map(|name| PeerName::from_bytes(*name)))
    }

    /// How many must agree: a majority of those that take part, as far as anybody knows.
    pub(super) fn quorum(&self) -> usize {
        let told = self.registers().map(|(_, paxos)| paxos.electorate).max().unwrap_or(1);
        let told = usize::try_from(told).unwrap_or(usize::MAX);
        told.max(self.registers().count()) / 2 + 1
    }

    /// How many of those that take part can be reached, this node included.
    pub(super) fn known(&self, reachable: &BTreeSet<PeerName>) -> usize {
        1 + self.others.keys().filter(|name| reachable.contains(name)).count()
    }

    /// When [`Consensus::step`] wants to be called again if nothing else happens.
    pub(super) fn next(&self) -> Option<Time> {
        self.before.1.then_some(self.call_at)
    }

    /// Promises, accepts, proposes: whatever the registers of the others allow. Returns whether the
    /// own register changed. `nonce` is used if this node proposes founders.
    pub(super) fn step(&mut self, view: &View<'_>, nonce: [u8; 16], now: Time) -> bool {
        if view.ring_known || self.held {
            // Nothing is left to vote about, or a ring may be there that is not heard of yet: no promise of
            // this node may help a second one.
            self.before.1 = false;
            return false;
        }
        let before = self.mine.clone();
        self.answer();
        self.call_for_vote(view, now);
        self.propose(nonce);
        self.mine != before
    }

    /// The value that was decided: a majority accepted it in one ballot, or somebody acted on it,
    /// which shows as a ring that bears its name.
    pub(super) fn decided(&self, rings: &BTreeSet<RingId>) -> Option<&Founding> {
        let mut votes: BTreeMap<Ballot, usize> = BTreeMap::new();
        let accepted = || self.registers().filter_map(|(_, paxos)| paxos.accepted.as_ref());
        for (ballot, _) in accepted() {
            *votes.entry(*ballot).or_default() += 1;
        }
        let quorum = self.quorum();
        accepted()
            .find(|(ballot, founding)| {
                votes.get(ballot).is_some_and(|&count| count >= quorum)
                    || rings.contains(&ring_id(founding))
            })
            .map(|(_, founding)| founding)
    }

    fn registers(&self) -> impl Iterator<Item = (PeerName, &Paxos)> {
        let others = self.others.iter().map(|(name, paxos)| (*name, paxos));
        std::iter::once((self.me, &self.mine)).chain(others)
    }

    /// The acceptor: promises the highest ballot seen, and accepts the value of the highest accepted
    /// one unless a higher one was promised.
    fn answer(&mut self) {
        let highest = self.others.values().map(|paxos| paxos.promised).max().unwrap_or_default();
        self.mine.promised = self.mine.promised.max(highest);
        let best = self
            .others
            .values()
            .filter_map(|paxos| paxos.accepted.as_ref())
            .max_by_key(|(ballot, _)| *ballot);
        if let Some((ballot, founding)) = best
            && *ballot >= self.mine.promised
            && self.mine.accepted.as_ref().is_none_or(|(mine, _)| mine < ballot)
        {
            self.mine.promised = *ballot;
            self.mine.accepted = Some((*ballot, founding.clone()));
        }
    }

    /// Starts a ballot when there is nobody to wait for. The reachable participant with the lowest
    /// name comes first, the others one pause later each, so that they do not outbid each other.
    fn call_for_vote(&mut self, view: &View<'_>, now: Time) {
        let ready = self.decided(&BTreeSet::new()).is_none()
            && self.known(view.reachable) >= self.quorum()
            && (view.synced || !self.patient || self.quorum() == 1);
        if self.before != (view.reachable.clone(), ready) {
            self.before = (view.reachable.clone(), ready);
            let lower = self
                .others
                .keys()
                .filter(|name| **name < self.me && view.reachable.contains(name))
                .count();
            let rank = u32::try_from(lower).unwrap_or(u32::MAX);
            let grace = if self.patient { AUTO_GRACE } else { std::time::Duration::ZERO };
            self.call_at = now + grace + BALLOT_RETRY.saturating_mul(rank);
        }
        if !ready || now < self.call_at {
            return;
        }
        let rank = self.others.keys().filter(|name| **name < self.me).count();
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        self.call_at = now + BALLOT_RETRY.saturating_mul(rank.saturating_add(2));
        if let Some(round) = self.mine.promised.round.checked_add(1) {
            self.mine.promised = Ballot { round, by: *self.me.as_bytes() };
        }
    }

    /// The proposer: once a majority promised the own ballot, proposes the value that the highest
    /// accepted ballot among theirs has, or those who promised as founders.
    fn propose(&mut self, nonce: [u8; 16]) {
        let ballot = self.mine.promised;
        let proposed = self.mine.accepted.as_ref().is_some_and(|(mine, _)| *mine == ballot);
        if ballot.round == 0 || ballot.by != *self.me.as_bytes() || proposed {
            return;
        }
        let promised = || self.registers().filter(|(_, paxos)| paxos.promised == ballot);
        if promised().count() < self.quorum() {
            return;
        }
        let accepted = promised()
            .filter_map(|(_, paxos)| paxos.accepted.clone())
            .max_by_key(|(ballot, _)| *ballot);
        let founding = match accepted {
            Some((_, founding)) => founding,
            None => {
                let names: BTreeSet<_> = promised().map(|(name, _)| *name.as_bytes()).collect();
                Founding { founders: names.into_iter().take(MAX_FOUNDERS).collect(), nonce }
            }
        };
        self.mine.accepted = Some((ballot, founding));
    }
}

/// The name of the ring that these founders make.
pub(super) fn ring_id(founding: &Founding) -> RingId {
    let mut text = founding.nonce.to_vec();
    founding.founders.iter().for_each(|name| text.extend_from_slice(name));
    named(b"consensus", &text)
}

/// Sixteen bytes that nobody gets from another kind or text.
pub(super) fn named(kind: &[u8], text: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"weft ring ");
    hash.update((kind.len() as u64).to_be_bytes());
    hash.update(kind);
    hash.update(text);
    let mut name = [0; 16];
    name.iter_mut().zip(hash.finalize().iter()).for_each(|(to, from)| *to = *from);
    name
}
