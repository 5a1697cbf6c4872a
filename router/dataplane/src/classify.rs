//! What becomes of a frame: pure decisions, the same for every worker.

use std::net::IpAddr;

use crate::arp::{Arp, ArpRequest, Operation};
use crate::frame::{Content, Frame, Malformed};
use crate::nd::{Discovery, Solicitation, discovery};
use crate::{DropReason, Hop, Mac, PeerSlot, Tables};

/// What to do with a frame that the bridge sent to the TAP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Seal it and send it to this peer.
    Send(PeerSlot),
    /// Send a copy to every peer.
    Flood,
    /// Answer an ARP request on the TAP.
    AnswerArp(ArpRequest),
    /// Answer an IPv6 neighbour solicitation on the TAP.
    AnswerNeighbour(Solicitation),
    /// Drop and count it.
    Drop(DropReason),
}

impl From<Malformed> for DropReason {
    fn from(Malformed: Malformed) -> Self {
        DropReason::Malformed
    }
}

/// Decides on an Ethernet frame from the bridge (without virtio-net header).
///
/// Unicast goes where its IP address is, or, for an address outside the mesh's ranges, where the IPv4 address
/// is that its destination MAC was derived from, so that a Pod may be a gateway. A source address that
/// belongs to a peer means that the frame came out of the mesh: it never goes back in.
pub fn classify(frame: &[u8], tables: &Tables) -> Action {
    decide(frame, tables).unwrap_or_else(Action::Drop)
}

fn decide(frame: &[u8], tables: &Tables) -> Result<Action, DropReason> {
    let frame = Frame::parse(frame)?;
    if frame.destination.is_link_control() {
        return Err(DropReason::LinkControl);
    }
    match frame.content {
        Content::Vlan => Err(DropReason::Vlan),
        Content::Arp(arp) => decide_arp(&frame, &arp, tables),
        Content::Ipv4 { source, destination } => {
            not_from_a_peer(source.into(), tables)?;
            forward(frame.destination, Some(destination.into()), tables)
        }
        Content::Ipv6 { source, destination, hop_limit, icmp } => {
            not_from_a_peer(source.into(), tables)?;
            match icmp.and_then(|icmp| discovery(&icmp, hop_limit)) {
                Some(Discovery::Router) => return Err(DropReason::RouterDiscovery),
                Some(Discovery::Invalid) => return Err(DropReason::Malformed),
                Some(Discovery::Solicitation { target }) => {
                    if let Some(hop) = tables.hop(target.into()) {
                        let asker = Solicitation { asker_mac: frame.source, asker: source, target };
                        return answer(hop, Action::AnswerNeighbour(asker));
                    }
                }
                Some(Discovery::Advertisement { target }) => {
                    not_from_a_peer(target.into(), tables)?;
                    if frame.destination.is_group() && tables.hop(target.into()).is_some() {
                        return Err(DropReason::Gratuitous);
                    }
                }
                None => {}
            }
            forward(frame.destination, Some(destination.into()), tables)
        }
        Content::Other => forward(frame.destination, None, tables),
    }
}

fn decide_arp(frame: &Frame<'_>, arp: &Arp, tables: &Tables) -> Result<Action, DropReason> {
    not_from_a_peer(arp.sender.into(), tables)?;
    let hop = tables.hop(arp.target.into());
    match (arp.operation, hop) {
        // An announcement (RFC 5227): nobody needs it where MACs follow from addresses.
        (_, Some(_)) if arp.sender == arp.target => Err(DropReason::Gratuitous),
        (Operation::Request, Some(hop)) => {
            let (asker_mac, asker, target) = (arp.sender_mac, arp.sender, arp.target);
            answer(hop, Action::AnswerArp(ArpRequest { asker_mac, asker, target }))
        }
        (Operation::Request, None) | (Operation::Reply, _) => {
            forward(frame.destination, Some(arp.target.into()), tables)
        }
    }
}

/// Answers for a peer's address, and for no other.
fn answer(hop: Hop, answer: Action) -> Result<Action, DropReason> {
    match hop {
        Hop::Peer(_) => Ok(answer),
        Hop::Local => Err(DropReason::Gratuitous),
        Hop::Unreachable => Err(DropReason::Unreachable),
    }
}

fn not_from_a_peer(source: IpAddr, tables: &Tables) -> Result<(), DropReason> {
    match tables.hop(source) {
        Some(Hop::Peer(_)) => Err(DropReason::Spoofed),
        Some(Hop::Local | Hop::Unreachable) | None => Ok(()),
    }
}

fn forward(mac: Mac, ip: Option<IpAddr>, tables: &Tables) -> Result<Action, DropReason> {
    if mac.is_group() {
        return Ok(Action::Flood);
    }
    let by_mac = || tables.hop(mac.pod_ipv4()?.into());
    match ip.and_then(|ip| tables.hop(ip)).or_else(by_mac) {
        Some(Hop::Peer(slot)) => Ok(Action::Send(slot)),
        Some(Hop::Local) => Err(DropReason::Local),
        Some(Hop::Unreachable) => Err(DropReason::Unreachable),
        None => Err(DropReason::NoRoute),
    }
}

/// Checks a frame that the peer in `slot` sealed, and finds the MAC that its destination really has here
/// where that may differ from the one in the frame.
///
/// A source address within the mesh's ranges must belong to that peer: a captured member can speak for its own
/// Pods alone.
pub(crate) fn admit(
    frame: &[u8],
    slot: Option<PeerSlot>,
    tables: &Tables,
) -> Result<Option<Mac>, DropReason> {
    let frame = Frame::parse(frame)?;
    if frame.destination.is_link_control() {
        return Err(DropReason::LinkControl);
    }
    let from_its_owner = |source: IpAddr| match tables.hop(source) {
        None => Ok(()),
        Some(Hop::Peer(owner)) if Some(owner) == slot => Ok(()),
        Some(Hop::Local | Hop::Peer(_) | Hop::Unreachable) => Err(DropReason::Spoofed),
    };
    let destination: IpAddr = match frame.content {
        Content::Vlan => return Err(DropReason::Vlan),
        Content::Other => return Ok(None),
        Content::Arp(Arp { sender, target, .. }) => {
            from_its_owner(sender.into())?;
            target.into()
        }
        Content::Ipv4 { source, destination } => {
            from_its_owner(source.into())?;
            destination.into()
        }
        Content::Ipv6 { source, destination, hop_limit, icmp } => {
            from_its_owner(source.into())?;
            match icmp.and_then(|icmp| discovery(&icmp, hop_limit)) {
                Some(Discovery::Router) => return Err(DropReason::RouterDiscovery),
                Some(Discovery::Invalid) => return Err(DropReason::Malformed),
                Some(Discovery::Advertisement { target }) => from_its_owner(target.into())?,
                Some(Discovery::Solicitation { .. }) | None => {}
            }
            destination.into()
        }
    };
    let group = frame.destination.is_group();
    Ok(if group { None } else { tables.local_mac(destination) })
}

#[cfg(test)]
mod tests;
