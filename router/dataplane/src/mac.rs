//! Ethernet addresses, and how a Pod's is derived from its IP address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The first two bytes of every Pod's MAC: locally administered, unicast.
const POD_PREFIX: [u8; 2] = [0x0a, 0x58];

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address of these bytes, in the order they go over the wire.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order they go over the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether this is a group address: multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether bridges keep frames to this address on the link (IEEE 802.1Q table 8-1: spanning tree, pause,
    /// LLDP and their like).
    pub(crate) const fn is_link_control(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, low] if low < 0x10)
    }

    /// The IPv4 address that this MAC was derived from, if it has the form of a Pod's.
    pub(crate) fn pod_ipv4(self) -> Option<Ipv4Addr> {
        let [p0, p1, a, b, c, d] = self.0;
        ([p0, p1] == POD_PREFIX).then(|| Ipv4Addr::new(a, b, c, d))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The MAC of the Pod that has the address `ip`: 0a:58 and the four bytes of an IPv4 address; 0a:58 and the
/// 32-bit FNV-1a hash of the sixteen bytes of an IPv6 address.
///
/// A Pod with addresses of both families has the MAC of its IPv4 address. Two IPv6-only Pods of one host get
/// the same MAC with a probability of 2^-32 a pair.
pub fn mac_for(ip: IpAddr) -> Mac {
    let [p0, p1] = POD_PREFIX;
    let [a, b, c, d] = match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => fnv1a(&v6.octets()).to_be_bytes(),
    };
    Mac([p0, p1, a, b, c, d])
}

/// The Fowler-Noll-Vo hash FNV-1a with 32 bits (RFC 9923).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_matches_published_vectors() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn a_pod_mac_tells_its_ipv4_address() {
        let ip: Ipv4Addr = "10.32.0.1".parse().unwrap();
        assert_eq!(mac_for(ip.into()).to_string(), "0a:58:0a:20:00:01");
        assert_eq!(mac_for(ip.into()).pod_ipv4(), Some(ip));
        assert!(!mac_for(ip.into()).is_group());
        // Frozen: other nodes rely on it.
        assert_eq!(mac_for("fd00::1".parse().unwrap()).to_string(), frozen());
    }

    /// Computed independently, in Python, from the definition.
    fn frozen() -> &'static str {
        "0a:58:94:02:5c:cb"
    }
}
