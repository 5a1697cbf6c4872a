//! Paths: whether those to each peer work, which one is used, and what the others are told of it.
//!
//! A session is end to end, whatever way its packets take: the direct path while that is alive, else one through other
//! nodes ([`routes`]), which is probed end to end like a direct one. The direct path goes on being probed, and is taken
//! back when it has passed its trial.

mod class;
mod monitor;
mod mtu;
mod punch;
mod quality;
mod relayed;
mod roaming;
mod routes;
mod sizes;
mod tunnel;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use weft_crypto::PeerName;
use weft_dataplane::{Path, RelayRoute, ShortId};
use weft_gossip::{LinkState, Time};

pub(super) use monitor::{End, Monitor, interval};
pub(super) use mtu::PathMtu;
pub(super) use punch::Punch;
pub(super) use roaming::Whereabouts;
pub(super) use sizes::longest;

use super::peers::PeerLink;
use super::{Engine, Output};
use monitor::Change;

/// How long a class of round-trip times is told before another one may be.
const CLASS_HOLD: Duration = Duration::from_secs(10);

/// How long a way through other nodes that died is not tried again.
const AVOID: Duration = Duration::from_secs(10);

/// How often traffic is looked at.
pub(in crate::daemon) const TRAFFIC_EVERY: Duration = Duration::from_millis(500);

/// What probes and their answers add to the count in that time, at most, while all is well.
const QUIET: u64 = 6;

/// What is known of ways beyond the links.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Links or what is told of them have changed since the routes were computed.
    pub(super) stale: bool,
    /// When the routes are to be looked at again, whatever happens.
    check: Option<Time>,
    /// The ways to nodes without a direct path, whether there is a link to them or not.
    routes: BTreeMap<PeerName, Arc<RelayRoute>>,
    /// Ways that died, until when.
    avoid: BTreeMap<(PeerName, RelayRoute), Time>,
    /// The members by their ids; none where two have the same.
    ids: BTreeMap<ShortId, Option<PeerName>>,
    /// When each member without a link may be dialled through others.
    dials: BTreeMap<PeerName, Time>,
}

/// A path through other nodes.
#[derive(Debug, Clone)]
pub(super) struct RelayPath {
    pub(super) route: Arc<RelayRoute>,
    pub(super) monitor: Monitor,
}

/// What the others were told of a link last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    state: LinkState,
    since: Time,
}

impl Told {
    pub(super) fn new(now: Time) -> Self {
        Self { state: LinkState::Pending, since: now }
    }

    /// What to tell now.
    fn next(&self, link: &PeerLink, now: Time) -> LinkState {
        if let Some(near) = link.near() {
            let rtt = near.quality().rtt().unwrap_or_default();
            return match self.state {
                LinkState::Direct(class) if now.since(self.since) < CLASS_HOLD => {
                    LinkState::Direct(class)
                }
                LinkState::Direct(class) => LinkState::Direct(class::renew(class, rtt)),
                LinkState::Pending | LinkState::Relayed | LinkState::Dead => {
                    LinkState::Direct(class::of(rtt))
                }
            };
        }
        match &link.relay {
            Some(relay) if relay.monitor.is_alive() => LinkState::Relayed,
            // A way that was found at once is taken for good until it proves dead.
            Some(relay) if relay.monitor.dead_since().is_none() && self.state.is_established() => {
                LinkState::Relayed
            }
            _ if link.direct.dead_since().is_some() || self.state != LinkState::Pending => {
                LinkState::Dead
            }
            _ => LinkState::Pending,
        }
    }
}

impl Engine {
    /// Which end of the paths to a peer this node is.
    pub(super) fn end(&self, peer: PeerName) -> End {
        if self.settings.name < peer { End::Low } else { End::High }
    }

    /// When a path is to be probed or judged next.
    pub(super) fn next_path_timeout(&self) -> Option<Time> {
        let links = self.peers.iter().flat_map(|(_, link)| {
            let direct = link.target.map(|_| link.direct.poll_timeout());
            let relay = link.relay.as_ref().map(|relay| relay.monitor.poll_timeout());
            let tunnel = link.tunnel.as_ref().map(Monitor::poll_timeout);
            let size = link.mtu.poll_timeout().filter(|_| link.direct.is_alive());
            let challenger = link.whereabouts.poll_timeout();
            [direct, relay, tunnel, size, challenger].into_iter().flatten()
        });
        links.chain(self.paths.check).min()
    }

