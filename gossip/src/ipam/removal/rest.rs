//! What a node had when it said its word on removals, and may not use until that word is judged.

use weft_crypto::PeerName;

use super::super::wire::{Grant, Span};

/// Void by a verdict on fewer removals than the own word is about. By the word it may be this node's
/// all the same, and nobody else has it then; so it is neither used, nor given away, nor forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ipam) struct Rest {
    /// What was owned, with its roots under the own word. Spans are disjoint.
    pub(super) spans: Vec<(Span, PeerName)>,
    /// What was in flight.
    pub(super) grants: Vec<Grant>,
}

impl Rest {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether something is in flight to `name` in silence: nothing else is granted to it meanwhile, since
    /// of what a record lists it takes over all that is new.
    pub(in crate::ipam) fn is_for(&self, name: PeerName) -> bool {
        self.grants.iter().any(|grant| grant.to == *name.as_bytes())
    }

    pub(in crate::ipam) fn grants(&self) -> usize {
        self.grants.len()
    }

    pub(in crate::ipam) fn spans(&self) -> usize {
        self.spans.len()
    }

    pub(in crate::ipam) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.grants.is_empty()
    }

    /// Forgets the grants to `receiver` up to `taken`: it took them over. Returns whether there were any.
    pub(in crate::ipam) fn drop_taken(&mut self, receiver: PeerName, taken: u64) -> bool {
        let before = self.grants.len();
        self.grants.retain(|grant| grant.to != *receiver.as_bytes() || grant.number > taken);
        self.grants.len() != before
    }
}
