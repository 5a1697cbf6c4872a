//! Packets inside the control connection: where packets of our own get no answer and QUIC does, or where the
//! operator wants it so.
//!
//! The way inside is probed like any other, from the moment in which the direct path is suspected: when that has died
//! it is known already whether QUIC lives. If it does, packets go inside until the direct path has passed its trial;
//! else they go through other nodes, and with them the control connection, so that nothing more is learnt of the way
//! inside until there is no way through others or the direct path is back.

use std::time::Duration;

use tracing::info;
use weft_crypto::PeerName;
use weft_dataplane::Path;
use weft_gossip::Time;

use super::monitor::{Change, relayed_interval};
use super::{Monitor, Output};
use crate::config::Tunnel;
use crate::daemon::engine::Engine;
use crate::daemon::engine::peers::PeerLink;
use crate::daemon::links::is_virtual;

/// How long the first answer on a direct path is waited for before the way inside is probed.
const PATIENCE: Duration = Duration::from_secs(1);

impl PeerLink {
    /// Whether packets to the peer go inside the control connection.
    pub(in crate::daemon) fn in_tunnel(&self) -> bool {
        match &self.tunnel {
            Some(tunnel) if self.kind == Tunnel::Quic => self.relay.is_none() || tunnel.is_alive(),
            Some(tunnel) => tunnel.is_alive() && !self.direct.is_alive(),
            None => false,
        }
    }

    /// What is known of the way that packets take without other nodes, if that is alive.
    pub(in crate::daemon::engine) fn near(&self) -> Option<&Monitor> {
        let tunnel = self.tunnel.as_ref().filter(|tunnel| tunnel.is_alive());
        let direct = Some(&self.direct).filter(|direct| direct.is_alive());
        if self.in_tunnel() { tunnel.or(direct) } else { direct.or(tunnel) }
    }

    /// Whether the way inside is to be looked at.
    fn wants_tunnel(&self, now: Time) -> bool {
        // Where the control connection goes through others, so would what is inside.
        let usable = self.carries_packets
            && !is_virtual(&self.address)
            && (self.relay.is_none() || self.near().is_some());
        usable
            && match self.kind {
                Tunnel::Udp => false,
                Tunnel::Quic => true,
                Tunnel::Auto => self.direct.is_doubted(PATIENCE, now),
            }
    }
}

impl Engine {
    /// Begins and ends to look at the ways inside control connections.
    pub(super) fn update_tunnels(&mut self, now: Time) {
        let us = self.settings.name;
        for (peer, link) in self.peers.iter_mut() {
            let wanted = link.wants_tunnel(now);
            if wanted == link.tunnel.is_some() {
                continue;
            }
            let end = if us < peer { super::End::Low } else { super::End::High };
            let before = link.in_tunnel();
            link.tunnel = wanted.then(|| Monitor::new(end, relayed_interval(), now));
            self.tables_changed |= link.in_tunnel() != before;
        }
    }

    /// Sends the probes that are due inside control connections, and answers what became of those ways.
    pub(super) fn drive_tunnels(&mut self, now: Time) {
        let mut changes = Vec::new();
        for (peer, link) in self.peers.iter_mut() {
            let Some(tunnel) = &mut link.tunnel else { continue };
            changes.extend(tunnel.handle_timeout(now).map(|change| (peer, change)));
            while let Some(question) = tunnel.poll_question(self.next_probe, now) {
                self.next_probe += 1;
                self.outputs.push_back(Output::Probe {
                    peer,
                    path: Path::Tunnel,
                    token: question.token,
                    urgent: question.urgent,
                });
            }
        }
        for (peer, change) in changes {
            self.tunnel_changed(peer, change, now);
        }
    }

    /// A probe of that token was answered inside the control connection to `peer`.
    pub(in crate::daemon) fn handle_tunnel_answer(
        &mut self,
        peer: PeerName,
        token: u64,
        now: Time,
    ) {
        let tunnel = self.peers.get_mut(peer).and_then(|link| link.tunnel.as_mut());
        if let Some(change) = tunnel.and_then(|tunnel| tunnel.handle_answer(token, now)) {
            self.tunnel_changed(peer, change, now);
        }
        self.tell(peer, now);
        self.settle(now);
    }

    /// The peer asked inside the control connection, and the data plane has answered it.
    pub(in crate::daemon) fn handle_tunnel_question(
        &mut self,
        peer: PeerName,
        urgent: bool,
        now: Time,
    ) {
        if let Some(tunnel) = self.peers.get_mut(peer).and_then(|link| link.tunnel.as_mut()) {
            tunnel.handle_question(urgent, now);
        }
        self.drive_paths(now);
        self.settle(now);
    }

    fn tunnel_changed(&mut self, peer: PeerName, change: Change, now: Time) {
        match change {
            Change::Up => {
                self.rejoin.found(peer);
                self.log_tunnel(peer);
            }
            Change::Down => {
                info!(peer = self.title(peer), "the way inside the control connection is dead");
            }
        }
        self.tables_changed = true;
        self.update_routes(now);
        self.tell(peer, now);
    }

    /// Says that packets go inside, if they do.
    pub(super) fn log_tunnel(&self, peer: PeerName) {
        if self.peers.link_to(peer).is_some_and(|link| link.near().is_some() && link.in_tunnel()) {
            self.log_peer(peer, "data packets go inside the control connection");
        }
    }
}
