//! Which way packets go when ways die: several engines, whose messages always pass and whose probes pass where the
//! test says so.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weft_dataplane::{Path, RelayRoute};

use super::*;

/// A millisecond is the finest that these machines look at.
const STEP: Duration = Duration::from_millis(10);

/// What passes.
#[derive(Clone, Copy)]
pub(super) struct Wire {
    /// Data packets between two nodes.
    pub(super) data: fn(usize, usize) -> bool,
    /// What is inside their control connection, where that goes directly.
    pub(super) quic: fn(usize, usize) -> bool,
}

pub(super) const ALL: Wire = Wire { data: |_, _| true, quic: |_, _| true };

pub(super) struct Mesh {
    pub(super) engines: Vec<Engine>,
    disks: Vec<BTreeMap<Kind, Saved>>,
    pub(super) now: Time,
    /// Where each node is, for those who send to it and for those who hear of it.
    pub(super) homes: Vec<SocketAddr>,
    /// Behind a NAT: the addresses that a node has sent to, from which alone it hears.
    pub(super) sent: Vec<Option<BTreeSet<SocketAddr>>>,
    /// Probes that were sent straight to an address.
    pub(super) probes: usize,
}

/// Where a node is at first.
pub(super) fn home(place: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(place + 1).unwrap()], 6783))
}

impl Mesh {
    /// That many nodes, each with a link to each other.
    pub(super) fn new(count: u8, tunnel: Tunnel) -> Self {
        Self::linked(count, tunnel, |_, other| home(other))
    }

    /// The same; `seen` tells at which address a node has its link to another.
    pub(super) fn linked(count: u8, tunnel: Tunnel, seen: fn(usize, usize) -> SocketAddr) -> Self {
        let engines: Vec<Engine> = (1..=count)
            .map(|n| {
                let init = if n == 1 { Init::Founder } else { Init::Auto };
                engine_with(n, init, Restored::default(), |settings| {
                    settings.conn_limit = 9;
                    settings.tunnel = tunnel;
                })
            })
            .collect();
        let disks = engines.iter().map(|_| BTreeMap::new()).collect();
        let homes = (0..usize::from(count)).map(home).collect();
        let sent = vec![None; usize::from(count)];
        let mut mesh = Self { engines, disks, now: at(0), homes, sent, probes: 0 };
        for one in 0..count {
            for other in one + 1..count {
                let id = Self::link(one.into(), other.into());
                let [near, far] = [seen(other.into(), one.into()), seen(one.into(), other.into())];
                let dialled = LinkInfo { address: far, ..link(id, other + 1, true, 1, 1) };
                mesh.engines[usize::from(one)].handle_admitted(&dialled, mesh.now);
                let answered = LinkInfo { address: near, ..link(id, one + 1, false, 1, 1) };
                mesh.engines[usize::from(other)].handle_admitted(&answered, mesh.now);
            }
        }
        mesh
    }

    /// Who is at the other end of a link.
    fn beyond(&self, from: usize, link: u64) -> usize {
        (0..self.engines.len()).find(|to| *to != from && Self::link(from, *to) == link).unwrap()
    }

    fn link(one: usize, other: usize) -> u64 {
        let [low, high] = [one.min(other), one.max(other)];
        u64::try_from(low * 10 + high).unwrap()
    }

    fn place(&self, name: PeerName) -> usize {
        self.engines.iter().position(|engine| engine.settings.name == name).unwrap()
    }

    pub(super) fn name(&self, place: usize) -> PeerName {
        self.engines[place].settings.name
    }

    /// Lets time pass until `condition` holds, and answers how much did.
    #[track_caller]
    pub(super) fn until(
        &mut self,
        wire: Wire,
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begun = self.now;
        while !condition(self) {
            assert!(self.now.since(begun) < Duration::from_secs(60), "no {what} in a minute");
            self.step(wire);
        }
        self.now.since(begun)
    }

