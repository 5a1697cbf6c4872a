//! The way back into the mesh after a restart, and to a peer that went silent.
//!
//! A node that was only ever dialled has no targets. So that it need not wait until somebody
//! notices its restart and dials again, it keeps where it saw its peers last, and dials them at its
//! start, each until it is found or removed from the ring: the first one found need not know of the
//! others. A peer that is lost while the node runs is dialled where it was last, since nobody else may
//! know where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use weft_crypto::PeerName;
use weft_gossip::Time;

use super::{Engine, Kind};

/// Where the other members were seen last, by full name.
pub(in crate::daemon) type SavedPeers = BTreeMap<String, BTreeSet<SocketAddr>>;

/// Peers kept at most: a few to come back by are enough, and the file stays small.
const MAX_SAVED: usize = 64;

/// What is needed to come back.
#[derive(Debug)]
pub(super) struct Rejoin {
    /// From before the restart, and not found since. Invariant: at most [`MAX_SAVED`].
    before: BTreeMap<PeerName, BTreeSet<SocketAddr>>,
    /// Where peers were that have been lost since. Invariant: at most [`MAX_SAVED`].
    lost: BTreeMap<PeerName, SocketAddr>,
    saved: SavedPeers,
}

impl Rejoin {
    pub(super) fn new(saved: SavedPeers) -> Self {
        // A name that does not parse was not written by us; the others are still of use.
        let before = saved
            .iter()
            .take(MAX_SAVED)
            .filter_map(|(name, addresses)| Some((name.parse().ok()?, addresses.clone())))
            .collect();
        Self { before, lost: BTreeMap::new(), saved }
    }

    /// The data path to a peer stands: it is back.
    pub(super) fn found(&mut self, peer: PeerName) {
        self.before.remove(&peer);
        self.lost.remove(&peer);
    }

    /// The link to a peer ended.
    pub(super) fn lost(&mut self, peer: PeerName, address: SocketAddr) {
        if self.lost.len() < MAX_SAVED || self.lost.contains_key(&peer) {
            self.lost.insert(peer, address);
        }
    }
}

impl Engine {
    /// Tells the connector whom it can dial, and saves it where it has changed.
    pub(super) fn update_candidates(&mut self, now: Time) {
        let mut candidates = self.node.candidates();
        let present: SavedPeers = candidates
            .iter()
            .take(MAX_SAVED)
            .map(|(name, addresses)| (name.to_string(), addresses.clone()))
            .collect();
        let gone: BTreeSet<PeerName> = self.node.removals().iter().map(|it| it.name).collect();
        self.rejoin.before.retain(|name, _| !gone.contains(name));
        for (name, addresses) in &self.rejoin.before {
            candidates.entry(*name).or_default().extend(addresses);
        }
        for (name, address) in &self.rejoin.lost {
            candidates.entry(*name).or_default().insert(*address);
        }
        self.connector.handle_candidates(&candidates, now);
        // Nobody known is no news after a restart: what is on disk is still the way back.
        if !present.is_empty() && present != self.rejoin.saved {
            self.save(Kind::Peers, &present);
            self.rejoin.saved = present;
        }
    }
}
