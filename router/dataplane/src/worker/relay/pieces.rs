//! Puts datagrams together again that were cut into pieces.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::relay::{Piece, RelayHeader, ShortId};
use crate::worker::BUFFER_LEN;

/// Origins of which pieces are kept.
const MAX_ORIGINS: usize = 1024;

/// Datagrams of one origin that may lack pieces at once. Pieces are sent one after the other, so that more are a sign
/// of loss, not of order.
const UNFINISHED: usize = 4;

/// The longest datagram: a frame as long as any, sealed for its destination and once more for a relay.
const MAX_LEN: usize = BUFFER_LEN + 128;

/// What all pieces may take, bytes. Beyond, all are dropped: strangers among the members can cost others a few
/// packets, but no memory.
const MAX_BYTES: usize = 16 << 20;

/// How long pieces wait for the others. Far more than packets overtake each other by; memory is given back then.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pieces at hand.
#[derive(Default)]
pub(in crate::worker) struct Pieces {
    origins: BTreeMap<ShortId, [Unfinished; UNFINISHED]>,
    /// What the buffers of `origins` take, bytes.
    bytes: usize,
    /// When old pieces were looked for last.
    swept: Duration,
    /// The datagram that was joined last.
    pub(in crate::worker) joined: Vec<u8>,
}

/// A datagram that lacks pieces. Its room stays when it has none, so that the next one needs no memory.
#[derive(Default)]
struct Unfinished {
    id: u32,
    /// How many pieces there are; 0 when nothing is kept.
    count: u8,
    since: Duration,
    /// The pieces in the order of arrival: which one it is, and where it ends in `bytes`.
    pieces: Vec<(u8, usize)>,
    bytes: Vec<u8>,
}

impl Pieces {
    /// Takes a piece of a datagram that has more than one; answers whether it was the last missing, so that
    /// [`Pieces::joined`] is the datagram.
    pub(in crate::worker) fn join(
        &mut self,
        header: &RelayHeader,
        bytes: &[u8],
        now: Duration,
    ) -> bool {
        self.sweep(now);
        if self.origins.len() >= MAX_ORIGINS && !self.origins.contains_key(&header.origin) {
            let gone = self.origins.pop_first();
            self.bytes -= gone.iter().flat_map(|(_, all)| all).map(Unfinished::room).sum::<usize>();
        }
        let Piece { index, count } = header.piece;
        let all = self.origins.entry(header.origin).or_default();
        let same = |other: &Unfinished| other.count == count && other.id == header.id;
        // A new datagram takes the place of none, or of the oldest.
        let place = all.iter().position(same).or_else(|| {
            let age = |(_, other): &(usize, &Unfinished)| (other.count > 0, other.since, other.id);
            all.iter().enumerate().min_by_key(age).map(|(place, _)| place)
        });
        let Some(unfinished) = place.and_then(|place| all.get_mut(place)) else { return false };
        if !same(unfinished) {
            unfinished.begin(header.id, count, now);
        }
        if unfinished.pieces.iter().any(|(other, _)| *other == index) {
            return false;
        }
        if unfinished.bytes.len() + bytes.len() > MAX_LEN {
            unfinished.count = 0;
            return false;
        }
        let room = unfinished.room();
        unfinished.bytes.extend_from_slice(bytes);
        unfinished.pieces.push((index, unfinished.bytes.len()));
        self.bytes += unfinished.room() - room;
        let whole = unfinished.pieces.len() == usize::from(count);
        if whole {
            unfinished.write(&mut self.joined);
            unfinished.count = 0;
        }
        if self.bytes > MAX_BYTES {
            self.origins.clear();
            self.bytes = 0;
        }
        whole
    }

    /// Lets go of what is old, once in a while.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < TIMEOUT {
            return;
        }
        self.swept = now;
        let young = |unfinished: &Unfinished| now.saturating_sub(unfinished.since) < TIMEOUT;
        self.origins.retain(|_, all| all.iter().any(young));
        self.bytes = self.origins.values().flatten().map(Unfinished::room).sum();
    }
}

impl Unfinished {
    fn begin(&mut self, id: u32, count: u8, now: Duration) {
        (self.id, self.count, self.since) = (id, count, now);
        self.pieces.clear();
        self.bytes.clear();
    }

    fn room(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<(u8, usize)>()
    }

