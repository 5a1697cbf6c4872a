//! What leaves a node.

use ipnet::IpNet;
use weft_crypto::PeerName;

use crate::{
    ipam::{AllocateError, RequestId},
    objects::types::WriteId,
};

/// A message to a neighbour, to be sent in order on the control link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The neighbour. Where its link is gone, the message is dropped.
    pub to: PeerName,
    /// At most [`crate::limits::MAX_MESSAGE`] bytes.
    pub bytes: Vec<u8>,
}

/// Something to be made durable, in the order in which it comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// What to pass to [`crate::Node::persisted`] when the bytes are safe on disk. Tokens grow;
    /// a token stands for all smaller ones.
    pub token: u64,
    /// What to write.
    pub what: Written,
}

/// What is written to the disk at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// All that a node must know after a restart: what was written before is not needed any more.
    Snapshot(Vec<u8>),
    /// A change. It belongs behind what was written before, and is as large as what changed.
    Append(Vec<u8>),
}

/// What is on the disk: a snapshot and what was appended to it, to be passed to
/// [`crate::Node::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The newest snapshot.
    pub snapshot: Vec<u8>,
    /// What came after it, oldest first.
    pub appended: Vec<Vec<u8>>,
}

impl Saved {
    /// Writes what came next.
    pub fn write(&mut self, what: Written) {
        match what {
            Written::Snapshot(snapshot) => *self = Self { snapshot, appended: Vec::new() },
            Written::Append(change) => self.appended.push(change),
        }
    }
}

/// Something the owner of a node acts on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request by [`crate::Node::allocate`] is decided, and what it depends on is on disk.
    Allocated {
        /// The request.
        id: RequestId,
        /// The addresses, with the prefix length of their range.
        result: Result<Vec<IpNet>, AllocateError>,
    },
    /// [`crate::Node::members`] or [`crate::Node::candidates`] may answer differently.
    MembersChanged,
    /// [`crate::Node::routes`] may answer differently.
    RoutesChanged,
    /// A Pod must stop using its addresses: they belong to another node, because this node was removed,
    /// got them from one that was, or gave them away before its disk lost that. They are no longer among [`crate::Node::allocations`].
    Fenced {
        /// The owner of the addresses on this node.
        key: String,
        /// What it had.
        addresses: Vec<IpNet>,
    },
    /// What [`crate::Node::write_objects`] was asked for is on disk, in force here and on its way to
    /// the others.
    ObjectsWritten(WriteId),
    /// [`crate::Node::objects`] may answer differently.
    ObjectsChanged,
    /// [`crate::Node::poll_pod`] has Pods of other nodes that came, changed or went.
    PodsChanged,
    /// Someone should look at this some time; one line, said once.
    Warning(String),
}
