//! What a node knows and said of removals, and what it keeps of that.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
};

use sha2::{Digest as _, Sha256};
use weft_crypto::PeerName;

use super::{
    super::{
        Fenced, RemovalView,
        wire::{
            Ack, ParkedRemovals, RawName, RingId, SavedRemovals, ShortName, Tombstone, View,
            ViewId, Weight,
        },
    },
    Roots,
    rest::Rest,
    verdict::{self, short},
};
use crate::codec;

/// What this node knows and said of removals.
#[derive(Clone, Debug, Default)]
pub(in crate::ipam) struct Removals {
    /// All this node goes along with, complete or not. It contains those of `done`.
    pub(super) removed: BTreeMap<PeerName, Tombstone>,
    pub(super) done: Option<View>,
    /// The own word on what is not complete; there is one exactly if `removed` is more than `done`.
    pub(super) pending: Option<Ack>,
    /// Whence came what was taken over since the pending acknowledgement.
    pub(in crate::ipam) roots: Roots,
    /// The same for former acknowledgements after what is complete, by the sets of removals they were
    /// about: what was taken over between that one and the next.
    pub(in crate::ipam) older_roots: BTreeMap<ViewId, Roots>,
    /// What waits for the judgement of the pending acknowledgement. Nothing if there is none.
    pub(in crate::ipam) rest: Rest,
    /// All owners ever heard of, in the own ring.
    pub(super) known: BTreeSet<PeerName>,
    /// The ring that these are about; none before the first. A node in no ring keeps to it.
    pub(in crate::ipam) ring: RingId,
    /// The same of other rings, which this node looked at before.
    pub(super) parked: BTreeMap<RingId, ParkedRemovals>,
    /// The word by which this node itself is out.
    pub(super) out: Option<Tombstone>,
    /// The words of others: on what is pending, and on what is complete.
    pub(super) heard: BTreeMap<PeerName, (Option<Ack>, Option<View>)>,
    pub(in crate::ipam) fenced: VecDeque<Fenced>,
    /// Whether words changed since they were last judged.
    pub(in crate::ipam) stale: bool,
    pub(in crate::ipam) publish_pending: bool,
    pub(in crate::ipam) publish_completed: bool,
}

impl Removals {
    pub(in crate::ipam) fn restored(saved: SavedRemovals) -> Self {
        let mut roots = Roots::default();
        for (start, end, root) in saved.foreign {
            roots.insert(start, end, PeerName::from_bytes(root));
        }
        let mut older_roots: BTreeMap<ViewId, Roots> = BTreeMap::new();
        for (set, (start, end, root)) in saved.older_foreign {
            older_roots.entry(set).or_default().insert(start, end, PeerName::from_bytes(root));
        }
        let resting = saved.resting.into_iter();
        let rest = Rest {
            spans: resting.map(|(span, root)| (span, PeerName::from_bytes(root))).collect(),
            grants: saved.resting_grants,
        };
        Self {
            removed: by_name(saved.removed),
            publish_pending: saved.pending.is_some(),
            publish_completed: saved.done.is_some(),
            done: saved.done,
            pending: saved.pending,
            roots,
            older_roots,
            rest,
            known: saved.known.into_iter().map(PeerName::from_bytes).collect(),
            ring: saved.ring,
            parked: saved.parked.into_iter().map(|parked| (parked.ring, parked)).collect(),
            out: saved.out,
            stale: true,
            ..Self::default()
        }
    }

    pub(in crate::ipam) fn save(&self) -> SavedRemovals {
        SavedRemovals {
            removed: self.removed.values().cloned().collect(),
            done: self.done.clone(),
            pending: self.pending.clone(),
            foreign: list(&self.roots),
            older_foreign: self
                .older_roots
                .iter()
                .flat_map(|(set, roots)| list(roots).into_iter().map(|entry| (*set, entry)))
                .collect(),
            resting: self.rest.spans.iter().map(|(span, root)| (*span, *root.as_bytes())).collect(),
            resting_grants: self.rest.grants.clone(),
            known: self.known.iter().map(|name| *name.as_bytes()).collect(),
            out: self.out.clone(),
            ring: self.ring,
            parked: self.parked.values().cloned().collect(),
        }
    }

    /// The name of this state: equal on two nodes exactly if they go along with the same removals and
    /// have completed the same ones by the same words.
    pub(in crate::ipam) fn id(&self) -> ViewId {
        if self.removed.is_empty() && self.done.is_none() {
            return [0; 16];
        }
        let mut hash = Sha256::new();
        hash.update(b"weft state ");
        self.removed.keys().for_each(|name| hash.update(name.as_bytes()));
        if let Some(done) = &self.done {
            hash.update(b" after ");
            hash.update(done.weight.id);
        }
        verdict::cut(&hash.finalize())
    }

    /// Whether this node goes along with the removal of `name`.
    pub(in crate::ipam) fn is_removed(&self, name: PeerName) -> bool {
        self.removed.contains_key(&name)
    }

