//! What the ruleset does to a packet, as the kernel would.

use std::net::IpAddr;

use super::{Action, BASE, Elements, End, Line, Match, Ruleset, Set};
use crate::{Family, Protocol};

/// A packet in the forward hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The interface it came in by; a bridge's port counts as the bridge.
    pub from: String,
    /// The interface it goes out by.
    pub to: String,
    /// What connection tracking says of it.
    pub state: PacketState,
    /// Its source, of the destination's family.
    pub source: IpAddr,
    /// Its destination, after translation.
    pub destination: IpAddr,
    /// What it carries.
    pub payload: Payload,
}

/// What connection tracking says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketState {
    /// It opens a flow.
    New,
    /// It belongs to an open flow.
    Established,
    /// It is about an open flow.
    Related,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A protocol with ports, and the destination port.
    Port(Protocol, u16),
    /// ICMP or ICMPv6, with its type.
    Icmp(u8),
    /// Another protocol.
    Other,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It passes this table.
    Passed,
    /// It is dropped.
    Dropped,
}

/// How a chain ended.
enum Outcome {
    Decided(Fate),
    Returned,
}

/// The deepest that chains may lead to each other; the kernel allows 16 jumps.
const DEPTH_MAX: usize = 16;

impl Ruleset {
    /// Runs a packet through the table. A ruleset that refers to what it does not have, or in a circle,
    /// drops: the kernel would not have taken it.
    pub fn run(&self, packet: &Packet) -> Fate {
        match self.chain(BASE, packet, 0) {
            Outcome::Decided(fate) => fate,
            Outcome::Returned => Fate::Passed,
        }
    }

    fn chain(&self, name: &str, packet: &Packet, depth: usize) -> Outcome {
        let Some(lines) = self.chains.get(name).filter(|_| depth < DEPTH_MAX) else {
            return Outcome::Decided(Fate::Dropped);
        };
        for line in lines.iter().filter(|line| self.matches(line, packet)) {
            match &line.action {
                Action::Accept => return Outcome::Decided(Fate::Passed),
                Action::Drop => return Outcome::Decided(Fate::Dropped),
                Action::Log(..) => {}
                Action::Return => return Outcome::Returned,
                Action::Goto(chain) => return self.chain(chain, packet, depth + 1),
                Action::Lookup(end, family, map) => {
                    let address = packet.end(*end);
                    if Family::of(address) != *family {
                        continue;
                    }
                    let Some(map) = self.maps.get(map) else {
                        return Outcome::Decided(Fate::Dropped);
                    };
                    let Some(chain) = map.elements.get(&address) else { continue };
                    if let Outcome::Decided(fate) = self.chain(chain, packet, depth + 1) {
                        return Outcome::Decided(fate);
                    }
                }
            }
        }
        Outcome::Returned
    }

    fn matches(&self, line: &Line, packet: &Packet) -> bool {
        line.matches.iter().all(|matching| match matching {
            Match::NotFrom(name) => packet.from != *name,
            Match::NotTo(name) => packet.to != *name,
            Match::Established => packet.state == PacketState::Established,
            Match::RelatedError => {
                packet.state == PacketState::Related && matches!(packet.payload, Payload::Icmp(_))
            }
            Match::NeighbourDiscovery => {
                packet.source.is_ipv6() && matches!(packet.payload, Payload::Icmp(133..=137))
            }
            // A packet that is new to connection tracking opens a connection here.
            Match::Midway => false,
            Match::Address(end, family, set) => {
                let address = packet.end(*end);
                Family::of(address) == *family
                    && self.sets.get(set).is_some_and(|set| set.has_address(address))
            }
            Match::NamedPort(family, set) => {
                let Payload::Port(protocol, port) = packet.payload else { return false };
                let element = (packet.destination, protocol, port);
                Family::of(packet.destination) == *family
                    && self.sets.get(set).is_some_and(|set| set.has_port(&element))
            }
            Match::Protocol(protocol) => {
                matches!(packet.payload, Payload::Port(carried, _) if carried == *protocol)
            }
            Match::Ports(protocol, ranges) => match packet.payload {
                Payload::Port(carried, port) => {
                    let mut ranges = ranges.iter();
                    carried == *protocol
                        && ranges.any(|(first, last)| (*first..=*last).contains(&port))
                }
                Payload::Icmp(_) | Payload::Other => false,
            },
        })
    }
}

impl Set {
    fn has_address(&self, address: IpAddr) -> bool {
        match &self.elements {
            Elements::Addresses(addresses) => addresses.contains(&address),
            Elements::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&address)),
            Elements::Ports(_) => false,
        }
    }

    fn has_port(&self, element: &(IpAddr, Protocol, u16)) -> bool {
        matches!(&self.elements, Elements::Ports(ports) if ports.contains(element))
    }
}

impl Packet {
    const fn end(&self, end: End) -> IpAddr {
        match end {
            End::Source => self.source,
            End::Destination => self.destination,
        }
    }
}
