//! What must hold after every event.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use weft_gossip::ipam::{RingId, Route, Space, ViewId};

use crate::host::{Host, Seen};

/// What is known of a history so far, for the checks.
pub(crate) struct SoFar<'a> {
    /// Whether somebody was removed.
    pub(crate) removed: bool,
    /// Whether two rings were founded.
    pub(crate) apart: bool,
    /// Whether the whole range was covered once.
    pub(crate) whole: &'a mut bool,
    /// Addresses that were in use in two rings at once.
    pub(crate) clashed: &'a mut BTreeSet<IpAddr>,
}

/// No address is in use by two Pods: anywhere, daemons that do not run included, or, once somebody was
/// `removed`, on two nodes of the same state of removals, or that hold each other's records. What is in use
/// in two rings, or was brought into one, is noted as a clash.
pub(crate) fn unique(
    hosts: &[Host],
    removed: bool,
    apart: bool,
    clashed: &mut BTreeSet<IpAddr>,
) -> Result<(), String> {
    let mut used: BTreeMap<IpAddr, Vec<(usize, &str)>> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        for (key, addresses) in &host.pods {
            for &address in addresses {
                let users = used.entry(address).or_default();
                for &(other, other_key) in &*users {
                    if apart && hosts.get(other).is_some_and(|it| excused(host, it, address)) {
                        clashed.insert(address);
                        continue;
                    }
                    let why = match hosts.get(other) {
                        Some(_) if !removed => "and nobody was removed",
                        Some(peer) if index == other || same_view(host, peer) => {
                            "of the same state of removals"
                        }
                        Some(peer) if exchanged(host, peer) => {
                            "and these hold each other's records"
                        }
                        Some(_) | None => continue,
                    };
                    return Err(format!(
                        "{address} is in use by {key} on h{index} and by {other_key} on h{other}, {why}"
                    ));
                }
                users.push((index, key));
            }
        }
    }
    Ok(())
}

/// Whether these are in two rings, or one of them brought the address from another ring.
fn excused(one: &Host, other: &Host, address: IpAddr) -> bool {
    let (Some(a), Some(b)) = (one.space(), other.space()) else { return false };
    let keeps = |space: &Space| {
        let at = number(address);
        space.kept.iter().any(|(start, end)| (*start..=*end).contains(&at))
    };
    a.ring != b.ring || keeps(a) || keeps(b)
}

fn seen(host: &Host) -> Option<&Seen> {
    host.daemon.as_ref().and(host.seen.as_ref())
}

fn same_view(one: &Host, other: &Host) -> bool {
    match (seen(one), seen(other)) {
        (Some(a), Some(b)) => a.space.view == b.space.view && one.stays() && other.stays(),
        _ => false,
    }
}

/// Whether each holds what the other published last.
fn exchanged(one: &Host, other: &Host) -> bool {
    let (Some(a), Some(b)) = (seen(one), seen(other)) else { return false };
    [one.name(), other.name()]
        .iter()
        .all(|name| a.records.contains_key(name) && a.records.get(name) == b.records.get(name))
}

/// The daemon of `host` knows the Pods it promised addresses to.
pub(crate) fn promises(index: usize, host: &Host) -> Result<(), String> {
    let Some(daemon) = &host.daemon else { return Ok(()) };
    let known: BTreeMap<&str, Vec<IpAddr>> = daemon
        .node
        .allocations()
        .map(|(key, nets)| (key, nets.iter().map(|net| net.addr()).collect()))
        .collect();
    for (key, addresses) in &host.pods {
        if known.get(key.as_str()) != Some(addresses) {
            return Err(format!(
                "h{index} promised {addresses:?} to {key} and knows of {:?}",
                known.get(key.as_str())
            ));
        }
    }
    Ok(())
}

/// No address is owned by two daemons that run and are in the same state of removals.
pub(crate) fn ownership(hosts: &[Host]) -> Result<(), String> {
    let mut owned: Vec<(RingId, ViewId, u128, u128, usize)> = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let Some(Seen { space, .. }) = seen(host) else { continue };
        let spans = space.owned.iter();
        owned.extend(spans.map(|span| (space.ring, space.view, span.start, span.end, index)));
    }
    owned.sort_unstable();
    for pair in owned.windows(2) {
        let [(ring, view, _, end, a), (other_ring, other_view, start, _, b)] = pair else {
            continue;
        };
        if ring == other_ring && view == other_view && end >= start {
            return Err(format!("h{a} and h{b} own {start:x}"));
        }
    }
    Ok(())
}

/// While nobody was removed, each address is held by one node or on its way to one, not both, with what
/// the disks of machines that do not run say. Answers how many addresses that covers.
pub(crate) fn cover(hosts: &[Host]) -> Result<u128, String> {
    let now = hosts.iter().filter_map(|host| Some((host.name(), host.space()?)));
    let former = hosts.iter().flat_map(|host| &host.former).map(|(name, space)| (*name, space));
    let spaces: BTreeMap<[u8; 32], &Space> =
        now.chain(former).map(|(name, space)| (*name.as_bytes(), space)).collect();
    let mut held: Vec<(RingId, u128, u128, String)> = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let Some(space) = host.space() else { continue };
        let ring = space.ring;
        let spans = space.owned.iter();
        held.extend(spans.map(|span| (ring, span.start, span.end, format!("h{index}"))));
        for grant in &space.grants {
            let taken = spaces.get(&grant.to).map_or(0, |to| {
                let me = *host.name().as_bytes();
                to.accepted.iter().find(|(from, _)| *from == me).map_or(0, |(_, number)| *number)
            });
            if grant.number > taken {
                let way = format!("grant {} of h{index}", grant.number);
                held.push((ring, grant.span.start, grant.span.end, way));
            }
        }
    }
    held.sort_unstable();
    for pair in held.windows(2) {
        let [(ring, _, end, a), (other, start, _, b)] = pair else { continue };
        if ring == other && end >= start {
            return Err(format!("{a} and {b} both hold {start:x}"));
        }
    }
    Ok(held.iter().map(|(_, start, end, _)| end - start + 1).sum())
}

