//! Who can be reached over the links that nodes report.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

/// The nodes that `from` reaches, itself included: its connected component over links that both
/// ends report. A link reported by one end alone is one that the other has lost, or a lie.
pub fn reachable(
    from: PeerName,
    links: &BTreeMap<PeerName, BTreeSet<PeerName>>,
) -> BTreeSet<PeerName> {
    let mut reached = BTreeSet::from([from]);
    let mut frontier = vec![from];
    while let Some(node) = frontier.pop() {
        for &peer in links.get(&node).into_iter().flatten() {
            let mutual = links.get(&peer).is_some_and(|back| back.contains(&node));
            if mutual && reached.insert(peer) {
                frontier.push(peer);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_both_ends_report_count() {
        // Each case: the links as "reporter: reported", and whom node 1 reaches.
        type Case = (&'static [(u8, &'static [u8])], &'static [u8]);
        let cases: &[Case] = &[
            (&[], &[1]),
            (&[(1, &[2])], &[1]),
            (&[(2, &[1])], &[1]),
            (&[(1, &[2]), (2, &[1])], &[1, 2]),
            (&[(1, &[1])], &[1]),
            (&[(1, &[2]), (2, &[1, 3]), (3, &[2])], &[1, 2, 3]),
            (&[(1, &[2]), (2, &[1, 3]), (3, &[])], &[1, 2]),
            (&[(1, &[2]), (2, &[3]), (3, &[2])], &[1]),
            (&[(1, &[2, 4]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3])], &[1, 2, 3, 4]),
            (&[(1, &[2]), (2, &[1]), (3, &[4]), (4, &[3])], &[1, 2]),
        ];
        for (links, expected) in cases {
            let links = links
                .iter()
                .map(|(from, to)| (name(*from), to.iter().copied().map(name).collect()))
                .collect();
            let expected: BTreeSet<_> = expected.iter().copied().map(name).collect();
            assert_eq!(reachable(name(1), &links), expected, "{links:?}");
        }
    }

    fn name(n: u8) -> PeerName {
        PeerName::from_bytes([n; 32])
    }
}
