//! IPv6 neighbour discovery (RFC 4861): reading solicitations, answering them.

use std::net::Ipv6Addr;

use crate::frame::{ETHERNET_LEN, ICMPV6, IPV6_LEN, Icmp, ethertype, part};
use crate::{Mac, mac_for};

/// ICMPv6 types of neighbour discovery (RFC 4861 section 4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// What every discovery message must have as its hop limit, which proves that no router forwarded it.
const HOP_LIMIT: u8 = 255;
/// The flags "solicited" and "override" of an advertisement, in the byte after the checksum.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// The option that holds the target's link-layer address: type, and length in units of 8 bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
/// An advertisement with that option, in bytes.
const ADVERTISEMENT_LEN: usize = 32;
/// The length of an answer's frame, in bytes.
pub(crate) const ANSWER_LEN: usize = ETHERNET_LEN + IPV6_LEN + ADVERTISEMENT_LEN;

/// All nodes of the link: the group and its MAC.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

/// A discovery message, as far as forwarding cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discovery {
    /// Router solicitation or advertisement, or redirect.
    Router,
    /// Asks who has the target.
    Solicitation { target: Ipv6Addr },
    /// Says who has the target.
    Advertisement { target: Ipv6Addr },
    /// Would be ignored by its receiver: wrong hop limit or code, cut short, or in fragments (RFC 6980).
    Invalid,
}

/// Reads a discovery message; `None` for any other ICMPv6 message.
pub(crate) fn discovery(icmp: &Icmp<'_>, hop_limit: u8) -> Option<Discovery> {
    let wrap: fn(Ipv6Addr) -> Discovery = match icmp.kind {
        ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | REDIRECT => return Some(Discovery::Router),
        NEIGHBOUR_SOLICITATION => |target| Discovery::Solicitation { target },
        NEIGHBOUR_ADVERTISEMENT => |target| Discovery::Advertisement { target },
        _ => return None,
    };
    if hop_limit != HOP_LIMIT || icmp.code != 0 || icmp.fragment {
        return Some(Discovery::Invalid);
    }
    // Four bytes reserved or flags, then the target.
    let target = part::<16>(icmp.body, 4).map(Ipv6Addr::from);
    Some(target.map_or(Discovery::Invalid, wrap))
}

/// A question of a local Pod for the MAC of a remote one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// Who asks.
    pub asker_mac: Mac,
    /// The asker's address; unspecified when it checks that nobody has the target (RFC 4862).
    pub asker: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
}

impl Solicitation {
    /// The answer as an Ethernet frame: the target is at the MAC derived from it. It goes to the asker, or to
    /// all nodes of the link where the asker has no address yet (RFC 4861 section 7.2.4).
    pub fn answer(&self) -> [u8; ANSWER_LEN] {
        let mac = mac_for(self.target.into());
        let (to_mac, to, flags) = if self.asker.is_unspecified() {
            (ALL_NODES_MAC, ALL_NODES, OVERRIDE)
        } else {
            (self.asker_mac, self.asker, SOLICITED | OVERRIDE)
        };
        let mut message = [0; ADVERTISEMENT_LEN];
        let parts: [&[u8]; 5] = [
            &[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0],
            &[flags, 0, 0, 0],
            &self.target.octets(),
            &TARGET_LINK_LAYER,
            &mac.octets(),
        ];
        fill(&mut message, &parts);
        let sum = checksum(self.target, to, &message).to_be_bytes();
        [message[2], message[3]] = sum;

        let mut frame = [0; ANSWER_LEN];
        let parts: [&[u8]; 8] = [
            &to_mac.octets(),
            &mac.octets(),
            &ethertype::IPV6.to_be_bytes(),
            // Version 6, no traffic class, no flow label; then the payload's length.
            &[0x60, 0, 0, 0, 0, ADVERTISEMENT_LEN.to_le_bytes()[0]],
            &[ICMPV6, HOP_LIMIT],
            &self.target.octets(),
            &to.octets(),
            &message,
        ];
        fill(&mut frame, &parts);
        frame
    }
}

/// Writes the parts one after the other.
fn fill(room: &mut [u8], parts: &[&[u8]]) {
    for (place, byte) in room.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
}

/// The ICMPv6 checksum (RFC 4443 section 2.3): over a pseudo-header and the message with zero in its place.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8; ADVERTISEMENT_LEN]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum()
    };
    // Below 2^32: 40 words of 16 bits.
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + u32::from(ADVERTISEMENT_LEN.to_le_bytes()[0])
        + u32::from(ICMPV6)
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both frames were made from RFC 4861 by a few lines of Python; the checksums are its own.
    #[test]
    fn answers_have_the_bytes_of_rfc_4861() {
        let asked = Solicitation {
            asker_mac: Mac::new([0x0a, 0x58, 10, 32, 0, 1]),
            asker: "fd00::1".parse().unwrap(),
            target: "fd00::8000:1".parse().unwrap(),
        };
        let expected = [
            0x0a, 0x58, 0x0a, 0x20, 0x00, 0x01, 0x0a, 0x58, 0x7d, 0xe2, 0xd4, 0x4b, 0x86, 0xdd,
            0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x01, 0xfd, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x88, 0x00,
            0xc2, 0x16, 0x60, 0x00, 0x00, 0x00, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x01, 0x02, 0x01, 0x0a, 0x58, 0x7d, 0xe2,
            0xd4, 0x4b,
        ];
        assert_eq!(asked.answer(), expected);
        // Who checks whether the address is free hears of it by multicast, without "solicited".
        let expected = [
            0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x0a, 0x58, 0x7d, 0xe2, 0xd4, 0x4b, 0x86, 0xdd,
            0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x01, 0xff, 0x02, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x88, 0x00,
            0x00, 0x15, 0x20, 0x00, 0x00, 0x00, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x01, 0x02, 0x01, 0x0a, 0x58, 0x7d, 0xe2,
            0xd4, 0x4b,
        ];
        assert_eq!(Solicitation { asker: Ipv6Addr::UNSPECIFIED, ..asked }.answer(), expected);
    }

    #[test]
    fn what_a_receiver_would_ignore_is_invalid() {
        let body = [0; 20];
        let good = Icmp { kind: NEIGHBOUR_SOLICITATION, code: 0, body: &body, fragment: false };
        let target = Ipv6Addr::UNSPECIFIED;
        assert_eq!(discovery(&good, 255), Some(Discovery::Solicitation { target }));
        assert_eq!(discovery(&good, 254), Some(Discovery::Invalid));
        assert_eq!(discovery(&Icmp { code: 1, ..good }, 255), Some(Discovery::Invalid));
        assert_eq!(discovery(&Icmp { fragment: true, ..good }, 255), Some(Discovery::Invalid));
        assert_eq!(discovery(&Icmp { body: &body[..19], ..good }, 255), Some(Discovery::Invalid));
        // However broken, what concerns routers is refused as such, and an echo request is no discovery.
        assert_eq!(discovery(&Icmp { kind: 134, body: &[], ..good }, 1), Some(Discovery::Router));
        assert_eq!(discovery(&Icmp { kind: 128, ..good }, 255), None);
    }
}
