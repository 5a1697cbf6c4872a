//! Every order of a bounded number of steps: breadth first over all states that the real machines
//! can get into, each state once.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The disk is written, then everything is published.
    Drain(usize),
    /// One node hears what another published last.
    Hear(usize, usize),
    /// One node hears what another published first, as after a restart of the hearer.
    Recall(usize, usize),
    Ask(usize),
    Release(usize),
    Crash(usize),
    /// Long enough for a donor to be passed over and for addresses to cool.
    Wait,
}

#[derive(Clone)]
struct State {
    world: World,
    first: Vec<Option<Space>>,
    asked: u8,
}

impl State {
    fn new(mut world: World) -> Self {
        let all: BTreeSet<PeerName> = world.hosts.iter().map(|host| host.config.name).collect();
        for host in &mut world.hosts {
            host.config.cool_down = Duration::from_secs(2);
            let others = all.iter().copied().filter(|name| *name != host.config.name).collect();
            host.ipam.handle_reachable(&others, Time::START);
        }
        let first = world.hosts.iter().map(|host| host.space.clone()).collect();
        Self { world, first, asked: 0 }
    }

    fn steps(&self) -> Vec<Step> {
        let count = self.world.hosts.len();
        let mut steps = vec![Step::Wait];
        for host in 0..count {
            steps.extend([
                Step::Drain(host),
                Step::Ask(host),
                Step::Release(host),
                Step::Crash(host),
            ]);
            for other in (0..count).filter(|other| *other != host) {
                steps.extend([Step::Hear(other, host), Step::Recall(other, host)]);
            }
        }
        steps
    }

    fn take(&mut self, step: Step) {
        let now = self.world.now;
        match step {
            Step::Drain(host) => self.world.drain(host),
            Step::Hear(from, to) => {
                let (space, want) =
                    (self.world.hosts[from].space.clone(), self.world.hosts[from].want.clone());
                let origin = self.world.hosts[from].config.name;
                let ipam = &mut self.world.hosts[to].ipam;
                if space.is_some() {
                    ipam.handle_space(origin, space, now).unwrap();
                }
                ipam.handle_want(origin, want, now).unwrap();
            }
            Step::Recall(from, to) => {
                let origin = self.world.hosts[from].config.name;
                let space = self.first[from].clone();
                if space.is_some() {
                    self.world.hosts[to].ipam.handle_space(origin, space, now).unwrap();
                }
            }
            Step::Ask(host) => {
                let key = self.asked.to_string();
                self.asked += 1;
                let deadline = now + Duration::from_secs(1000);
                self.world.hosts[host].ipam.allocate(&key, Request::default(), deadline, now);
            }
            Step::Release(host) => {
                let ipam = &mut self.world.hosts[host].ipam;
                let key = ipam.allocations().next().map(|(key, _)| key.to_owned());
                if let Some(key) = key {
                    ipam.release(&key, now);
                }
            }
            Step::Crash(host) => {
                self.world.crash(host);
                let all = self.world.hosts.iter().map(|host| host.config.name);
                let me = self.world.hosts[host].config.name;
                let others = all.filter(|name| *name != me).collect();
                self.world.hosts[host].ipam.handle_reachable(&others, now);
            }
            Step::Wait => {
                self.world.now = now + Duration::from_secs(3);
                for host in &mut self.world.hosts {
                    host.ipam.handle_timeout(self.world.now);
                }
            }
        }
        for (first, host) in self.first.iter_mut().zip(&self.world.hosts) {
            if first.is_none() {
                first.clone_from(&host.space);
            }
        }
        self.world.check();
    }

    fn key(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.world.now.hash(&mut hash);
        for host in &self.world.hosts {
            let ipam = &host.ipam;
            let text = format!(
                "{:?}",
                (
                    (&ipam.own, &ipam.local, &ipam.served, &ipam.asking, &ipam.spaces, &ipam.wants),
                    (
                        &ipam.pending,
                        ipam.dirty,
                        ipam.publish_space,
                        ipam.publish_want,
                        &ipam.advert
                    ),
                    (&host.disk, &host.space, &host.want),
                )
            );
            text.hash(&mut hash);
        }
        hash.finish()
    }
}

/// Returns how many states there are within `depth` steps.
fn explore(world: World, depth: usize) -> usize {
    let start = State::new(world);
    let mut seen = HashSet::from([start.key()]);
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((state, at)) = queue.pop_front() {
        if at == depth {
            continue;
        }
        for step in state.steps() {
            let mut next = state.clone();
            next.take(step);
            if seen.insert(next.key()) {
                queue.push_back((next, at + 1));
            }
        }
    }
    seen.len()
}

#[test]
fn two_nodes_in_every_order() {
    let states = explore(World::founded(2, &["10.32.0.0/29"]), 7);
    assert!(states > 5000, "{states}");
}

/// The search finds what a disk that is not written in time does.
#[test]
#[should_panic(expected = "twice")]
fn a_node_that_publishes_before_it_writes_is_found_out() {
    let mut world = World::founded(2, &["10.32.0.0/29"]);
    world.fault = Some(Fault::NoWrite);
    explore(world, 6);
}

#[test]
fn two_nodes_that_know_each_other_in_every_order() {
    let mut world = World::founded(2, &["10.32.0.0/29"]);
    world.mingle();
    let states = explore(world, 5);
    assert!(states > 1000, "{states}");
}

#[test]
fn three_nodes_in_every_order() {
    let mut world = World::founded(3, &["fd00:77::/125"]);
    let states = explore(world.clone(), 5);
    assert!(states > 5000, "{states}");
    world.mingle();
    let states = explore(world, 4);
    assert!(states > 1000, "{states}");
}
