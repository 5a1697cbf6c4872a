//! What two neighbours say to each other. `docs/protocol/gossip.md` describes it for others.

#[cfg(test)]
mod tests;

use bincode::{Decode, Encode};

use crate::{
    codec::{self, DecodeError},
    limits::{MAX_DIGEST_ENTRIES, MAX_MESSAGE},
    record::SignedRecord,
};

/// The buckets that origins fall into by the top five bits of their names.
pub(crate) const BUCKETS: usize = 32;

/// The types of messages; the byte after the version. Unknown ones are ignored.
mod kind {
    pub(super) const SUMMARY: u8 = 1;
    pub(super) const DIGEST: u8 = 2;
    pub(super) const DELTA: u8 = 3;
    pub(super) const PUSH: u8 = 4;
}

/// A message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Summary(Summary),
    Digest(Digest),
    Delta(Delta),
    Push(Push),
    /// A type that this software does not know.
    Unknown(u8),
}

/// All that the sender holds, in short. The answer is always a [`Digest`]: an empty one where both
/// hold the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Summary {
    /// For each bucket the hash over (origin, fingerprint) of what is in it.
    pub(crate) buckets: [u64; BUCKETS],
}

/// What the sender holds of the origins in some buckets whose names are between two bounds. An origin
/// that belongs there and is not listed is unknown to the sender.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Digest {
    /// Bit `n` stands for bucket `n`.
    pub(crate) mask: u32,
    /// The lowest name covered.
    pub(crate) low: [u8; 32],
    /// The highest name covered.
    pub(crate) high: [u8; 32],
    /// Whether the receiver shall answer by its own digest where it lacks something.
    pub(crate) answer: bool,
    /// Ascending by origin.
    pub(crate) entries: Vec<DigestEntry>,
}

/// What the sender holds of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct DigestEntry {
    pub(crate) origin: [u8; 32],
    /// The highest version up to which the sender has all that is live.
    pub(crate) watermark: u64,
    /// The sum of the fingerprints of the live records.
    pub(crate) fingerprint: u64,
}

/// Records that the receiver lacks according to its digest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Delta {
    /// There is more that did not fit: compare again at once.
    pub(crate) more: bool,
    pub(crate) spans: Vec<Span>,
}

/// All live records of one origin with versions above `from` and up to that of the last of them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Span {
    pub(crate) origin: [u8; 32],
    pub(crate) from: u64,
    /// Ascending by version.
    pub(crate) records: Vec<SignedRecord>,
}

/// Records that are new to the sender.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Push {
    pub(crate) records: Vec<SignedRecord>,
}

impl Message {
    /// The bytes to send.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Summary(body) => codec::encode(&(kind::SUMMARY, body)),
            Self::Digest(body) => codec::encode(&(kind::DIGEST, body)),
            Self::Delta(body) => codec::encode(&(kind::DELTA, body)),
            Self::Push(body) => codec::encode(&(kind::PUSH, body)),
            Self::Unknown(kind) => codec::encode(kind),
        };
        debug_assert!(bytes.len() <= MAX_MESSAGE, "{} bytes", bytes.len());
        bytes
    }

    /// The message that `bytes` are. The caller has bounded their number.
    ///
    /// # Errors
    /// The bytes are malformed. A type that is unknown is not an error, whatever follows it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let &[version, kind, ..] = bytes else { return Err(DecodeError::Empty) };
        if version != codec::VERSION {
            return Err(DecodeError::Version(version));
        }
        Ok(match kind {
            kind::SUMMARY => Self::Summary(codec::decode::<(u8, _)>(bytes)?.1),
            kind::DIGEST => Self::Digest(codec::decode::<(u8, _)>(bytes)?.1),
            kind::DELTA => Self::Delta(codec::decode::<(u8, _)>(bytes)?.1),
            kind::PUSH => Self::Push(codec::decode::<(u8, _)>(bytes)?.1),
            other => Self::Unknown(other),
        })
    }
}

impl Digest {
    /// What answers a summary that is equal to the own one.
    pub(crate) fn equal() -> Self {
        Self { mask: 0, low: [0; 32], high: [0xff; 32], answer: false, entries: Vec::new() }
    }

    /// Whether the digest speaks about `origin`.
    pub(crate) fn covers(&self, origin: &[u8; 32]) -> bool {
        self.mask >> bucket_of(origin) & 1 == 1 && (self.low..=self.high).contains(origin)
    }

    /// What an honest node never sends.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.entries.len() > MAX_DIGEST_ENTRIES {
            return Err("digest with too many entries");
        }
        if !self.entries.is_sorted_by(|a, b| a.origin < b.origin) {
            return Err("digest out of order");
        }
        if !self.entries.iter().all(|entry| self.covers(&entry.origin)) {
            return Err("digest with an origin that it does not cover");
        }
        Ok(())
    }
}

/// The bucket that an origin falls into.
pub(crate) fn bucket_of(origin: &[u8; 32]) -> usize {
    usize::from(origin[0] >> 3)
}
