//! Telling a Pod that its packet is longer than the path takes: "fragmentation needed" (RFC 792, RFC 1191) and "packet
//! too big" (RFC 4443 section 3.2).
//!
//! It is a hint that spares work: the packet goes on in pieces all the same, so that a Pod that does not hear of it
//! loses nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::frame::{Content, ETHERNET_LEN, Frame, ICMPV6, IPV6_LEN, ethertype, part};
use crate::offload::checksum::sum;

/// The least MTU that a Pod is told, in bytes; packets that are no longer go in pieces, and nobody is told. For IPv4
/// what every host must take (RFC 791 section 3.1), for IPv6 what every link must (RFC 8200 section 5).
const LEAST_V4: usize = 576;
const LEAST_V6: usize = 1280;

/// The lengths of an IPv4 header without options, and of either ICMP message before what it quotes, in bytes.
const IPV4_LEN: usize = 20;
const ICMP_LEN: usize = 8;
/// How much of the packet is quoted, at most: so that no message is longer than 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTE: usize = 576 - IPV4_LEN - ICMP_LEN;
/// The length of the longest frame that [`notice`] makes, in bytes.
pub(crate) const MAX_LEN: usize = ETHERNET_LEN + IPV6_LEN + ICMP_LEN + QUOTE;

/// The IP protocol number of ICMP.
const ICMP: u8 = 1;
/// ICMP types that are errors about other packets, about which no error is ever told (RFC 1122 section 3.2.2).
const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// The hop limit of our messages, and their type of service: network control (RFC 1812 section 4.3.2.5).
const HOPS: u8 = 64;
const CONTROL: u8 = 0xc0;

/// How many Pods' packets are answered in a row, and how long it takes until one more may be.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(10);

/// How many more notices may be sent at the moment.
pub(crate) struct Notices {
    left: u32,
    since: Duration,
    /// Whether the clock was read for the batch at hand.
    looked: bool,
}

impl Default for Notices {
    fn default() -> Self {
        Self { left: BURST, since: Duration::ZERO, looked: false }
    }
}

impl Notices {
    /// A new batch of frames begins.
    pub(crate) fn next_batch(&mut self) {
        self.looked = false;
    }

    /// Whether one more may be sent, which counts. `clock` is asked once a batch at most.
    pub(crate) fn allow(&mut self, clock: impl FnOnce() -> Duration) -> bool {
        if !self.looked {
            self.looked = true;
            let now = clock();
            let earned = now.saturating_sub(self.since).as_millis() / EVERY.as_millis();
            if earned > 0 {
                self.since = now;
                let earned = u32::try_from(earned).unwrap_or(u32::MAX);
                self.left = self.left.saturating_add(earned).min(BURST);
            }
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The frame that tells the sender of `frame` that frames of `longest` bytes, which come of it, are longer than the
/// `room` bytes that the path takes. `None` where it has not asked to be told, or must not be.
///
/// It comes from the host's address at the bridge, which `gateway` answers (whether IPv6), and where there is none from
/// the packet's own destination.
pub(crate) fn notice(
    frame: &[u8],
    longest: usize,
    room: usize,
    gateway: impl FnOnce(bool) -> Option<IpAddr>,
) -> Option<Vec<u8>> {
    let parsed = Frame::parse(frame).ok()?;
    if parsed.destination.is_group() {
        return None;
    }
    let packet = frame.get(ETHERNET_LEN..)?;
    let quote = packet.get(..QUOTE.min(packet.len()))?;
    let (longest, mtu) = (longest.checked_sub(ETHERNET_LEN)?, room.saturating_sub(ETHERNET_LEN));
    let mut out = Vec::with_capacity(MAX_LEN);
    out.extend(parsed.source.octets());
    out.extend(parsed.destination.octets());
    match parsed.content {
        Content::Ipv4 { source, destination } => {
            if longest <= LEAST_V4 || !answers_v4(packet, source, destination) {
                return None;
            }
            let from = match gateway(false) {
                Some(IpAddr::V4(gateway)) => gateway,
                _ => destination,
            };
            out.extend(ethertype::IPV4.to_be_bytes());
            ipv4(&mut out, from, source, mtu.max(LEAST_V4), quote)?;
        }
        Content::Ipv6 { source, destination, icmp, .. } => {
            let unicast = |ip: Ipv6Addr| !ip.is_multicast() && !ip.is_unspecified();
            // Types below 128 are errors (RFC 4443 section 2.1).
            let error = icmp.is_some_and(|icmp| icmp.kind < 128);
            if longest <= LEAST_V6 || error || !unicast(source) || !unicast(destination) {
                return None;
            }
            let from = match gateway(true) {
                Some(IpAddr::V6(gateway)) => gateway,
                _ => destination,
            };
            out.extend(ethertype::IPV6.to_be_bytes());
            ipv6(&mut out, from, source, mtu.max(LEAST_V6), quote)?;
        }
        Content::Arp(_) | Content::Vlan | Content::Other => return None,
    }
    Some(out)
}

/// Whether the sender of an IPv4 packet is to be told: it forbids fragments, is one or the first of one, and says
/// where it comes from.
fn answers_v4(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    let Some(header) = packet.first_chunk::<IPV4_LEN>() else { return false };
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let (fixed, offset) = (flags & 0x4000 != 0, flags & 0x1fff);
    let kind = packet.get(usize::from(header[0] & 0x0f) * 4);
    let error = header[9] == ICMP && kind.is_none_or(|kind| ERRORS.contains(kind));
    let group = |ip: Ipv4Addr| ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified();
    fixed && offset == 0 && !error && !group(source) && !group(destination)
}

fn ipv4(out: &mut Vec<u8>, from: Ipv4Addr, to: Ipv4Addr, mtu: usize, quote: &[u8]) -> Option<()> {
    let len = u16::try_from(IPV4_LEN + ICMP_LEN + quote.len()).ok()?.to_be_bytes();
    let mut header = [0x45, CONTROL, len[0], len[1], 0, 0, 0x40, 0, HOPS, ICMP]
        .into_iter()
        .chain([0, 0])
        .chain(from.octets())
        .chain(to.octets())
        .collect::<Vec<u8>>();
    put_sum(&mut header, 10, 0)?;
    out.extend(header);
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
    let mut message = vec![3, 4, 0, 0, 0, 0, mtu[0], mtu[1]];
    message.extend(quote);
    put_sum(&mut message, 2, 0)?;
    out.extend(message);
    Some(())
}

fn ipv6(out: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr, mtu: usize, quote: &[u8]) -> Option<()> {
    let len = u16::try_from(ICMP_LEN + quote.len()).ok()?.to_be_bytes();
    out.extend([0x60, 0, 0, 0, len[0], len[1], ICMPV6, HOPS]);
    out.extend(from.octets());
    out.extend(to.octets());
    let mut message = vec![2, 0, 0, 0];
    message.extend(u32::try_from(mtu).ok()?.to_be_bytes());
    message.extend(quote);
    // RFC 8200 section 8.1.
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, len[0], len[1], 0, 0, 0, ICMPV6]];
    let start = pseudo.iter().fold(0, |start, bytes| sum(bytes, start));
    put_sum(&mut message, 2, start)?;
    out.extend(message);
    Some(())
}

/// Puts the checksum of `bytes`, which hold zero at its place, on top of `start`.
fn put_sum(bytes: &mut [u8], at: usize, start: u16) -> Option<()> {
    let sum = !sum(bytes, start);
    part::<2>(bytes, at)?;
    bytes.get_mut(at..)?.first_chunk_mut().map(|place| *place = sum.to_be_bytes())
}

#[cfg(test)]
mod tests;
