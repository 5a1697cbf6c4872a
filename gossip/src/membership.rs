//! What node and link records say, and what is made of them for people and for the connection maker.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use bincode::{Decode, Encode};
use weft_crypto::PeerName;

use crate::limits::{MAX_CANDIDATES, MAX_LINKS, MAX_TEXT};

/// A node that is, or once was, part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: PeerName,
    /// What people call it; empty until its record has come.
    pub nickname: String,
    /// The version of its software; empty until its record has come.
    pub version: String,
    /// The UDP port it listens on; 0 until its record has come.
    pub port: u16,
    /// Differs between two starts of it; 0 until its record has come.
    pub boot_id: u64,
    /// Whether links that both ends report lead from here to there.
    pub reachable: bool,
    /// The links it reports, by peer.
    pub links: Vec<LinkView>,
}

/// A control link as one end reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The other end.
    pub peer: PeerName,
    /// The address of the other end, as the reporter sees it.
    pub address: SocketAddr,
    /// Whether the reporter dialled.
    pub outbound: bool,
    /// How the reporter's data packets get there.
    pub state: LinkState,
}

/// How data packets get along a link, as one end tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LinkState {
    /// Nothing is known yet.
    Pending,
    /// Straight to the other end, with a round-trip time of this class: class `n` stands for 250 µs
    /// times 2^n. A coarse measure, so that it rarely changes.
    Direct(u8),
    /// Through other nodes: the link does not carry packets of third parties.
    Relayed,
    /// Not at all, at this moment.
    Dead,
}

impl LinkState {
    /// Whether data packets go both ways.
    pub fn is_established(self) -> bool {
        match self {
            Self::Direct(_) | Self::Relayed => true,
            Self::Pending | Self::Dead => false,
        }
    }
}

/// The value of a record of [`crate::Kind::NODE`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct NodeInfo {
    pub(crate) nickname: String,
    pub(crate) version: String,
    pub(crate) boot_id: u64,
    pub(crate) port: u16,
}

/// The value of a record of [`crate::Kind::LINKS`]: ascending by peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Links(pub(crate) Vec<LinkInfo>);

/// One link of [`Links`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct LinkInfo {
    pub(crate) peer: [u8; 32],
    pub(crate) address: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) state: LinkState,
}

impl NodeInfo {
    /// What an honest node never says of itself. Nicknames are printed on terminals, so they must
    /// not carry control characters there.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for text in [&self.nickname, &self.version] {
            if text.len() > MAX_TEXT {
                return Err("text too long");
            }
            if text.chars().any(char::is_control) {
                return Err("control characters");
            }
        }
        Ok(())
    }
}

impl Links {
    /// What an honest node never reports.
    pub(crate) fn check(&self, origin: PeerName) -> Result<(), &'static str> {
        if self.0.len() > MAX_LINKS {
            return Err("too many links");
        }
        if !self.0.is_sorted_by(|a, b| a.peer < b.peer) {
            return Err("links out of order");
        }
        if self.0.iter().any(|link| link.peer == *origin.as_bytes()) {
            return Err("a link to itself");
        }
        Ok(())
    }

    pub(crate) fn view(&self) -> Vec<LinkView> {
        self.0
            .iter()
            .map(|link| LinkView {
                peer: PeerName::from_bytes(link.peer),
                address: link.address,
                outbound: link.outbound,
                state: link.state,
            })
            .collect()
    }
}

/// Cuts what the own configuration says to what others take.
pub(crate) fn cut_text(text: &str) -> String {
    let mut cut = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if cut.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        cut.push(c);
    }
    cut
}

/// The addresses at which the `reachable` nodes see each other and `me` may dial them. One UDP port
/// serves both directions, so the source address of a link that came in can be dialled as well.
pub(crate) fn candidates(
    me: PeerName,
    links: &BTreeMap<PeerName, Links>,
    reachable: &BTreeSet<PeerName>,
) -> BTreeMap<PeerName, BTreeSet<SocketAddr>> {
    let mut found: BTreeMap<PeerName, BTreeSet<SocketAddr>> = BTreeMap::new();
    for (_, links) in links.iter().filter(|(origin, _)| reachable.contains(origin)) {
        for link in &links.0 {
            let peer = PeerName::from_bytes(link.peer);
            if peer == me || !reachable.contains(&peer) || !is_dialable(&link.address) {
                continue;
            }
            let addresses = found.entry(peer).or_default();
            if addresses.len() < MAX_CANDIDATES {
                addresses.insert(link.address);
            }
        }
    }
    found
}

/// At which addresses the `reachable` nodes see `me`, and how many of them.
pub(crate) fn observed(
    me: PeerName,
    links: &BTreeMap<PeerName, Links>,
    reachable: &BTreeSet<PeerName>,
) -> BTreeMap<SocketAddr, usize> {
    let mut found = BTreeMap::new();
    let others = links.iter().filter(|(origin, _)| **origin != me && reachable.contains(origin));
    for link in others.flat_map(|(_, links)| &links.0) {
        if link.peer == *me.as_bytes() && is_dialable(&link.address) {
            *found.entry(link.address).or_default() += 1;
        }
    }
    found
}

/// Whether a datagram can be sent to that one host at all.
fn is_dialable(address: &SocketAddr) -> bool {
    let unusable = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    address.port() != 0 && !unusable
}

/// The address without the IPv6 clothes that a dual-stack socket puts on an IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
