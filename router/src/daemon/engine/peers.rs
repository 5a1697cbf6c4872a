//! One link to each peer, and which one where two were made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::VarInt;
use tracing::{debug, warn};
use weft_crypto::{PeerName, Suite};
use weft_dataplane::Path;
use weft_gossip::{DialError, Endpoint, Retry, Time};

use super::paths::{Monitor, PathMtu, Punch, RelayPath, Told, Whereabouts, interval, longest};
use super::{Engine, Output};
use crate::config::Tunnel;
use crate::daemon::links::{LinkId, close_code, is_virtual};

/// Strangers that were logged; beyond that none is, so that a flood of keys fills no log and no
/// memory.
const MAX_STRANGERS: usize = 64;

/// A connection that has been admitted.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct LinkInfo {
    pub(in crate::daemon) id: LinkId,
    pub(in crate::daemon) peer: PeerName,
    pub(in crate::daemon) address: SocketAddr,
    /// What this node dialled; `None` where the peer dialled.
    pub(in crate::daemon) dialled: Option<Endpoint>,
    pub(in crate::daemon) boot_id: u64,
    pub(in crate::daemon) dial_number: u64,
    pub(in crate::daemon) suite: Suite,
    /// Whether the connection can carry sealed packets as well.
    pub(in crate::daemon) carries_packets: bool,
}

/// The engine's word on an admitted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum Verdict {
    /// It is the link to that peer from here on.
    Accept,
    /// It must be closed with this code.
    Decline(VarInt),
}

/// The link to one peer.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct PeerLink {
    pub(in crate::daemon) id: LinkId,
    pub(in crate::daemon) address: SocketAddr,
    pub(in crate::daemon) outbound: bool,
    pub(in crate::daemon) suite: Suite,
    /// Where the peer is reached directly: `address`, unless that is a virtual one, until the peer is found elsewhere.
    pub(super) target: Option<SocketAddr>,
    /// Where else it may be.
    pub(super) whereabouts: Whereabouts,
    pub(super) punch: Punch,
    /// The path to `target`.
    pub(super) direct: Monitor,
    /// How long packets on the direct path may be, and which address that was found for.
    pub(super) mtu: PathMtu,
    pub(super) sized: Option<SocketAddr>,
    /// The path through others, while there is no direct one.
    pub(super) relay: Option<RelayPath>,
    /// The way inside the control connection, while that is looked at.
    pub(super) tunnel: Option<Monitor>,
    /// What is to carry packets.
    pub(super) kind: Tunnel,
    pub(super) carries_packets: bool,
    pub(super) told: Told,
    pub(super) since: Time,
    /// Packets that the session had sealed when traffic was looked at last.
    pub(super) sealed: u64,
    boot_id: u64,
    dial_number: u64,
}

impl PeerLink {
    /// Whether data packets go both ways.
    pub(super) fn is_established(&self) -> bool {
        self.near().is_some() || self.relay.as_ref().is_some_and(|relay| relay.monitor.is_alive())
    }

    /// Where the peer is, as far as is known: where it answers, else where the link began.
    pub(super) fn place(&self) -> SocketAddr {
        self.target.filter(|_| self.direct.is_alive()).unwrap_or(self.address)
    }

    /// How packets to the peer go; `None` where there is no way.
    pub(in crate::daemon) fn path(&self) -> Option<Path> {
        if self.in_tunnel() {
            return Some(Path::Tunnel);
        }
        match &self.relay {
            Some(relay) if !self.direct.is_alive() => Some(Path::Relay(Arc::clone(&relay.route))),
            _ => self.target.map(Path::Direct),
        }
    }
}

/// All links. Invariant: `by_link` holds exactly the ids in `links`.
#[derive(Debug)]
pub(super) struct Peers {
    us: PeerName,
    limit: usize,
    links: BTreeMap<PeerName, PeerLink>,
    by_link: BTreeMap<LinkId, PeerName>,
    strangers: BTreeSet<PeerName>,
    /// Why each target could not be connected last, so that a reason is logged once. Invariant: no
    /// more entries than there were ever targets.
    dial_errors: BTreeMap<String, String>,
    /// Members that dialled this node, have no link to it, and cannot have one: where they are, and why. No
    /// more than [`MAX_STRANGERS`].
    mismatches: BTreeMap<PeerName, (SocketAddr, String)>,
}

