//! From one view to the next: what stays, what is void, what is inherited.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::{
    super::{
        Fenced, Ipam,
        spans::SpanSet,
        validate::NO_RING,
        wire::{Grant, ShortName, Space, Span, Tombstone, View},
    },
    state::by_name,
    verdict::{Part, short, within},
};
use crate::Time;

/// What of that which a node has stays valid.
pub(super) enum Valid<'a> {
    /// What its root had by these.
    Parts(&'a [Part]),
    /// What these were the root of, by their words on the same removals. Nothing is inherited.
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
        self.removals.ring = view.ring;
        let tombstones = by_name(view.removed.clone());
        let out = tombstones.get(&me).cloned();
        let size = self.removals.removed.len();
        // Others may complete more by this node's word on more; so it says no second one on the same.
        let stands = self.removals.pending.is_some()
            && tombstones.len() < size
            && tombstones.keys().all(|name| self.removals.is_removed(*name));
        let version = self.highest_version().max(highest).saturating_add(1);
        self.keep_valid(valid, &view, &tombstones, version, stands);

        let is_member = |name: &PeerName| view.members.binary_search(&short(*name)).is_ok();
        if tombstones.len() >= size {
            // From here on this node says words on more removals than ever, so on no set twice.
            self.removals.removed.retain(|name, _| !is_member(name));
        }
        self.removals.removed.extend(tombstones);
        self.removals.removed.remove(&me);
        for name in &view.removed {
            let name = PeerName::from_bytes(name.name);
            let ours = self.spaces.get(&name).is_some_and(|space| self.is_of_ours(space));
            if ours && let Some(space) = self.spaces.remove(&name) {
                self.set_aside.insert(name, space);
            }
        }
        self.removals.done = Some(view);
        let complete = self.removals.removed.keys().all(|name| self.removals.is_done(*name));
        if !stands {
            self.removals.pending = None;
            self.removals.clear_roots();
        }
        self.removals.publish_pending = true;
        self.removals.publish_completed = true;
        self.removals.stale = true;
        self.founded = true;
        self.touched = true;
        self.stale = true;
        self.dirty = true;
        tracing::info!(word_stands = stands, "a removal is complete");
        if let Some(word) = out {
            self.removals.pending = None;
            self.go_out(word, now);
            return;
        }
        self.fence(now);
        self.hear_again();
        if !complete && !stands {
            // What is left over is said anew, from here.
            self.acknowledge();
        }
    }

    /// Parts what is `valid` by `view`, which goes on as this node's own, from what is void, which rests
    /// if the own word `stands` and is dropped if not. Takes what is inherited, with `version`.
    fn keep_valid(
        &mut self,
        valid: &Valid<'_>,
        view: &View,
        tombstones: &BTreeMap<PeerName, Tombstone>,
        version: u64,
        stands: bool,
    ) {
        let me = self.config.name;
        let roots = self.removals.roots_under(&view.removed);
        let mut owned = SpanSet::default();
        for span in self.own.owned.iter() {
            for (start, end, root) in roots.pieces(span.start, span.end, me) {
                for (start, end) in valid.within(start, end, root) {
                    owned.insert(Span { start, end, ..span });
                }
            }
        }
        for (start, end) in valid.inherited_by(me) {
            owned.insert(Span { start, end, version });
        }
        let is_valid = |grant: &Grant| {
            let root = PeerName::from_bytes(grant.root);
            valid.covers(grant.span.start, grant.span.end, root)
        };
        let (mut good, void): (Vec<Grant>, Vec<Grant>) =
            std::mem::take(&mut self.own.grants).into_iter().partition(is_valid);
        if stands {
            for span in self.own.owned.iter() {
                for (start, end) in owned.gaps(span.start, span.end) {
                    for (start, end, root) in self.removals.roots.pieces(start, end, me) {
                        self.removals.rest.spans.push((Span { start, end, ..span }, root));
                    }
                    self.removals.roots.remove(start, end);
                }
            }
            self.removals.older_roots.clear();
            self.removals.rest.grants.extend(void);
        } else if self.removals.is_about(&view.removed) {
            // The word that this waited for is judged. Others may have had it by what was void.
            let rest = std::mem::take(&mut self.removals.rest);
            for (span, root) in rest.spans {
                for (start, end) in valid.within(span.start, span.end, root) {
                    if !owned.overlaps(start, end) {
                        owned.insert(Span { start, end, version });
                    }
                }
            }
            good.extend(
                rest.grants
                    .into_iter()
                    .filter(is_valid)
                    .map(|grant| Grant { span: Span { version, ..grant.span }, ..grant }),
            );
        }
        good.sort_unstable_by_key(|grant| grant.number);
        for grant in good {
            let to = PeerName::from_bytes(grant.to);
            let left = self.spaces.get(&to).is_some_and(|space| self.gave_up(space));
            if tombstones.contains_key(&to) || left {
                // The receiver is gone and whatever it took over is void, or it never will take it
                // over: the space comes back.
                owned.insert(Span { version: grant.span.version.saturating_add(1), ..grant.span });
            } else {
                self.own.grants.push(grant);
            }
        }
        self.own.owned = owned;
        self.kept.retain(|number| !self.own.owned.contains(*number));
    }

    /// Whether what a node publishes is about the ring whose removals this node goes along with: in another
    /// ring it counts, whoever removed it in this one.
    pub(in crate::ipam) fn is_of_ours(&self, space: &Space) -> bool {
        space.ring == NO_RING || space.ring == self.removals.ring
    }

    /// Takes in what those published who are not removed any more.
    fn hear_again(&mut self) {
        let again: Vec<PeerName> =
            self.set_aside.keys().copied().filter(|name| !self.removals.is_done(*name)).collect();
        for name in again {
            let space = self.set_aside.remove(&name);
            self.stats.misbehaved += u64::from(self.take_space(name, space).is_err());
        }
    }

    /// This node is removed: it gives up everything, for ever.
    pub(super) fn go_out(&mut self, word: Tombstone, now: Time) {
        tracing::warn!("this node was removed from the ring");
        self.own.owned = SpanSet::default();
        self.own.grants.clear();
        self.removals.clear_roots();
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
