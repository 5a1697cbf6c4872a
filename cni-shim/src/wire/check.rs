//! Comparing an attachment with its plan.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use rtnetlink::RouteMessageBuilder;

use super::attach::MULTICAST;
use super::namespace::Namespace;
use super::netlink::{Link, Netlink, collect};
use super::{Plan, Route, RouteSettings, WireError, default_destination};

/// Checks that what `plan` asks for is there: both ends, up, the Pod's MAC and addresses, its
/// routes, the port of the bridge and the bridge's entry for the Pod. More addresses and routes
/// than planned are no fault, and neither is another MTU: plugins chained behind may set it.
///
/// # Errors
/// [`WireError::Missing`] names the first thing that is missing or differs.
pub async fn check(plan: &Plan) -> Result<(), WireError> {
    plan.validate()?;
    let namespace = Namespace::open(&plan.netns)?;
    let pod = Netlink::open_in(&namespace).await?;
    check_pod(plan, &pod, &namespace).await?;
    check_host(plan, &Netlink::open()?).await
}

async fn check_pod(plan: &Plan, pod: &Netlink, namespace: &Namespace) -> Result<(), WireError> {
    let name = &plan.ifname;
    let at = namespace.path().display();
    let link = pod
        .link(name)
        .await?
        .ok_or_else(|| missing(format!("interface \"{name}\" is missing in {at}")))?;
    if !link.up {
        return Err(missing(format!("interface \"{name}\" is down in {at}")));
    }
    if link.mac != Some(plan.mac) {
        let found = link.mac.map_or_else(|| "none".into(), |mac| mac.to_string());
        return Err(missing(format!(
            "interface \"{name}\" has MAC address {found} instead of {}",
            plan.mac
        )));
    }
    let present = addresses(pod, link.index).await?;
    if let Some(ip) = plan.ips.iter().find(|ip| !present.contains(ip)) {
        return Err(missing(format!("address {ip} is missing on interface \"{name}\" in {at}")));
    }
    let mut present = routes(pod, RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()).await?;
    let defaults = plan.default_via.iter();
    let defaults = defaults.map(|via| Route {
        dst: default_destination(*via),
        via: Some(*via),
        ..Route::default()
    });
    let multicast =
        plan.multicast_route.then(|| Route { dst: MULTICAST.into(), ..Route::default() });
    let planned = multicast.into_iter().chain(plan.routes.iter().cloned()).chain(defaults);
    let planned: Vec<Route> = planned.collect();
    if planned.iter().any(|route| route.dst.addr().is_ipv6()) {
        let ipv6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        present.extend(routes(pod, ipv6).await?);
    }
    for route in &planned {
        if !present.iter().any(|(index, present)| *index == link.index && serves(present, route)) {
            return Err(missing(format!(
                "the route to {} through interface \"{name}\" is missing in {at}",
                route.dst
            )));
        }
    }
    Ok(())
}

async fn check_host(plan: &Plan, host: &Netlink) -> Result<(), WireError> {
    let (name, bridge) = (&plan.host_ifname, &plan.bridge);
    let master =
        host.link(bridge).await?.ok_or_else(|| WireError::NoBridge { bridge: bridge.clone() })?;
    let port = host
        .link(name)
        .await?
        .ok_or_else(|| missing(format!("interface \"{name}\" is missing on the host")))?;
    if port.master != Some(master.index) {
        return Err(missing(format!("interface \"{name}\" is no port of bridge \"{bridge}\"")));
    }
    if !port.up {
        return Err(missing(format!("interface \"{name}\" is down on the host")));
    }
    if port.hairpin.is_some_and(|hairpin| hairpin != plan.hairpin) {
        let word = if plan.hairpin { "off" } else { "on" };
        return Err(missing(format!("hairpin mode of interface \"{name}\" is {word}")));
    }
    let dump = host.handle.neighbours().get().set_address_family(AddressFamily::Bridge).execute();
    let table = collect("read the bridges' tables", dump).await?;
    if !table.iter().any(|entry| is_entry(entry, &port, plan)) {
        return Err(missing(format!("bridge \"{bridge}\" has no entry for {}", plan.mac)));
    }
    Ok(())
}

/// Whether a route that is there is the one that was asked for: what was not asked for is the
/// kernel's choice, and no fault.
fn serves(present: &Route, wanted: &Route) -> bool {
    let (there, asked) = (&present.settings, &wanted.settings);
    let as_asked = |there: Option<u32>, asked: Option<u32>| asked.is_none() || asked == there;
    present.dst == wanted.dst.trunc()
        && present.via == wanted.via
        && there.table() == asked.table()
        && as_asked(there.mtu, asked.mtu)
        && as_asked(there.advmss, asked.advmss)
        // To the kernel, 0 is none.
        && as_asked(there.priority, asked.priority.filter(|priority| *priority != 0))
        // IPv6 knows no scope of routes.
        && (asked.scope.is_none() || wanted.dst.addr().is_ipv6() || asked.scope == there.scope)
}

fn is_entry(entry: &NeighbourMessage, port: &Link, plan: &Plan) -> bool {
    entry.header.ifindex == port.index
        && entry.attributes.iter().any(|attribute| {
            matches!(attribute, NeighbourAttribute::LinkLayerAddress(mac) if *mac == plan.mac.0)
        })
}

async fn addresses(pod: &Netlink, index: u32) -> Result<Vec<IpNet>, WireError> {
    let dump = pod.handle.address().get().set_link_index_filter(index).execute();
    let messages = collect("read the Pod's addresses", dump).await?;
    Ok(messages
        .iter()
        .filter_map(|message| {
            let addr = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(addr) => Some(*addr),
                _ => None,
            })?;
            IpNet::new(addr, message.header.prefix_len).ok()
        })
        .collect())
}

async fn routes(pod: &Netlink, query: RouteMessage) -> Result<Vec<(u32, Route)>, WireError> {
    let dump = pod.handle.route().get(query).execute();
    let messages = collect("read the Pod's routes", dump).await?;
    Ok(messages.iter().filter_map(read_route).collect())
}

fn read_route(message: &RouteMessage) -> Option<(u32, Route)> {
    let (mut oif, mut via) = (None, None);
    let mut settings = RouteSettings {
        table: Some(message.header.table.into()),
        scope: Some(message.header.scope.into()),
        ..RouteSettings::default()
    };
    let mut dst = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::from(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::from(*v6)),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Destination(address) => dst = ip(address)?,
            RouteAttribute::Gateway(address) => via = Some(ip(address)?),
            RouteAttribute::Table(table) => settings.table = Some(*table),
            RouteAttribute::Priority(priority) => settings.priority = Some(*priority),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => settings.mtu = Some(*mtu),
                        RouteMetric::Advmss(advmss) => settings.advmss = Some(*advmss),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let dst = IpNet::new(dst, message.header.destination_prefix_length).ok()?;
    Some((oif?, Route { dst, via, settings }))
}

fn missing(text: String) -> WireError {
    WireError::Missing(text)
}