    /// Writes all pieces in their order.
    fn write(&self, joined: &mut Vec<u8>) {
        joined.clear();
        for index in 0..self.count {
            let Some(place) = self.pieces.iter().position(|(other, _)| *other == index) else {
                continue;
            };
            let end = self.pieces.get(place).map_or(0, |(_, end)| *end);
            let before = place.checked_sub(1).and_then(|before| self.pieces.get(before));
            let start = before.map_or(0, |(_, end)| *end);
            joined.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(origin: u32, id: u32, index: u8, count: u8) -> RelayHeader {
        let mut short = ShortId::default();
        short.0[..4].copy_from_slice(&origin.to_le_bytes());
        let header = RelayHeader::new(short, ShortId([9; 8]), std::iter::empty());
        header.of_piece(Piece { index, count }, id)
    }

    const START: Duration = Duration::ZERO;

    #[test]
    fn pieces_join_in_any_order_and_only_with_their_own() {
        let mut pieces = Pieces::default();
        let mut join = |origin, id, index, bytes: &[u8]| {
            pieces.join(&piece(origin, id, index, 2), bytes, START).then(|| pieces.joined.clone())
        };
        assert_eq!(join(1, 1, 0, b"ab"), None);
        assert_eq!(join(1, 1, 1, b"c"), Some(b"abc".to_vec()));
        assert_eq!(join(1, 2, 1, b"c"), None);
        assert_eq!(join(2, 2, 0, b"xx"), None, "another origin");
        assert_eq!(join(1, 2, 1, b"c"), None, "the same piece");
        assert_eq!(join(1, 3, 0, b"ef"), None, "another datagram, between");
        assert_eq!(join(1, 2, 0, b"ab"), Some(b"abc".to_vec()));
        assert_eq!(join(1, 3, 1, b"g"), Some(b"efg".to_vec()));
        for id in 4..=8 {
            assert_eq!(join(1, id, 0, b"ab"), None);
        }
        assert_eq!(join(1, 4, 1, b"c"), None, "the oldest made room");
    }

    #[test]
    fn old_pieces_are_let_go() {
        let mut pieces = Pieces::default();
        assert!(!pieces.join(&piece(1, 1, 0, 2), b"ab", START));
        assert!(!pieces.join(&piece(2, 1, 0, 2), b"ab", TIMEOUT));
        assert_eq!(pieces.origins.len(), 1);
        assert!(!pieces.join(&piece(1, 1, 1, 2), b"cd", TIMEOUT), "the first is gone");
    }

    #[test]
    fn memory_is_bounded() {
        let mut pieces = Pieces::default();
        for origin in 0..2 * 1024 {
            pieces.join(&piece(origin, 1, 0, 2), b"ab", START);
        }
        assert_eq!(pieces.origins.len(), MAX_ORIGINS);
        let long = vec![0; 60_000];
        for origin in 0..1024 {
            for id in 0..8 {
                pieces.join(&piece(origin, id, 0, 2), &long, START);
                let room: usize = pieces.origins.values().flatten().map(Unfinished::room).sum();
                assert_eq!(pieces.bytes, room);
                assert!(room <= MAX_BYTES);
            }
        }
        assert!(!pieces.join(&piece(5000, 1, 0, 2), &long, START));
        assert!(!pieces.join(&piece(5000, 1, 1, 2), &long, START), "longer than any datagram");
    }

    proptest! {
        #[test]
        fn what_was_cut_is_whole_again(
            datagram in prop::collection::vec(any::<u8>(), 1..5000),
            each in 20_usize..2000,
            seed in any::<u64>(),
        ) {
            let mut parts: Vec<(u8, &[u8])> = (0..).zip(datagram.chunks(each)).collect();
            let count = u8::try_from(parts.len()).unwrap();
            parts.sort_by_key(|(index, _)| (u64::from(*index) + 1).wrapping_mul(seed | 1));
            let mut pieces = Pieces::default();
            let (last, first) = parts.split_last().unwrap();
            for (index, bytes) in first {
                prop_assert!(!pieces.join(&piece(1, 1, *index, count), bytes, START));
            }
            prop_assert!(pieces.join(&piece(1, 1, last.0, count), last.1, START));
            prop_assert_eq!(&pieces.joined, &datagram);
        }
    }
}
