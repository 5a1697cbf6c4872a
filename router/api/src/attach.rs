//! What the wiring of a Pod asks the daemon for. An attachment is one interface of one container;
//! its key is (container, ifname).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The container under which the host's own addresses are kept; its interface is the bridge. No
/// runtime's container is called so: their ids have no colon.
pub const EXPOSED: &str = "weft:expose";

/// How a Pod reaches what is outside the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// Whether what the Pod sends out of the mesh leaves under the host's address.
    #[serde(default)]
    pub masquerade: bool,
    /// Addresses of Pods that are not masqueraded all the same.
    #[serde(default)]
    pub exempt: Vec<IpNet>,
}

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The Pod's `metadata.uid`, where the runtime tells it: another Pod under the same name has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The Pod's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The ports the Pod names.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// Addresses asked for by value; empty means one per range, chosen by the daemon.
    #[serde(default)]
    pub ips: Vec<IpNet>,
    /// Parts of the ranges that the addresses must be from, one of a range at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<IpNet>,
    /// The interface's MAC address where somebody else has made it; else it will have the one that
    /// follows from its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The network that the interface is part of, where a runtime names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Asks for gateways out of the mesh: the host gets addresses of its own first if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
}

/// One interface that has addresses: an entry of `weft ps --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The container's id, or the path of the network namespace for `weft attach`.
    pub container: String,
    /// The name of the interface inside the Pod.
    pub ifname: String,
    /// The Kubernetes namespace, where there is one.
    pub namespace: Option<String>,
    /// The Pod's name, where there is one.
    pub pod: Option<String>,
    /// The Pod's `metadata.uid`, where the runtime told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The Pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The ports the Pod names.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// The interface's MAC address: derived from its first address, `0a:58:0a:20:00:01`, unless
    /// somebody else has made the interface. The bridge's own for [`EXPOSED`].
    pub mac: String,
    /// The addresses, each with the prefix length of the range it is from.
    pub ips: Vec<IpNet>,
    /// The network that the interface is part of, where a runtime named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The host's addresses that are the Pod's way out, one of each family that the Pod has, if it
    /// asked for a way out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Those of the addresses that are masqueraded outside the mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masqueraded: Vec<IpAddr>,
    /// Why the interface is cut off: its addresses are void. It can only be detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<String>,
    /// Which of the rules at the interface's port, or of the policies that isolate it, the kernel
    /// lacks. Looked for only where the container is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected: Option<String>,
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

/// Selects attachments by what is given. Without `ifname`, all of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentQuery {
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The name of the interface inside the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// The network, as the attachment recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// What a detach freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachReply {
    /// The attachments that are gone; empty when there were none.
    pub detached: Vec<Attachment>,
}
