//! What must come true in the end.

use std::collections::BTreeSet;

use weft_gossip::ipam::ViewId;

use crate::{check, host::Host};

/// All that are not dead run, hold the same records and see each other; those that were not removed
/// are in the same state of removals, see the same ring, which covers the range exactly once, and no removal waits; or what is missing.
pub(crate) fn reached(hosts: &[Host]) -> Result<(), String> {
    let alive = hosts.iter().filter(|host| !host.dead).count();
    let mut first: Option<(usize, _, ViewId, _)> = None;
    for (index, host) in hosts.iter().enumerate().filter(|(_, host)| !host.dead) {
        let Some(daemon) = &host.daemon else { return Err(format!("h{index} does not run")) };
        let names: BTreeSet<_> = hosts.iter().filter(|host| !host.dead).map(Host::name).collect();
        let reached: BTreeSet<_> = daemon
            .node
            .members()
            .into_iter()
            .filter(|member| member.reachable)
            .map(|member| member.name)
            .collect();
        if !names.is_subset(&reached) {
            return Err(format!("h{index} reaches {} of {alive}", reached.len()));
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
        if daemon.node.leaving().is_some() {
            return Err(format!("h{index} still leaves"));
        }
        if let Some(kept) = daemon.node.ipam().kept().first() {
            return Err(format!("h{index} keeps {:?} of another ring", kept.addresses));
        }
        let routes = daemon.node.routes();
        let (covered, size) = (check::disjoint(&routes, &host.ranges)?, check::size(&host.ranges));
        if covered != size {
            return Err(format!("h{index} sees owners of {covered} of {size} addresses"));
        }
        let stays = |name| hosts.iter().any(|host| host.stays() && host.name() == name);
        if let Some(route) = routes.iter().find(|route| !stays(route.owner)) {
            let (ip, owner) = (route.start, route.owner.short());
            return Err(format!("h{index} sees {ip} with {owner}, which is gone"));
        }
        let records = daemon.node.fingerprints();
        let view = daemon.space().view;
        match &first {
            None => first = Some((index, records, view, routes)),
            Some((other, theirs, ..)) if *theirs != records => {
                return Err(format!("h{other} and h{index} hold different records"));
            }
            Some((other, _, theirs, _)) if *theirs != view => {
                return Err(format!("h{other} and h{index} completed removals in two ways"));
            }
            Some((other, _, _, theirs)) if *theirs != routes => {
                return Err(format!(
                    "h{other} and h{index} see different rings: {theirs:?} and {routes:?}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// How many more Pods there are addresses for, all nodes that stay together; each Pod takes one of
/// each range.
pub(crate) fn free(hosts: &[Host]) -> usize {
    let stay = || hosts.iter().filter(|host| host.stays());
    let room = hosts.first().into_iter().flat_map(|host| &host.ranges);
    // The first and the last address of a range are nobody's.
    let room = room.map(|net| check::size(&[*net]).saturating_sub(2)).min().unwrap_or(0);
    let held: usize = stay()
        .filter_map(|host| host.daemon.as_ref())
        .map(|daemon| daemon.node.allocations().count())
        .sum();
    usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(held)
}