    pub(super) fn pass(&mut self, wire: Wire, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(wire);
        }
    }

    fn step(&mut self, wire: Wire) {
        self.now += STEP;
        for engine in &mut self.engines {
            if engine.poll_timeout().is_some_and(|due| due <= self.now) {
                engine.handle_timeout(self.now);
            }
        }
        while self.carry(wire) {}
    }

    /// Carries out what all ask for; answers whether anything did.
    fn carry(&mut self, wire: Wire) -> bool {
        let mut busy = false;
        for from in 0..self.engines.len() {
            let outputs = drain(&mut self.engines[from], &mut self.disks[from], self.now);
            for output in outputs {
                busy = true;
                match output {
                    Output::Send { link, bytes } => {
                        let to = self.beyond(from, link);
                        self.engines[to].handle_message(link, &bytes, self.now);
                    }
                    Output::Punch { link } => {
                        let to = self.beyond(from, link);
                        self.engines[to].handle_punch(link, self.now);
                    }
                    Output::Probe { peer, path, token, urgent } => {
                        let to = self.place(peer);
                        self.probe(wire, [from, to], &path, token, urgent);
                    }
                    Output::ProbeSize { peer, token, .. } => {
                        let to = self.place(peer);
                        if (wire.data)(from, to) {
                            self.engines[from].handle_answer(peer, token, self.now);
                        }
                    }
                    _ => {}
                }
            }
        }
        busy
    }

    fn probe(&mut self, wire: Wire, [from, to]: [usize; 2], path: &Path, token: u64, urgent: bool) {
        let (asker, asked, now) = (self.name(from), self.name(to), self.now);
        match path {
            Path::Direct(address) => {
                self.probes += 1;
                let source = self.homes[from];
                self.sent[from].iter_mut().for_each(|sent| sent.extend([*address]));
                let hears = self.sent[to].as_ref().is_none_or(|sent| sent.contains(&source));
                if *address == self.homes[to] && hears && (wire.data)(from, to) {
                    self.engines[to].handle_question(asker, urgent, Some(source), now);
                    self.engines[from].handle_answer(asked, token, now);
                }
            }
            Path::Relay(route) if self.relayed(wire, [from, to], route) => {
                self.engines[to].handle_question(asker, urgent, None, now);
                self.engines[from].handle_answer(asked, token, now);
            }
            Path::Tunnel if (wire.quic)(from, to) => {
                self.engines[to].handle_tunnel_question(asker, urgent, now);
                self.engines[from].handle_tunnel_answer(asked, token, now);
            }
            Path::Relay(_) | Path::Tunnel => {}
        }
    }

    fn relayed(&self, wire: Wire, [from, to]: [usize; 2], route: &RelayRoute) -> bool {
        let mut stops: Vec<usize> = std::iter::once(&route.first)
            .chain(&route.then)
            .map(|name| self.place(*name))
            .collect();
        stops.insert(0, from);
        stops.push(to);
        stops.windows(2).all(|leg| (wire.data)(leg[0], leg[1]))
    }

    pub(super) fn path(&self, from: usize, to: usize) -> Option<Path> {
        self.engines[from].peers.link_to(self.name(to)).and_then(PeerLink::path)
    }

    pub(super) fn is_direct(&self, from: usize, to: usize) -> bool {
        matches!(self.path(from, to), Some(Path::Direct(_)))
            && self.engines[from].peers.link_to(self.name(to)).unwrap().is_established()
    }

    fn is_tunnel(&self, from: usize, to: usize) -> bool {
        self.path(from, to) == Some(Path::Tunnel)
    }

    pub(super) fn via(&self, from: usize, to: usize) -> Option<usize> {
        match self.path(from, to) {
            Some(Path::Relay(route)) => Some(self.place(route.first)),
            Some(Path::Direct(_) | Path::Tunnel) | None => None,
        }
    }
}

#[test]
fn a_way_that_has_just_been_taken_is_not_given_up_for_the_one_before_it() {
    let mut mesh = Mesh::new(4, Tunnel::Udp);
    mesh.pass(ALL, Duration::from_secs(5));
    // The first and the last lose each other, and then whoever is between them.
    let apart = Wire { data: |a, b| !matches!((a, b), (0, 3) | (3, 0)), ..ALL };
    mesh.until(apart, "way through another", |mesh| mesh.via(0, 3).is_some());
    mesh.pass(apart, Duration::from_secs(5));
    let first = mesh.via(0, 3).unwrap();
    let (without, other): (Wire, usize) = if first == 1 {
        (Wire { data: |a, b| !matches!((a, b), (0, 3) | (3, 0)) && a != 1 && b != 1, ..ALL }, 2)
    } else {
        (Wire { data: |a, b| !matches!((a, b), (0, 3) | (3, 0)) && a != 2 && b != 2, ..ALL }, 1)
    };
    // Under traffic, both are suspected at about the same time.
    let sealed = [first, 3].map(|place| (mesh.name(place), 100, false));
    let now = mesh.now;
    mesh.engines[0].handle_traffic(sealed.into_iter(), now);
    let [neighbour, beyond] = [first, 3].map(|place| mesh.name(place));
    let both_doubted = |mesh: &Mesh| {
        let link = |peer| mesh.engines[0].peers.link_to(peer).unwrap();
        let monitor = &link(beyond).relay.as_ref().unwrap().monitor;
        let paths = [&link(neighbour).direct, monitor];
        paths.iter().all(|path| path.is_alive() && path.is_doubted(Duration::ZERO, mesh.now))
    };
    mesh.until(without, "doubt of both", both_doubted);
    // The process stands still, so that both verdicts are due when time is looked at next.
    mesh.now += Duration::from_secs(2);
    mesh.engines[0].handle_timeout(mesh.now);
    let taken = RelayRoute { first: mesh.name(other), then: Vec::new() };
    assert_eq!(mesh.path(0, 3), Some(Path::Relay(Arc::new(taken))));
}

