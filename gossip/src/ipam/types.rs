//! What the callers of [`super::Ipam`] put in and get out.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::wire::{Ack, Paxos, Space, View, Want};

/// The settings of an [`super::Ipam`]. All but the targets are fixed for the life of the machine.
#[derive(Clone, Debug)]
pub struct IpamConfig {
    /// This node.
    pub name: PeerName,
    /// The ranges that addresses are from, the same on all nodes. A Pod gets one address of each.
    pub ranges: Vec<IpNet>,
    /// Who makes the ring when there is none.
    pub init: Init,
    /// How many peers were configured at start, for [`Init::Auto`] and [`Init::Consensus`]; see
    /// [`super::Ipam::set_targets`].
    pub targets: usize,
    /// How long a freed address rests before it is handed out again, or given away.
    pub cool_down: Duration,
}

/// Who makes the ring when there is none. Means nothing to a node that has space already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// This node, at once.
    Founder,
    /// Joins a ring if a peer has one. Else founds it if no target is configured, and by consensus
    /// among the targets and itself otherwise.
    Auto,
    /// Never this node: it asks for space when somebody needs an address here.
    Observer,
    /// A majority of that many nodes; of the configured targets and this node if no number is given.
    Consensus(Option<usize>),
    /// These nodes, each an even share; all nodes must be given the same list.
    Seed(Vec<PeerName>),
}

/// Something to publish in this node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The own space.
    Space(Space),
    /// The own want; `None` takes the former one back.
    Want(Option<Want>),
    /// The own part in the consensus.
    Paxos(Paxos),
    /// The own word on removals that are not complete; `None` takes it back.
    Pending(Option<Ack>),
    /// The own word on those that are.
    Completed(Option<View>),
}

/// A removal as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalView {
    /// Who is removed.
    pub name: PeerName,
    /// On which node somebody asked for it.
    pub by: PeerName,
    /// When, seconds since the Unix epoch.
    pub at: u64,
    /// Whether it was removed by force because another removal waited for it.
    pub forced: bool,
    /// The owners whose word is missing; `None` if the removal is complete.
    pub waits_for: Option<Vec<PeerName>>,
}

/// A Pod that must not use its addresses any more: they belong to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The owner of the addresses on this node.
    pub key: String,
    /// What it had.
    pub addresses: Vec<IpNet>,
    /// Who uses one of them instead, and on which node, where two rings became one.
    pub holder: Option<(PeerName, String)>,
}

/// What the word that two rings become one means for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// Its ring stays; the nodes of the other one come.
    Stays,
    /// It moves to the other ring, with the addresses in use.
    Moves,
}

/// Addresses of a Pod that this node brought from the ring it was in before, and of which it does not
/// know yet whether the Pod can keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The owner of the addresses on this node.
    pub key: String,
    /// Those that are open.
    pub addresses: Vec<IpNet>,
    /// Whose word is missing.
    pub owners: Vec<PeerName>,
}

/// Why two rings cannot be made one. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HealError {
    /// This node is in no ring.
    #[error("this node is not part of a ring yet: it joins one by itself")]
    NoRing,
    /// This node was removed, or leaves.
    #[error("this node was removed or leaves: do it on another node")]
    Gone,
    /// Nothing is known of the other node's ring.
    #[error("{} is in no ring that is known here: name a node that `weft status` shows as part of another ring", .0.short())]
    Unknown(PeerName),
    /// Both are in one ring.
    #[error("{} is part of the ring of this node already", .0.short())]
    SameRing(PeerName),
    /// One of the rings gives way by itself, since nothing of it was ever used.
    #[error("the ring of this node or of {} gives way by itself in a moment", .0.short())]
    Tentative(PeerName),
}

/// Why somebody cannot be removed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// A node does not remove itself.
    #[error("this node cannot remove itself: do it on another node")]
    Myself,
    /// This node is in no ring, so nobody waits for its word.
    #[error("this node is not part of a ring yet: wait until `weft status` says ready")]
    NoRing,
    /// This node itself was removed.
    #[error("this node was itself removed: run `weft reset` to join anew under another identity")]
    Out,
    /// This node leaves: what came of that would be nobody's.
    #[error("this node leaves the ring: remove the other on a node that stays")]
    Leaving,
    /// The list of the removed is full.
    #[error("{0} nodes were removed from this ring, the most there can be")]
    TooMany(usize),
}

