//! Where the nodes begin, and what may happen to them.

use std::{thread, time::Duration};

use ipnet::IpNet;
use stateright::{Checker, Model, Property};
use weft_gossip::ipam::Init;

use crate::{
    host::Host,
    state::{Action, Budget, State},
};

/// A rule that is broken on purpose, to show that the check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nodes complete a removal without the word of anybody else.
    WaitsForNobody,
    /// Space changes hands between nodes that go along with different removals.
    AcrossViews,
    /// A restart forgets the word on removals.
    ForgetsItsWord,
    /// What was taken over after the acknowledgement counts as held before it.
    NoRoots,
    /// A crash takes back the last write, whose record was published.
    LosesAWrite,
}

/// Where the nodes begin, and how often what may happen to them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called in the output.
    pub title: &'static str,
    /// How the nodes make the ring: by vote among the first so many, or, for 0, founded by the first.
    pub voters: usize,
    /// How many found a ring each, if there is no vote.
    pub founders: usize,
    /// How many nodes.
    pub hosts: usize,
    /// The range.
    pub range: &'static str,
    /// These have all met before it begins, and have Pods.
    pub met: &'static [usize],
    /// The same, apart from the former.
    pub met_too: &'static [usize],
    /// Where Pods are started and stopped.
    pub askers: &'static [usize],
    /// How many Pods are started.
    pub asks: u8,
    /// How many Pods are started with an address of somebody's choice.
    pub named: u8,
    /// How many Pods are started with an address of a part of the range.
    pub parts: u8,
    /// On whom somebody says that the ring of whom and its own are one.
    pub heals: &'static [(usize, usize)],
    /// How many of these words are said.
    pub healing: u8,
    /// Who leaves.
    pub leavers: &'static [usize],
    /// How many of them do.
    pub leaves: u8,
    /// How many Pods are stopped.
    pub releases: u8,
    /// On whom somebody asks for the removal of whom.
    pub removals: &'static [(usize, usize)],
    /// How many of these happen.
    pub removing: u8,
    /// Whether also by force.
    pub force: bool,
    /// Who crashes.
    pub crashers: &'static [usize],
    /// How often somebody crashes.
    pub crashes: u8,
    /// Who dies.
    pub mortals: &'static [usize],
    /// How many die.
    pub deaths: u8,
    /// How often a node is cut off from all others, until all are together again.
    pub cuts: u8,
    /// Whether what a node published before what it published last can still arrive, also when it is
    /// dead.
    pub late: bool,
    /// How often time passes.
    pub ticks: u8,
    /// Whether a node tells all it holds at once, rather than of one origin at a time.
    pub whole: bool,
    /// Whether the words on removals travel apart from the space.
    pub split: bool,
    /// Of how many states the end is played out: one in that many.
    pub ends: u64,
    /// The most steps to take.
    pub limit: usize,
    /// What is broken.
    pub mutation: Option<Mutation>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            title: "",
            voters: 0,
            founders: 1,
            hosts: 3,
            range: "10.32.0.0/29",
            met: &[],
            met_too: &[],
            askers: &[],
            asks: 0,
            named: 0,
            parts: 0,
            heals: &[],
            healing: 0,
            leavers: &[],
            leaves: 0,
            releases: 0,
            removals: &[],
            removing: 0,
            force: false,
            crashers: &[],
            crashes: 0,
            mortals: &[],
            deaths: 0,
            cuts: 0,
            late: false,
            ticks: 0,
            whole: true,
            split: false,
            ends: 16,
            limit: usize::MAX,
            mutation: None,
        }
    }
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states visited.
    pub states: usize,
    /// Whether all states within the bounds were visited.
    pub complete: bool,
    /// For each property that does not hold, the way to where it does not.
    pub failures: Vec<String>,
}

impl Scenario {
    /// Visits all states.
    pub fn check(&self) -> Outcome {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let mut checker = self.clone().checker().threads(threads);
        if self.limit != usize::MAX {
            checker = checker.target_state_count(self.limit);
        }
        let checker = checker.spawn_bfs().join();
        let failures: Vec<String> = checker
            .discoveries()
            .into_iter()
            .map(|(property, path)| {
                let actions = path.clone().into_actions();
                let last = path.last_state().clone();
                let why = last.ends_well().err().unwrap_or_default();
                format!("{}: {property}: {actions:#?}\n{last:?}{why}", self.title)
            })
            .collect();
        let complete = failures.is_empty() && checker.state_count() < self.limit;
        Outcome { states: checker.unique_state_count(), complete, failures }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let range: IpNet = self.range.parse().expect("invariant: a range");
        let init = |index| match (self.voters, index) {
            (0, _) if index < self.founders => Init::Founder,
            (0, _) => Init::Auto,
            (voters, _) if index < voters => Init::Consensus(Some(voters)),
            // It votes nowhere, and takes space when it needs some.
            (_, _) => Init::Observer,
        };
        let host =
            |index| Host::new(index, self.hosts, range, init(index), self.late, self.mutation);
        let budget = Budget {
            asks: self.asks,
            named: self.named,
            parts: self.parts,
            heals: self.healing,
            leaves: self.leaves,
            releases: self.releases,
            removals: self.removing,
            crashes: self.crashes,
            deaths: self.deaths,
            cuts: self.cuts,
            ticks: self.ticks,
        };
        let apart = self.founders > 1;
        let mut state = State::new((0..self.hosts).map(host).collect(), budget, apart);
        for round in 0..8 {
            let now = state.now;
            for met in [self.met, self.met_too] {
                for index in met {
                    if round == 2 {
                        state.host(*index).ask("first", now);
                    }
                    met.iter().filter(|to| *to != index).for_each(|to| state.meet(*index, *to));
                }
            }
            if !self.met.is_empty() {
                state.pass(Duration::from_secs(3));
            }
        }
        (0..self.hosts).for_each(|index| state.host(index).refresh());
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(self, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        state.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("unique anywhere", |_, state: &State| state.unique_anywhere()),
            Property::always("unique in a view", |_, state: &State| state.unique_in_a_view()),
            Property::always("unique after exchange", |_, state: &State| {
                state.unique_after_exchange()
            }),
            Property::always("nobody is robbed", |_, state: &State| state.nobody_is_robbed()),
            Property::always("ends well", |scenario: &Self, state: &State| {
                let chosen = state.hosts.iter().fold(0, |sum, host| host.digest ^ sum);
                !chosen.is_multiple_of(scenario.ends) || state.ends_well().is_ok()
            }),
        ]
    }
}
