//! What the wiring of a Pod asks the daemon for. An attachment is one interface of one container;
//! its key is (container, ifname).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A port that a Pod names, as NetworkPolicy refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name, unique with the protocol inside the Pod.
    pub name: String,
    /// The port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Asks for addresses for one interface. Repeating it answers the same addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The container's id, or the path of the network namespace for `weft attach`.
    pub container: String,
    /// The name of the interface inside the Pod.
    pub ifname: String,
    /// The Kubernetes namespace, where there is one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The Pod's name, where there is one.
    #[serde(default)]
    pub pod: Option<String>,
    /// The Pod's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The ports the Pod names.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// Addresses asked for by value; empty means one per range, chosen by the daemon.
    #[serde(default)]
    pub ips: Vec<IpNet>,
}

/// One interface that has addresses: an entry of `weft ps --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The container's id, or the path of the network namespace for `weft attach`.
    pub container: String,
    /// The name of the interface inside the Pod.
    pub ifname: String,
    /// The Kubernetes namespace, where there is one.
    pub namespace: Option<String>,
    /// The Pod's name, where there is one.
    pub pod: Option<String>,
    /// The Pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The ports the Pod names.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// The interface's MAC address, derived from its first address: `0a:58:0a:20:00:01`.
    pub mac: String,
    /// The addresses, each with the prefix length of the range it is from.
    pub ips: Vec<IpNet>,
}

/// What the wiring needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachReply {
    /// The attachment as `ps` shows it.
    pub attachment: Attachment,
    /// The bridge to plug the host's end of the veth into.
    pub bridge: String,
    /// The MTU of the overlay, bytes of the IP packet.
    pub mtu: u32,
}

/// Selects attachments. Without `ifname`, all of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentQuery {
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The name of the interface inside the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

/// What a detach freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachReply {
    /// The attachments that are gone; empty when there were none.
    pub detached: Vec<Attachment>,
}
