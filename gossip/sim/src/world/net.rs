//! Links, messages and partitions.

use std::time::Duration;

use weft_gossip::{DialError, Endpoint, LinkState, Retry, Transmit};

use super::{Happening, World, ends};
use crate::host;

impl World {
    pub(super) fn transmit(&mut self, from: usize, transmit: Transmit) {
        let Transmit { to, bytes } = transmit;
        let daemon = self.hosts.get(from).and_then(|host| host.daemon.as_ref());
        let generation = daemon.and_then(|daemon| daemon.links.get(&to).copied());
        let (Some(generation), Some(to)) = (generation, self.index_of(to)) else { return };
        let weather = self.setting.weather;
        if self.chance(weather.lost) {
            self.report.lost += 1;
            return;
        }
        let latency = Duration::from_millis(1) + self.millis(weather.latency_ms);
        let in_order = self.arrival.get(&(from, to)).copied().unwrap_or_default();
        let mut at = (self.now + latency).max(in_order);
        if self.chance(weather.overtaking) {
            at += self.millis(500);
        } else {
            self.arrival.insert((from, to), at);
        }
        if self.chance(weather.repeated) {
            let bytes = bytes.clone();
            let again = at + self.millis(3000);
            self.at(again, Happening::Deliver { from, to, generation, bytes });
        }
        self.at(at, Happening::Deliver { from, to, generation, bytes });
    }

    pub(super) fn deliver(
        &mut self,
        from: usize,
        to: usize,
        generation: u64,
        bytes: &[u8],
    ) -> Result<(), String> {
        let now = self.now;
        let source = self.name(from);
        let dead = self.links.get(&ends(from, to)) != Some(&generation);
        let Some(daemon) = self.hosts.get_mut(to).and_then(|host| host.daemon.as_mut()) else {
            return Ok(());
        };
        if dead || source.is_none_or(|name| daemon.links.get(&name) != Some(&generation)) {
            self.report.lost += 1;
            return Ok(());
        }
        self.report.delivered += 1;
        if let Some(source) = source {
            let time = daemon.time(now);
            daemon
                .node
                .handle_message(source, bytes, time)
                .map_err(|error| format!("h{to} refused a message of h{from}: {error}"))?;
        }
        self.note(|| format!("h{from}->h{to}: {} bytes, type {:?}", bytes.len(), bytes.get(1)));
        self.drain(to)
    }

    /// A dial has come to its end: a link, or the reason why not.
    pub(super) fn dialled(
        &mut self,
        host: usize,
        incarnation: u64,
        endpoint: &Endpoint,
    ) -> Result<(), String> {
        let now = self.now;
        let running = self
            .hosts
            .get(host)
            .is_some_and(|machine| machine.incarnation == incarnation && machine.daemon.is_some());
        if !running {
            return Ok(());
        }
        let text = match endpoint {
            Endpoint::Target(text) => text.clone(),
            Endpoint::Address(address, _) => address.to_string(),
        };
        let peer = self.hosts.iter().position(|other| other.address.to_string() == text);
        let answers = |peer: &usize| {
            self.can_talk(host, *peer)
                && self.hosts.get(*peer).is_some_and(|other| other.daemon.is_some())
        };
        let Some(peer) = peer.filter(answers) else {
            if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
                let error = DialError { text: "no answer".into(), retry: Retry::Backoff };
                let time = daemon.time(now);
                daemon.connector.handle_dial_failed(endpoint, error, time);
            }
            return self.drain(host);
        };
        // A new link replaces the one that the ends still believe in.
        self.generation += 1;
        let generation = self.generation;
        self.links.insert(ends(host, peer), generation);
        self.arrival.remove(&(host, peer));
        self.arrival.remove(&(peer, host));
        self.note(|| format!("h{host}-h{peer}: connected"));
        self.report_misdirected(host, peer, endpoint);
        for (one, other, outbound) in [(host, peer, true), (peer, host, false)] {
            let Some((name, address)) =
                self.hosts.get(other).map(|host| (host.name(), host.address))
            else {
                continue;
            };
            let Some(daemon) = self.hosts.get_mut(one).and_then(|host| host.daemon.as_mut()) else {
                continue;
            };
            let time = daemon.time(now);
            daemon.links.insert(name, generation);
            daemon.missed.remove(&name);
            let target = match endpoint {
                Endpoint::Target(text) if outbound => Some(text.as_str()),
                Endpoint::Target(_) | Endpoint::Address(..) => None,
            };
            daemon.connector.handle_connected(name, address, target, time);
            daemon.node.handle_connected(name, address, outbound, time);
            daemon.node.handle_link_state(name, LinkState::Direct(0), time);
        }
        self.drain(host)?;
        self.drain(peer)
    }

    /// A node that began anew answers where another was: as the daemon does, tells that the dial to that one
    /// has come to nothing.
    fn report_misdirected(&mut self, host: usize, peer: usize, endpoint: &Endpoint) {
        let now = self.now;
        let found = self.name(peer);
        let daemon = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut());
        if let (Endpoint::Address(_, expected), Some(daemon)) = (endpoint, daemon)
            && found != Some(*expected)
        {
            let error = DialError { text: "another answers there".into(), retry: Retry::Slow };
            let time = daemon.time(now);
            daemon.connector.handle_dial_failed(endpoint, error, time);
        }
    }

    /// An end learns that its link is gone.
    pub(super) fn noticed(
        &mut self,
        host: usize,
        peer: usize,
        generation: u64,
    ) -> Result<(), String> {
        let now = self.now;
        let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) else {
            return Ok(());
        };
        // By the generation: the peer may have another name by now.
        let name = daemon.links.iter().find(|(_, it)| **it == generation).map(|(name, _)| *name);
        if let Some(name) = name {
            let time = daemon.time(now);
            daemon.links.remove(&name);
            daemon.node.handle_disconnected(name, time);
            daemon.connector.handle_disconnected(name, time);
            let address = host::address(peer);
            daemon.missed.entry(name).or_default().insert(address);
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.update_candidates(now);
            }
            self.note(|| format!("h{host}: lost h{peer}"));
        }
        self.drain(host)
    }

    pub(super) fn partition(&mut self) {
        for host in 0..self.side.len() {
            let side = u8::from(self.one_in(2));
            if let Some(slot) = self.side.get_mut(host) {
                *slot = side;
            }
        }
        self.report.partitions += 1;
        let sides = self.side.clone();
        self.note(|| format!("partition {sides:?}"));
        let cut: Vec<_> =
            self.links.keys().copied().filter(|&(a, b)| !self.can_talk(a, b)).collect();
        for (a, b) in cut {
            self.cut(a, b, 3000);
        }
    }

    pub(super) fn reunite(&mut self) {
        self.side.fill(0);
        self.note(|| "no partition".into());
    }

    pub(super) fn reset_link(&mut self) {
        let links = self.links.len();
        if links > 0
            && let chosen = self.pick(links)
            && let Some(&(a, b)) = self.links.keys().nth(chosen)
        {
            self.note(|| format!("h{a}-h{b}: reset"));
            self.cut(a, b, 100);
        }
    }

    /// A link is dead; each end notices in its own time.
    fn cut(&mut self, a: usize, b: usize, notice_ms: u64) {
        if let Some(generation) = self.links.remove(&ends(a, b)) {
            for (host, peer) in [(a, b), (b, a)] {
                let delay = self.millis(notice_ms);
                self.after(delay, Happening::Noticed { host, peer, generation });
            }
        }
    }

    fn can_talk(&self, a: usize, b: usize) -> bool {
        a != b && self.side.get(a) == self.side.get(b)
    }
}
