//! Changing the targets: the peers that the daemon keeps dialling.

use serde::{Deserialize, Serialize};

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