    /// Judges all paths and sends the probes that are due.
    pub(super) fn drive_paths(&mut self, now: Time) {
        let mut direct = Vec::new();
        let mut relayed = Vec::new();
        for (peer, link) in self.peers.iter_mut() {
            let mut ask = |monitor: &mut Monitor, path: Path| {
                while let Some(question) = monitor.poll_question(self.next_probe, now) {
                    self.next_probe += 1;
                    self.outputs.push_back(Output::Probe {
                        peer,
                        path: path.clone(),
                        token: question.token,
                        urgent: question.urgent,
                    });
                }
            };
            if let Some(address) = link.target {
                direct.extend(link.direct.handle_timeout(now).map(|change| (peer, change)));
                ask(&mut link.direct, Path::Direct(address));
            }
            if let Some(relay) = &mut link.relay {
                let change = relay.monitor.handle_timeout(now);
                relayed.extend(change.map(|change| (peer, Arc::clone(&relay.route), change)));
                ask(&mut relay.monitor, Path::Relay(Arc::clone(&relay.route)));
            }
        }
        self.drive_sizes(now);
        self.update_tunnels(now);
        self.drive_tunnels(now);
        self.drive_challengers(now);
        for (peer, change) in direct {
            self.direct_changed(peer, change, now);
        }
        for (peer, route, change) in relayed {
            // The death of a neighbour may have moved the link to another way already.
            let link = self.peers.get_mut(peer);
            if link.is_some_and(|link| link.relay.as_ref().is_some_and(|r| r.route == route)) {
                self.relayed_changed(peer, change, now);
            }
        }
        if self.paths.check.is_some_and(|at| at <= now) {
            self.paths.stale = true;
        }
    }

    /// A probe of that token was answered, in a session of `peer`: nobody answers for another.
    pub(in crate::daemon) fn handle_answer(&mut self, peer: PeerName, token: u64, now: Time) {
        let Some(link) = self.peers.get_mut(peer) else { return };
        let direct = link.direct.handle_answer(token, now);
        let relayed = link.relay.as_mut().and_then(|relay| relay.monitor.handle_answer(token, now));
        match (direct, relayed) {
            (Some(change), _) => self.direct_changed(peer, change, now),
            (None, Some(change)) => self.relayed_changed(peer, change, now),
            (None, None) if self.challenger_answered(peer, token, now) => {}
            (None, None) => self.tell(peer, now),
        }
        self.handle_size_answer(peer, token, now);
        self.drive_sizes(now);
        self.settle(now);
    }

    /// The peer asked by a probe, straight from an address or through others, and the data plane has answered it.
    pub(in crate::daemon) fn handle_question(
        &mut self,
        peer: PeerName,
        urgent: bool,
        from: Option<SocketAddr>,
        now: Time,
    ) {
        let relayed = from.is_none();
        if from.is_some_and(|from| !self.asked_from(peer, from, urgent, now)) {
            self.drive_paths(now);
            return self.settle(now);
        }
        let Some(link) = self.peers.get_mut(peer) else { return };
        match (relayed, &mut link.relay) {
            (false, _) => link.direct.handle_question(urgent, now),
            (true, Some(relay)) => relay.monitor.handle_question(urgent, now),
            (true, None) => {}
        }
        self.drive_paths(now);
        self.settle(now);
    }

    /// How many packets the session with each peer has sealed so far, and whether some of the last were long; called every
    /// [`TRAFFIC_EVERY`]. Paths that carry traffic are watched more closely.
    pub(in crate::daemon) fn handle_traffic(
        &mut self,
        sealed: impl Iterator<Item = (PeerName, u64, bool)>,
        now: Time,
    ) {
        for (peer, sealed, long) in sealed {
            let Some(link) = self.peers.get_mut(peer) else { continue };
            if long {
                link.mtu.handle_use(now);
            }
            let busy = sealed.saturating_sub(link.sealed) > QUIET;
            link.sealed = sealed;
            link.direct.handle_traffic(busy, now);
            if let Some(tunnel) = &mut link.tunnel {
                tunnel.handle_traffic(busy, now);
            }
            if let Some(relay) = &mut link.relay {
                relay.monitor.handle_traffic(busy, now);
            }
        }
        self.drive_paths(now);
    }

    fn direct_changed(&mut self, peer: PeerName, change: Change, now: Time) {
        match change {
            Change::Up => {
                self.rejoin.found(peer);
                self.log_peer(peer, "data path established");
            }
            Change::Down => {
                let title = self.title(peer);
                warn!(peer = title, "the direct path is dead: probes get no answer");
                if self.follow(peer, now) {
                    return;
                }
                self.log_tunnel(peer);
            }
        }
        if let Some(link) = self.peers.get_mut(peer) {
            sizes::reset(link, self.settings.mtu, now);
        }
        self.tables_changed = true;
        // At once: packets to this peer, and those through it, need another way.
        self.update_routes(now);
        self.tell(peer, now);
    }

    fn relayed_changed(&mut self, peer: PeerName, change: Change, now: Time) {
        match change {
            Change::Up => {
                self.rejoin.found(peer);
                self.log_peer(peer, "data path established through other nodes");
            }
            Change::Down => {
                let relay = self.peers.get_mut(peer).and_then(|link| link.relay.take());
                if let Some(relay) = relay {
                    info!(peer = self.title(peer), "the path through other nodes is dead");
                    let way = (peer, RelayRoute::clone(&relay.route));
                    self.paths.avoid.insert(way, now + AVOID);
                }
            }
        }
        self.tables_changed = true;
        self.update_routes(now);
        self.tell(peer, now);
    }

    /// Tells the others how packets get to a peer, where that has changed.
    pub(super) fn tell(&mut self, peer: PeerName, now: Time) {
        let Some(link) = self.peers.get_mut(peer) else { return };
        let state = link.told.next(link, now);
        if state != link.told.state {
            link.told = Told { state, since: now };
            self.node.handle_link_state(peer, state, now);
        }
    }
}
