//! What each side tells of itself once the other is admitted.
//!
//! ```text
//!  0               8               16      20      22
//! +---------------+---------------+-------+-------+
//! | boot id       | dial number   | index | offer |   all little endian
//! +---------------+---------------+-------+-------+
//! ```
//!
//! Bytes beyond those are for later versions and are passed over.

use weft_crypto::{Offer, ReceiverIndex};

/// The first frame after the proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// Drawn at random at each start of a daemon: tells a restarted peer from a running one.
    pub(super) boot_id: u64,
    /// The dialler's count of its dials; of two connections dialled by one side, the higher number
    /// is the newer. The answering side sends 0.
    pub(super) dial_number: u64,
    /// The index that data packets to the sender of this hello must carry.
    pub(super) receiver: ReceiverIndex,
    /// The cipher suites of the data path that the sender accepts and prefers.
    pub(super) offer: Offer,
}

/// The hello's length on the wire, bytes.
const LEN: usize = 20 + Offer::LEN;

impl Hello {
    /// The bytes on the wire.
    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.boot_id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dial_number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.receiver.0.to_le_bytes());
        bytes[20..].copy_from_slice(&self.offer.encode());
        bytes
    }

    /// Reads the bytes; `None` where they are too few. The offer may be absent.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (boot_id, rest) = bytes.split_first_chunk::<8>()?;
        let (dial_number, rest) = rest.split_first_chunk::<8>()?;
        let (receiver, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            boot_id: u64::from_le_bytes(*boot_id),
            dial_number: u64::from_le_bytes(*dial_number),
            receiver: ReceiverIndex(u32::from_le_bytes(*receiver)),
            offer: Offer::decode(rest),
        })
    }
}

#[cfg(test)]
mod tests {
    use weft_crypto::SuitePolicy;

    use super::*;

    #[test]
    fn round_trip_longer_and_shorter() {
        let hello = Hello {
            boot_id: 1 << 63 | 7,
            dial_number: 3,
            receiver: ReceiverIndex(9),
            offer: SuitePolicy::Auto.offer_on(true),
        };
        let mut bytes = hello.encode().to_vec();
        assert_eq!(Hello::decode(&bytes), Some(hello));
        bytes.push(0xff);
        assert_eq!(Hello::decode(&bytes), Some(hello));
        for cut in 0..20 {
            assert_eq!(Hello::decode(&bytes[..cut]), None);
        }
        let without = Hello { offer: Offer::ABSENT, ..hello };
        assert_eq!(Hello::decode(&bytes[..20]), Some(without));
    }
}
