//! What can go wrong, by whose doing.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;
use weft_crypto::PeerName;

use super::Waiting;

/// A record of another node that the ring cannot use. Where nothing else is said, nothing has
/// changed: the node's former record, if any, stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misbehaved {
    /// It was configured with other ranges.
    #[error("{} uses the ranges {theirs}, this node {ours}", origin.short())]
    OtherRanges {
        /// Whose record it is.
        origin: PeerName,
        /// Its ranges.
        theirs: String,
        /// The ranges of this node.
        ours: String,
    },
    /// A span is empty, backwards, or not inside one of the ranges.
    #[error("{} claims a span that is not inside the ranges", .0.short())]
    SpanOutside(PeerName),
    /// Its own spans overlap or are out of order.
    #[error("{} claims spans that overlap or are out of order", .0.short())]
    SpansOverlap(PeerName),
    /// Its grants are out of order, overlap, go to itself, or have impossible numbers.
    #[error("{} publishes grants that contradict each other", .0.short())]
    GrantsWrong(PeerName),
    /// Its list of accepted grants is out of order or repeats a name.
    #[error("{} publishes a malformed list of accepted grants", .0.short())]
    AcceptedWrong(PeerName),
    /// It claims space and no ring.
    #[error("{} claims space and is in no ring", .0.short())]
    NoRing(PeerName),
    /// It left for good and claims space.
    #[error("{} claims space after it left for good", .0.short())]
    LeftWithSpace(PeerName),
    /// What it says about a ring it came from, or about rings that become one, contradicts itself.
    #[error("{} publishes a word about two rings that contradicts itself", .0.short())]
    KeptWrong(PeerName),
    /// A list is longer than any honest node makes it.
    #[error("{} publishes a record that is too long", .0.short())]
    TooLong(PeerName),
    /// A grant to this node covers addresses that somebody holds with at least the same right. It is
    /// not taken over; the rest of the record is used.
    #[error("{} grants addresses that are not its own", .0.short())]
    ForeignGrant(PeerName),
    /// A want asks for an unknown range, for nothing, or of its own author.
    #[error("{} publishes a want that makes no sense", .0.short())]
    WantWrong(PeerName),
    /// Its word on removals contradicts itself.
    #[error("{} publishes a word on removals that contradicts itself", .0.short())]
    RemovalWrong(PeerName),
    /// A part in the consensus contradicts itself.
    #[error("{} publishes a part in the consensus that contradicts itself", .0.short())]
    PaxosWrong(PeerName),
}

/// Why the saved state cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The node owns space of other ranges than it is now configured with.
    #[error(
        "the saved state was made for the range {saved}, --ipalloc-range says {configured}: \
         launch with the former range, or run `weft reset` to start as a new node"
    )]
    RangeChanged {
        /// The ranges of the saved state.
        saved: String,
        /// The ranges configured.
        configured: String,
    },
    /// A configured range cannot be used.
    #[error("cannot use the range {range}: {why}")]
    BadRange {
        /// The range.
        range: String,
        /// What is wrong with it, and what to use instead.
        why: &'static str,
    },
    /// The saved state contradicts itself.
    #[error(
        "the saved addresses are damaged ({0}): run `weft reset` to start as a new node, then `weft rmpeer` with the former name on another one"
    )]
    Damaged(&'static str),
}

/// Why a request for addresses failed. No address was taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllocateError {
    /// The time was up.
    #[error("no address in time: {waiting}")]
    Deadline {
        /// What the request waited for.
        waiting: Waiting,
    },
    /// An address that was asked for by name is outside the ranges.
    #[error("{ip} is outside the range {ranges}")]
    OutsideRange {
        /// The address.
        ip: IpAddr,
        /// The ranges of this node.
        ranges: String,
    },
    /// The part of the range that an address was to be from is not inside a range.
    #[error("{subnet} is not a part of the range {ranges}")]
    SubnetOutside {
        /// The part.
        subnet: IpNet,
        /// The ranges of this node.
        ranges: String,
    },
    /// Two parts of one range were named, and an address has room in one only.
    #[error(
        "{0} is the second part that was asked for of one range: an interface has one address of each"
    )]
    TwoParts(IpNet),
    /// The part of the range that an address was to be from has none to give, or not the one that was
    /// asked for by name.
    #[error("{ip} is not an address that can be given from {subnet}")]
    NotWithin {
        /// The address.
        ip: IpAddr,
        /// The part.
        subnet: IpNet,
    },
    /// An address that was asked for by name is the first or the last of its range.
    #[error("{0} is the first or the last address of the range and never given to a pod")]
    Reserved(IpAddr),
    /// An address that was asked for by name belongs to another node, which uses it.
    #[error("{ip} is in use by {holder} on the node {}: detach that, or ask for another address", owner.short())]
    OwnedElsewhere {
        /// The address.
        ip: IpAddr,
        /// Its owner.
        owner: PeerName,
        /// Who uses it there.
        holder: String,
    },
    /// An address that was asked for by name is in use on this node.
    #[error("{ip} is in use by {key}")]
    InUse {
        /// The address.
        ip: IpAddr,
        /// Who holds it.
        key: String,
    },
    /// Two of the addresses that were asked for by name are from one range.
    #[error("{0} is a second address of the same range; ask for one of each")]
    Twice(IpAddr),
    /// The same owner holds other addresses already.
    #[error("{key} holds {held} already: release it first")]
    HeldOtherwise {
        /// Who asked.
        key: String,
        /// What it holds.
        held: IpNet,
    },
    /// The addresses were released while the request waited.
    #[error("released while waiting for an address")]
    Released,
    /// This node leaves the cluster.
    #[error(
        "this node is leaving the cluster and gives out no addresses: attach on another node, or run `weft reset`"
    )]
    Leaving,
    /// More requests wait than this node keeps.
    #[error("too many requests wait for an address")]
    TooMany,
}
