//! Addresses of others, asked for by name or by a part of the range.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::{
    AllocateError, Ipam,
    limits::*,
    removal::same_view,
    request::Pending,
    ring,
    universe::address,
    validate::NO_RING,
    wire::{RangeWant, Refusal, RingId, Space, Want},
};
use crate::Time;

/// First and last address of what is asked for: the same where it is one by name.
type Part = (u128, u128);

/// What this node found out about addresses it asks for by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// What was asked for in vain, and when to ask again.
    rests: BTreeMap<Part, Time>,
    /// Owners that had nothing to give in a part of a range.
    refused: BTreeMap<Part, BTreeSet<PeerName>>,
}

impl Named {
    /// When to ask again for something.
    pub(super) fn next(&self) -> Option<Time> {
        self.rests.values().min().copied()
    }
}

impl Ipam {
    /// Asks for the addresses that requests name. Returns whether there is a question to stand, so
    /// that no other is asked meanwhile.
    pub(super) fn ask_named(&mut self, now: Time) -> bool {
        self.hear_refusals();
        let needs = self.named_needs();
        self.named.rests.retain(|part, at| *at > now && needs.contains_key(part));
        self.named.refused.retain(|part, _| needs.contains_key(part));
        if let Some((donor, part)) = self.asked_by_name() {
            let stands = needs.contains_key(&part)
                && self.can_ask(donor)
                && !self.named.refused.get(&part).is_some_and(|names| names.contains(&donor));
            if stands && now < self.asking.retry_at {
                return true;
            }
            if stands {
                // The question stands as long as nothing else is to be asked.
                let other = |(need, _): (&Part, &usize)| {
                    *need != part
                        && !self.named.rests.contains_key(need)
                        && self.owner_to_ask(*need).is_some()
                };
                if !needs.iter().any(other) && self.needs().is_empty() {
                    self.asking.retry_at = now + WANT_RETRY;
                    return true;
                }
                self.named.rests.insert(part, now + WANT_REST);
            }
        }
        for (part, place) in needs {
            if self.named.rests.contains_key(&part) {
                continue;
            }
            if let Some(donor) = self.owner_to_ask(part) {
                let want = self.named_want(part, place);
                self.asking.retry_at = now + WANT_RETRY;
                self.asking.resting = false;
                self.put_want(donor, vec![want]);
                return true;
            }
            // Whoever has something there is out of reach or has nothing to give: a new round later.
            if self.named.refused.remove(&part).is_some() {
                self.named.rests.insert(part, now + WANT_REST);
            }
        }
        if self.asked_by_name().is_some() {
            self.take_back_want();
        }
        false
    }

    /// What this node asks whom for by name at the moment.
    fn asked_by_name(&self) -> Option<(PeerName, Part)> {
        let want = self.asking.current.as_ref()?;
        let part = want.ranges.iter().find_map(|range| range.within)?;
        Some((PeerName::from_bytes(want.donor), part))
    }

    /// What requests need that is not this node's own, each with the place of its range.
    fn named_needs(&self) -> BTreeMap<Part, usize> {
        let gone = self.removals.out().is_some() || self.own.leaving;
        if gone || self.own.owned.len() >= MANY_OWNED {
            return BTreeMap::new();
        }
        let missing = |pending: &Pending| -> Vec<(Part, usize)> {
            if pending.wanted.is_empty() {
                let parts = pending.within.iter();
                let parts = parts.filter(|within| self.free_within(within).is_none());
                return parts.map(|within| (within.bounds, within.place)).collect();
            }
            let numbers = pending.wanted.iter().filter(|(_, n)| !self.own.owned.contains(*n));
            numbers.map(|&(place, n)| ((n, n), place)).collect()
        };
        self.pending.iter().flat_map(missing).collect()
    }

    fn named_want(&self, part: Part, place: usize) -> RangeWant {
        let owned: u128 = self.own.owned.clipped(part.0, part.1).map(|s| s.end - s.start + 1).sum();
        let first = self.universe.get(place).map_or(1, |range| range.first_block());
        let size = u64::try_from(part.1 - part.0).unwrap_or(u64::MAX).saturating_add(1);
        let owned = u64::try_from(owned).unwrap_or(u64::MAX);
        RangeWant {
            range: u8::try_from(place).unwrap_or(u8::MAX),
            count: owned.max(first).min(size).min(LARGEST_BLOCK),
            urgent: true,
            within: Some(part),
        }
    }

    /// Who can be asked for something in `part`: the owner of the one address, or the one who owns
    /// most of it and did not say that nothing is free.
    fn owner_to_ask(&self, part: Part) -> Option<PeerName> {
        if part.0 == part.1 {
            let owner = ring::find(&self.segments, part.0)?.owner;
            return self.can_ask(owner).then_some(owner);
        }
        let refused = self.named.refused.get(&part);
        let mut sizes: BTreeMap<PeerName, u128> = BTreeMap::new();
        for segment in ring::overlapping(&self.segments, part.0, part.1) {
            let size = segment.end.min(part.1) - segment.start.max(part.0) + 1;
            *sizes.entry(segment.owner).or_default() += size;
        }
        sizes
            .into_iter()
            .filter(|(name, _)| {
                self.can_ask(*name) && !refused.is_some_and(|names| names.contains(name))
            })
            .max_by_key(|(name, size)| (*size, std::cmp::Reverse(*name)))
            .map(|(name, _)| name)
    }

