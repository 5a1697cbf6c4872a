//! Which cluster secrets are in force.

use serde::{Deserialize, Serialize};

/// What the daemon found in its secret file and accepts from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsReply {
    /// How many secrets are accepted: 1, or 2 while the cluster changes it.
    pub accepted: usize,
}
