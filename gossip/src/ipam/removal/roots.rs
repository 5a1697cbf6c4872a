//! Where addresses came from that changed hands while a removal was pending.

use std::collections::BTreeMap;

use weft_crypto::PeerName;

/// For addresses that this node took over since its last acknowledgement: whose acknowledgement
/// says that it held them. All others it held itself. Spans are disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ipam) struct Roots {
    /// First address to last address and root.
    spans: BTreeMap<u128, (u128, PeerName)>,
}

impl Roots {
    pub(in crate::ipam) fn iter(&self) -> impl Iterator<Item = (u128, u128, PeerName)> {
        self.spans.iter().map(|(&start, &(end, root))| (start, end, root))
    }

    pub(in crate::ipam) fn clear(&mut self) {
        self.spans.clear();
    }

    /// Adds a span that overlaps none.
    pub(in crate::ipam) fn insert(&mut self, start: u128, end: u128, root: PeerName) {
        self.spans.insert(start, (end, root));
    }

    /// The addresses `start` to `end` cut into pieces of one root each; `rest` is that of addresses
    /// that are not listed.
    pub(in crate::ipam) fn pieces(
        &self,
        start: u128,
        end: u128,
        rest: PeerName,
    ) -> Vec<(u128, u128, PeerName)> {
        let mut pieces = Vec::new();
        let mut next = start;
        for (first, last, root) in self.overlapping(start, end) {
            let (first, last) = (first.max(start), last.min(end));
            if next < first {
                pieces.push((next, first - 1, rest));
            }
            pieces.push((first, last, root));
            next = last + 1;
        }
        if next <= end {
            pieces.push((next, end, rest));
        }
        pieces
    }

    /// Takes `start` to `end` out.
    pub(in crate::ipam) fn remove(&mut self, start: u128, end: u128) {
        let cut: Vec<_> = self.overlapping(start, end).collect();
        for (first, last, root) in cut {
            self.spans.remove(&first);
            if first < start {
                self.spans.insert(first, (start - 1, root));
            }
            if end < last {
                self.spans.insert(end + 1, (last, root));
            }
        }
    }

    fn overlapping(
        &self,
        start: u128,
        end: u128,
    ) -> impl Iterator<Item = (u128, u128, PeerName)> + use<> {
        // One span may begin before and reach in.
        let before = self.spans.range(..start).next_back().filter(|(_, (last, _))| *last >= start);
        let inside = self.spans.range(start..=end);
        let found: Vec<_> =
            before.into_iter().chain(inside).map(|(&first, &(last, r))| (first, last, r)).collect();
        found.into_iter()
    }
}