#[test]
fn quic_carries_packets_while_data_packets_die_and_not_longer() {
    let mut mesh = Mesh::new(2, Tunnel::Auto);
    mesh.until(ALL, "direct path", |mesh| mesh.is_direct(0, 1) && mesh.is_direct(1, 0));
    mesh.pass(ALL, Duration::from_secs(20));
    let quic_only = Wire { data: |_, _| false, ..ALL };
    let both = |mesh: &Mesh| mesh.is_tunnel(0, 1) && mesh.is_tunnel(1, 0);
    let took = mesh.until(quic_only, "way inside QUIC", both);
    assert!(took < Duration::from_secs(3), "{took:?}");
    mesh.pass(quic_only, Duration::from_secs(60));
    assert!(both(&mesh), "it lasts");
    let row = &mesh.engines[0].connections(&|_| None, mesh.now)[0];
    assert_eq!((row.transport.as_deref(), row.path.as_deref()), (Some("quic"), Some("direct")));

    let took = mesh.until(ALL, "way back", |mesh| mesh.is_direct(0, 1) && mesh.is_direct(1, 0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(took >= Duration::from_millis(900), "a trial comes first: {took:?}");
    mesh.pass(ALL, Duration::from_millis(100));
    assert!(mesh.engines.iter().all(|e| e.peers.iter().all(|(_, link)| link.tunnel.is_none())));
}

#[test]
fn one_way_loss_of_data_packets_is_enough_and_a_flapping_path_is_not_trusted_at_once() {
    let mut mesh = Mesh::new(2, Tunnel::Auto);
    mesh.pass(ALL, Duration::from_secs(20));
    let quic_only = Wire { data: |_, _| false, ..ALL };
    let mut trials = Vec::new();
    for _ in 0..4 {
        mesh.until(quic_only, "way inside QUIC", |mesh| mesh.is_tunnel(0, 1));
        trials.push(mesh.until(ALL, "way back", |mesh| mesh.is_direct(0, 1)));
        mesh.pass(ALL, Duration::from_secs(1));
    }
    assert!(trials[3] > 3 * trials[0], "{trials:?}");
}

#[test]
fn without_quic_others_help_and_the_way_inside_is_preferred_to_them() {
    let mut mesh = Mesh::new(3, Tunnel::Auto);
    mesh.pass(ALL, Duration::from_secs(10));
    let cut = Wire {
        data: |a, b| !matches!((a, b), (0, 1) | (1, 0)),
        quic: |a, b| !matches!((a, b), (0, 1) | (1, 0)),
    };
    mesh.until(cut, "way through the third", |mesh| mesh.via(0, 1) == Some(2));
    mesh.pass(cut, Duration::from_secs(5));
    assert!(mesh.engines[0].peers.iter().all(|(_, link)| link.tunnel.is_none()));
    mesh.until(ALL, "direct path", |mesh| mesh.is_direct(0, 1));
    mesh.pass(ALL, Duration::from_secs(70));
    let quic_only = Wire { quic: ALL.quic, ..cut };
    mesh.until(quic_only, "way inside QUIC", |mesh| mesh.is_tunnel(0, 1) && mesh.is_tunnel(1, 0));
    // And when that dies too, others help again.
    let took = mesh.until(cut, "way through the third", |mesh| mesh.via(0, 1) == Some(2));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn what_the_operator_demands_is_done_without_a_doubt_of_the_direct_path() {
    let mut mesh = Mesh::new(2, Tunnel::Quic);
    mesh.pass(ALL, Duration::from_secs(5));
    assert!(mesh.is_tunnel(0, 1) && mesh.is_tunnel(1, 0));
    mesh.pass(Wire { data: |_, _| false, ..ALL }, Duration::from_secs(30));
    assert!(mesh.is_tunnel(0, 1) && mesh.is_tunnel(1, 0));

    let mut mesh = Mesh::new(2, Tunnel::Udp);
    mesh.pass(ALL, Duration::from_secs(5));
    mesh.pass(Wire { data: |_, _| false, ..ALL }, Duration::from_secs(30));
    assert!(!mesh.is_tunnel(0, 1));
}