impl Peers {
    pub(super) fn new(us: PeerName, limit: usize) -> Self {
        Self {
            us,
            limit,
            links: BTreeMap::new(),
            by_link: BTreeMap::new(),
            strangers: BTreeSet::new(),
            dial_errors: BTreeMap::new(),
            mismatches: BTreeMap::new(),
        }
    }

    pub(super) fn of_link(&self, link: LinkId) -> Option<PeerName> {
        self.by_link.get(&link).copied()
    }

    pub(super) fn link_to(&self, peer: PeerName) -> Option<&PeerLink> {
        self.links.get(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerName, &PeerLink)> {
        self.links.iter().map(|(name, link)| (*name, link))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerName, &mut PeerLink)> {
        self.links.iter_mut().map(|(name, link)| (*name, link))
    }

    pub(super) fn get_mut(&mut self, peer: PeerName) -> Option<&mut PeerLink> {
        self.links.get_mut(&peer)
    }

    /// Whether `new` takes the place of the link that stands. Both ends come to the same answer:
    /// - a peer that has restarted is heard, whatever stands;
    /// - of two connections dialled by one side, the later one is kept;
    /// - of two that crossed, the one that the lower name dialled.
    fn prefers(&self, standing: &PeerLink, new: &LinkInfo) -> bool {
        if standing.boot_id != new.boot_id {
            return true;
        }
        let outbound = new.dialled.is_some();
        if standing.outbound == outbound {
            return new.dial_number > standing.dial_number;
        }
        let dialler = if outbound { self.us } else { new.peer };
        dialler == self.us.min(new.peer)
    }

    /// Whether one more peer may be connected.
    pub(super) fn has_room(&self) -> bool {
        self.links.len() < self.limit
    }

    fn insert(&mut self, peer: PeerName, link: PeerLink) -> Option<PeerLink> {
        self.by_link.insert(link.id, peer);
        let old = self.links.insert(peer, link);
        if let Some(old) = &old {
            self.by_link.remove(&old.id);
        }
        old
    }

    fn remove(&mut self, link: LinkId) -> Option<(PeerName, PeerLink)> {
        let peer = self.by_link.remove(&link)?;
        Some((peer, self.links.remove(&peer)?))
    }
}

impl Engine {
    /// A handshake came to its end: keep the connection or not.
    pub(in crate::daemon) fn handle_admitted(&mut self, new: &LinkInfo, now: Time) -> Verdict {
        self.report_misdirected(new, now);
        let verdict = self.judge(new, now);
        if verdict == Verdict::Accept {
            self.accept(new, now);
        }
        self.settle(now);
        verdict
    }

    /// An address that was known as one peer's is another's by now: a new node on an old host. The
    /// connection is as good as any, but the attempt to reach the former has failed.
    fn report_misdirected(&mut self, new: &LinkInfo, now: Time) {
        if let Some(endpoint @ Endpoint::Address(_, expected)) = &new.dialled
            && *expected != new.peer
        {
            let error = DialError {
                text: format!("{} answers at that address", new.peer.short()),
                retry: Retry::Slow,
            };
            self.connector.handle_dial_failed(endpoint, error, now);
        }
    }

    fn judge(&mut self, new: &LinkInfo, now: Time) -> Verdict {
        if self.conducts.is_barred(new.peer) {
            if let Some(endpoint) = &new.dialled {
                let error = DialError {
                    text: "it breaks connections, and is not let in for a while".to_owned(),
                    retry: Retry::Slow,
                };
                self.connector.handle_dial_failed(endpoint, error, now);
            }
            return Verdict::Decline(close_code::PROTOCOL);
        }
        match self.peers.link_to(new.peer) {
            Some(standing) if !self.peers.prefers(standing, new) => {
                // What was dialled leads to a peer that is connected: it is not dialled again.
                let address = standing.address;
                self.connector.handle_connected(new.peer, address, target_of(new), now);
                Verdict::Decline(close_code::DUPLICATE)
            }
            None if self.peers.links.len() >= self.peers.limit => {
                if let Some(endpoint) = &new.dialled {
                    let error = DialError {
                        text: format!("our --conn-limit of {} is reached", self.peers.limit),
                        retry: Retry::Slow,
                    };
                    self.connector.handle_dial_failed(endpoint, error, now);
                }
                Verdict::Decline(close_code::LIMIT)
            }
            _ => Verdict::Accept,
        }
    }

