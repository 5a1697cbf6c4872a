//! What the engine tells of itself: the types of `weft status`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_api::status::{
    Connection, ConnectionCounts, ConnectionState, Direction, Ipam, IpamOwner, ObservedAddress,
    Peer, PeerConnection, Router, Status, Target,
};
use weft_crypto::PeerName;
use weft_gossip::{Attempt, AttemptState, Endpoint, LinkView, Member, Time};

use super::{Engine, PeerLink};
use crate::config::Tunnel;
use crate::daemon::links::LinkId;

/// Answers the round-trip time of a link, which only the shell knows.
pub(in crate::daemon) type Rtt<'a> = &'a dyn Fn(LinkId) -> Option<Duration>;

impl Engine {
    /// `weft status`.
    pub(in crate::daemon) fn status(&self, now: Time) -> Status {
        let members = self.members();
        let mut counts = ConnectionCounts::default();
        for connection in self.connections(&|_| None, now) {
            match connection.state {
                ConnectionState::Established => counts.established += 1,
                ConnectionState::Pending => counts.pending += 1,
                ConnectionState::Retrying => counts.retrying += 1,
                ConnectionState::Failed => counts.failed += 1,
                ConnectionState::Connecting => counts.connecting += 1,
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.ready(now),
            router: Router {
                name: self.settings.name.to_string(),
                nickname: self.settings.nickname.clone(),
                port: self.settings.port,
                discovery: self.settings.discovery,
                targets: self.connector.targets().union(self.connector.found()).cloned().collect(),
                peers: members.len(),
                connections: counts,
                mesh_established: members
                    .iter()
                    .map(|m| m.links.iter().filter(|l| l.state.is_established()).count())
                    .sum(),
                cipher: self.settings.cipher.clone(),
                mtu: self.settings.mtu,
                offload: self.settings.offload.clone(),
                observed_addresses: self
                    .node
                    .observed()
                    .into_iter()
                    .map(|(address, peers)| ObservedAddress { address: address.to_string(), peers })
                    .collect(),
                scheduling: self.settings.scheduling.clone(),
                workers: self.settings.workers,
            },
            ipam: Ipam {
                state: self.node.ipam_state(),
                ranges: self.settings.ranges.iter().map(ToString::to_string).collect(),
                owned: self.node.owned(),
                active: self.node.active(),
                removals: self.removal_list(),
            },
            policy: self.enforcement.status(),
            kubernetes: self.kubernetes_view(),
            warnings: self.warnings(now),
        }
    }

    fn warnings(&self, now: Time) -> Vec<String> {
        let mut warnings = self.settings.warnings.clone();
        warnings.extend(self.node.warnings());
        warnings.extend(self.data_failure.clone());
        warnings.extend(self.saving.failure().map(str::to_owned));
        if self.secrets_changing {
            warnings.push(
                "two cluster secrets are accepted: once every node accepts both, take the old one out of \
                 each secret file and run `weft secret reload` there"
                    .to_owned(),
            );
        }
        warnings.extend(self.exposure.warning());
        warnings.extend(self.enforcement.warnings());
        warnings.extend(self.node.clock_warnings(now));
        warnings.extend(self.objects.warnings());
        warnings.extend(self.kubernetes_warnings());
        warnings.extend(self.own_removal_warning());
        warnings.extend(self.leaving_warning());
        warnings.extend(self.fence_warnings());
        warnings.extend(self.gateway_warning());
        warnings.extend(self.removal_warnings());
        warnings.extend(self.healing_warnings());
        warnings.extend(self.mismatch_warnings());
        warnings.extend(self.conduct_warnings(now));
        warnings
    }

    /// `weft status connections`: links first, then attempts; each sorted.
    pub(in crate::daemon) fn connections(&self, rtt: Rtt<'_>, now: Time) -> Vec<Connection> {
        let links = self.peers.iter().map(|(peer, link)| self.connection(peer, link, rtt, now));
        let attempts = self.connector.attempts();
        links.chain(attempts.iter().map(|attempt| self.attempt(attempt, now))).collect()
    }

    fn connection(&self, peer: PeerName, link: &PeerLink, rtt: Rtt<'_>, now: Time) -> Connection {
        let relay = link.relay.as_ref().filter(|_| link.near().is_none());
        let (faults, quarantine_s) = self.conducts().shown(peer, now);
        let near = link.near().unwrap_or(&link.direct);
        let quality = relay.map_or(near, |relay| &relay.monitor).quality();
        Connection {
            direction: direction(link.outbound),
            address: link.place().to_string(),
            state: if link.is_established() {
                ConnectionState::Established
            } else {
                ConnectionState::Pending
            },
            peer: Some(peer.to_string()),
            nickname: self.node.nickname(peer).map(str::to_owned),
            transport: Some(if link.in_tunnel() { "quic" } else { "udp" }.to_owned()),
            path: Some(if relay.is_some() { "relay" } else { "direct" }.to_owned()),
            via: relay.map(|relay| relay.route.first.to_string()),
            cipher: Some(link.suite.to_string()),
            mtu: Some(self.mtu_to(link)),
            offload: Some(self.settings.offload.clone()),
            rtt_us: quality
                .rtt()
                .or_else(|| rtt(link.id))
                .and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
            loss_percent: quality.loss_percent(),
            detail: join([detail(link, now), blame(&faults, quarantine_s)]),
            faults,
            quarantine_s,
        }
    }

    fn attempt(&self, attempt: &Attempt, now: Time) -> Connection {
        let (state, when) = match (&attempt.state, &attempt.error) {
            (AttemptState::Failed { retry_at: Some(at) }, _) => {
                let seconds = at.since(now).as_secs();
                (ConnectionState::Failed, Some(format!("retry in {seconds} s")))
            }
            (AttemptState::Failed { retry_at: None }, _) => {
                (ConnectionState::Failed, Some("retry: never".to_owned()))
            }
            (AttemptState::Connecting | AttemptState::Retrying, Some(_)) => {
                (ConnectionState::Retrying, None)
            }
            (AttemptState::Connecting | AttemptState::Retrying, None) => {
                (ConnectionState::Connecting, None)
            }
        };
        Connection {
            direction: Direction::Out,
            address: match &attempt.endpoint {
                Endpoint::Target(target) => target.clone(),
                Endpoint::Address(address, _) => address.to_string(),
            },
            state,
            peer: attempt.peer.map(|p| p.to_string()),
            nickname: attempt.peer.and_then(|p| self.node.nickname(p)).map(str::to_owned),
            transport: None,
            path: None,
            via: None,
            cipher: None,
            mtu: None,
            offload: None,
            rtt_us: None,
            loss_percent: None,
            faults: BTreeMap::new(),
            quarantine_s: None,
            detail: join([attempt.error.clone(), when]),
        }
    }

    /// All members, but those that were removed, or left, and do not show up any more.
    fn members(&self) -> Vec<Member> {
        let removed: BTreeSet<PeerName> = self
            .node
            .removals()
            .into_iter()
            .filter(|removal| removal.waits_for.is_none())
            .map(|removal| removal.name)
            .collect();
        let mut members = self.node.members();
        let gone = |name: &PeerName| removed.contains(name) || self.node.ipam().has_left(*name);
        members.retain(|member| member.reachable || !gone(&member.name));
        members
    }

    /// `weft status peers`: all members, this node too.
    pub(in crate::daemon) fn peer_list(&self) -> Vec<Peer> {
        let peers = self.members().into_iter().map(|member| Peer {
            peer: member.name.to_string(),
            nickname: member.nickname,
            reachable: member.reachable,
            version: member.version,
            connections: member.links.iter().map(|link| self.peer_connection(link)).collect(),
        });
        peers.collect()
    }

    fn peer_connection(&self, link: &LinkView) -> PeerConnection {
        PeerConnection {
            peer: link.peer.to_string(),
            nickname: self.node.nickname(link.peer).unwrap_or("").to_owned(),
            address: link.address.to_string(),
            direction: direction(link.outbound),
            established: link.state.is_established(),
        }
    }

    /// `weft status targets`. A target that no attempt is under way to is connected.
    pub(in crate::daemon) fn target_list(&self, now: Time) -> Vec<Target> {
        let attempts = self.connector.attempts();
        let find = |target: &str| {
            attempts.iter().find(|a| matches!(&a.endpoint, Endpoint::Target(t) if t == target))
        };
        let all = self.connector.targets().union(self.connector.found());
        let targets = all.map(|target| match find(target) {
            Some(attempt) => Target {
                target: target.clone(),
                state: self.attempt(attempt, now).state,
                peer: attempt.peer.map(|p| p.to_string()),
            },
            None => Target {
                target: target.clone(),
                state: ConnectionState::Established,
                peer: self
                    .peers
                    .iter()
                    .find(|(_, link)| link.address.to_string() == *target)
                    .map(|(peer, _)| peer.to_string()),
            },
        });
        targets.collect()
    }

    /// `weft status ipam`: the owners, this node first.
    pub(in crate::daemon) fn ipam_owners(&self) -> Vec<IpamOwner> {
        let members = self.node.members();
        let mut owners: Vec<_> = self.node.owners();
        owners.sort_by_key(|owner| (owner.name != self.settings.name, owner.name));
        let pending: Vec<_> = self.removal_list().into_iter().filter(|r| !r.complete).collect();
        let views = owners.into_iter().map(|owner| IpamOwner {
            peer: owner.name.to_string(),
            nickname: self.node.nickname(owner.name).unwrap_or("").to_owned(),
            addresses: owner.addresses,
            share: owner.share,
            active: owner.active,
            reachable: members.iter().any(|m| m.name == owner.name && m.reachable),
            removal: pending.iter().find(|r| r.node.peer == owner.name.to_string()).cloned(),
        });
        views.collect()
    }
}

fn detail(link: &PeerLink, now: Time) -> Option<String> {
    match link.direct.dead_since() {
        _ if link.direct.is_alive() => None,
        _ if link.in_tunnel() && link.kind == Tunnel::Quic => None,
        _ if link.in_tunnel() => {
            Some("data packets of our own get no answer: QUIC carries them".to_owned())
        }
        Some(since) => {
            Some(format!("the direct path is dead, no answer for {} s", now.since(since).as_secs()))
        }
        None if link.is_established() => Some("no direct path was found yet".to_owned()),
        None => Some("data packets get no answer: is UDP let through both ways?".to_owned()),
    }
}

/// What to say of a peer that sends what no node should.
fn blame(faults: &BTreeMap<String, u64>, quarantine_s: Option<u64>) -> Option<String> {
    let sum: u64 = faults.values().sum();
    match quarantine_s {
        Some(seconds) => Some(format!(
            "it sends nonsense ({sum}): its gossip is not read for another {seconds} s"
        )),
        None => (sum > 0).then(|| format!("it sent nonsense ({sum})")),
    }
}

fn join<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn direction(outbound: bool) -> Direction {
    if outbound { Direction::Out } else { Direction::In }
}
