//! Policies on this node: what is to be enforced, and (below) the task that has the kernel do it.
//!
//! The engine says what is to hold ([`PolicyState`]); it is the whole truth each time, the newest
//! one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_cni_shim::wire::Mac;
use weft_policy::Cluster;

/// What a node is to enforce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::daemon) struct PolicyState {
    /// The Pods of all nodes as far as they are known, the namespaces, and the policies. Pods of
    /// this node have [`Self::node`] as their node.
    pub(in crate::daemon) cluster: Cluster,
    /// This node's name, as its Pods have it.
    pub(in crate::daemon) node: String,
    /// The ports that this node's Pods have in the bridge, by the name of the interface. What is
    /// named like a Pod's port and is not among them lets nothing through.
    pub(in crate::daemon) ports: BTreeMap<String, Port>,
}

/// A Pod's port in the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct Port {
    /// The only MAC address that frames may come from.
    pub(in crate::daemon) mac: Mac,
    /// The only addresses that packets may come from, beside the IPv6 link-local one that follows
    /// from the MAC address.
    pub(in crate::daemon) addresses: BTreeSet<IpAddr>,
}
