//! Changing the targets, the peers that the daemon keeps dialling; removing nodes for good; and making
//! two rings one.

use serde::{Deserialize, Serialize};

use crate::status::{NamedNode, Removal};

/// Adds targets, or replaces the whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectRequest {
    /// `host`, `host:port` or `[v6]:port` each.
    pub peers: Vec<String>,
    /// Whether the given peers replace the present targets.
    #[serde(default)]
    pub replace: bool,
}

/// Drops targets. Connections that stand because of discovery may be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// Targets as they were given to `launch` or `connect`.
    pub peers: Vec<String>,
}

/// The targets after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetsReply {
    /// All targets, sorted.
    pub targets: Vec<String>,
}

/// Removes nodes from the ring, for good: all of them, or none if one cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Full names, short forms, or nicknames that only one node has.
    pub peers: Vec<String>,
    /// Removes those, too, whose word the removals wait for, whether they are dead or not.
    #[serde(default)]
    pub force: bool,
}

/// What became of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// The removals asked for, and with `force` those that came of it. Each is on disk.
    pub removals: Vec<Removal>,
}

/// Makes the ring of another node and this node's own one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealRequest {
    /// A node of the other ring: full name, short form, or a nickname that only one node has.
    pub peer: String,
}

/// Which of the rings stays. The word is on disk; the nodes of the other ring move as they hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealReply {
    /// The node that was named.
    pub peer: NamedNode,
    /// Whether it is this node's ring whose nodes move to that of the other; if not, the others come.
    pub moves: bool,
}
