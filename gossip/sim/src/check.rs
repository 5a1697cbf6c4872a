//! What must hold after every event, and what must come true in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use weft_gossip::ipam::{IpamSnapshot, ViewId};

use crate::host::Host;

/// No address is in use by two Pods anywhere, daemons that do not run included, and every daemon that
/// runs knows the Pods it promised addresses to. Once somebody was `removed`: no address is in use by
/// two Pods on daemons that run and are in the same state of removals.
pub(crate) fn promises(hosts: &[Host], removed: bool) -> Result<(), String> {
    let mut used: BTreeMap<(Option<ViewId>, IpAddr), (usize, &str)> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        let view = if removed { host.view() } else { None };
        for (key, addresses) in host.pods.iter().filter(|_| !removed || host.stays()) {
            for &address in addresses {
                if let Some((other, other_key)) = used.insert((view, address), (index, key)) {
                    return Err(format!(
                        "{address} is in use by {key} on h{index} and by {other_key} on h{other}"
                    ));
                }
            }
        }
        let Some(daemon) = &host.daemon else { continue };
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
    }
    Ok(())
}

/// No address is owned by two daemons that run and are in the same state of removals.
pub(crate) fn ownership(hosts: &[Host]) -> Result<(), String> {
    let mut owned: Vec<(ViewId, u128, u128, usize)> = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let Some(daemon) = &host.daemon else { continue };
        let IpamSnapshot::V1(snapshot) = daemon.node.ipam().snapshot();
        let view = snapshot.space.view;
        owned.extend(snapshot.space.owned.iter().map(|span| (view, span.start, span.end, index)));
    }
    owned.sort_unstable();
    for pair in owned.windows(2) {
        let [(view, start, end, a), (other_view, other_start, other_end, b)] = pair else {
            continue;
        };
        if view == other_view && end >= other_start {
            return Err(format!(
                "h{a} owns {start:x}-{end:x} and h{b} owns {other_start:x}-{other_end:x}"
            ));
        }
    }
    Ok(())
}

/// Each daemon that runs routes to itself exactly what it owns.
pub(crate) fn routes(index: usize, host: &Host) -> Result<(), String> {
    let Some(daemon) = &host.daemon else { return Ok(()) };
    let IpamSnapshot::V1(snapshot) = daemon.node.ipam().snapshot();
    let own = daemon.node.routes().into_iter().filter(|route| route.owner == host.name());
    for route in own {
        let (start, end) = (number(route.start), number(route.end));
        // Spans with different versions stay apart in the record, and are one route.
        let covered: u128 = snapshot
            .space
            .owned
            .iter()
            .filter(|span| start <= span.start && span.end <= end)
            .map(|span| span.end - span.start + 1)
            .sum();
        if covered != end - start + 1 {
            return Err(format!(
                "h{index} routes {}-{} to itself and does not own all of it",
                route.start, route.end
            ));
        }
    }
    Ok(())
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// All that are not dead run, hold the same records and see each other; those that were not removed
/// see the same ring, and no removal waits; or what is missing.
pub(crate) fn agreement(hosts: &[Host]) -> Result<(), String> {
    let mut first = None;
    for (index, host) in hosts.iter().enumerate() {
        if host.dead {
            continue;
        }
        let Some(daemon) = &host.daemon else { return Err(format!("h{index} does not run")) };
        let unreachable: BTreeSet<String> = daemon
            .node
            .members()
            .into_iter()
            .filter(|member| !member.reachable)
            .filter(|member| !hosts.iter().any(|host| host.dead && host.name() == member.name))
            .map(|member| member.nickname)
            .collect();
        if !unreachable.is_empty() {
            return Err(format!("h{index} does not reach {unreachable:?}"));
        }
        let alive = hosts.iter().filter(|host| !host.dead).count();
        let members = daemon.node.members().len();
        if members < alive {
            return Err(format!("h{index} knows {members} members"));
        }
        if daemon.links.len() + 1 != alive {
            return Err(format!("h{index} has {} links", daemon.links.len()));
        }
        if !host.stays() {
            continue;
        }
        if let Some(waits) = daemon.node.removals().iter().find(|it| it.waits_for.is_some()) {
            return Err(format!("h{index} waits for {:?}", waits.waits_for));
        }
        let view = (daemon.node.fingerprints(), daemon.node.routes());
        match &first {
            None => first = Some(view),
            Some((records, _)) if *records != view.0 => {
                return Err(format!("h0 and h{index} hold different records"));
            }
            Some((_, routes)) if *routes != view.1 => {
                return Err(format!(
                    "h0 and h{index} see different rings: {routes:?} and {:?}",
                    view.1
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
