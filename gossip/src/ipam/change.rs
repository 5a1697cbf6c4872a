//! What changed since the disk was written last.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ipam, IpamChange, IpamSnapshot, SnapshotV1};
use crate::codec;

impl Ipam {
    /// See [`Ipam::change`].
    pub(super) fn take_change(&mut self) -> IpamChange {
        let rest = IpamSnapshot::V1(self.save_rest());
        let form = codec::encode(&rest);
        let news = form != self.told;
        self.told = form;
        let changed = self.local.take_changed();
        let held = |key: String| {
            let numbers = self.local.held_by(&key).unwrap_or_default().to_vec();
            (key, numbers)
        };
        let cools = |number: u128| (number, self.local.is_cooling(number));
        IpamChange {
            rest: news.then_some(rest),
            held: changed.keys.into_iter().map(held).collect(),
            cooling: changed.cooling.into_iter().map(cools).collect(),
        }
    }
}

impl IpamSnapshot {
    /// The snapshot after these changes, oldest first. A change that it holds already, in whole or in
    /// part, does no harm if all that came after follow.
    #[must_use]
    pub fn changed_by(self, changes: impl IntoIterator<Item = IpamChange>) -> Self {
        let Self::V1(mut all) = self;
        let mut held: BTreeMap<String, Vec<u128>> = all.allocations.drain(..).collect();
        let mut cooling: BTreeSet<u128> = all.cooling.drain(..).collect();
        for change in changes {
            if let Some(Self::V1(rest)) = change.rest {
                all = rest;
            }
            for (key, numbers) in change.held {
                if numbers.is_empty() {
                    held.remove(&key);
                } else {
                    held.insert(key, numbers);
                }
            }
            for (number, cools) in change.cooling {
                if cools {
                    cooling.insert(number);
                } else {
                    cooling.remove(&number);
                }
            }
        }
        Self::V1(SnapshotV1 {
            allocations: held.into_iter().collect(),
            cooling: cooling.into_iter().collect(),
            ..all
        })
    }
}