/// The ring as one node sees it gives no address to two. If the node holds the newest records of all
/// that own anything, and nobody was `removed`, it covers what is owned at all, `whole` addresses.
pub(crate) fn view(index: usize, hosts: &[Host], removed: bool, whole: u128) -> Result<(), String> {
    let Some(host) = hosts.get(index) else { return Ok(()) };
    let (Some(daemon), Some(mine)) = (&host.daemon, &host.seen) else { return Ok(()) };
    let routes = daemon.node.routes();
    let covered = disjoint(&routes, &host.ranges).map_err(|why| format!("h{index}: {why}"))?;
    own_routes(index, host, &routes, &mine.space)?;
    let current = |other: &Host| {
        let name = other.name();
        let published = seen(other).and_then(|seen| seen.records.get(&name));
        // What is not on the disk yet is not published.
        other.writing.is_empty() && published.is_some() && published == mine.records.get(&name)
    };
    // What is on its way to one who left is nobody's in its own eyes, until the granter takes it back.
    let in_ring = mine.space.ring != [0; 16] && !mine.space.left;
    if !removed && in_ring && hosts.iter().all(current) && covered != whole {
        return Err(format!(
            "h{index} has heard of everything and sees owners of {covered} of {whole} addresses"
        ));
    }
    Ok(())
}

/// Routes are sorted, disjoint and inside the ranges. Answers how many addresses they cover.
pub(crate) fn disjoint(routes: &[Route], ranges: &[IpNet]) -> Result<u128, String> {
    let mut sum = 0;
    let mut last = None;
    for route in routes {
        let (start, end) = (number(route.start), number(route.end));
        let inside = |net: &IpNet| number(net.network()) <= start && end <= number(net.broadcast());
        let follows = last.is_none_or(|last| last < start);
        if start > end || !follows || !ranges.iter().any(inside) {
            return Err(format!(
                "{} to {} is routed twice, or is nobody's",
                route.start, route.end
            ));
        }
        last = Some(end);
        sum += end - start + 1;
    }
    Ok(sum)
}

/// Each daemon routes to itself exactly what it owns.
fn own_routes(index: usize, host: &Host, routes: &[Route], space: &Space) -> Result<(), String> {
    let me = host.name();
    let size = |start: u128, end: u128| end - start + 1;
    let own = || routes.iter().filter(|route| route.owner == me);
    let routed: u128 = own().map(|route| size(number(route.start), number(route.end))).sum();
    let owned: u128 = space.owned.iter().map(|span| size(span.start, span.end)).sum();
    for route in own() {
        let (start, end) = (number(route.start), number(route.end));
        // Spans with different versions stay apart in the record, and are one route.
        let inside = |span: &&_| {
            let span: &weft_gossip::ipam::Span = span;
            start <= span.start && span.end <= end
        };
        let covered: u128 =
            space.owned.iter().filter(inside).map(|span| size(span.start, span.end)).sum();
        if covered != size(start, end) {
            let (start, end) = (route.start, route.end);
            return Err(format!("h{index} routes {start} to {end} to itself and does not own it"));
        }
    }
    if routed != owned {
        return Err(format!("h{index} owns {owned} addresses and routes {routed} to itself"));
    }
    Ok(())
}

/// How many addresses the ranges have.
pub(crate) fn size(ranges: &[IpNet]) -> u128 {
    ranges.iter().map(|net| number(net.broadcast()) - number(net.network()) + 1).sum()
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The hosts of these numbers have changed: checks all that an event can break, and brings up to date
/// what is known so far.
pub(crate) fn all(
    hosts: &mut [Host],
    changed: &BTreeSet<usize>,
    so_far: SoFar<'_>,
) -> Result<(), String> {
    let SoFar { removed, apart, whole, clashed } = so_far;
    for index in changed {
        if let Some(host) = hosts.get_mut(*index) {
            host.look();
        }
    }
    let hosts = &*hosts;
    unique(hosts, removed, apart, clashed)?;
    ownership(hosts)?;
    let mut covered = 0;
    if !removed {
        covered = cover(hosts)?;
        let full = hosts.first().map_or(0, |host| size(&host.ranges));
        if *whole && !apart && covered != full {
            return Err(format!("{covered} of {full} addresses are held, and nobody was removed"));
        }
        // A share that was claimed and is on no disk yet can still be lost, and is claimed again.
        *whole |= covered == full && hosts.iter().all(|host| host.writing.is_empty());
    }
    for index in changed {
        if let Some(host) = hosts.get(*index) {
            promises(*index, host)?;
            view(*index, hosts, removed || apart, covered)?;
        }
    }
    Ok(())
}
