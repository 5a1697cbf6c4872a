//! What `weft status --json` and its tables print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `weft status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Whether the daemon can serve a Pod: it has a ring, a bridge and a data plane.
    pub ready: bool,
    /// The mesh, from this node.
    pub router: Router,
    /// Address management.
    pub ipam: Ipam,
    /// Policy.
    pub policy: Policy,
    /// What is heard from the Kubernetes API; absent where none is listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// What an operator should look at, one line each; empty when all is well.
    pub warnings: Vec<String>,
}

/// The mesh, from this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// The node's full name: 64 hexadecimal digits.
    pub name: String,
    /// The nickname.
    pub nickname: String,
    /// The UDP port.
    pub port: u16,
    /// Whether peers of peers are dialled too.
    pub discovery: bool,
    /// The targets, sorted.
    pub targets: Vec<String>,
    /// How many peers are known, this node counted.
    pub peers: usize,
    /// This node's connections, by state.
    pub connections: ConnectionCounts,
    /// Established connections of all known peers, each seen from both of its ends.
    #[serde(default)]
    pub mesh_established: usize,
    /// The cipher suite of the data plane.
    #[serde(default)]
    pub cipher: String,
    /// The MTU of the overlay, bytes of the IP packet.
    #[serde(default)]
    pub mtu: u32,
    /// What the kernel does for the data plane, absent features with a minus: `tap +csum +tso
    /// +uso, udp +gso +gro`.
    #[serde(default)]
    pub offload: String,
    /// At which addresses other nodes see this one: behind a NAT, the NAT's.
    #[serde(default)]
    pub observed_addresses: Vec<ObservedAddress>,
    /// How the threads of the data plane are scheduled: `real-time`, `ordinary`, or `ordinary: ` and
    /// what real time would need.
    #[serde(default)]
    pub scheduling: String,
    /// How many threads the data plane has for each direction; 0 where the daemon does not say.
    #[serde(default)]
    pub workers: usize,
}

/// An address at which others see a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedAddress {
    /// `address:port`.
    pub address: String,
    /// How many nodes see it there.
    pub peers: usize,
}

/// Connections by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Control and data path work.
    pub established: usize,
    /// The control connection stands, the data path is not confirmed.
    pub pending: usize,
    /// A further attempt is under way.
    pub retrying: usize,
    /// Waiting before the next attempt.
    pub failed: usize,
    /// The first attempt is under way.
    pub connecting: usize,
}

/// Address management.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// In words: `ready`, or what it waits for.
    pub state: String,
    /// The ranges, as configured.
    pub ranges: Vec<String>,
    /// Addresses that this node owns.
    pub owned: u64,
    /// Addresses in use on this node.
    pub active: u64,
    /// Who was removed from the ring, or is to be, by name.
    #[serde(default)]
    pub removals: Vec<Removal>,
}

/// A node that was removed from the ring, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Whose removal.
    #[serde(flatten)]
    pub node: NamedNode,
    /// On which node somebody asked for it.
    pub by: NamedNode,
    /// When, seconds since the Unix epoch by the clock of that node.
    pub at: u64,
    /// Whether nobody named the node: it was removed by force because another removal waited for it.
    pub forced: bool,
    /// Whether its space has fallen to others. Until then it rests.
    pub complete: bool,
    /// The nodes whose word the removal waits for.
    pub waits_for: Vec<NamedNode>,
}

/// A node by both of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The full name.
    pub peer: String,
    /// The nickname; empty where it is not known.
    pub nickname: String,
}

/// Policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How many policies are known.
    pub policies: usize,
    /// How many local Pods are isolated by one.
    pub isolated_pods: usize,
    /// Whether policies are enforced on this node.
    pub enforcing: bool,
}

/// The Kubernetes API, as this node hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The name of this node's Node object.
    pub node: String,
    /// Whether it is heard.
    pub state: KubernetesState,
    /// Since when that is so: `2026-08-06 18:55:38 UTC`.
    pub since: String,
    /// Why it is not heard, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the Kubernetes API is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KubernetesState {
    /// All that is watched is heard.
    Watching,
    /// No API server answers, or none has answered yet.
    Away,
    /// It answers, and refuses or cannot tell.
    Failing,
}

/// Which side dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// This node dialled.
    Out,
    /// The peer dialled.
    In,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Control and data path work.
    Established,
    /// The control connection stands, the data path is not confirmed.
    Pending,
    /// A further attempt is under way.
    Retrying,
    /// Waiting before the next attempt.
    Failed,
    /// The first attempt is under way.
    Connecting,
}

/// A line of `weft status connections`. What is unknown is absent: an attempt that never succeeded
/// has no peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Which side dialled.
    pub direction: Direction,
    /// `address:port` of the other side, or the target as given while it is not resolved.
    pub address: String,
    /// The state.
    pub state: ConnectionState,
    /// The peer's full name.
    pub peer: Option<String>,
    /// The peer's nickname.
    pub nickname: Option<String>,
    /// `udp`, `quic` or `vxlan`.
    pub transport: Option<String>,
    /// `direct` or `relay`.
    pub path: Option<String>,
    /// The relay's full name.
    pub via: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The MTU of the overlay over this connection, bytes.
    pub mtu: Option<u32>,
    /// What the kernel does for the data plane, as in [`Router::offload`].
    #[serde(default)]
    pub offload: Option<String>,
    /// The round-trip time, microseconds.
    pub rtt_us: Option<u64>,
    /// The share of the last 32 probes that got no answer, per cent.
    #[serde(default)]
    pub loss_percent: Option<u8>,
    /// The last error and the time of the next attempt, or anything else worth a word.
    pub detail: Option<String>,
    /// What the peer sent that no node should, by kind, since this daemon started.
    #[serde(default)]
    pub faults: BTreeMap<String, u64>,
    /// For how many more seconds its gossip is not read, after too many of these.
    #[serde(default)]
    pub quarantine_s: Option<u64>,
}

/// A peer of `weft status peers`, this node too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The full name.
    pub peer: String,
    /// The nickname.
    pub nickname: String,
    /// Whether connections lead there from this node.
    pub reachable: bool,
    /// The version of its software.
    pub version: String,
    /// Its connections as it tells of them, sorted by peer.
    pub connections: Vec<PeerConnection>,
}

/// A connection as one of its ends tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConnection {
    /// The other end's full name.
    pub peer: String,
    /// The other end's nickname.
    pub nickname: String,
    /// The other end's address.
    pub address: String,
    /// Which end dialled.
    pub direction: Direction,
    /// Whether the data path is confirmed.
    pub established: bool,
}

/// A line of `weft status targets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `host:port`, the port always there.
    pub target: String,
    /// Its state, or established where any connection there stands.
    pub state: ConnectionState,
    /// The peer's full name, once known.
    pub peer: Option<String>,
}

/// A line of `weft status ipam`: an owner of addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpamOwner {
    /// The owner's full name.
    pub peer: String,
    /// Its nickname.
    pub nickname: String,
    /// How many addresses it owns.
    pub addresses: u64,
    /// Its share of the whole, 0 to 1.
    pub share: f64,
    /// Addresses in use, as the owner tells.
    pub active: u64,
    /// Whether connections lead there from this node.
    pub reachable: bool,
    /// Its removal, while that is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
}
