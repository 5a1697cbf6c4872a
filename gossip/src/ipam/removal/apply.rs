//! From one view to the next: what stays, what is void, what is inherited.

use std::collections::BTreeSet;

use weft_crypto::PeerName;

use super::{
    super::{
        Fenced, Ipam,
        spans::SpanSet,
        wire::{Ack, Grant, Span, Tombstone, View},
    },
    by_name,
    verdict::{Part, within},
};
use crate::Time;

impl Ipam {
    /// Makes `view` this node's own: `parts` say whose everything is.
    ///
    /// Of what this node has, in its hands or in flight, stays what its root had by the verdict.
    pub(super) fn adopt_view(
        &mut self,
        view: View,
        tombstones: Vec<Tombstone>,
        completed: Option<Ack>,
        parts: &[Part],
        highest: u64,
        now: Time,
    ) {
        let me = self.config.name;
        let tombstones = by_name(tombstones);
        let out = tombstones.get(&me).cloned();
        let mut owned = SpanSet::default();
        for span in self.own.owned.iter() {
            for (start, end, root) in self.removals.roots.pieces(span.start, span.end, me) {
                for part in within(parts, start, end).filter(|part| holds(part, root)) {
                    owned.insert(Span { start: part.start, end: part.end, ..span });
                }
            }
        }
        let is_valid = |grant: &Grant| {
            let root = PeerName::from_bytes(grant.root);
            within(parts, grant.span.start, grant.span.end).all(|part| holds(&part, root))
        };
        let (valid, void): (Vec<Grant>, Vec<Grant>) =
            std::mem::take(&mut self.own.grants).into_iter().partition(is_valid);
        let lost_grants = void.len();
        for grant in valid {
            if tombstones.contains_key(&PeerName::from_bytes(grant.to)) {
                // The receiver is gone and whatever it took over is void: the space comes back.
                owned.insert(Span { version: grant.span.version.saturating_add(1), ..grant.span });
            } else {
                self.own.grants.push(grant);
            }
        }
        let version = self.highest_version().max(highest).saturating_add(1);
        for part in parts.iter().filter(|part| part.inherited && part.owner == me) {
            owned.insert(Span { start: part.start, end: part.end, version });
        }
        let was_member = completed.is_some();
        if out.is_some() {
            owned = SpanSet::default();
            self.own.grants.clear();
            tracing::warn!("this node was removed from the ring");
        }
        self.own.owned = owned;

        let members: BTreeSet<PeerName> =
            view.members.iter().map(|name| PeerName::from_bytes(*name)).collect();
        self.removals.removed.retain(|name, _| !members.contains(name));
        self.removals.removed.extend(tombstones);
        self.removals.removed.remove(&me);
        for name in &view.removed {
            let name = PeerName::from_bytes(*name);
            self.spaces.remove(&name);
            self.wants.remove(&name);
            self.served.remove(&name);
        }
        let complete = self.removals.removed.len() == view.removed.len();
        self.removals.done = view;
        self.removals.out = out;
        self.removals.completed = completed;
        self.removals.pending = None;
        self.removals.roots.clear();
        self.removals.publish_pending = true;
        self.removals.publish_completed = true;
        self.removals.stale = true;
        self.founded = true;
        self.touched = true;
        self.stale = true;
        self.dirty = true;
        self.fence(now);
        tracing::info!(was_member, lost_grants, "a removal is complete");
        if !complete && self.removals.out.is_none() {
            // What is left over is said anew, from here.
            self.acknowledge();
        }
    }

    /// Takes the addresses from Pods that hold what this node does not own any more.
    fn fence(&mut self, now: Time) {
        let lost: Vec<String> = self
            .local
            .iter()
            .filter(|(_, numbers)| numbers.iter().any(|n| !self.own.owned.contains(*n)))
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in lost {
            // What is still this node's own cools down: the Pod may use it for a moment.
            let numbers = self.local.release(&key, now + self.config.cool_down);
            let addresses = numbers.iter().map(|n| self.universe.with_prefix(*n)).collect();
            self.stats.fenced += 1;
            self.removals.fenced.push_back(Fenced { key, addresses });
        }
        self.local.forget_outside(&self.own.owned);
    }

    fn highest_version(&self) -> u64 {
        let others = self.spaces.values().flat_map(|space| {
            space.owned.iter().chain(space.grants.iter().map(|grant| &grant.span))
        });
        let own = self.own.owned.iter().map(|span| span.version);
        others.map(|span| span.version).chain(own).max().unwrap_or(0)
    }
}

/// Whether addresses that came from `root` are valid where a verdict says `part`.
fn holds(part: &Part, root: PeerName) -> bool {
    !part.inherited && part.owner == root
}
