//! Whether a record of another node makes sense by itself. What passes can be used without further
//! care about order, overlap or bounds.

use weft_crypto::PeerName;

use super::{
    error::Misbehaved,
    limits::*,
    universe::{Universe, show_ranges},
    wire::{Heal, Paxos, RingId, Space, Want},
};

/// The ring of a node that is in none.
pub(super) const NO_RING: RingId = [0; 16];

/// Checks a `Space` record; also used for the own one from the disk.
pub(super) fn space(
    origin: PeerName,
    space: &Space,
    universe: &Universe,
) -> Result<(), Misbehaved> {
    if space.ranges != universe.raw() {
        let theirs = show_ranges(&space.ranges);
        return Err(Misbehaved::OtherRanges { origin, theirs, ours: universe.to_string() });
    }
    if space.owned.len() > MAX_OWNED
        || space.grants.len() > MAX_GRANTS
        || space.accepted.len() > MAX_GRANTERS
        || space.free.len() > MAX_RANGES
        || space.kept.len() > MAX_KEPT
        || space.heals.len() > MAX_HEALS
        || space.refused.len() > MAX_REFUSED
        || space.last_word.len() > MAX_REMOVED
        || space.refused.iter().any(|refusal| refusal.holder.len() > MAX_HOLDER)
    {
        return Err(Misbehaved::TooLong(origin));
    }
    if space.ring == NO_RING && !(space.owned.is_empty() && space.grants.is_empty()) {
        return Err(Misbehaved::NoRing(origin));
    }
    if space.left && !(space.owned.is_empty() && space.grants.is_empty()) {
        return Err(Misbehaved::LeftWithSpace(origin));
    }
    if !space.last_word.is_sorted_by(|a, b| a < b) {
        return Err(Misbehaved::RemovalWrong(origin));
    }
    let granted = space.grants.iter().map(|grant| &grant.span);
    for span in space.owned.iter().chain(granted.clone()) {
        if span.version == 0 || universe.range_of(span.start, span.end).is_none() {
            return Err(Misbehaved::SpanOutside(origin));
        }
    }
    if space.owned.iter().zip(space.owned.iter().skip(1)).any(|(a, b)| a.end >= b.start) {
        return Err(Misbehaved::SpansOverlap(origin));
    }
    let outside = |(start, end): &(u128, u128)| universe.range_of(*start, *end).is_none();
    let heals_up = |heal: &Heal| heal.into >= heal.from || heal.into == NO_RING;
    if space.kept.iter().any(outside)
        || space.kept.iter().zip(space.kept.iter().skip(1)).any(|(a, b)| a.1 >= b.0)
        || space.heals.iter().any(heals_up)
        || (space.joins != NO_RING && space.ring != NO_RING)
    {
        return Err(Misbehaved::KeptWrong(origin));
    }
    let mut all: Vec<(u128, u128)> =
        space.owned.iter().chain(granted).map(|span| (span.start, span.end)).collect();
    all.sort_unstable();
    let overlap = all.iter().zip(all.iter().skip(1)).any(|(a, b)| a.1 >= b.0);
    let numbers = space.grants.iter().map(|grant| grant.number);
    let unordered = numbers.clone().zip(numbers.clone().skip(1)).any(|(a, b)| a >= b);
    let impossible = space.grants.iter().any(|grant| {
        grant.number == 0 || grant.number >= space.next_grant || grant.to == *origin.as_bytes()
    });
    if overlap || unordered || impossible {
        return Err(Misbehaved::GrantsWrong(origin));
    }
    if space.accepted.iter().zip(space.accepted.iter().skip(1)).any(|(a, b)| a.0 >= b.0) {
        return Err(Misbehaved::AcceptedWrong(origin));
    }
    Ok(())
}

/// Checks a `Want` record.
pub(super) fn want(origin: PeerName, want: &Want, universe: &Universe) -> Result<(), Misbehaved> {
    let places = want.ranges.iter().map(|range| range.range);
    let unordered = places.clone().zip(places.clone().skip(1)).any(|(a, b)| a >= b);
    let unknown = places.clone().any(|place| universe.get(usize::from(place)).is_none());
    let outside = want.ranges.iter().any(|part| {
        part.within.is_some_and(|(start, end)| {
            let place = universe.range_of(start, end).map(|(place, _)| place);
            place != Some(usize::from(part.range))
        })
    });
    let nothing = want.ranges.is_empty() || want.ranges.iter().any(|range| range.count == 0);
    if unordered || unknown || outside || nothing || want.donor == *origin.as_bytes() {
        return Err(Misbehaved::WantWrong(origin));
    }
    Ok(())
}

/// Checks a `Paxos` record.
pub(super) fn paxos(origin: PeerName, paxos: &Paxos) -> Result<(), Misbehaved> {
    let wrong = match &paxos.accepted {
        None => false,
        Some((ballot, founding)) => {
            let founders = &founding.founders;
            ballot.round == 0
                || *ballot > paxos.promised
                || founders.is_empty()
                || founders.len() > MAX_FOUNDERS
                || founders.iter().zip(founders.iter().skip(1)).any(|(a, b)| a >= b)
        }
    };
    if wrong || paxos.electorate > MAX_ELECTORATE {
        return Err(Misbehaved::PaxosWrong(origin));
    }
    Ok(())
}
