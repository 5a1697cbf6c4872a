//! The policies of one node as an nftables ruleset: a data structure, what to tell `nft` about it, and
//! what it does to a packet.
//!
//! [`Ruleset::compile`] makes it from a [`crate::Cluster`] and the Pods of a node;
//! [`Ruleset::transaction_from`] answers the smallest change from one ruleset to another, which
//! [`Transaction::to_json`] writes as `nft -j -f -` reads it; [`Ruleset::run`] interprets it;
//! [`Ruleset::tightening`] says where the change may deny what was allowed.
//!
//! One table of the family `inet` with one base chain in the forward hook:
//!
//! ```text
//! forward   neither end is our bridge                 accept
//!           an established flow                       accept
//!           an ICMP error about one                   accept
//!           neighbour discovery                       accept
//!           TCP amid no connection, isolated end      drop
//!           source      in egress4, egress6:          jump out_CLASS
//!           destination in ingress4, ingress6:        jump in_CLASS
//! in_CLASS  a line for each (peers, ports) of a rule  return
//!           anything else                             drop
//! ```
//!
//! Only Pods of this node that a policy speaks about are in the four maps: any other Pod costs a failed
//! look-up. Pods to which the same policies apply share a chain, so chains grow with the combinations of
//! policies, not with Pods. A selector is a set of addresses that all lines share; a block of addresses
//! is a set of prefixes without its holes; a named port is a set of (address, protocol, port). So a new
//! connection costs two look-ups and the lines of two classes, whatever else is in the cluster.
//!
//! `return` leads back to the base chain: what one direction allows, the other may still drop. `accept`
//! ends this table alone; other tables of the host are asked all the same.

mod diff;
mod interpret;
mod lower;
mod prefixes;
mod render;
mod tighten;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Family, Protocol};

pub use diff::{Command, SetKind, Transaction};
pub use interpret::{Fate, Packet, PacketState, Payload};
pub use tighten::Tightening;

/// The name of the table.
pub const TABLE: &str = "weft-policy";
/// The name of the base chain.
pub(crate) const BASE: &str = "forward";

/// A ruleset: the whole content of the table. Names are functions of what they stand for, so equal
/// clusters give equal rulesets, and a change touches only what it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets by name.
    pub sets: BTreeMap<String, Set>,
    /// Maps from a Pod's address to the chain of its class, by name.
    pub maps: BTreeMap<String, Map>,
    /// Chains by name; `forward` is the base chain.
    pub chains: BTreeMap<String, Vec<Line>>,
    /// The NetworkPolicies that isolate the Pods of each chain, as `namespace/name`, in order.
    pub isolating: BTreeMap<String, Vec<String>>,
}

impl Ruleset {
    /// Has what is dropped told to a log group (NFLOG) first, with the word `ingress`, `egress` or
    /// `midway`.
    #[must_use]
    pub fn with_drop_log(mut self, group: u16) -> Self {
        for (name, lines) in &mut self.chains {
            let word = match name.split_once('_') {
                Some(("in", _)) => "ingress",
                Some(("out", _)) => "egress",
                _ => "midway",
            };
            *lines = std::mem::take(lines)
                .into_iter()
                .flat_map(|line| {
                    let log = (line.action == Action::Drop).then(|| Line {
                        action: Action::Log(group, word),
                        counted: false,
                        comment: String::new(),
                        ..line.clone()
                    });
                    log.into_iter().chain([line])
                })
                .collect();
        }
        self
    }
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The family of its addresses.
    pub family: Family,
    /// What is in it.
    pub elements: Elements,
}

/// The elements of a set, by their type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// Addresses.
    Addresses(BTreeSet<IpAddr>),
    /// Prefixes that do not overlap.
    Prefixes(BTreeSet<IpNet>),
    /// Ports of Pods.
    Ports(BTreeSet<(IpAddr, Protocol, u16)>),
}

/// A map from addresses to chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The family of its addresses.
    pub family: Family,
    /// The chain that each address leads to.
    pub elements: BTreeMap<IpAddr, String>,
}

/// A line of a chain: if all matches hold, the action is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What must hold.
    pub matches: Vec<Match>,
    /// Whether packets and bytes are counted.
    pub counted: bool,
    /// What happens.
    pub action: Action,
    /// Whence it comes: `default/web ingress[0]`.
    pub comment: String,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// The packet came in by another interface.
    NotFrom(String),
    /// The packet goes out by another interface.
    NotTo(String),
    /// It belongs to an established flow.
    Established,
    /// It is an ICMP error about one.
    RelatedError,
    /// It is neighbour discovery.
    NeighbourDiscovery,
    /// It is of TCP, opens no connection and belongs to none: the kernel would track it as if it had
    /// opened one, whichever end sent it.
    Midway,
    /// The address of an end is in a set.
    Address(End, Family, String),
    /// The destination address, protocol and destination port are in a set.
    NamedPort(Family, String),
    /// The protocol.
    Protocol(Protocol),
    /// The protocol, and a destination port in one of these ranges, which are in order and apart.
    Ports(Protocol, Vec<(u16, u16)>),
}

/// An end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// What a line does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Let it pass this table.
    Accept,
    /// Drop it.
    Drop,
    /// Go on after the line that led here.
    Return,
    /// Tell the log of this group, no more than a few a second, with this word; go on.
    Log(u16, &'static str),
    /// Go on in this chain, and do not come back to this one.
    Goto(String),
    /// Jump to the chain that the map has for the address of an end; go on if it has none.
    Lookup(End, Family, String),
}

#[cfg(test)]
mod tests;