    /// Whether a node can answer a question now.
    fn can_ask(&self, name: PeerName) -> bool {
        self.reachable.contains(&name)
            && !self.removals.is_removed(name)
            && self.spaces.get(&name).is_some_and(|space| {
                let known = self.own.accepted.contains_key(&name);
                self.same_ring(space)
                    && same_view(space, self.removals.id())
                    && (known || self.own.accepted.len() < MAX_GRANTERS)
            })
    }

    /// Acts on what the one who is asked refuses.
    fn hear_refusals(&mut self) {
        let Some((donor, part)) = self.asked_by_name() else { return };
        let seq = self.asking.seq;
        let me = *self.config.name.as_bytes();
        let refusal = self.spaces.get(&donor).and_then(|space| {
            space.refused.iter().find(|r| r.to == me && r.seq == seq && (r.start, r.end) == part)
        });
        let Some(refusal) = refusal.cloned() else { return };
        if part.0 != part.1 {
            self.named.refused.entry(part).or_default().insert(donor);
            return;
        }
        let (gone, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.wanted.iter().any(|(_, number)| *number == part.0));
        self.pending = rest;
        for pending in gone {
            let ip = address(part.0);
            let holder = refusal.holder.clone();
            self.finish(
                pending.id,
                Err(AllocateError::OwnedElsewhere { ip, owner: donor, holder }),
            );
        }
    }

    /// Grants from the part of a range that `asker` named, if something there is free.
    pub(super) fn grant_named(&mut self, asker: PeerName, part: &RangeWant, within: Part) -> bool {
        let place = usize::from(part.range);
        let Some(range) = self.universe.get(place).cloned() else { return false };
        let (low, high) = within;
        let under_way = self.own.grants.iter().any(|grant| {
            grant.to == *asker.as_bytes() && grant.span.start <= high && low <= grant.span.end
        });
        if under_way || self.grants_full() || self.own.owned.len() >= MANY_OWNED {
            return false;
        }
        let most = self.free_in(place, low, high).div_ceil(2).min(u128::from(part.count));
        let block = self.local.free_block(place, &range, (low, high), &self.own.owned, most);
        let Some((start, end)) = block else { return false };
        let Some((start, end, root)) = self.of_one_root(start, end, &range) else { return false };
        self.give(asker, start, end, root)
    }

    /// How many own addresses from `low` to `high` are neither in use nor cooling.
    fn free_in(&self, place: usize, low: u128, high: u128) -> u128 {
        let pieces = self.own.owned.clipped(low, high);
        let quiet = pieces.flat_map(|span| self.local.quiet(place, span.start, span.end));
        quiet.map(|(start, end)| end - start + 1).sum()
    }

    /// What of that which others ask for by name cannot be had, as it stands at this moment.
    pub(super) fn refuse(&mut self) {
        let mut refused = self.refuse_kept();
        let me = *self.config.name.as_bytes();
        let asked = self.wants.iter().filter(|(asker, want)| {
            want.donor == me
                && self.served.get(*asker) != Some(&want.seq)
                && self.of_one_mind(self.spaces.get(*asker))
        });
        for (asker, want) in asked {
            for part in &want.ranges {
                let place = usize::from(part.range);
                let refusal = part.within.and_then(|part| self.refusal(*asker, want, place, part));
                refused.extend(refusal);
            }
        }
        refused.truncate(MAX_REFUSED);
        if refused != self.own.refused {
            self.own.refused = refused;
            self.touched = true;
        }
    }

    fn refusal(
        &self,
        asker: PeerName,
        want: &Want,
        place: usize,
        (start, end): Part,
    ) -> Option<Refusal> {
        let refusal = |holder: &str| Refusal {
            to: *asker.as_bytes(),
            seq: want.seq,
            start,
            end,
            holder: cut(holder),
        };
        if start == end {
            // One that is cooling down can be had a moment later.
            return self.local.holder(place, start).map(refusal);
        }
        let nothing = self.free_in(place, start, end) == 0 || self.own.owned.len() >= MANY_OWNED;
        nothing.then(|| refusal(""))
    }

    /// Whether space can go to the writer of `space` as far as ring and removals go.
    pub(super) fn of_one_mind(&self, space: Option<&Space>) -> bool {
        space.is_none_or(|space| {
            (space.ring == self.own.ring || is_free(space, self.own.ring))
                && same_view(space, self.removals.id())
        })
    }
}

/// Whether a node is in no ring and can come into `ring`.
pub(super) fn is_free(space: &Space, ring: RingId) -> bool {
    space.ring == NO_RING && (space.joins == NO_RING || space.joins == ring)
}

/// At most [`MAX_HOLDER`] bytes of a text.
pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_HOLDER);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
