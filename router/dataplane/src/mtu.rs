//! What the tunnel leaves of the underlay's MTU.

use std::net::IpAddr;

use crate::frame::{ETHERNET_LEN, IPV6_LEN};
use crate::worker::PACKET_OVERHEAD;

/// The smallest MTU that a Pod can have: IPv6 demands it of every link (RFC 8200 section 5).
pub const MIN_POD_MTU: u32 = 1280;

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
    }
}
