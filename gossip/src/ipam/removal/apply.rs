//! From one view to the next: what stays, what is void, what is inherited.

use std::collections::BTreeSet;

use weft_crypto::PeerName;

use super::{
    super::{
        Fenced, Ipam,
        spans::SpanSet,
        wire::{Grant, ShortName, Span, Tombstone, View},
    },
    state::by_name,
    verdict::{Part, short, within},
};
use crate::Time;

/// What of that which a node has stays valid.
pub(super) enum Valid<'a> {
    /// What its root had by these.
    Parts(&'a [Part]),
    /// What these were the root of. Nothing is inherited.
    From(BTreeSet<ShortName>),
}

impl Valid<'_> {
    /// The parts of `start` to `end` that are valid in the hands of one who got them from `root`.
    fn within(&self, start: u128, end: u128, root: PeerName) -> Vec<(u128, u128)> {
        match self {
            Self::Parts(parts) => within(parts, start, end)
                .filter(|part| !part.inherited && part.owner == root)
                .map(|part| (part.start, part.end))
                .collect(),
            Self::From(members) if members.contains(&short(root)) => vec![(start, end)],
            Self::From(_) => Vec::new(),
        }
    }

    fn covers(&self, start: u128, end: u128, root: PeerName) -> bool {
        let valid = self.within(start, end, root);
        valid.iter().map(|(start, end)| end - start + 1).sum::<u128>() == end - start + 1
    }

    fn inherited_by(&self, heir: PeerName) -> impl Iterator<Item = (u128, u128)> {
        let parts = match self {
            Self::Parts(parts) => parts,
            Self::From(_) => &[][..],
        };
        let mine = parts.iter().filter(move |part| part.inherited && part.owner == heir);
        mine.map(|part| (part.start, part.end))
    }
}

impl Ipam {
    /// Makes `view` this node's own. Of what this node has, in its hands or in flight, stays what is
    /// `valid`; `highest` is a version that no valid span is above.
    pub(super) fn adopt_view(&mut self, view: View, valid: &Valid<'_>, highest: u64, now: Time) {
        let me = self.config.name;
        let tombstones = by_name(view.removed.clone());
        let out = tombstones.get(&me).cloned();
        let mut owned = SpanSet::default();
        let roots = match valid {
            Valid::Parts(_) => &self.removals.roots,
            Valid::From(_) => &self.removals.older_roots,
        };
        for span in self.own.owned.iter() {
            for (start, end, root) in roots.pieces(span.start, span.end, me) {
                for (start, end) in valid.within(start, end, root) {
                    owned.insert(Span { start, end, ..span });
                }
            }
        }
        let is_valid = |grant: &Grant| {
            let root = PeerName::from_bytes(grant.root);
            valid.covers(grant.span.start, grant.span.end, root)
        };
        let (good, void): (Vec<Grant>, Vec<Grant>) =
            std::mem::take(&mut self.own.grants).into_iter().partition(is_valid);
        let lost_grants = void.len();
        for grant in good {
            if tombstones.contains_key(&PeerName::from_bytes(grant.to)) {
                // The receiver is gone and whatever it took over is void: the space comes back.
                owned.insert(Span { version: grant.span.version.saturating_add(1), ..grant.span });
            } else {
                self.own.grants.push(grant);
            }
        }
        let version = self.highest_version().max(highest).saturating_add(1);
        for (start, end) in valid.inherited_by(me) {
            owned.insert(Span { start, end, version });
        }
        self.own.owned = owned;
        self.kept.retain(|number| !self.own.owned.contains(*number));

        let is_member = |name: &PeerName| view.members.binary_search(&short(*name)).is_ok();
        self.removals.removed.retain(|name, _| !is_member(name));
        self.removals.removed.extend(tombstones);
        self.removals.removed.remove(&me);
        for name in &view.removed {
            let name = PeerName::from_bytes(name.name);
            self.spaces.remove(&name);
            self.wants.remove(&name);
            self.served.remove(&name);
        }
        self.removals.done = Some(view);
        let complete = self.removals.removed.keys().all(|name| self.removals.is_done(*name));
        self.removals.pending = None;
        self.removals.roots.clear();
        self.removals.older_roots.clear();
        self.removals.publish_pending = true;
        self.removals.publish_completed = true;
        self.removals.stale = true;
        self.founded = true;
        self.touched = true;
        self.stale = true;
        self.dirty = true;
        tracing::info!(lost_grants, "a removal is complete");
        if let Some(word) = out {
            self.removals.pending = None;
            self.go_out(word, now);
            return;
        }
        self.fence(now);
        if !complete {
            // What is left over is said anew, from here.
            self.acknowledge();
        }
    }

    /// This node is removed: it gives up everything, for ever.
    pub(super) fn go_out(&mut self, word: Tombstone, now: Time) {
        tracing::warn!("this node was removed from the ring");
        self.own.owned = SpanSet::default();
        self.own.grants.clear();
        self.removals.roots.clear();
        self.removals.older_roots.clear();
        self.removals.publish_pending = true;
        self.removals.out = Some(word);
        self.kept.clear();
        self.touched = true;
        self.stale = true;
        self.dirty = true;
        self.fence(now);
    }

    /// Takes the addresses from Pods that hold what this node does not own any more.
    fn fence(&mut self, now: Time) {
        let lost: Vec<String> = self
            .local
            .iter()
            .filter(|(_, numbers)| numbers.iter().any(|n| self.is_lost(*n)))
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in lost {
            // What is still this node's own cools down: the Pod may use it for a moment.
            let numbers = self.release_held(&key, now);
            let addresses = numbers.iter().map(|n| self.universe.with_prefix(*n)).collect();
            self.stats.fenced += 1;
            self.removals.fenced.push_back(Fenced { key, addresses, holder: None });
        }
        self.local.forget_outside(&self.own.owned);
    }

    /// Whether an address in use is neither this node's own nor brought from another ring.
    pub(in crate::ipam) fn is_lost(&self, number: u128) -> bool {
        !self.own.owned.contains(number) && !self.kept.contains(&number)
    }

    fn highest_version(&self) -> u64 {
        let others = self.spaces.values().flat_map(|space| {
            space.owned.iter().chain(space.grants.iter().map(|grant| &grant.span))
        });
        let own = self.own.owned.iter().map(|span| span.version);
        others.map(|span| span.version).chain(own).max().unwrap_or(0)
    }
}
