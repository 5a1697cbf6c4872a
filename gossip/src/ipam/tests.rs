//! Tests of the ring and the allocator, through the public interface.

mod allocate;
mod exhaustive;
mod found;
mod give;
mod heal;
mod leave;
mod named;
mod parts;
mod random;
mod removal;
mod vote;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::*;

const COOL_DOWN: Duration = Duration::from_secs(30);

fn name(index: u8) -> PeerName {
    PeerName::from_bytes([index + 1; 32])
}

fn raw(index: u8) -> RawName {
    *name(index).as_bytes()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn secs(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

fn config(index: u8, ranges: &[&str], init: Init, targets: usize) -> IpamConfig {
    let ranges = ranges.iter().map(|range| net(range)).collect();
    IpamConfig { name: name(index), ranges, init, targets, cool_down: COOL_DOWN }
}

fn start(config: IpamConfig) -> Ipam {
    let seed = *config.name.as_bytes();
    Ipam::new(config, None, seed, Time::START).unwrap()
}

/// A node with what it published and what its disk holds.
#[derive(Clone)]
struct Host {
    config: IpamConfig,
    ipam: Ipam,
    disk: Option<IpamSnapshot>,
    space: Option<Space>,
    want: Option<Want>,
    paxos: Option<Paxos>,
    pending: Option<Ack>,
    completed: Option<View>,
    /// Outcomes that were answered, newest last.
    answers: BTreeMap<RequestId, Result<Vec<IpNet>, AllocateError>>,
    starts: u8,
}

/// What a host published last.
#[derive(Clone, PartialEq, Eq)]
struct Records {
    space: Option<Space>,
    want: Option<Want>,
    paxos: Option<Paxos>,
    pending: Option<Ack>,
    completed: Option<View>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The disk is not written before something is published.
    NoWrite,
    /// The disk forgets which grants were taken over.
    NoNumbers,
}

/// Hosts that exchange records at once and in full, or one by one.
#[derive(Clone)]
struct World {
    now: Time,
    /// What the hosts do wrong, to show that the checks notice.
    fault: Option<Fault>,
    hosts: Vec<Host>,
}

impl World {
    fn new(configs: impl IntoIterator<Item = IpamConfig>) -> Self {
        let host = |config: IpamConfig| Host {
            ipam: start(config.clone()),
            config,
            disk: None,
            space: None,
            want: None,
            paxos: None,
            pending: None,
            completed: None,
            answers: BTreeMap::new(),
            starts: 0,
        };
        let mut world =
            Self { now: Time::START, fault: None, hosts: configs.into_iter().map(host).collect() };
        (0..world.hosts.len()).for_each(|index| world.drain(index));
        world
    }

    /// One founder, the others join.
    fn founded(count: u8, ranges: &[&str]) -> Self {
        Self::new((0..count).map(|index| {
            let (init, targets) = if index == 0 { (Init::Founder, 0) } else { (Init::Auto, 1) };
            config(index, ranges, init, targets)
        }))
    }

    /// Writes the disk, then publishes and answers.
    fn drain(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.ipam.check_invariants();
        if host.ipam.dirty() && self.fault != Some(Fault::NoWrite) {
            write(host);
        }
        while let Some(publish) = host.ipam.poll_publish() {
            match publish {
                Publish::Space(space) => host.space = Some(space),
                Publish::Want(want) => host.want = want,
                Publish::Paxos(paxos) => host.paxos = Some(paxos),
                Publish::Pending(ack) => host.pending = ack,
                Publish::Completed(view) => host.completed = view,
            }
        }
        while let Some((id, outcome)) = host.ipam.poll_outcome() {
            host.answers.insert(id, outcome);
        }
        assert!(!host.ipam.dirty(), "draining needs no second write");
    }

    /// Shows `to` the records of `from`.
    fn show(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let (space, want, paxos, pending, completed) = {
            let from = &self.hosts[from];
            let words = (from.pending.clone(), from.completed.clone());
            (from.space.clone(), from.want.clone(), from.paxos.clone(), words.0, words.1)
        };
        let (origin, now) = (self.hosts[from].config.name, self.now);
        let ipam = &mut self.hosts[to].ipam;
        if space.is_some() {
            ipam.handle_space(origin, space, now).unwrap();
        }
        ipam.handle_want(origin, want, now).unwrap();
        ipam.handle_paxos(origin, paxos, now).unwrap();
        ipam.handle_pending(origin, pending, now).unwrap();
        ipam.handle_completed(origin, completed, now).unwrap();
        self.drain(to);
    }

    /// Everybody reaches everybody and hears all, until nothing is new.
    fn mingle(&mut self) {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        self.mingle_among(&all);
    }

    /// Those on one side of a partition hear all that each of them publishes.
    fn mingle_among(&mut self, side: &[usize]) {
        for &index in side {
            let all: BTreeSet<PeerName> =
                side.iter().map(|index| self.hosts[*index].config.name).collect();
            let host = &mut self.hosts[index];
            let others = all.into_iter().filter(|name| *name != host.config.name).collect();
            host.ipam.handle_reachable(&others, self.now);
            others.iter().for_each(|other| host.ipam.handle_synced(*other, self.now));
            self.drain(index);
        }
        for _ in 0..100 {
            let before: Vec<_> = self.records();
            for &from in side {
                side.iter().for_each(|to| self.show(from, *to));
            }
            if before == self.records() {
                return;
            }
        }
        panic!("records never settle");
    }

    fn records(&self) -> Vec<Records> {
        self.hosts
            .iter()
            .map(|host| Records {
                space: host.space.clone(),
                want: host.want.clone(),
                paxos: host.paxos.clone(),
                pending: host.pending.clone(),
                completed: host.completed.clone(),
            })
            .collect()
    }

    /// Lets time pass, with every timer on time, and records exchanged after each.
    fn run(&mut self, by: Duration) {
        let until = self.now + by;
        loop {
            let next = self.hosts.iter().filter_map(|host| host.ipam.poll_timeout()).min();
            self.now = next.unwrap_or(until).min(until).max(self.now);
            for index in 0..self.hosts.len() {
                let due = self.hosts[index].ipam.poll_timeout();
                if due.is_some_and(|due| due <= self.now) {
                    self.hosts[index].ipam.handle_timeout(self.now);
                    let next = self.hosts[index].ipam.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "a timer that stays due");
                    self.drain(index);
                }
            }
            self.mingle();
            if self.now == until {
                return;
            }
        }
    }

    /// The host stops at once and starts with what the disk holds.
    fn crash(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.starts += 1;
        let seed = [host.starts; 32];
        if let (Some(Fault::NoNumbers), Some(IpamSnapshot::V1(disk))) = (self.fault, &mut host.disk)
        {
            disk.space.accepted.clear();
        }
        host.ipam = Ipam::new(host.config.clone(), host.disk.clone(), seed, self.now).unwrap();
        self.drain(index);
    }

    fn ask(&mut self, index: usize, key: &str) -> RequestId {
        self.ask_for(index, key, &[])
    }

    fn ask_for(&mut self, index: usize, key: &str, wanted: &[&str]) -> RequestId {
        let wanted = wanted.iter().map(|text| net(text)).collect();
        self.request(index, key, Request { wanted, within: Vec::new() })
    }

    fn ask_within(&mut self, index: usize, key: &str, subnet: &str) -> RequestId {
        self.request(index, key, Request { wanted: Vec::new(), within: vec![net(subnet)] })
    }

    fn request(&mut self, index: usize, key: &str, request: Request) -> RequestId {
        let deadline = self.now + Duration::from_secs(30);
        let host = &mut self.hosts[index];
        let id = host.ipam.allocate(key, request, deadline, self.now);
        self.drain(index);
        id
    }

    /// The addresses that were answered.
    fn got(&self, index: usize, id: RequestId) -> Vec<String> {
        let nets = self.answer(index, id).and_then(|result| result.as_ref().ok()).unwrap();
        nets.iter().map(ToString::to_string).collect()
    }

    fn answer(&self, index: usize, id: RequestId) -> Option<&Result<Vec<IpNet>, AllocateError>> {
        self.hosts[index].answers.get(&id)
    }

    /// No address is in use twice or owned twice; the hosts' own words, not anybody's view, count.
    fn check(&self) {
        let mut used = BTreeMap::new();
        let mut owned: Vec<(u128, u128, usize)> = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            host.ipam.check_invariants();
            for (key, nets) in host.ipam.allocations() {
                for net in nets {
                    let other = used.insert(net.addr(), (index, key.to_owned()));
                    assert_eq!(other, None, "{} is used twice: {key} on {index}", net.addr());
                }
            }
            let spans = host.ipam.own.owned.iter();
            owned.extend(spans.map(|span| (span.start, span.end, index)));
        }
        owned.sort_unstable();
        for (a, b) in owned.iter().zip(owned.iter().skip(1)) {
            assert!(a.1 < b.0, "owned twice: {a:?} {b:?}");
        }
    }
}

/// Appends what changed to the disk, and sees that this is as good as all of it anew.
fn write(host: &mut Host) {
    let change = host.ipam.change();
    let IpamSnapshot::V1(mut whole) = host.ipam.snapshot();
    whole.cooling.sort_unstable();
    let disk = match host.disk.take() {
        Some(disk) => disk.changed_by([change.clone(), change]),
        None => IpamSnapshot::V1(whole.clone()),
    };
    assert_eq!(disk, IpamSnapshot::V1(whole));
    host.disk = Some(disk);
}