    /// Whether the removal of `name` is complete.
    pub(in crate::ipam) fn is_done(&self, name: PeerName) -> bool {
        let removed = self.done.as_ref().map(|done| done.removed.as_slice()).unwrap_or_default();
        removed.binary_search_by(|tombstone| tombstone.name.cmp(name.as_bytes())).is_ok()
    }

    /// The roots of what this node has under the acknowledgements of exactly `removed`.
    pub(super) fn roots_under(&self, removed: &[Tombstone]) -> Roots {
        if self.is_about(removed) {
            return self.roots.clone();
        }
        self.older_roots.get(&set_name(removed)).cloned().unwrap_or_default()
    }

    /// Whether the pending acknowledgement is about exactly `removed`.
    pub(super) fn is_about(&self, removed: &[Tombstone]) -> bool {
        let name = |ack: &Ack| set_name(&ack.removed);
        self.pending.as_ref().is_some_and(|ack| name(ack) == set_name(removed))
    }

    /// Forgets whence `start` to `end` came: it is given away, or void.
    pub(in crate::ipam) fn forget_roots(&mut self, start: u128, end: u128) {
        self.roots.remove(start, end);
        self.older_roots.values_mut().for_each(|roots| roots.remove(start, end));
    }

    /// Forgets whence everything came.
    pub(in crate::ipam) fn clear_roots(&mut self) {
        self.roots.clear();
        self.older_roots.clear();
        self.rest.clear();
    }

    pub(in crate::ipam) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Who had this node removed, if it is.
    pub(in crate::ipam) fn out(&self) -> Option<PeerName> {
        self.out.as_ref().map(|tombstone| PeerName::from_bytes(tombstone.by))
    }

    /// See [`Ipam::own_removal`].
    pub(in crate::ipam) fn own(&self) -> Option<RemovalView> {
        self.out.as_ref().map(|tombstone| RemovalView {
            name: PeerName::from_bytes(tombstone.name),
            by: PeerName::from_bytes(tombstone.by),
            at: tombstone.at,
            forced: tombstone.forced,
            waits_for: None,
        })
    }

    pub(in crate::ipam) fn pending(&self) -> Option<&Ack> {
        self.pending.as_ref()
    }

    pub(in crate::ipam) fn done(&self) -> Option<&View> {
        self.done.as_ref()
    }

    /// The weight of what is complete.
    pub(super) fn weight(&self) -> Weight {
        self.done.as_ref().map(|done| done.weight).unwrap_or_default()
    }

    /// All owners ever heard of, in the own ring.
    pub(in crate::ipam) fn known(&self) -> impl Iterator<Item = PeerName> {
        self.known.iter().copied()
    }

    /// Remembers an owner. Returns whether it is a new one.
    pub(in crate::ipam) fn learn(&mut self, name: PeerName) -> bool {
        self.known.insert(name)
    }

    /// The removals that are complete by the word of this node as well, by their short names, sorted.
    pub(in crate::ipam) fn last_word(&self) -> Vec<ShortName> {
        let done = self.done.as_ref().filter(|done| done.ack.is_some());
        let removed = done.map(|done| done.removed.as_slice()).unwrap_or_default();
        let short = |word: &Tombstone| short(PeerName::from_bytes(word.name));
        removed.iter().map(short).collect::<BTreeSet<ShortName>>().into_iter().collect()
    }

    /// Feeds what others said to a hash.
    pub(in crate::ipam) fn hash_heard(&self, hash: &mut impl Hasher) {
        for (name, (pending, completed)) in &self.heard {
            name.hash(hash);
            pending.as_ref().map(codec::encode).hash(hash);
            completed.as_ref().map(codec::encode).hash(hash);
        }
    }

    /// All words about `ring`, the own ones included.
    pub(super) fn words(&self, me: PeerName, ring: RingId) -> Vec<(PeerName, &Ack)> {
        let own = (me, self.pending.as_ref(), self.done.as_ref());
        // Of two words of one node on the same, the completed one counts: it comes last.
        let heard = self.heard.iter().map(|(name, (a, b))| (*name, a.as_ref(), b.as_ref()));
        heard
            .chain([own])
            .flat_map(|(name, pending, done)| {
                let done = done.and_then(|view| view.ack.as_ref());
                pending.into_iter().chain(done).map(move |ack| (name, ack))
            })
            .filter(|(_, ack)| ack.ring == ring)
            .collect()
    }
}

fn list(roots: &Roots) -> Vec<(u128, u128, RawName)> {
    roots.iter().map(|(start, end, root)| (start, end, *root.as_bytes())).collect()
}

/// The name of a set of removals, whoever asked for them; `removed` is sorted by name.
pub(super) fn set_name(removed: &[Tombstone]) -> ViewId {
    let mut hash = Sha256::new();
    hash.update(b"weft set ");
    removed.iter().for_each(|tombstone| hash.update(tombstone.name));
    verdict::cut(&hash.finalize())
}

pub(super) fn by_name(tombstones: Vec<Tombstone>) -> BTreeMap<PeerName, Tombstone> {
    tombstones.into_iter().map(|t| (PeerName::from_bytes(t.name), t)).collect()
}
