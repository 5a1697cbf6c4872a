//! What the tunnel leaves of the underlay's MTU.

use std::net::IpAddr;

use crate::frame::{ETHERNET_LEN, IPV6_LEN};
use crate::worker::PACKET_OVERHEAD;

/// The smallest MTU that a Pod can have: IPv6 demands it of every link (RFC 8200 section 5).
pub const MIN_POD_MTU: u32 = 1280;

/// The longest datagram that is sent without asking whether the path takes it, in bytes of UDP payload. An IPv4 packet
/// of 576 bytes, which every host must take (RFC 791 section 3.1), and well below the 1,280 of IPv6.
pub const SURE_DATAGRAM: usize = 576 - IPV4_LEN - UDP_LEN;

/// The lengths of an IPv4 header without options and of a UDP header, in bytes.
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// The largest MTU of Pods, in bytes, with which a full packet of theirs fits one datagram to `to` over an
/// underlay with the MTU `underlay`. `None` where that is less than [`MIN_POD_MTU`].
pub fn pod_mtu(underlay: u32, to: IpAddr) -> Option<u32> {
    let ip = match to {
        IpAddr::V4(_) => IPV4_LEN,
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => IPV4_LEN,
        IpAddr::V6(_) => IPV6_LEN,
    };
    let overhead = ip + UDP_LEN + PACKET_OVERHEAD + ETHERNET_LEN;
    let mtu = underlay.checked_sub(u32::try_from(overhead).ok()?)?;
    (mtu >= MIN_POD_MTU).then_some(mtu)
}

/// The largest MTU of Pods, in bytes, with which a full packet of theirs fits one datagram of `datagram` bytes of UDP
/// payload.
pub fn pod_mtu_within(datagram: usize) -> u32 {
    let mtu = datagram.saturating_sub(PACKET_OVERHEAD + ETHERNET_LEN);
    u32::try_from(mtu).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_that_of_the_protocol() {
        let [v4, v6, mapped] =
            ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"].map(|ip| ip.parse().unwrap());
        assert_eq!(pod_mtu(1500, v4), Some(1415));
        assert_eq!(pod_mtu(1500, mapped), Some(1415));
        assert_eq!(pod_mtu(1500, v6), Some(1395));
        assert_eq!(pod_mtu(1365, v4), Some(MIN_POD_MTU));
        assert_eq!(pod_mtu(1364, v4), None);
        assert_eq!(pod_mtu(0, v4), None);
        assert_eq!(pod_mtu_within(1500 - 28), 1415);
        assert_eq!(pod_mtu_within(crate::datagram_len(1395)), 1395);
        assert_eq!(pod_mtu_within(10), 0);
    }
}
