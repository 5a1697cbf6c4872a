//! Making a ring where there is none.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use weft_crypto::PeerName;

use super::{
    Init, Ipam,
    consensus::{View, named, ring_id},
    spans::SpanSet,
    validate::NO_RING,
    wire::{RawName, RingId, Space, Span},
};
use crate::Time;

impl Ipam {
    /// A node that shall found the ring and has none owns everything.
    pub(super) fn found_alone(&mut self) {
        if self.own.ring != NO_RING || self.founded {
            return;
        }
        match &self.config.init {
            Init::Founder => {}
            Init::Auto if self.config.targets == 0 => {}
            Init::Auto | Init::Observer | Init::Consensus(_) | Init::Seed(_) => return,
        }
        let mut text = self.config.name.as_bytes().to_vec();
        text.extend_from_slice(&self.fresh());
        let ring = named(b"founder", &text);
        self.claim_share(ring, &[*self.config.name.as_bytes()]);
        self.own.tentative = matches!(self.config.init, Init::Auto);
    }

    /// See [`Ipam::set_targets`].
    pub(super) fn change_targets(&mut self, targets: Option<usize>) {
        let Some(consensus) = &mut self.consensus else { return };
        let size = match self.config.init {
            Init::Consensus(Some(size)) => Some(size),
            Init::Auto | Init::Consensus(None) => targets.map(|targets| targets.saturating_add(1)),
            Init::Founder | Init::Observer | Init::Seed(_) => return,
        };
        if consensus.set_size(size) {
            self.told_paxos = false;
        }
        if let Some(targets) = targets {
            self.config.targets = targets;
            let untouched = consensus.is_untouched();
            if untouched && self.ring_in_view().is_none() {
                self.found_alone();
            }
        }
    }

    /// Gives up a ring of which nothing was ever used or given away, for one that `other` is part
    /// of: any ring that is in use, or the one with the lower name. Two nodes that were started
    /// without a word about each other so become one cluster.
    ///
    /// Nobody can hold an address of the ring given up: its only owner never granted any.
    pub(super) fn yield_to(&mut self, other: &Space) {
        let rings_differ = other.ring != NO_RING && other.ring != self.own.ring;
        let theirs_wins = !other.tentative || other.ring < self.own.ring;
        if self.own.tentative && rings_differ && theirs_wins {
            self.own.owned = SpanSet::default();
            self.own.ring = NO_RING;
            self.own.tentative = false;
            self.touched = true;
            self.forget_removals();
            tracing::info!("gave up the own ring, of which nothing was used, to join another");
        }
    }

    /// Takes the own share of a ring that was founded by several, if this node is one of them.
    pub(super) fn found_together(&mut self, now: Time) {
        if let (Some(ring), Init::Seed(names)) = (self.seed_ring(), &self.config.init) {
            self.claim_share(ring, &sorted(names));
            return;
        }
        if self.consensus.is_none() || self.founded || self.own.left {
            return;
        }
        // Who leaves begins no vote; what it promised before stands.
        if self.own.leaving && !self.has_promised() {
            return;
        }
        let ring_known = self.ring_in_view().is_some();
        let nonce = self.fresh();
        let rings: BTreeSet<RingId> = self.spaces.values().map(|space| space.ring).collect();
        let Some(consensus) = &mut self.consensus else { return };
        if consensus.is_held() {
            return;
        }
        let synced = self.synced.iter().any(|name| self.reachable.contains(name));
        let view = View { reachable: &self.reachable, ring_known, synced };
        let changed = consensus.step(&view, nonce, now);
        let decided = consensus.decided(&rings).cloned();
        // A node that finds a ring has nothing to vote about, and keeps quiet unless it did already.
        let voted = consensus.mine().promised.round > 0;
        if changed || (!self.told_paxos && (voted || !ring_known)) {
            self.told_paxos = true;
            self.publish_paxos = true;
            self.dirty = true;
        }
        if let Some(founding) = decided {
            self.claim_share(ring_id(&founding), &founding.founders);
        }
    }

    fn has_promised(&self) -> bool {
        self.consensus.as_ref().is_some_and(|consensus| consensus.mine().promised.round > 0)
    }

    /// Whether this node may still turn out to be a founder: it promised something in a vote that is not
    /// decided as far as it knows, and is in no ring.
    pub(super) fn vote_is_open(&self) -> bool {
        if self.founded || self.own.ring != NO_RING || !self.has_promised() {
            return false;
        }
        let rings: BTreeSet<RingId> = self.spaces.values().map(|space| space.ring).collect();
        // Where it is decided, this node would have claimed its share.
        self.consensus.as_ref().is_some_and(|consensus| consensus.decided(&rings).is_none())
    }

    /// The ring that the configured seeds make, if that is how it is made.
    pub(super) fn seed_ring(&self) -> Option<RingId> {
        let Init::Seed(names) = &self.config.init else { return None };
        let mut text = self.universe.to_string().into_bytes();
        sorted(names).iter().for_each(|name| text.extend_from_slice(name));
        Some(named(b"seed", &text))
    }

    /// Claims this node's even share of the ranges as one of `founders`, sorted by name. Once in
    /// the life of the node, and only if it is in no other ring.
    fn claim_share(&mut self, ring: RingId, founders: &[RawName]) {
        let me = self.config.name.as_bytes();
        let Ok(place) = founders.binary_search(me) else { return };
        let fits = self.own.ring == NO_RING || self.own.ring == ring;
        if self.founded || !fits {
            return;
        }
        let (place, count) = (place as u128, founders.len() as u128);
        for (_, range) in self.universe.iter() {
            let (first, after) = (range.size() * place / count, range.size() * (place + 1) / count);
            if first < after {
                let (start, end) = (range.start + first, range.start + (after - 1));
                if !self.own.owned.overlaps(start, end) {
                    self.own.owned.insert(Span { start, end, version: 1 });
                }
            }
        }
        // These are owners from here on, heard of or not.
        for founder in founders {
            self.removals.learn(PeerName::from_bytes(*founder));
        }
        self.own.ring = ring;
        self.founded = true;
        self.touched = true;
        tracing::info!(founders = founders.len(), "founded the ring");
    }

    /// Sixteen bytes that differ from node to node and from seed to seed.
    fn fresh(&self) -> [u8; 16] {
        let hash = Sha256::new().chain_update(self.seed).chain_update(b"ring").finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The founders that this node waits for.
    pub(super) fn founders(&self) -> Vec<PeerName> {
        match &self.config.init {
            Init::Seed(names) => {
                names.iter().filter(|name| **name != self.config.name).copied().collect()
            }
            Init::Auto | Init::Founder | Init::Observer | Init::Consensus(_) => Vec::new(),
        }
    }
}

fn sorted(names: &[PeerName]) -> Vec<RawName> {
    let names: BTreeSet<RawName> = names.iter().map(|name| *name.as_bytes()).collect();
    names.into_iter().collect()
}
