//! What nodes tell of their Pods.
//!
//! A record for each Pod, so that what changes is what travels. Records are numbered slots, as those of
//! objects are: a Pod that is gone leaves its slot to the next one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use weft_crypto::PeerName;

use super::{Place, Slot, types::PodInfo};
use crate::limits::{MAX_POD_ADDRESSES, MAX_PODS};

/// All Pods that are known, and which slots this node's own have.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    held: BTreeMap<Place, Held>,
    own: BTreeMap<String, Slot>,
    /// The places about which [`Self::view`] answers differently since they were polled last.
    changed: BTreeSet<Place>,
}

/// A Pod as its node tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    pod: PodInfo,
    believed: Believed,
}

/// Which of a Pod's addresses are believed, a bit for each, in their order.
type Believed = u16;
const _: () = assert!(MAX_POD_ADDRESSES <= Believed::BITS as usize);

impl Held {
    fn new(pod: PodInfo, origin: PeerName, believes: impl Fn(PeerName, IpAddr) -> bool) -> Self {
        let believed = Self::judge(&pod, origin, believes);
        Self { pod, believed }
    }

    fn judge(
        pod: &PodInfo,
        origin: PeerName,
        believes: impl Fn(PeerName, IpAddr) -> bool,
    ) -> Believed {
        let judged = pod.addresses.iter().map(|address| believes(origin, *address));
        judged.enumerate().fold(0, |all, (index, yes)| all | (Believed::from(yes) << index))
    }

    /// The Pod with the addresses that are believed. None where it tells of some and none is.
    fn view(&self) -> Option<PodInfo> {
        let mut pod = self.pod.clone();
        let mut bits = self.believed;
        pod.addresses.retain(|_| {
            let yes = bits & 1 == 1;
            bits >>= 1;
            yes
        });
        (self.pod.addresses.is_empty() || self.believed != 0).then_some(pod)
    }
}

impl Pods {
    /// Takes over what a record says now; whether that is a change. `believes` says whether an address
    /// may be a Pod's of that node.
    pub(crate) fn set(
        &mut self,
        place: Place,
        pod: Option<PodInfo>,
        believes: impl Fn(PeerName, IpAddr) -> bool,
    ) -> bool {
        let changed = match pod.map(|pod| Held::new(pod, place.0, believes)) {
            Some(new) if self.held.get(&place) == Some(&new) => false,
            Some(new) => {
                self.held.insert(place, new);
                true
            }
            None => self.held.remove(&place).is_some(),
        };
        if changed {
            self.changed.insert(place);
        }
        changed
    }

    /// Judges the addresses of all Pods anew; whether any is believed now that was not, or no more.
    pub(crate) fn judge(&mut self, believes: impl Fn(PeerName, IpAddr) -> bool) -> bool {
        let mut any = false;
        for (place, held) in &mut self.held {
            let believed = Held::judge(&held.pod, place.0, &believes);
            if held.believed != believed {
                held.believed = believed;
                self.changed.insert(*place);
                any = true;
            }
        }
        any
    }

    /// A place about which [`Self::view`] answers differently since it was polled last.
    pub(crate) fn poll_changed(&mut self) -> Option<Place> {
        self.changed.pop_first()
    }

    /// The Pod that a place has, with those of its addresses that are believed.
    pub(crate) fn view(&self, place: Place) -> Option<PodInfo> {
        self.held.get(&place).and_then(Held::view)
    }

    /// The Pods, each with the node that tells of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerName, PodInfo)> {
        self.held.iter().filter_map(|((origin, _), held)| Some((*origin, held.view()?)))
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