/// What somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Exactly these addresses (prefix lengths do not matter); if empty, any one of each range.
    pub wanted: Vec<IpNet>,
    /// Parts of the ranges that their addresses must be from, one of a range at most; an address
    /// comes with the prefix length of the range all the same. Neither the first nor the last address
    /// of a part is given, unless it has only these.
    pub within: Vec<IpNet>,
}

/// Names a request until its outcome is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Consecutive addresses and the node to send their packets to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The first address.
    pub start: IpAddr,
    /// The last address, of the same family.
    pub end: IpAddr,
    /// The node.
    pub owner: PeerName,
}

/// An owner of space, for display. Counts are of the first range, so that the huge numbers of an
/// IPv6 range beside an IPv4 one do not drown them.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnerView {
    /// The owner.
    pub name: PeerName,
    /// Addresses it owns, at most `u64::MAX`.
    pub addresses: u64,
    /// The same as a part of the range, 0 to 1.
    pub share: f64,
    /// Addresses in use, as the owner told last.
    pub active: u64,
}

/// Something that should not be: two nodes, one right. Shown, and never the reason to stop anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// Two nodes claim the same addresses with the same version.
    Claimed {
        /// The first address.
        start: IpAddr,
        /// The last address.
        end: IpAddr,
        /// Who gets the packets: this node if it is one of the two, else the lower name.
        shown: PeerName,
        /// The other.
        other: PeerName,
    },
    /// A node is part of another ring.
    OtherRing {
        /// The node.
        node: PeerName,
    },
    /// A node was configured with other ranges.
    OtherRanges {
        /// The node.
        node: PeerName,
        /// Its ranges.
        theirs: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed { start, end, shown, other } => write!(
                f,
                "{start} to {end} is claimed by {} and by {}; packets go to the first",
                shown.short(),
                other.short()
            ),
            Self::OtherRing { node } => write!(
                f,
                "{0} is part of another ring, founded apart from this one; each ring goes on by itself until `weft heal {0}` on one node makes them one",
                node.short()
            ),
            Self::OtherRanges { node, theirs } => write!(
                f,
                "{} uses the range {theirs}; launch all nodes with the same --ipalloc-range",
                node.short()
            ),
        }
    }
}

/// What an [`super::Ipam`] does, or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: addresses can be had at once.
    Ready,
    /// Nothing to do yet: an observer without space that nobody asked for an address.
    Idle,
    /// There is no ring yet; others will make it.
    Ring,
    /// Too few nodes are known for the consensus, or it is under way.
    Consensus {
        /// How many must agree.
        quorum: usize,
        /// How many are reachable, this node included.
        known: usize,
    },
    /// There is no ring yet, and it is not known yet who takes part in making it.
    Targets,
    /// Other nodes that are told to found the ring.
    Founders(Vec<PeerName>),
    /// A node that was asked for space.
    Donor(PeerName),
    /// No node that has addresses to give can be reached.
    Unreachable,
    /// All addresses of the cluster are in use or were freed a moment ago.
    Full,
    /// An address that was asked for by name and that no known node owns.
    Unowned(IpAddr),
    /// An address that was asked for by name, from its owner.
    Owner {
        /// The address.
        ip: IpAddr,
        /// Its owner, which was asked or will be in a moment.
        owner: PeerName,
    },
    /// An address that was asked for by name and whose owner cannot be reached.
    OwnerUnreachable {
        /// The address.
        ip: IpAddr,
        /// Its owner.
        owner: PeerName,
    },
    /// The owners of addresses that are in use here and come from the ring that this node was in before.
    Moving {
        /// How many addresses.
        addresses: usize,
        /// The owners among them that cannot be reached.
        unreachable: Vec<PeerName>,
    },
    /// A free address of a part of the range.
    Subnet(IpNet),
    /// Nothing will come: this node was removed, from the named one.
    Removed(PeerName),
}

