//! What is read from a Node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::{NodeInfo, Object};

/// The annotation of a Node that holds the full name in the mesh of the daemon that runs there.
pub const PEER_ANNOTATION: &str = "weft.network/peer";

/// The condition of a Node by which the scheduler learns that Pods have no network there.
pub(crate) const CONDITION: &str = "NetworkUnavailable";

/// What a Node says of the daemon on it; compared with what that has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnNode {
    pub(crate) peer: Option<String>,
    pub(crate) condition: Option<Condition>,
}

/// A condition, as far as it is ours to set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// All Nodes, as they were last told.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    known: BTreeMap<String, NodeInfo>,
}

impl Nodes {
    /// Whether that changes anything told; kubelets write to their Nodes every five minutes.
    pub(crate) fn apply(&mut self, object: &Object) -> bool {
        let node = info(object);
        if self.known.get(&node.name) == Some(&node) {
            return false;
        }
        self.known.insert(node.name.clone(), node);
        true
    }

    /// Whether it was known.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.known.remove(name).is_some()
    }

    /// In the order of their names.
    pub(crate) fn all(&self) -> Vec<NodeInfo> {
        self.known.values().cloned().collect()
    }
}

fn info(object: &Object) -> NodeInfo {
    let value = &object.value;
    let mut addresses = addresses(value, "InternalIP");
    if addresses.is_empty() {
        addresses = self::addresses(value, "ExternalIP");
    }
    NodeInfo { name: object.id.name.clone(), uid: object.uid.clone(), addresses, peer: peer(value) }
}

/// Those of one type, in the order of the Node; what is no address is left out.
fn addresses(node: &Value, kind: &str) -> Vec<IpAddr> {
    let listed = node.pointer("/status/addresses").and_then(Value::as_array);
    let of_kind = listed.into_iter().flatten().filter(|entry| entry["type"] == kind);
    of_kind.filter_map(|entry| entry["address"].as_str()?.parse().ok()).collect()
}

fn peer(node: &Value) -> Option<String> {
    let annotations = node.pointer("/metadata/annotations")?;
    Some(annotations.get(PEER_ANNOTATION)?.as_str()?.to_owned())
}

/// What `node` says of the daemon on it.
pub(crate) fn own(node: &Value) -> OwnNode {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let condition = conditions.into_iter().flatten().find(|entry| entry["type"] == CONDITION);
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    OwnNode {
        peer: peer(node),
        condition: condition.map(|entry| Condition {
            status: text(entry, "status"),
            reason: text(entry, "reason"),
            message: text(entry, "message"),
        }),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
