//! What nodes tell of their Pods.
//!
//! A record for each Pod, so that what changes is what travels. Records are numbered slots, as those of
//! objects are: a Pod that is gone leaves its slot to the next one.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::{Place, Slot, types::PodInfo};
use crate::limits::MAX_PODS;

/// All Pods that are known, and which slots this node's own have.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    held: BTreeMap<Place, PodInfo>,
    own: BTreeMap<String, Slot>,
}

impl Pods {
    /// Takes over what a record says now; whether that is a change.
    pub(crate) fn set(&mut self, place: Place, pod: Option<PodInfo>) -> bool {
        match pod {
            Some(pod) => self.held.insert(place, pod.clone()) != Some(pod),
            None => self.held.remove(&place).is_some(),
        }
    }

    /// The Pods, each with the node that tells of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerName, &PodInfo)> {
        self.held.iter().map(|((origin, _), pod)| (*origin, pod))
    }

    /// Gives each of the keys a slot, keeps those that have one, and answers also the slots that are
    /// free now. Keys for which there is none are answered last.
    pub(crate) fn assign(
        &mut self,
        keys: BTreeSet<String>,
    ) -> (BTreeMap<String, Slot>, Vec<Slot>, Vec<String>) {
        let gone: Vec<String> =
            self.own.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        let mut freed: BTreeSet<Slot> =
            gone.iter().filter_map(|key| self.own.remove(key)).collect();
        let used: BTreeSet<Slot> = self.own.values().copied().collect();
        let mut free = (0..MAX_PODS).filter(|slot| !used.contains(slot));
        let mut left_out = Vec::new();
        for key in keys {
            if self.own.contains_key(&key) {
                continue;
            }
            match free.next() {
                Some(slot) => {
                    freed.remove(&slot);
                    self.own.insert(key, slot);
                }
                None => left_out.push(key),
            }
        }
        (self.own.clone(), freed.into_iter().collect(), left_out)
    }
}
