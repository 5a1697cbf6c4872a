//! Records: what one node says about itself, signed so that others can pass it on.

use std::fmt;

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};
use thiserror::Error;
use weft_crypto::{Identity, PeerName, Signature};

use crate::{
    codec::{self, DecodeError},
    limits::{MAX_NAME, MAX_VALUE},
};

/// What a record's signature is bound to, so that it cannot be taken for one made for another
/// purpose with the same key.
pub(crate) const SIGNATURE_CONTEXT: &[u8] = b"weft record v1";

/// What a record is about. Kinds without a name here are stored and passed on, never interpreted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Kind(pub u16);

impl Kind {
    /// Who the origin is: nickname, software, boot, port.
    pub const NODE: Self = Self(1);
    /// The control links the origin has.
    pub const LINKS: Self = Self(2);
    /// The address space the origin owns and has granted.
    pub const SPACE: Self = Self(3);
    /// The address space the origin asks for.
    pub const WANT: Self = Self(4);
    /// The origin's part in the consensus on who makes the ring.
    pub const PAXOS: Self = Self(5);
    /// The origin's word on removals that are not complete.
    pub const PENDING: Self = Self(6);
    /// The origin's word on those that are.
    pub const COMPLETED: Self = Self(7);
    /// What the origin wrote of an object that any node may write.
    pub const OBJECT: Self = Self(8);
    /// What policies need to know of one of the origin's Pods.
    pub const POD: Self = Self(9);

    /// Whether an origin may have several records of this kind, told apart by numbers.
    pub(crate) fn is_numbered(self) -> bool {
        matches!(self, Self::OBJECT | Self::POD)
    }

    /// Whether content of this kind must be on the origin's disk before others may see it.
    pub(crate) fn is_durable(self) -> bool {
        matches!(
            self,
            Self::SPACE | Self::WANT | Self::PAXOS | Self::PENDING | Self::COMPLETED | Self::OBJECT
        )
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NODE => f.write_str("node"),
            Self::LINKS => f.write_str("links"),
            Self::SPACE => f.write_str("space"),
            Self::WANT => f.write_str("want"),
            Self::PAXOS => f.write_str("paxos"),
            Self::PENDING => f.write_str("pending removals"),
            Self::COMPLETED => f.write_str("completed removals"),
            Self::OBJECT => f.write_str("object"),
            Self::POD => f.write_str("pod"),
            Self(other) => write!(f, "kind {other}"),
        }
    }
}

/// Which of an origin's records one is. A newer record replaces the older of the same key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct Key {
    /// What it is about.
    pub kind: Kind,
    /// Which one of that kind; empty where an origin has only one.
    pub name: Vec<u8>,
}

impl Key {
    /// The key of the only record of its kind.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, name: Vec::new() }
    }

    /// The key of one of several records of its kind.
    pub(crate) fn numbered(kind: Kind, number: u16) -> Self {
        Self { kind, name: number.to_be_bytes().to_vec() }
    }
}

/// A record as it travels: the signed bytes, unchanged since the origin made them, and the signature.
///
/// The encoding is not canonical (a variable-length integer has several forms), so the bytes are kept
/// and passed on; re-encoding the content would lose the signature.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SignedRecord {
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// The content of [`SignedRecord::body`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Body {
    origin: [u8; 32],
    key: Key,
    version: u64,
    value: Option<Vec<u8>>,
}

/// A record with its content decoded. Whether the signature holds is the business of who made one:
/// [`Record::sign`] makes good ones, [`Record::decode`] makes ones to [`Record::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    origin: PeerName,
    key: Key,
    version: u64,
    value: Option<Vec<u8>>,
    digest: [u8; 32],
    signed: SignedRecord,
}

/// Why a record was not taken over. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The body is not the form of a record.
    #[error("record is {0}")]
    Body(#[from] DecodeError),
    /// The key's name is over [`MAX_NAME`].
    #[error("the name of a record's key has {0} bytes, more than {MAX_NAME}")]
    Name(usize),
    /// The value is over [`MAX_VALUE`].
    #[error("the value of a record has {0} bytes, more than {MAX_VALUE}")]
    Value(usize),
    /// Version zero is what a node that knows nothing announces, so no record may have it.
    #[error("a record has version 0")]
    Version,
    /// The signature is not the origin's over this body.
    #[error("a record of {0:?} has a signature that is not by {0:?}")]
    Signature(PeerName),
}

impl Record {
    /// Makes and signs a record of `identity`.
    pub fn sign(identity: &Identity, key: Key, version: u64, value: Option<Vec<u8>>) -> Self {
        let origin = identity.name();
        let body = codec::encode(&Body {
            origin: *origin.as_bytes(),
            key: key.clone(),
            version,
            value: value.clone(),
        });
        let signature = *identity.sign(SIGNATURE_CONTEXT, &body).as_bytes();
        let digest = Sha256::digest(&body).into();
        Self { origin, key, version, value, digest, signed: SignedRecord { body, signature } }
    }

    /// Reads what a record says, without checking who said it.
    ///
    /// # Errors
    /// The content is malformed or over a limit.
    pub fn decode(signed: SignedRecord) -> Result<Self, RecordError> {
        let body: Body = codec::decode(&signed.body)?;
        if body.key.name.len() > MAX_NAME {
            return Err(RecordError::Name(body.key.name.len()));
        }
        let len = body.value.as_ref().map_or(0, Vec::len);
        if len > MAX_VALUE {
            return Err(RecordError::Value(len));
        }
        if body.version == 0 {
            return Err(RecordError::Version);
        }
        let digest = Sha256::digest(&signed.body).into();
        Ok(Self {
            origin: PeerName::from_bytes(body.origin),
            key: body.key,
            version: body.version,
            value: body.value,
            digest,
            signed,
        })
    }

    /// Checks that the origin signed it.
    ///
    /// # Errors
    /// [`RecordError::Signature`] where it did not.
    pub fn verify(&self) -> Result<(), RecordError> {
        let signature = Signature::from_bytes(self.signed.signature);
        self.origin
            .verify(SIGNATURE_CONTEXT, &self.signed.body, &signature)
            .map_err(|_| RecordError::Signature(self.origin))
    }

    /// Who wrote it.
    pub fn origin(&self) -> PeerName {
        self.origin
    }

    /// Which record of its origin it is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its place in the one order over all records of its origin.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it says; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The form to pass on.
    pub fn signed(&self) -> &SignedRecord {
        &self.signed
    }

    /// What decides between two records of one origin and key: the larger wins. An honest origin
    /// never uses a version twice; the digest decides, the same everywhere, where one did.
    pub(crate) fn rank(&self) -> (u64, &[u8; 32]) {
        (self.version, &self.digest)
    }

    /// What the record adds to its origin's fingerprint.
    pub(crate) fn fingerprint(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// What the record costs in a message and, about, in memory: bytes.
    pub(crate) fn size(&self) -> usize {
        // 64 of signature, up to 3 of length.
        self.signed.body.len() + 67
    }
}
