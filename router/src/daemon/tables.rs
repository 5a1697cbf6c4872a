//! What the data plane forwards by, made from the engine's state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use weft_api::attach::{Attachment, EXPOSED};
use weft_crypto::PeerName;
use weft_dataplane::{
    Hop, Mac, PathSize, PeerPath, PeerSlot, Route, RxSession, Tables, TablesSpec, mac_for,
};

use super::engine::Engine;
use super::links::Links;

/// A snapshot of who is where. Peers without a link get no slot; addresses of theirs are
/// unreachable, which the data plane counts.
pub(super) fn build(us: PeerName, ranges: &[IpNet], engine: &Engine, links: &Links) -> Tables {
    let mut slots: BTreeMap<PeerName, PeerSlot> = BTreeMap::new();
    let mut peers = Vec::new();
    let mut sessions = Vec::new();
    let mut tunnels = Vec::new();
    // While Pods with void addresses are still plugged in, nobody is a peer.
    for (name, link) in engine.links().filter(|_| !engine.is_apart()) {
        let Some(epochs) = links.epochs(link.id) else { continue };
        tunnels.extend(links.tunnel(link.id).map(|tunnel| (name, tunnel.clone())));
        // Without a way there is nothing to send along; what comes is still taken.
        if let Some(path) = link.path() {
            slots.insert(name, PeerSlot(peers.len()));
            let used = links.size_used(link.id).cloned().unwrap_or_default();
            let limit = engine.limit_to(link);
            let size = PathSize { limit: limit.bytes, known: limit.known, used };
            peers.push(PeerPath { name, sealer: epochs.sealer().clone(), path, size });
        }
        for (receiver, opener) in epochs.openers() {
            sessions.push(RxSession { receiver, opener: opener.clone(), peer: name });
        }
    }
    let hop = |owner: PeerName| match slots.get(&owner) {
        _ if owner == us => Hop::Local,
        Some(slot) => Hop::Peer(*slot),
        None => Hop::Unreachable,
    };
    let routes = engine
        .routes()
        .into_iter()
        .map(|route| Route { start: route.start, end: route.end, to: hop(route.owner) })
        .collect();
    Tables::new(TablesSpec {
        routes,
        peers,
        sessions,
        local: local(engine),
        ranges: ranges.to_vec(),
        gateways: gateways(engine),
        us: Some(us),
        relays: engine.relays(),
        tunnels,
    })
}

/// The host's own addresses at the bridge.
fn gateways(engine: &Engine) -> Vec<IpAddr> {
    let host =
        |attachment: &&Attachment| attachment.container == EXPOSED && attachment.fenced.is_none();
    let attachments = engine.attachments().filter(host);
    attachments.flat_map(|attachment| &attachment.ips).map(|ip| ip.addr()).collect()
}

/// The MACs of the Pods on this node, and of the host where it has addresses.
fn local(engine: &Engine) -> Vec<(IpAddr, Mac)> {
    let mut local = Vec::new();
    for attachment in engine.attachments().filter(|attachment| attachment.fenced.is_none()) {
        // The interface has the MAC of its first address, whatever further addresses it has.
        if let Some(first) = attachment.ips.first() {
            let host = attachment.container == EXPOSED;
            let mac = if host { engine.bridge_mac() } else { own_mac(attachment, first.addr()) };
            local.extend(attachment.ips.iter().map(|ip| (ip.addr(), mac)));
        }
    }
    local
}

/// The MAC that an interface has: the one derived from its address, but where another CNI plugin
/// has made it.
fn own_mac(attachment: &Attachment, first: IpAddr) -> Mac {
    let told = attachment.mac.parse::<weft_cni_shim::wire::Mac>();
    told.map_or_else(|_| mac_for(first), |mac| Mac::new(mac.0))
}
