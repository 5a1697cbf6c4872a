//! A node in no ring that looks at another ring keeps what it said in the former one.

use weft_crypto::PeerName;

use super::{super::wire::ParkedRemovals, super::wire::RingId, Removals, state::by_name};

/// Rings that a newcomer may look at in turn with removals in each. There are two, mostly; beyond these it
/// stays with the last.
const MAX_PARKED: usize = 8;

impl Removals {
    /// Whether a node in no ring, which looks at `ring`, has to do with the removals of another one.
    pub(in crate::ipam) fn is_of_another(&self, ring: RingId) -> bool {
        self.ring != ring && (!self.is_blank() || self.parked.contains_key(&ring))
    }

    /// Takes up the removals of `ring` where this node left them, and puts those of the former ring aside: so
    /// it says no second word on a set when it comes back. Returns whether that was possible.
    pub(in crate::ipam) fn look_at(&mut self, ring: RingId) -> bool {
        if self.parked.len() >= MAX_PARKED && !self.parked.contains_key(&ring) {
            return false;
        }
        let taken_up = self.parked.remove(&ring).unwrap_or_default();
        if !self.is_blank() {
            let former = ParkedRemovals {
                ring: self.ring,
                removed: self.removed.values().cloned().collect(),
                done: self.done.take(),
                pending: self.pending.take(),
                known: self.known.iter().map(|name| *name.as_bytes()).collect(),
            };
            self.parked.insert(self.ring, former);
        }
        self.ring = ring;
        self.removed = by_name(taken_up.removed);
        self.done = taken_up.done;
        self.pending = taken_up.pending;
        self.known = taken_up.known.into_iter().map(PeerName::from_bytes).collect();
        self.clear_roots();
        self.stale = true;
        self.publish_pending = true;
        self.publish_completed = true;
        true
    }

    /// Whether this node goes along, or went along when it looked at `ring`, with the removal of `name` there.
    pub(in crate::ipam) fn is_removed_from(&self, ring: RingId, name: PeerName) -> bool {
        if ring == self.ring {
            return self.is_removed(name);
        }
        let parked = self.parked.get(&ring).map(|parked| parked.removed.as_slice());
        parked.unwrap_or_default().iter().any(|tombstone| tombstone.name == *name.as_bytes())
    }

    /// Whether this node went along with nothing.
    fn is_blank(&self) -> bool {
        self.removed.is_empty() && self.done.is_none() && self.pending.is_none()
    }
}