impl Waiting {
    /// The state in words, with people's names for nodes.
    pub fn describe(&self, nick: &dyn Fn(PeerName) -> String) -> String {
        match self {
            Self::Ready => "ready".into(),
            Self::Idle => "idle".into(),
            Self::Ring => "waiting for a peer that has a ring".into(),
            Self::Consensus { quorum, known } => {
                format!("awaiting consensus (quorum: {quorum}, known: {known})")
            }
            Self::Targets => "waiting to learn which nodes there are".into(),
            Self::Founders(names) => {
                let names: Vec<String> = names.iter().map(|name| nick(*name)).collect();
                format!("waiting for a founder: {}", names.join(", "))
            }
            Self::Donor(name) => format!("waiting for space from {}", nick(*name)),
            Self::Unreachable => "waiting for a reachable peer that has free addresses".into(),
            Self::Full => {
                "waiting for free addresses: all of the range are in use or were just freed".into()
            }
            Self::Unowned(ip) => format!("waiting for an owner of {ip}"),
            Self::Owner { ip, owner } => {
                format!("waiting for {ip} from its owner {}", nick(*owner))
            }
            Self::OwnerUnreachable { ip, owner } => {
                format!("waiting for {ip}, whose owner {} cannot be reached", nick(*owner))
            }
            Self::Moving { addresses, unreachable } => {
                let names: Vec<String> = unreachable.iter().map(|name| nick(*name)).collect();
                let which = match names.as_slice() {
                    [] => String::new(),
                    names => format!("; cannot be reached: {}", names.join(", ")),
                };
                format!(
                    "moving to another ring: {addresses} addresses in use wait for the word of their owners there{which}"
                )
            }
            Self::Subnet(subnet) => format!("waiting for a free address of {subnet}"),
            Self::Removed(by) => format!(
                "this node was removed from the ring by {}; run `weft reset` to join anew under another identity",
                nick(*by)
            ),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&|name| name.short()))
    }
}

/// How far a node is that leaves for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Addresses of all ranges that it still owns, at most `u64::MAX`.
    pub owned: u64,
    /// Addresses in use on it: they can be handed over when they are released and have cooled down.
    pub in_use: u64,
    /// To whom space is on its way.
    pub to: Vec<PeerName>,
    /// Whether there is space and no node that could take it can be reached.
    pub nobody: bool,
    /// Whether the removal of a node is under way, in which this one's word is needed first.
    pub removal: bool,
    /// Whether a vote is open that may make this node a founder, with a share to hand over.
    pub vote: bool,
    /// Whether nothing is left to do. The node is of no use any more.
    pub done: bool,
}

impl Leaving {
    /// The state in words, with people's names for nodes.
    pub fn describe(&self, nick: &dyn Fn(PeerName) -> String) -> String {
        if self.done {
            return "left the ring; run `weft reset` to join anew".into();
        }
        let names: Vec<String> = self.to.iter().map(|name| nick(*name)).collect();
        let why = if self.in_use > 0 {
            format!("{} addresses are in use, detach their pods", self.in_use)
        } else if self.nobody {
            "no node that could take its space can be reached".into()
        } else if !names.is_empty() {
            format!("waiting for {} to take its space over", names.join(", "))
        } else if self.owned > 0 {
            format!("{} addresses are to be handed over or cooling down", self.owned)
        } else if self.removal {
            "waiting for a removal to complete".into()
        } else if self.vote {
            "waiting for the vote on who founds the ring".into()
        } else {
            "nothing is left to hand over".into()
        };
        format!("leaving the ring: {why}")
    }
}

/// What happened so far. Every count starts at zero and only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpamStats {
    /// Requests that got their addresses.
    pub allocated: u64,
    /// Addresses released.
    pub released: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Grants made to others.
    pub granted: u64,
    /// Grants of others taken over.
    pub accepted: u64,
    /// Wants published.
    pub wants: u64,
    /// Owners of addresses on this node that were fenced.
    pub fenced: u64,
    /// Records refused as [`super::Misbehaved`].
    pub misbehaved: u64,
}
