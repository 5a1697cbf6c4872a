//! The fold of all claims into one map of addresses to owners: a pure function of the claims.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::wire::Span;

/// A node's word that addresses are its own, or that it gave them to `owner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: PeerName,
    pub(super) span: Span,
    /// Whether it comes from a node of this node's own view of removals.
    pub(super) current: bool,
}

/// Consecutive addresses with one owner after the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u128,
    pub(super) end: u128,
    pub(super) owner: PeerName,
    /// Another node that claims the same addresses with the same right.
    pub(super) rival: Option<PeerName>,
}

/// The order of claims on one address: the greatest wins. This node's own claim beats all (nobody
/// can take an address from this node by saying so); then those of its view of removals; then the
/// higher version; then the lower name.
type Rank = (bool, bool, u64, std::cmp::Reverse<PeerName>);

/// Folds `claims` from the point of view of `me`: sorted, disjoint segments; addresses that nobody
/// claims are in none.
///
/// Independent of the order of the claims, and indifferent to repetition: the winner of an address
/// is the greatest in a total order.
pub(super) fn fold(claims: &[Claim], me: PeerName) -> Vec<Segment> {
    let ranked = claims.iter().map(|claim| {
        let lower = std::cmp::Reverse(claim.owner);
        let rank: Rank = (claim.owner == me, claim.current, claim.span.version, lower);
        (claim.span.start, claim.span.end, rank)
    });
    let mut segments: Vec<Segment> = Vec::new();
    sweep(ranked, |start, end, active| {
        let Some((winner, _)) = active.last_key_value() else { return };
        let owner = winner.3.0;
        let rival = active
            .keys()
            .rev()
            .find(|rank| rank.3.0 != owner && (rank.1, rank.2) >= (winner.1, winner.2))
            .map(|rank| rank.3.0);
        match segments.last_mut() {
            Some(last)
                if last.end.checked_add(1) == Some(start)
                    && last.owner == owner
                    && last.rival == rival =>
            {
                last.end = end;
            }
            _ => segments.push(Segment { start, end, owner, rival }),
        }
    });
    segments
}

/// Goes once through all addresses from the first of `spans` (first address, last address, rank) to the
/// last: `visit` gets each piece on which the same spans lie, in order, with their ranks and how often
/// each occurs; pieces between spans have none. The last address of all cannot be in a span.
pub(super) fn sweep<R: Ord + Copy>(
    spans: impl Iterator<Item = (u128, u128, R)>,
    mut visit: impl FnMut(u128, u128, &BTreeMap<R, usize>),
) {
    let mut starts: BTreeMap<u128, Vec<R>> = BTreeMap::new();
    // Keyed by the first address after the span.
    let mut ends: BTreeMap<u128, Vec<R>> = BTreeMap::new();
    for (start, end, rank) in spans {
        starts.entry(start).or_default().push(rank);
        ends.entry(end.saturating_add(1)).or_default().push(rank);
    }
    let edges: BTreeSet<u128> = starts.keys().chain(ends.keys()).copied().collect();
    let mut active: BTreeMap<R, usize> = BTreeMap::new();
    let mut edges = edges.into_iter().peekable();
    while let Some(edge) = edges.next() {
        for rank in ends.get(&edge).into_iter().flatten() {
            if let Some(count) = active.get_mut(rank) {
                *count -= 1;
                if *count == 0 {
                    active.remove(rank);
                }
            }
        }
        for rank in starts.get(&edge).into_iter().flatten() {
            *active.entry(*rank).or_default() += 1;
        }
        if let Some(&next) = edges.peek() {
            visit(edge, next - 1, &active);
        }
    }
}

/// The segments that have addresses from `start` to `end`.
pub(super) fn overlapping(segments: &[Segment], start: u128, end: u128) -> &[Segment] {
    let from = segments.partition_point(|segment| segment.end < start);
    let to = segments.partition_point(|segment| segment.start <= end);
    segments.get(from..to).unwrap_or_default()
}

/// The segment that holds `number`.
pub(super) fn find(segments: &[Segment], number: u128) -> Option<&Segment> {
    let after = segments.partition_point(|segment| segment.start <= number);
    segments.get(after.checked_sub(1)?).filter(|segment| number <= segment.end)
}
