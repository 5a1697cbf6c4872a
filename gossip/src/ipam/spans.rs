//! A set of addresses as disjoint spans: what one node owns.

use std::collections::BTreeMap;

use super::wire::Span;

/// Owned addresses. Invariant: spans are disjoint and no two are adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpanSet {
    /// First address to last address and version.
    spans: BTreeMap<u128, (u128, u64)>,
}

impl SpanSet {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Span> {
        self.spans.iter().map(|(&start, &(end, version))| Span { start, end, version })
    }

    /// The spans that lie inside `start` to `end`; spans never reach over the edge of a range, so
    /// for a range these are all of its spans.
    pub(super) fn within(&self, start: u128, end: u128) -> impl DoubleEndedIterator<Item = Span> {
        self.spans.range(start..=end).map(|(&start, &(end, version))| Span { start, end, version })
    }

    /// The parts of spans that lie in `start` to `end`, cut to it.
    pub(super) fn clipped(&self, start: u128, end: u128) -> impl DoubleEndedIterator<Item = Span> {
        // One span may begin before and reach in.
        let before = self.spans.range(..start).next_back().filter(|(_, (last, _))| *last >= start);
        let inside = (start <= end).then(|| self.spans.range(start..=end));
        before.filter(|_| start <= end).into_iter().chain(inside.into_iter().flatten()).map(
            move |(&first, &(last, version))| Span {
                start: first.max(start),
                end: last.min(end),
                version,
            },
        )
    }

    /// The span that holds all of `start` to `end`.
    pub(super) fn covering(&self, start: u128, end: u128) -> Option<Span> {
        let (&first, &(last, version)) = self.spans.range(..=start).next_back()?;
        (end <= last).then_some(Span { start: first, end: last, version })
    }

    /// What of `start` to `end` is not in the set.
    pub(super) fn gaps(&self, start: u128, end: u128) -> Vec<(u128, u128)> {
        let mut gaps = Vec::new();
        let mut next = start;
        for span in self.clipped(start, end) {
            if next < span.start {
                gaps.push((next, span.start - 1));
            }
            next = span.end.saturating_add(1);
        }
        if next <= end {
            gaps.push((next, end));
        }
        gaps
    }

    pub(super) fn contains(&self, number: u128) -> bool {
        self.covering(number, number).is_some()
    }

    /// Whether any address of `start` to `end` is in the set.
    pub(super) fn overlaps(&self, start: u128, end: u128) -> bool {
        self.spans.range(..=end).next_back().is_some_and(|(_, &(last, _))| last >= start)
    }

    /// Adds a span that overlaps none. Joins it with its neighbours; the higher version holds for
    /// the whole, which is sound because the owner alone decides about versions of what it owns.
    pub(super) fn insert(&mut self, span: Span) {
        debug_assert!(span.start <= span.end && !self.overlaps(span.start, span.end));
        let Span { mut start, mut end, mut version } = span;
        let before = self.spans.range(..start).next_back().map(|(&first, &rest)| (first, rest));
        if let Some((first, (last, its_version))) = before
            && last.checked_add(1) == Some(start)
        {
            self.spans.remove(&first);
            start = first;
            version = version.max(its_version);
        }
        if let Some(next) = end.checked_add(1)
            && let Some((last, its_version)) = self.spans.remove(&next)
        {
            end = last;
            version = version.max(its_version);
        }
        self.spans.insert(start, (end, version));
    }

    /// Takes `start` to `end` out of the one span that holds them, whose version it returns; the
    /// rest keeps that version. `None`, and no change, if no one span holds them all.
    pub(super) fn remove(&mut self, start: u128, end: u128) -> Option<u64> {
        if start > end {
            return None;
        }
        let whole = self.covering(start, end)?;
        self.spans.remove(&whole.start);
        if whole.start < start {
            self.spans.insert(whole.start, (start - 1, whole.version));
        }
        if end < whole.end {
            self.spans.insert(end + 1, (whole.end, whole.version));
        }
        Some(whole.version)
    }
}

impl FromIterator<Span> for SpanSet {
    /// The spans must not overlap.
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut set = Self::default();
        spans.into_iter().for_each(|span| set.insert(span));
        set
    }
}
