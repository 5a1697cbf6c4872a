//! Policies without a Kubernetes API: NetworkPolicies and Namespaces that the nodes share by gossip.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which object one is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// `NetworkPolicy` or `Namespace`.
    pub kind: String,
    /// The namespace it is in; absent for a Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Writes objects, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The objects as Kubernetes has them, `kind` and `apiVersion` included.
    pub objects: Vec<Value>,
}

/// Deletes objects, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The objects.
    pub objects: Vec<ObjectName>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There was none of that name.
    Created,
    /// There was another one of that name.
    Configured,
    /// It was there already, so nothing was written.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// One object of a [`ChangeReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Which one.
    #[serde(flatten)]
    pub object: ObjectName,
    /// What became of it.
    pub outcome: Outcome,
}

/// The objects in the order of the request. What was written is on this node's disk, and on its way to
/// the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReply {
    /// What became of each.
    pub objects: Vec<Changed>,
}

/// An object as this node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Which one.
    #[serde(flatten)]
    pub id: ObjectName,
    /// When it was written, milliseconds since the Unix epoch by the writer's clock.
    pub written_ms: u64,
    /// The full name of the node where it was written.
    pub writer: String,
    /// Its nickname; empty where that is unknown.
    pub nickname: String,
    /// The object as Kubernetes has it. A text where a broken node wrote what is no JSON.
    pub object: Value,
}
