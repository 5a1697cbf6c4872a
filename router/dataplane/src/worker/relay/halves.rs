//! Puts datagrams together again that were cut in two.

use std::collections::BTreeMap;

use crate::relay::{Part, RelayHeader, ShortId};

/// Origins of which a half is kept: 1,024 times a packet's length is what strangers among the members can take.
const MAX_ORIGINS: usize = 1024;

/// The newest half from each origin. The two halves of a datagram are sent one after the other, so that one of
/// another datagram means that the rest of the former is lost.
#[derive(Default)]
pub(super) struct Halves {
    waiting: BTreeMap<ShortId, Half>,
    /// The datagram that was joined last.
    joined: Vec<u8>,
}

struct Half {
    id: u32,
    /// [`Part::Whole`] when nothing is kept; the room stays, so that the next datagram needs no memory.
    part: Part,
    bytes: Vec<u8>,
}

impl Halves {
    /// Takes a half; answers the datagram if it was the missing one.
    pub(super) fn join(&mut self, header: &RelayHeader, bytes: &[u8]) -> Option<&mut [u8]> {
        if let Some(half) = self.waiting.get_mut(&header.origin) {
            let waits = half.part != Part::Whole && half.part != header.part;
            if !waits || half.id != header.id {
                half.keep(header, bytes);
                return None;
            }
            let (first, second) = match half.part {
                Part::Second => (bytes, half.bytes.as_slice()),
                Part::Whole | Part::First => (half.bytes.as_slice(), bytes),
            };
            self.joined.clear();
            self.joined.extend_from_slice(first);
            self.joined.extend_from_slice(second);
            half.part = Part::Whole;
            return Some(&mut self.joined);
        }
        if self.waiting.len() >= MAX_ORIGINS {
            self.waiting.retain(|_, half| half.part != Part::Whole);
        }
        if self.waiting.len() >= MAX_ORIGINS {
            self.waiting.pop_first();
        }
        let mut half = Half { id: 0, part: Part::Whole, bytes: Vec::new() };
        half.keep(header, bytes);
        self.waiting.insert(header.origin, half);
        None
    }
}

impl Half {
    fn keep(&mut self, header: &RelayHeader, bytes: &[u8]) {
        (self.id, self.part) = (header.id, header.part);
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(origin: u32, id: u32, part: Part) -> RelayHeader {
        let mut short = ShortId::default();
        short.0[..4].copy_from_slice(&origin.to_le_bytes());
        let header = RelayHeader::new(short, ShortId([9; 8]), std::iter::empty());
        header.of_part(part, id)
    }

    #[test]
    fn halves_join_in_either_order_and_only_with_their_own() {
        let mut halves = Halves::default();
        assert!(halves.join(&half(1, 1, Part::First), b"ab").is_none());
        assert_eq!(halves.join(&half(1, 1, Part::Second), b"cd").unwrap(), b"abcd");
        assert!(halves.join(&half(1, 2, Part::Second), b"cd").is_none());
        assert!(halves.join(&half(2, 2, Part::First), b"xx").is_none(), "another origin");
        assert!(halves.join(&half(1, 2, Part::Second), b"cd").is_none(), "the same half");
        assert_eq!(halves.join(&half(1, 2, Part::First), b"ab").unwrap(), b"abcd");
        assert!(halves.join(&half(1, 3, Part::First), b"ab").is_none());
        assert!(halves.join(&half(1, 4, Part::Second), b"cd").is_none(), "another datagram");
        assert!(halves.join(&half(1, 3, Part::Second), b"cd").is_none(), "its half is gone");
    }

    #[test]
    fn the_number_of_halves_is_bounded() {
        let mut halves = Halves::default();
        for origin in 0..2 * 1024 {
            halves.join(&half(origin, 1, Part::First), b"ab");
        }
        assert_eq!(halves.waiting.len(), MAX_ORIGINS);
        for origin in 0..2 * 1024 {
            let [first, second] = [Part::First, Part::Second].map(|part| half(origin, 2, part));
            assert!(halves.join(&first, b"ab").is_none());
            assert_eq!(halves.join(&second, b"cd").unwrap(), b"abcd");
        }
        assert!(halves.waiting.len() <= MAX_ORIGINS);
    }
}
