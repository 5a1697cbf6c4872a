//! What the host's routing table says about ranges and MTUs.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::{HostError, link, links, mtu_of, name_of};

/// A route of the host that overlaps one of the ranges, in words: `10.32.4.0/24 on eth0`.
///
/// Default routes overlap everything and do not count, nor do routes over `bridge`, which is ours.
pub(in crate::daemon) async fn overlapping_route(
    handle: &Handle,
    ranges: &[IpNet],
    bridge: &str,
) -> Result<Option<(IpNet, String)>, HostError> {
    let ours = link(handle, bridge).await?.map(|l| l.header.index);
    let names = links(handle).await?;
    for route in routes(handle).await? {
        let Some(destination) = destination(&route) else { continue };
        let device = device(&route);
        if destination.prefix_len() == 0 || (device.is_some() && device == ours) {
            continue;
        }
        let Some(range) = ranges
            .iter()
            .find(|range| range.contains(&destination) || destination.contains(*range))
        else {
            continue;
        };
        let on = names
            .iter()
            .find(|l| Some(l.header.index) == device)
            .and_then(name_of)
            .map_or(String::new(), |name| format!(" on {name}"));
        return Ok(Some((*range, format!("{destination}{on}"))));
    }
    Ok(None)
}

/// The MTU of the underlay, bytes: of the interfaces that lead to `peers`, the smallest; where no
/// peer is named, of the interface of the default route; else 1500.
pub(in crate::daemon) async fn underlay_mtu(
    handle: &Handle,
    peers: &[IpAddr],
) -> Result<u32, HostError> {
    const ETHERNET_MTU: u32 = 1500;
    let routes = routes(handle).await?;
    let mut devices: Vec<u32> = Vec::new();
    for peer in peers {
        let best = routes
            .iter()
            .filter_map(|r| Some((destination(r)?, device(r)?)))
            .filter(|(net, _)| net.contains(peer))
            .max_by_key(|(net, _)| net.prefix_len());
        devices.extend(best.map(|(_, device)| device));
    }
    if devices.is_empty() {
        devices.extend(
            routes
                .iter()
                .filter(|r| destination(r).is_some_and(|net| net.prefix_len() == 0))
                .filter_map(device),
        );
    }
    let links = links(handle).await?;
    let smallest = links
        .iter()
        .filter(|l| devices.contains(&l.header.index))
        .filter_map(mtu_of)
        .min()
        .unwrap_or(ETHERNET_MTU);
    // A loopback has 65536; no tunnel over it needs more than Ethernet's.
    Ok(smallest.min(9216))
}

async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, HostError> {
    let _alone = super::LISTING.lock().await;
    let mut all = Vec::new();
    let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
    for message in [v4, v6] {
        let found: Result<Vec<RouteMessage>, _> =
            handle.route().get(message).execute().try_collect().await;
        all.extend(found.map_err(HostError::during("list the routes"))?);
    }
    all.retain(|route| route.header.kind == RouteType::Unicast);
    Ok(all)
}

/// The destination; the default route is a prefix of length 0.
fn destination(route: &RouteMessage) -> Option<IpNet> {
    let length = route.header.destination_prefix_length;
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    let address = address.or_else(|| match route.header.address_family {
        netlink_packet_route::AddressFamily::Inet => Some(IpAddr::from([0u8; 4])),
        netlink_packet_route::AddressFamily::Inet6 => Some(IpAddr::from([0u8; 16])),
        _ => None,
    })?;
    IpNet::new(address, length).ok()
}

fn device(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}
