//! The header of a relayed datagram, and the routes that it is made from (`docs/protocol/data.md`, section 5.1).

use weft_crypto::PeerName;

use crate::frame::part;

/// The most relays on one route.
pub const MAX_RELAYS: usize = 3;

/// Relays that a header names: all but the first, which is whom the datagram is sealed for.
pub(crate) const MAX_NAMED: usize = MAX_RELAYS - 1;

/// The length of [`RelayHeader`] that names no relay, in bytes.
const FIXED_LEN: usize = 7 + 2 * ShortId::LEN;

/// The first 8 bytes of a node's name. Enough to find one among neighbours: a wrong one could not open anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ShortId(pub [u8; ShortId::LEN]);

impl ShortId {
    /// Its length in bytes.
    pub const LEN: usize = 8;
}

impl From<&PeerName> for ShortId {
    fn from(name: &PeerName) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *name.as_bytes();
        Self([a, b, c, d, e, f, g, h])
    }
}

/// The relays from this node to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RelayRoute {
    /// The first relay, to which this node has a direct path.
    pub first: PeerName,
    /// Those after it, in order. At most [`MAX_RELAYS`] less one count.
    pub then: Vec<PeerName>,
}

/// Which piece of a datagram this is, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// From 0. Invariant: below `count`.
    pub(crate) index: u8,
    pub(crate) count: u8,
}

impl Piece {
    /// A datagram that was not cut.
    pub(crate) const WHOLE: Self = Self { index: 0, count: 1 };
}

/// What stands before a relayed datagram, behind the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RelayHeader {
    pub(crate) piece: Piece,
    /// Joins the pieces of one datagram.
    pub(crate) id: u32,
    pub(crate) origin: ShortId,
    pub(crate) destination: ShortId,
    /// How many relays beyond the first have had it.
    passed: usize,
    /// How many relays beyond the first there are.
    count: usize,
    /// Those that had it, in the places of their successors, then those to come.
    named: [ShortId; MAX_NAMED],
}

impl RelayHeader {
    /// The header of a datagram that begins its way. Relays beyond the most possible are left out, so that it
    /// never arrives.
    pub(crate) fn new(
        origin: ShortId,
        destination: ShortId,
        then: impl Iterator<Item = ShortId>,
    ) -> Self {
        let mut named = [ShortId::default(); MAX_NAMED];
        let mut count = 0;
        for (place, id) in named.iter_mut().zip(then) {
            *place = id;
            count += 1;
        }
        Self { piece: Piece::WHOLE, id: 0, origin, destination, passed: 0, count, named }
    }

    /// The header of that piece of the datagram.
    pub(crate) fn of_piece(self, piece: Piece, id: u32) -> Self {
        Self { piece, id, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        Self::len_of(self.count)
    }

    /// The length of a header that names so many relays.
    pub(crate) const fn len_of(count: usize) -> usize {
        FIXED_LEN + count * ShortId::LEN
    }

    /// Whether this is the first relay's turn: what it came from must be its origin.
    pub(crate) fn is_fresh(&self) -> bool {
        self.passed == 0
    }

    /// Reads a header and answers what stands behind it.
    pub(crate) fn parse(body: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let piece = Piece { index: *body.first()?, count: *body.get(1)? };
        if piece.index >= piece.count {
            return None;
        }
        let counts = *body.get(2)?;
        let (passed, count) = (usize::from(counts >> 4), usize::from(counts & 0x0f));
        if count > MAX_NAMED || passed > count {
            return None;
        }
        let mut named = [ShortId::default(); MAX_NAMED];
        for (index, place) in named.iter_mut().enumerate().take(count) {
            *place = ShortId(part(body, FIXED_LEN + index * ShortId::LEN)?);
        }
        let header = Self {
            piece,
            id: u32::from_le_bytes(part(body, 3)?),
            origin: ShortId(part(body, 7)?),
            destination: ShortId(part(body, 7 + ShortId::LEN)?),
            passed,
            count,
            named,
        };
        let rest = body.get_mut(header.len()..)?;
        (!rest.is_empty()).then_some((header, rest))
    }

    /// Writes the header; what is left of `place` is for the datagram. `None` where it is too short.
    pub(crate) fn write<'a>(&self, place: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (head, rest) = place.split_at_mut_checked(self.len())?;
        let counts = u8::try_from(self.passed << 4 | self.count).ok()?;
        let named = self.named.iter().take(self.count).flat_map(|id| id.0);
        let bytes = [self.piece.index, self.piece.count, counts]
            .into_iter()
            .chain(self.id.to_le_bytes())
            .chain(self.origin.0)
            .chain(self.destination.0)
            .chain(named);
        for (place, byte) in head.iter_mut().zip(bytes) {
            *place = byte;
        }
        Some(rest)
    }

    /// The header that the relay `us` passes on, and to whom. The number of relays that had it grows with each,
    /// so that no datagram can go round.
    pub(crate) fn pass_on(mut self, us: ShortId) -> (Self, ShortId) {
        let next = match self.named.get_mut(self.passed) {
            Some(place) if self.passed < self.count => {
                self.passed += 1;
                std::mem::replace(place, us)
            }
            _ => self.destination,
        };
        (self, next)
    }

    /// At the destination: the header of an answer, which goes back to whoever handed this datagram over.
    pub(crate) fn back(&self) -> Self {
        let had = self.named.iter().take(self.passed).rev().copied();
        Self::new(self.destination, self.origin, had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ShortId {
        ShortId([n; 8])
    }

    #[test]
    fn layout_is_that_of_the_protocol_and_comes_back() {
        let header = RelayHeader::new(id(1), id(9), [id(3), id(4)].into_iter());
        let header = header.of_piece(Piece { index: 2, count: 5 }, 0x0403_0201);
        let mut bytes = vec![0; header.len() + 2];
        header.write(&mut bytes).unwrap().copy_from_slice(b"ab");
        let mut expected = vec![2, 5, 0x02, 1, 2, 3, 4];
        for n in [1, 9, 3, 4] {
            expected.extend([n; 8]);
        }
        expected.extend(b"ab");
        assert_eq!(bytes, expected);
        let (parsed, rest) = RelayHeader::parse(&mut bytes).unwrap();
        assert_eq!((parsed, &*rest), (header, &b"ab"[..]));
        for len in 0..=header.len() {
            assert_eq!(RelayHeader::parse(&mut expected[..len].to_vec()), None, "{len}");
        }
        for (at, bad) in [(0, 5), (1, 0), (1, 2), (2, 0x03), (2, 0x32), (2, 0x10)] {
            let mut bytes = expected.clone();
            bytes[at] = bad;
            assert_eq!(RelayHeader::parse(&mut bytes), None);
        }
    }

    #[test]
    fn three_relays_and_back() {
        let header = RelayHeader::new(id(1), id(9), [id(3), id(4)].into_iter());
        let (header, next) = header.pass_on(id(2));
        assert_eq!(next, id(3));
        let (header, next) = header.pass_on(id(3));
        assert_eq!(next, id(4));
        let (header, next) = header.pass_on(id(4));
        assert_eq!(next, id(9));
        assert!(!header.is_fresh());
        // It came from 4, which is the first relay of the way back.
        let back = header.back();
        assert_eq!(back, RelayHeader::new(id(9), id(1), [id(3), id(2)].into_iter()));
        let (back, next) = back.pass_on(id(4));
        assert_eq!(next, id(3));
        let (back, next) = back.pass_on(id(3));
        assert_eq!(next, id(2));
        assert_eq!(back.pass_on(id(2)).1, id(1));
    }
}
