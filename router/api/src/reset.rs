//! Beginning anew under another identity.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::status::NamedNode;

/// How long the daemon takes for handing its space over before it says what that waits for. Longer
/// than freed addresses rest, 30 s: before that they cannot be given to anyone.
pub const RESET_PATIENCE: Duration = Duration::from_secs(60);

/// Has the node leave the ring and begin anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetRequest {
    /// Cuts off the Pods that are attached, and leaves behind what nobody takes over.
    #[serde(default)]
    pub force: bool,
}

/// The node as it was and as it is to be. The daemon starts again after this answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetReply {
    /// Who the node was.
    pub former: NamedNode,
    /// Who it is from here on: the full name.
    pub peer: String,
    /// How many addresses it still owned: they rest until the former node is removed on another one.
    pub left_behind: u64,
    /// The Pods that were cut off, for people.
    pub cut_off: Vec<String>,
}
