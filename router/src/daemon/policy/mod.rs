//! Policies on this node: what is to be enforced, and the thread that has the kernel do it.
//!
//! The engine says what is to hold ([`PolicyState`]); it is the whole truth each time, the newest
//! one counts. [`Enforcer`] turns it into two nftables tables by one transaction per change:
//!
//! - `bridge weft-port`: what a Pod may send at all (`ports`);
//! - `inet weft-policy`: which connections policies allow (`weft_policy::nft`).
//!
//! Both stay when the daemon ends or is killed, while Pods are there.
//!
//! | module | what lives there |
//! |---|---|
//! | `enforcer` | the thread: orders in, outcomes out |
//! | `kernel` | what stands in the kernel, and changing it |
//! | `ports` | the table at the Pods' ports |
//! | `watch` | whether the kernel still has what it was given |
//! | `count` | what the rules have counted |
//! | `conntrack` | flows that must not go on |
//! | `drops` | the log of dropped packets |
//! | `batch` | elements of sets, put in and taken out |
//! | `nft`, `netfilter` | the two ways to the kernel |

#[cfg(test)]
mod alone;
mod batch;
mod conntrack;
mod count;
mod drops;
mod enforcer;
mod kernel;
mod netfilter;
mod nft;
mod ports;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_cni_shim::wire::Mac;
use weft_policy::Cluster;

pub(in crate::daemon) use batch::{Change, run as change_sets};
pub(in crate::daemon) use enforcer::{Enforcer, Options};
pub(in crate::daemon) use netfilter::Channel;

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

/// What the thread tells of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum PolicyEvent {
    /// An order, and all before it, was carried out; or could not be, and is tried again.
    Done {
        /// The order's token.
        token: u64,
        /// What stands, or why it does not, for people.
        result: Result<Standing, String>,
    },
    /// Something is wrong with what stands, or was; None when it is well.
    Watched(Option<String>),
}

/// What stands in the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Standing {
    /// How many Pods of this node some policy isolates, in either direction.
    pub(in crate::daemon) isolated_pods: usize,
}

/// Why the kernel does not enforce what it should.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum PolicyError {
    /// There is no `nft`.
    #[error("cannot enforce policies: nft is not installed: install nftables")]
    Missing,
    /// `nft` could not be run.
    #[error("cannot enforce policies: cannot run nft: {0}")]
    Program(std::io::Error),
    /// `nft` or the kernel refused.
    #[error("cannot enforce policies: nft: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
    /// Bridged packets do not reach the rules.
    #[error(
        "cannot enforce policies: cannot set {path}: {source}: load the kernel module br_netfilter"
    )]
    Bridge {
        /// The setting.
        path: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// Tracked flows could not be read or deleted.
    #[error("cannot cut connections that policies no longer allow: {0}")]
    Conntrack(std::io::Error),
}
