//! What the acknowledgements of all decide together: who is removed, and who owns what from then on.
//! Pure functions of the acknowledgements, so all nodes that hold the same ones decide the same.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use sha2::{Digest as _, Sha256};
use weft_crypto::PeerName;

use super::super::{
    ring::sweep,
    universe::Universe,
    validate::NO_RING,
    view::taken_from,
    wire::{Ack, ShortName, Space, Tombstone, ViewId, Weight},
};
use crate::codec;

/// The first bytes of a name.
pub(in crate::ipam) fn short(name: PeerName) -> ShortName {
    let [a, b, c, d, e, f, g, h, ..] = *name.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// A complete set of acknowledgements: all owners that any of them knows, but the removed, have
/// acknowledged the removal of the same nodes.
#[derive(Clone, Debug)]
pub(in crate::ipam) struct Verdict<'a> {
    pub(in crate::ipam) weight: Weight,
    /// The owners who acknowledged, and what they said.
    pub(in crate::ipam) members: BTreeMap<PeerName, &'a Ack>,
}

/// Consecutive addresses and whose they are by a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ipam) struct Part {
    pub(in crate::ipam) start: u128,
    pub(in crate::ipam) end: u128,
    /// The member whose acknowledgement says so, or its heir.
    pub(in crate::ipam) owner: PeerName,
    /// Whether nobody's acknowledgement says so: space of the removed, which falls to the owner.
    pub(in crate::ipam) inherited: bool,
}

/// Acknowledgements of one set of removals, by the short names of their writers.
type Group<'a> = BTreeMap<ShortName, (PeerName, &'a Ack)>;

/// Those who need not acknowledge, by their short names.
#[derive(Clone, Debug, Default)]
pub(in crate::ipam) struct Excused<'a> {
    /// They gave up everything for good; with the last that they said of it.
    pub(in crate::ipam) gone: BTreeMap<ShortName, &'a Space>,
    /// They gave way where nodes removed each other; with whom they had removed.
    pub(in crate::ipam) resigned: BTreeMap<ShortName, BTreeSet<ShortName>>,
}

impl Excused<'_> {
    /// Whether `name` gave up everything, and its word on `removed` is not needed. One who left says which
    /// removals its word is part of: that word is waited for, whatever of it is heard first.
    fn is_gone(&self, name: ShortName, removed: &BTreeSet<ShortName>) -> bool {
        self.gone.get(&name).is_some_and(|space| {
            !removed.iter().all(|removed| space.last_word.binary_search(removed).is_ok())
        })
    }

    /// The highest number of a grant of `granter` that one who gave up everything took over; `None` if
    /// `name` did not.
    fn taken_by(&self, name: ShortName, granter: PeerName) -> Option<u64> {
        let space = self.gone.get(&name)?;
        Some(taken_from(space, granter))
    }

    /// Whether one who resigned had removed one of `members` with a higher name: that one will resign
    /// as well, and its word is an old one.
    fn forbids(&self, resigned: ShortName, members: &BTreeSet<ShortName>) -> bool {
        self.resigned.get(&resigned).is_some_and(|removed| {
            removed.iter().any(|name| *name > resigned && members.contains(name))
        })
    }
}

/// The names that an acknowledgement removes.
pub(in crate::ipam) fn removed_by(ack: &Ack) -> BTreeSet<PeerName> {
    names(&ack.removed)
}

/// The names of the removed.
pub(in crate::ipam) fn names(tombstones: &[Tombstone]) -> BTreeSet<PeerName> {
    tombstones.iter().map(|tombstone| PeerName::from_bytes(tombstone.name)).collect()
}

/// The greatest verdict that `words` contain.
pub(in crate::ipam) fn greatest<'a>(
    words: &[(PeerName, &'a Ack)],
    excused: &Excused<'_>,
) -> Option<Verdict<'a>> {
    let mut groups: BTreeMap<BTreeSet<PeerName>, Group<'a>> = BTreeMap::new();
    for (name, ack) in words.iter().filter(|(_, ack)| !ack.resigned) {
        groups.entry(removed_by(ack)).or_default().insert(short(*name), (*name, *ack));
    }
    let mut best: Option<Verdict<'a>> = None;
    for (removed, group) in groups {
        // A node in no ring yet knows nobody; it counts where somebody else names it.
        let closed: BTreeSet<BTreeSet<ShortName>> = group
            .iter()
            .filter(|(_, (_, ack))| ack.space.ring != NO_RING)
            .filter_map(|(start, _)| closure(*start, &group, &removed, excused).ok())
            .collect();
        for members in &closed {
            // Of two closed sets, one inside the other, the inner one is what its members see.
            if closed.iter().any(|other| other != members && other.is_subset(members)) {
                continue;
            }
            let members: BTreeMap<PeerName, &Ack> =
                members.iter().filter_map(|short| group.get(short).copied()).collect();
            let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
            let weight = Weight {
                removed: count(removed.len()),
                members: count(members.len()),
                id: identify(&removed, &members),
            };
            if best.as_ref().is_none_or(|best| best.weight < weight) {
                best = Some(Verdict { weight, members });
            }
        }
    }
    best
}

