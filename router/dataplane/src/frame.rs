//! Reading Ethernet frames: just enough to forward them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Mac;
use crate::arp::Arp;

/// The length of an Ethernet header, in bytes.
pub(crate) const ETHERNET_LEN: usize = 14;
/// The length of an IPv6 header without extensions, in bytes.
pub(crate) const IPV6_LEN: usize = 40;
/// The IP protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;

/// EtherTypes (IEEE registry).
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const PROVIDER_VLAN: u16 = 0x88a8;
    /// Stacked VLANs before 802.1ad; kernels still understand it.
    pub(crate) const OLD_PROVIDER_VLAN: u16 = 0x9100;
}

/// How many IPv6 extension headers are read. More than a handful occur in attacks only.
const MAX_EXTENSIONS: usize = 8;

/// The frame contradicts itself or is cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// A frame, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) content: Content<'a>,
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content<'a> {
    Ipv4 { source: Ipv4Addr, destination: Ipv4Addr },
    Ipv6 { source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, icmp: Option<Icmp<'a>> },
    Arp(Arp),
    Vlan,
    Other,
}

/// An ICMPv6 message within a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Icmp<'a> {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// What follows the checksum.
    pub(crate) body: &'a [u8],
    /// Whether the message is the beginning of a fragmented packet.
    pub(crate) fragment: bool,
}

impl<'a> Frame<'a> {
    /// Takes a frame apart.
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (destination, rest) = frame.split_first_chunk::<6>().ok_or(Malformed)?;
        let (source, rest) = rest.split_first_chunk::<6>().ok_or(Malformed)?;
        let (kind, payload) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let content = match u16::from_be_bytes(*kind) {
            ethertype::IPV4 => ipv4(payload)?,
            ethertype::IPV6 => ipv6(payload)?,
            ethertype::ARP => Content::Arp(Arp::parse(payload).ok_or(Malformed)?),
            ethertype::VLAN | ethertype::PROVIDER_VLAN | ethertype::OLD_PROVIDER_VLAN => {
                Content::Vlan
            }
            _ => Content::Other,
        };
        Ok(Self { destination: Mac::new(*destination), source: Mac::new(*source), content })
    }
}

fn ipv4(packet: &[u8]) -> Result<Content<'_>, Malformed> {
    // RFC 791 section 3.1: version and header length first, the addresses at 12 and 16.
    let header = packet.first_chunk::<20>().ok_or(Malformed)?;
    if header[0] >> 4 != 4 || header[0] & 0x0f < 5 {
        return Err(Malformed);
    }
    Ok(Content::Ipv4 {
        source: Ipv4Addr::from(part(header, 12).ok_or(Malformed)?),
        destination: Ipv4Addr::from(part(header, 16).ok_or(Malformed)?),
    })
}

fn ipv6(packet: &[u8]) -> Result<Content<'_>, Malformed> {
    // RFC 8200 section 3.
    let (header, payload) = packet.split_first_chunk::<IPV6_LEN>().ok_or(Malformed)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed);
    }
    Ok(Content::Ipv6 {
        source: Ipv6Addr::from(part(header, 8).ok_or(Malformed)?),
        destination: Ipv6Addr::from(part(header, 24).ok_or(Malformed)?),
        hop_limit: header[7],
        icmp: icmp(header[6], payload)?,
    })
}

/// Finds the ICMPv6 message behind any extension headers, since a message hidden behind them is still
/// understood by its receiver (RFC 7113). A later fragment has none; its first fragment is judged instead.
fn icmp(mut next: u8, mut rest: &[u8]) -> Result<Option<Icmp<'_>>, Malformed> {
    let mut fragment = false;
    for _ in 0..=MAX_EXTENSIONS {
        // RFC 8200 section 4, RFC 4302 for the authentication header.
        let len = match next {
            ICMPV6 => {
                let (head, body) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
                return Ok(Some(Icmp { kind: head[0], code: head[1], body, fragment }));
            }
            0 | 43 | 60 => (usize::from(*rest.get(1).ok_or(Malformed)?) + 1) * 8,
            51 => (usize::from(*rest.get(1).ok_or(Malformed)?) + 2) * 4,
            44 => {
                let offset: [u8; 2] = part(rest, 2).ok_or(Malformed)?;
                if u16::from_be_bytes(offset) >> 3 != 0 {
                    return Ok(None);
                }
                fragment = true;
                8
            }
            _ => return Ok(None),
        };
        next = *rest.first().ok_or(Malformed)?;
        rest = rest.get(len..).ok_or(Malformed)?;
    }
    Err(Malformed)
}

/// The `N` bytes from `at` on.
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