    fn accept(&mut self, new: &LinkInfo, now: Time) {
        let end = self.end(new.peer);
        let target = Some(new.address).filter(|address| !is_virtual(address));
        let link = PeerLink {
            id: new.id,
            address: new.address,
            outbound: new.dialled.is_some(),
            suite: new.suite,
            target,
            whereabouts: Whereabouts::default(),
            punch: Punch::default(),
            direct: Monitor::new(end, interval(target.unwrap_or(new.address)), now),
            mtu: PathMtu::new(longest(self.settings.mtu), now),
            sized: None,
            relay: None,
            tunnel: None,
            kind: self.settings.tunnel,
            carries_packets: new.carries_packets,
            told: Told::new(now),
            since: now,
            sealed: 0,
            boot_id: new.boot_id,
            dial_number: new.dial_number,
        };
        if let Some(old) = self.peers.insert(new.peer, link) {
            self.outputs.push_back(Output::Close { link: old.id, code: close_code::DUPLICATE });
            self.node.handle_disconnected(new.peer, now);
        } else {
            self.log_peer(new.peer, "peer connected");
        }
        if let Some(target) = target_of(new) {
            self.peers.dial_errors.remove(target);
        }
        self.peers.mismatches.remove(&new.peer);
        if self.conducts.is_quarantined(new.peer) {
            self.set_listening(new.peer, false);
        }
        self.connector.handle_connected(new.peer, new.address, target_of(new), now);
        // Nobody can dial a virtual address.
        let address = target.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        self.node.handle_connected(new.peer, address, new.dialled.is_some(), now);
        self.paths.stale = true;
        self.tables_changed = true;
        self.drive_paths(now);
    }

    /// A dial came to nothing.
    pub(in crate::daemon) fn handle_dial_failed(
        &mut self,
        endpoint: &Endpoint,
        error: DialError,
        now: Time,
    ) {
        debug!(?endpoint, error = error.text, "a dial failed");
        if let Endpoint::Target(target) = endpoint
            && self.peers.dial_errors.get(target) != Some(&error.text)
        {
            warn!(target_peer = target, error = error.text, "cannot connect");
            self.peers.dial_errors.insert(target.clone(), error.text.clone());
        }
        self.connector.handle_dial_failed(endpoint, error, now);
        self.settle(now);
    }

    /// Somebody without the cluster secret knocked. Logged once for each key.
    pub(in crate::daemon) fn handle_stranger(&mut self, peer: PeerName, address: SocketAddr) {
        if self.peers.strangers.len() < MAX_STRANGERS && self.peers.strangers.insert(peer) {
            warn!(
                peer = peer.short(),
                %address,
                "refused a node whose cluster secret differs; it is not logged again"
            );
        }
    }

    /// A member dialled, and there is no common ground. Logged once for each member and reason.
    pub(in crate::daemon) fn handle_mismatch(
        &mut self,
        peer: PeerName,
        address: SocketAddr,
        why: &str,
    ) {
        let mismatches = &mut self.peers.mismatches;
        if self.peers.links.contains_key(&peer)
            || mismatches.get(&peer).is_some_and(|(_, known)| known == why)
            || mismatches.len() >= MAX_STRANGERS
        {
            return;
        }
        mismatches.insert(peer, (address, why.to_owned()));
        warn!(peer = self.title(peer), %address, why, "refused a member; it is not logged again");
    }

    /// What status says of members that were refused.
    pub(super) fn mismatch_warnings(&self) -> impl Iterator<Item = String> {
        self.peers.mismatches.iter().map(|(peer, (address, why))| {
            format!("{} at {address} cannot connect: {why}", self.title(*peer))
        })
    }

    /// A link ended.
    pub(in crate::daemon) fn handle_closed(&mut self, link: LinkId, reason: &str, now: Time) {
        let Some((peer, lost)) = self.peers.remove(link) else { return };
        self.log_peer(peer, &format!("peer disconnected: {reason}"));
        self.node.handle_disconnected(peer, now);
        self.connector.handle_disconnected(peer, now);
        if let Some(address) = lost.target {
            self.rejoin.lost(peer, address);
        }
        self.paths.stale = true;
        self.update_candidates(now);
        self.tables_changed = true;
        self.settle(now);
    }
}

fn target_of(new: &LinkInfo) -> Option<&str> {
    match &new.dialled {
        Some(Endpoint::Target(target)) => Some(target),
        Some(Endpoint::Address(..)) | None => None,
    }
}