/// The owners that `start` knows, and those that these know, and so on, without the removed and the
/// excused. `Err` names the ones among them who have not acknowledged.
pub(in crate::ipam) fn closure(
    start: ShortName,
    group: &Group<'_>,
    removed: &BTreeSet<PeerName>,
    excused: &Excused<'_>,
) -> Result<BTreeSet<ShortName>, BTreeSet<ShortName>> {
    let removed: BTreeSet<ShortName> = removed.iter().map(|name| short(*name)).collect();
    let mut seen = BTreeSet::from([start]);
    let mut missing = BTreeSet::new();
    let mut resigned = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        let Some((_, ack)) = group.get(&name) else {
            missing.insert(name);
            continue;
        };
        for other in &ack.known {
            if removed.contains(other) || excused.is_gone(*other, &removed) {
                continue;
            }
            if excused.resigned.contains_key(other) {
                resigned.insert(*other);
            } else if seen.insert(*other) {
                open.push(*other);
            }
        }
    }
    missing.extend(resigned.into_iter().filter(|name| excused.forbids(*name, &seen)));
    if missing.is_empty() { Ok(seen) } else { Err(missing) }
}

/// The group of acknowledgements that removes exactly `removed`.
pub(in crate::ipam) fn group<'a>(
    words: &[(PeerName, &'a Ack)],
    removed: &BTreeSet<PeerName>,
) -> Group<'a> {
    words
        .iter()
        .filter(|(_, ack)| !ack.resigned && removed_by(ack) == *removed)
        .map(|(name, ack)| (short(*name), (*name, *ack)))
        .collect()
}

fn identify(removed: &BTreeSet<PeerName>, members: &BTreeMap<PeerName, &Ack>) -> ViewId {
    let mut hash = Sha256::new();
    hash.update(b"weft view ");
    hash.update((removed.len() as u64).to_be_bytes());
    removed.iter().for_each(|name| hash.update(name.as_bytes()));
    for (name, ack) in members {
        hash.update(name.as_bytes());
        hash.update(Sha256::digest(codec::encode(*ack)));
    }
    cut(&hash.finalize())
}

/// The first sixteen bytes.
pub(in crate::ipam) fn cut(hash: &[u8]) -> ViewId {
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    id
}

impl Verdict<'_> {
    /// Whose each address is: of the member that held it, by its acknowledgement, or had it in flight
    /// to somebody; and what nobody held falls to the owner of the addresses before it.
    pub(in crate::ipam) fn parts(&self, universe: &Universe, excused: &Excused<'_>) -> Vec<Part> {
        // Honest members never hold the same address. If two do, the one who completed more removals
        // counts; then the lower name.
        let mut order: Vec<(Weight, Reverse<PeerName>)> =
            self.members.iter().map(|(name, ack)| (ack.after, Reverse(*name))).collect();
        order.sort();
        let names: Vec<PeerName> = order.iter().map(|(_, name)| name.0).collect();
        let mut parts = Vec::new();
        for (_, range) in universe.iter() {
            // The whole range without an owner, so that what nobody holds is a piece too.
            let nobody = (range.start, range.end, None);
            let claims = names.iter().enumerate().flat_map(|(rank, name)| {
                self.claims(*name, excused).map(move |(start, end)| (start, end, Some(rank)))
            });
            let inside =
                claims.filter(|(start, end, _)| range.start <= *start && *end <= range.end);
            let mut held: Vec<(u128, u128, Option<PeerName>)> = Vec::new();
            sweep(inside.chain([nobody]), |start, end, active| {
                let rank = active.last_key_value().and_then(|(rank, _)| *rank);
                held.push((start, end, rank.and_then(|rank| names.get(rank)).copied()));
            });
            parts.extend(self.bequeath(&held));
        }
        parts
    }

    /// Gives what nobody holds to the owner before it, around the end of the range.
    fn bequeath(&self, held: &[(u128, u128, Option<PeerName>)]) -> Vec<Part> {
        let last = held.iter().rev().find_map(|(_, _, owner)| *owner);
        let in_ring = |(_, ack): &(&PeerName, &&Ack)| ack.space.ring != NO_RING;
        let mut heir = last.or_else(|| self.members.iter().find(in_ring).map(|(name, _)| *name));
        let mut parts = Vec::with_capacity(held.len());
        for &(start, end, owner) in held {
            heir = owner.or(heir);
            if let Some(heir) = heir {
                parts.push(Part { start, end, owner: heir, inherited: owner.is_none() });
            }
        }
        parts
    }

    /// What a member held when it acknowledged: what it owned, and what it had given away and neither
    /// another member nor one who left had taken over.
    fn claims(&self, name: PeerName, excused: &Excused<'_>) -> impl Iterator<Item = (u128, u128)> {
        let space = self.members.get(&name).map(|ack| &ack.space);
        let owned = space.into_iter().flat_map(|space| &space.owned);
        let granted = space.into_iter().flat_map(|space| &space.grants).filter(move |grant| {
            let to = PeerName::from_bytes(grant.to);
            let taken = match self.members.get(&to) {
                Some(ack) => Some(taken_from(&ack.space, name)),
                None => excused.taken_by(short(to), name),
            };
            taken.is_none_or(|taken| taken < grant.number)
        });
        owned
            .map(|span| (span.start, span.end))
            .chain(granted.map(|grant| (grant.span.start, grant.span.end)))
    }
}

/// The parts that overlap `start` to `end`, cut to it.
pub(in crate::ipam) fn within(
    parts: &[Part],
    start: u128,
    end: u128,
) -> impl Iterator<Item = Part> {
    let from = parts.partition_point(|part| part.end < start);
    let found = parts.get(from..).unwrap_or_default().iter();
    found.take_while(move |part| part.start <= end).map(move |part| Part {
        start: part.start.max(start),
        end: part.end.min(end),
        ..*part
    })
}
