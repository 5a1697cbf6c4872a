//! What the two ends of a session tell each other to change its keys.
//!
//! ```text
//!  0      1               9       13                             45
//! +------+---------------+-------+------------------------------+
//! | kind | epoch         | index | public key                   |   offer, answer
//! +------+---------------+-------+------------------------------+
//! | kind | epoch         |                                          confirm, done
//! +------+---------------+
//! ```
//!
//! Numbers are little-endian. Normative text: `docs/protocol/crypto.md`, section 6.

use super::RekeyError;
use crate::ReceiverIndex;
use crate::exchange::PUBLIC_LEN;

/// The length in bytes of an offer and of an answer.
const LONG: usize = SHORT + 4 + PUBLIC_LEN;
/// The length in bytes of the other two.
const SHORT: usize = 9;

/// A message, and the epoch that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) epoch: u64,
    pub(super) step: Step,
}

/// The steps to a new epoch, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The initiator wants the epoch.
    Offer(Half),
    /// The responder agrees, and takes packets of the epoch.
    Answer(Half),
    /// The initiator takes packets of the epoch, and seals no others any more.
    Confirm,
    /// So does the responder.
    Done,
}

/// One side's part of the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Half {
    /// What packets of the epoch to that side carry.
    pub(super) index: ReceiverIndex,
    pub(super) public: [u8; PUBLIC_LEN],
}

impl Message {
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, half) = match self.step {
            Step::Offer(half) => (1, Some(half)),
            Step::Answer(half) => (2, Some(half)),
            Step::Confirm => (3, None),
            Step::Done => (4, None),
        };
        let mut bytes = Vec::with_capacity(LONG);
        bytes.push(kind);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        if let Some(half) = half {
            bytes.extend_from_slice(&half.index.0.to_le_bytes());
            bytes.extend_from_slice(&half.public);
        }
        bytes
    }

    /// Reads a whole message. Nothing may follow it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RekeyError> {
        Self::split(bytes).ok_or(RekeyError::Malformed { len: bytes.len() })
    }

    fn split(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let epoch = u64::from_le_bytes(*epoch);
        let step = match (kind, rest) {
            (1, half) => Step::Offer(Half::decode(half)?),
            (2, half) => Step::Answer(Half::decode(half)?),
            (3, []) => Step::Confirm,
            (4, []) => Step::Done,
            _ => return None,
        };
        Some(Self { epoch, step })
    }
}

impl Half {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, public) = bytes.split_first_chunk()?;
        let index = ReceiverIndex(u32::from_le_bytes(*index));
        Some(Self { index, public: public.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_frozen() {
        let half = Half { index: ReceiverIndex(0x0102_0304), public: [9; PUBLIC_LEN] };
        for (step, kind, len) in [
            (Step::Offer(half), 1, LONG),
            (Step::Answer(half), 2, LONG),
            (Step::Confirm, 3, SHORT),
            (Step::Done, 4, SHORT),
        ] {
            let message = Message { epoch: 0x0506, step };
            let bytes = message.encode();
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes[..SHORT], [kind, 6, 5, 0, 0, 0, 0, 0, 0]);
            if len == LONG {
                assert_eq!(bytes[SHORT..SHORT + 4], [4, 3, 2, 1]);
                assert_eq!(bytes[SHORT + 4..], [9; PUBLIC_LEN]);
            }
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_or_unknown_is_refused() {
        let half = Half { index: ReceiverIndex(7), public: [9; PUBLIC_LEN] };
        let long = Message { epoch: 1, step: Step::Offer(half) }.encode();
        let short = Message { epoch: 1, step: Step::Done }.encode();
        for whole in [long, short] {
            for len in 0..whole.len() {
                assert_eq!(Message::decode(&whole[..len]), Err(RekeyError::Malformed { len }));
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(Message::decode(&longer), Err(RekeyError::Malformed { len: longer.len() }));
        }
        for kind in [0, 5, 0xff] {
            assert!(Message::decode(&[kind, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
        }
    }
}
