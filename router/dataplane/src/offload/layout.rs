//! Where the parts of a TCP or UDP frame are.

use super::checksum;
use crate::frame::{ETHERNET_LEN, IPV6_LEN, ethertype, part};

/// The IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// How many IPv6 extension headers are read; as many as for deciding on the frame.
const MAX_EXTENSIONS: usize = 8;

/// A transport protocol whose checksums and segments can be left to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Where the checksum is in the transport header.
    pub(super) const fn checksum_at(self) -> usize {
        match self {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }
}

/// Where the parts of a frame are that carries one whole TCP or UDP packet, as offsets from its beginning.
///
/// Invariant: `ETHERNET_LEN < l4 < payload <= end <= 65,549`, and the frame from which it was read has `end`
/// bytes at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) v6: bool,
    pub(super) transport: Transport,
    /// The transport header.
    pub(super) l4: usize,
    /// What the transport carries.
    pub(super) payload: usize,
    /// The end of the IP packet; behind it there may be padding.
    pub(super) end: usize,
}

impl Layout {
    /// Reads the headers. `None` for anything but one whole, unfragmented TCP or UDP packet.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let kind = u16::from_be_bytes(part(frame, 12)?);
        let (v6, protocol, l4, end) = match kind {
            ethertype::IPV4 => {
                let (protocol, l4, end) = ipv4(frame)?;
                (false, protocol, l4, end)
            }
            ethertype::IPV6 => {
                let (protocol, l4, end) = ipv6(frame)?;
                (true, protocol, l4, end)
            }
            _ => return None,
        };
        let (transport, header_len) = match protocol {
            TCP => (Transport::Tcp, usize::from(*frame.get(l4 + 12)? >> 4) * 4),
            UDP => (Transport::Udp, 8),
            _ => return None,
        };
        let payload = l4 + header_len;
        let shortest = match transport {
            Transport::Tcp => 20,
            Transport::Udp => 8,
        };
        let fits = header_len >= shortest && payload <= end && end <= frame.len();
        fits.then_some(Self { v6, transport, l4, payload, end })
    }

    /// Where the transport checksum is.
    pub(super) const fn checksum(&self) -> usize {
        self.l4 + self.transport.checksum_at()
    }

    /// Whether the frame is nothing but the packet, and the packet's inner lengths and its IPv4 header checksum
    /// are right: then headers follow from each other, and can be rebuilt.
    pub(super) fn is_regular(&self, frame: &[u8]) -> bool {
        let udp_len_right = match self.transport {
            Transport::Tcp => true,
            Transport::Udp => {
                part(frame, self.l4 + 4).map(u16::from_be_bytes).map(usize::from)
                    == Some(self.end - self.l4)
            }
        };
        self.end == frame.len() && udp_len_right && (self.v6 || header_sum_right(frame, self.l4))
    }
}

/// Whether the IPv4 header that ends at `l4` has the right checksum.
pub(super) fn header_sum_right(frame: &[u8], l4: usize) -> bool {
    frame.get(ETHERNET_LEN..l4).is_some_and(|header| checksum::sum(header, 0) == 0xffff)
}

/// Protocol, transport header and end of an IPv4 packet (RFC 791 section 3.1).
fn ipv4(frame: &[u8]) -> Option<(u8, usize, usize)> {
    let header: [u8; 20] = part(frame, ETHERNET_LEN)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let whole = header[0] >> 4 == 4 && header_len >= 20 && !fragment;
    whole.then_some((header[9], ETHERNET_LEN + header_len, ETHERNET_LEN + total))
}

/// Protocol, transport header and end of an IPv6 packet (RFC 8200 sections 3 and 4).
fn ipv6(frame: &[u8]) -> Option<(u8, usize, usize)> {
    let header: [u8; 8] = part(frame, ETHERNET_LEN)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let start = ETHERNET_LEN + IPV6_LEN;
    let (mut next, mut at) = (header[6], start);
    for _ in 0..MAX_EXTENSIONS {
        // Hop-by-hop options, routing, destination options.
        if !matches!(next, 0 | 43 | 60) {
            break;
        }
        let [following, len] = part(frame, at)?;
        next = following;
        at += (usize::from(len) + 1) * 8;
    }
    Some((next, at, start + payload_len))
}
