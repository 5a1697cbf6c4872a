//! The vote about the founders by itself: every order of a bounded number of steps, breadth first.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::*;
use crate::ipam::consensus::{Consensus, View};

#[derive(Clone)]
struct State {
    nodes: Vec<Consensus>,
    /// What the others can read; also what the disk holds.
    registers: Vec<Paxos>,
    /// What anybody found decided, at any time.
    decided: Option<Founding>,
}

#[derive(Clone, Copy)]
enum Step {
    Hear(usize, usize),
    Call(usize),
    Crash(usize),
}

fn node(index: usize, restored: Option<Paxos>) -> Consensus {
    let index = u8::try_from(index).unwrap();
    Consensus::new(name(index), 3, false, restored, Time::START)
}

fn nonce(index: usize) -> [u8; 16] {
    [u8::try_from(index).unwrap(); 16]
}

impl State {
    fn new() -> Self {
        let nodes: Vec<Consensus> = (0..3).map(|index| node(index, None)).collect();
        let registers = nodes.iter().map(|node| node.mine().clone()).collect();
        Self { nodes, registers, decided: None }
    }

    fn steps() -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..3 {
            steps.extend([Step::Call(index), Step::Crash(index)]);
            let others = (0..3).filter(|other| *other != index);
            steps.extend(others.map(|other| Step::Hear(other, index)));
        }
        steps
    }

    /// `forgetful` disks lose the register in a crash.
    fn take(&mut self, step: Step, forgetful: bool) {
        let (Step::Hear(_, index) | Step::Call(index) | Step::Crash(index)) = step;
        let mut reachable = BTreeSet::new();
        let mut now = Time::START;
        match step {
            Step::Hear(from, to) => {
                let from_name = name(u8::try_from(from).unwrap());
                self.nodes[to].handle(from_name, Some(self.registers[from].clone()));
            }
            // Nobody to wait for, and late enough to outbid whoever called before.
            Step::Call(_) => {
                reachable = (0..3).map(name).collect();
                let view = View { reachable: &reachable, ring_known: false, synced: true };
                self.nodes[index].step(&view, nonce(index), now);
                now = secs(1_000_000);
            }
            Step::Crash(_) => {
                let saved = (!forgetful).then(|| self.registers[index].clone());
                self.nodes[index] = node(index, saved);
            }
        }
        let view = View { reachable: &reachable, ring_known: false, synced: true };
        self.nodes[index].step(&view, nonce(index), now);
        self.registers[index] = self.nodes[index].mine().clone();
        for node in &self.nodes {
            if let Some(founding) = node.decided(&BTreeSet::new()) {
                let before = self.decided.get_or_insert_with(|| founding.clone());
                assert_eq!(before, founding, "two values decided");
            }
        }
    }

    fn key(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        format!("{:?}", (&self.registers, &self.nodes, &self.decided)).hash(&mut hash);
        hash.finish()
    }
}

/// Returns how many states there are within `depth` steps, and in how many a value is decided.
fn explore(depth: usize, forgetful: bool) -> (usize, usize) {
    let start = State::new();
    let mut seen = HashSet::from([start.key()]);
    let mut decided = 0;
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((state, at)) = queue.pop_front() {
        decided += usize::from(state.decided.is_some());
        if at == depth {
            continue;
        }
        for step in State::steps() {
            let mut next = state.clone();
            next.take(step, forgetful);
            if seen.insert(next.key()) {
                queue.push_back((next, at + 1));
            }
        }
    }
    (seen.len(), decided)
}

#[test]
fn at_most_one_value_is_decided_in_any_order() {
    let (states, decided) = explore(7, false);
    assert!(states > 3000 && decided > 100, "{states} {decided}");
}

/// The search finds what a disk that forgets a promise does.
#[test]
#[should_panic(expected = "two values decided")]
fn a_disk_that_forgets_promises_is_found_out() {
    explore(12, true);
}
