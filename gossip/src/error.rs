//! What can be wrong with what comes from outside, sorted by whose fault it is.

use thiserror::Error;
use weft_crypto::PeerName;

use crate::{codec::DecodeError, ipam, limits::MAX_MESSAGE, record::RecordError};

/// Why a message was refused, in whole or in part. It is counted; the link stays, and what was good
/// in the message has been taken over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The message is over [`MAX_MESSAGE`]. Nothing of it was read.
    #[error("message of {0} bytes, more than {MAX_MESSAGE}")]
    TooLong(usize),
    /// The bytes are not a message. Nothing was changed.
    #[error("message is {0}")]
    Malformed(#[from] DecodeError),
    /// The sender has no admitted link. Nothing was changed.
    #[error("message from {0:?}, which is not connected")]
    NotConnected(PeerName),
    /// The message breaks a rule of the protocol. Nothing was changed.
    #[error("message breaks the protocol: {0}")]
    Misbehaved(&'static str),
    /// A record in it was refused; the others were taken over.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store is full for this origin or in all; the record was not taken over.
    #[error("no room for a record of {0:?}: {1}")]
    NoRoom(PeerName, &'static str),
}

/// Why a node cannot start from what it left on disk.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The snapshot cannot be read.
    #[error(
        "the saved state is unusable ({0}): move it away to start without it, which gives up the addresses it holds"
    )]
    Snapshot(#[from] DecodeError),
    /// The snapshot is of another identity.
    #[error(
        "the saved state belongs to {saved:?}, but the identity key is of {identity:?}: put the key back that belongs to it, or move both away"
    )]
    OtherIdentity {
        /// Whose state it is.
        saved: PeerName,
        /// Who wanted to use it.
        identity: PeerName,
    },
    /// One of the node's own records in it does not hold.
    #[error(
        "the saved state is damaged: {0}: move it away to start without it, which gives up the addresses it holds"
    )]
    Record(#[from] RecordError),
    /// The address space in it does not fit.
    #[error(transparent)]
    Ipam(#[from] ipam::RestoreError),
}
