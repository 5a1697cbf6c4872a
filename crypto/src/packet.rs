//! The layout of a data packet: header, ciphertext, tag.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+-----------------------------------------------+
//! | type = 0x01   |              reserved, all zero               |
//! +---------------+-----------------------------------------------+
//! |              receiver index (32 bits, little-endian)          |
//! +---------------------------------------------------------------+
//! |                                                               |
//! |                 counter (64 bits, little-endian)              |
//! +---------------------------------------------------------------+
//! |                      ciphertext (any length)                 ...
//! +---------------------------------------------------------------+
//! |                         tag (16 bytes)                        |
//! +---------------------------------------------------------------+
//! ```
//!
//! The whole header is authenticated with the ciphertext. Normative text: `docs/protocol/crypto.md`, section 5.

/// The length of a packet's header in bytes.
pub const HEADER_LEN: usize = 16;

/// The length of a packet's authentication tag in bytes.
pub const TAG_LEN: usize = 16;

/// The longest packet in bytes: what a UDP datagram could carry at all.
pub const MAX_PACKET_LEN: usize = 65_535;

/// How many packets one key may seal; counters lie below it.
pub const MAX_PACKETS: u64 = 1 << 60;

/// The type byte of a data packet. Bit 0x40 is clear: that bit marks QUIC on the shared port.
const TYPE_DATA: u8 = 0x01;

/// Which session of the receiver a packet belongs to. Chosen at random by the receiver, meaningful to it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReceiverIndex(pub u32);

/// The clear part of a packet. Forgeable until the packet was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The session at the receiver.
    pub receiver: ReceiverIndex,
    /// The packet's number under its key; never used twice.
    pub counter: u64,
}

impl Header {
    /// Reads the header of a received packet without authenticating anything.
    ///
    /// # Errors
    /// [`HeaderError`] for what cannot be a data packet; drop and count it.
    pub fn parse(packet: &[u8]) -> Result<Self, HeaderError> {
        if packet.len() < HEADER_LEN + TAG_LEN {
            return Err(HeaderError::TooShort { len: packet.len() });
        }
        let header = packet.first_chunk().ok_or(HeaderError::TooShort { len: packet.len() })?;
        Self::decode(header)
    }

    pub(crate) fn decode(header: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        let [kind, r0, r1, r2, i0, i1, i2, i3, counter @ ..] = *header;
        if kind != TYPE_DATA {
            return Err(HeaderError::UnknownType { kind });
        }
        if [r0, r1, r2] != [0; 3] {
            return Err(HeaderError::Reserved);
        }
        let counter = u64::from_le_bytes(counter);
        if counter >= MAX_PACKETS {
            return Err(HeaderError::Counter);
        }
        Ok(Self { receiver: ReceiverIndex(u32::from_le_bytes([i0, i1, i2, i3])), counter })
    }

    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let [i0, i1, i2, i3] = self.receiver.0.to_le_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.counter.to_le_bytes();
        [TYPE_DATA, 0, 0, 0, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7]
    }
}

/// Why bytes are not a data packet. All of them are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Shorter than a header and a tag.
    #[error("packet of {len} bytes is shorter than a header and a tag")]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The type byte is not one we know.
    #[error("packet type {kind:#04x} is unknown")]
    UnknownType {
        /// The type byte.
        kind: u8,
    },
    /// A reserved byte is not zero.
    #[error("reserved bytes of the packet header are not zero")]
    Reserved,
    /// The counter is 2^60 or more, which no sender reaches.
    #[error("packet counter is out of range")]
    Counter,
}

#[cfg(test)]
mod tests;
