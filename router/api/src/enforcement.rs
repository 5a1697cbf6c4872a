//! What a node tells of the policies that it enforces.

use serde::{Deserialize, Serialize};

/// A policy of `weft status policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `ingress`, `egress` or both: in which directions it isolates.
    pub directions: Vec<String>,
    /// How many of this node's Pods it selects.
    pub local_pods: usize,
    /// How many of all known Pods it selects.
    pub pods: usize,
    /// Packets that opened a connection by one of its rules on this node, since the kernel's rules
    /// for it were last written.
    pub allowed_packets: u64,
    /// Packets dropped at Pods of this node that it isolates, since the same time. A packet counts
    /// for each policy that isolates the Pod.
    pub denied_packets: u64,
}

/// A packet that was dropped, an entry of `weft policy drops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedPacket {
    /// Numbers entries of one run of the daemon, from 1.
    pub sequence: u64,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// The source address; of ARP the sender's.
    pub source: String,
    /// The Pod that has the source address, `namespace/name`.
    pub source_pod: Option<String>,
    /// The destination address, after a Service's translation; of ARP the target's.
    pub destination: String,
    /// The Pod that has the destination address, `namespace/name`.
    pub destination_pod: Option<String>,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, `ARP`, or a number.
    pub protocol: String,
    /// The destination port, where the protocol has one.
    pub port: Option<u16>,
    /// Why.
    pub reason: String,
}

/// Asks for entries after one, for `--follow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsQuery {
    /// The last entry that is known already; 0 for none.
    #[serde(default)]
    pub after: u64,
}

/// A connection of `weft policy explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainQuery {
    /// The source: `namespace/name` of a Pod, or an address.
    pub from: String,
    /// The destination: `namespace/name` of a Pod, or an address.
    pub to: String,
    /// The destination port: `80/tcp`, or a name.
    pub port: String,
}

/// What a connection meets: `weft policy explain --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allowed` or `denied`.
    pub verdict: String,
    /// What the policies of the source say.
    pub egress: DirectionVerdict,
    /// What the policies of the destination say.
    pub ingress: DirectionVerdict,
}

/// What one end's policies say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionVerdict {
    /// `allowed` or `denied`.
    pub verdict: String,
    /// Why, in words.
    pub reason: String,
    /// The policy whose rule decided, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The number of that rule in the policy's list, from 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<usize>,
    /// The policies that isolate, where no rule of theirs allowed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub isolated_by: Vec<String>,
}
