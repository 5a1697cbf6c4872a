//! All nodes at one moment, and what may happen next.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use weft_crypto::PeerName;
use weft_gossip::Time;

use crate::{
    Scenario,
    host::{Host, What, name},
};

/// Something that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `to` hears what `from` holds of `origin`.
    Hear {
        /// Who tells.
        from: usize,
        /// Who hears.
        to: usize,
        /// Of whom.
        origin: usize,
        /// Which records.
        what: What,
    },
    /// `to` hears all that `from` holds.
    Meet {
        /// Who tells.
        from: usize,
        /// Who hears.
        to: usize,
    },
    /// `to` hears what `from`, who may be dead, published once: 0 is the last, 1 the one before.
    Late {
        /// Who published it.
        from: usize,
        /// Who hears.
        to: usize,
        /// How many it published since.
        age: usize,
    },
    /// A host reaches nobody and nobody reaches it.
    Cut(usize),
    /// All that live reach each other again.
    Join,
    /// Somebody starts a Pod on a host.
    Ask(usize),
    /// Somebody starts a Pod on a host with an address of his choice.
    AskFor(usize),
    /// Somebody starts a Pod on a host with an address of a part of the range.
    AskWithin(usize),
    /// Somebody says on the first host that the ring of the second and its own are to be one.
    Heal(usize, usize),
    /// A host leaves for good.
    Leave(usize),
    /// Somebody stops a Pod on a host.
    Release(usize),
    /// Somebody asks on the first host to remove the second.
    Remove(usize, usize),
    /// The same by force.
    Force(usize, usize),
    /// A host stops and starts again.
    Crash(usize),
    /// A host stops for ever.
    Die(usize),
    /// Time passes: long enough for another donor to be asked and for addresses to cool.
    Tick,
}

/// The address that is asked for by name: neither the first one handed out nor the last.
const NAMED: &str = "10.32.0.5/32";

/// The part of the range that is asked for: the upper half of the smallest.
const PART: &str = "10.32.0.4/30";

/// How often each may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) asks: u8,
    pub(crate) named: u8,
    pub(crate) parts: u8,
    pub(crate) heals: u8,
    pub(crate) leaves: u8,
    pub(crate) releases: u8,
    pub(crate) removals: u8,
    pub(crate) crashes: u8,
    pub(crate) deaths: u8,
    pub(crate) cuts: u8,
    pub(crate) ticks: u8,
}

/// All nodes at one moment.
#[derive(Clone)]
pub struct State {
    pub(crate) now: Time,
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) budget: Budget,
    /// Whether anybody was ever removed.
    pub(crate) removed: bool,
    /// Whether there may be two rings.
    pub(crate) apart: bool,
    /// The host that is cut off.
    pub(crate) cut: Option<usize>,
    asked: u8,
}

impl State {
    pub(crate) fn new(hosts: Vec<Host>, budget: Budget, apart: bool) -> Self {
        let hosts = hosts.into_iter().map(Arc::new).collect();
        let mut state =
            Self { now: Time::START, hosts, budget, removed: false, apart, cut: None, asked: 0 };
        state.reach();
        state
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.hosts.iter().enumerate().filter(|(_, host)| host.alive).map(|(index, _)| index)
    }

    pub(crate) fn host(&mut self, index: usize) -> &mut Host {
        Arc::make_mut(&mut self.hosts[index])
    }

    /// Everybody learns who can be reached.
    pub(crate) fn reach(&mut self) {
        let now = self.now;
        let living: Vec<usize> = self.living().collect();
        for index in living {
            let names = self.reached_by(index);
            self.host(index).reach(&names, now);
        }
    }

    /// The living that `host` reaches, itself included.
    fn reached_by(&self, host: usize) -> BTreeSet<PeerName> {
        self.living().filter(|to| *to == host || self.talk(host, *to)).map(name).collect()
    }

    /// Whether these two can talk.
    fn talk(&self, a: usize, b: usize) -> bool {
        self.cut != Some(a) && self.cut != Some(b)
    }

    pub(crate) fn actions(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        let count = self.hosts.len();
        for to in self.living() {
            if scenario.late {
                for from in (0..count).filter(|from| *from != to && self.talk(*from, to)) {
                    let alive = self.hosts[from].alive;
                    let ages = usize::from(alive)..=self.hosts[from].former.len();
                    actions.extend(ages.map(|age| Action::Late { from, to, age }));
                }
            }
            let others = self.living().filter(|from| *from != to && self.talk(*from, to));
            for from in others {
                if scenario.whole {
                    actions.push(Action::Meet { from, to });
                    continue;
                }
                for origin in (0..count).filter(|origin| *origin != to) {
                    let whats: &[What] =
                        if scenario.split { &[What::Space, What::Words] } else { &[What::All] };
                    let hear = |what: &What| Action::Hear { from, to, origin, what: *what };
                    actions.extend(whats.iter().map(hear));
                }
            }
            let may = |left: u8, list: &[usize]| left > 0 && list.contains(&to);
            if may(self.budget.asks, scenario.askers) {
                actions.push(Action::Ask(to));
            }
            if may(self.budget.named, scenario.askers) {
                actions.push(Action::AskFor(to));
            }
            if may(self.budget.parts, scenario.askers) {
                actions.push(Action::AskWithin(to));
            }
            if self.budget.heals > 0 {
                let of_this = scenario.heals.iter().filter(|(on, _)| *on == to);
                actions.extend(of_this.map(|(on, with)| Action::Heal(*on, *with)));
            }
            if may(self.budget.leaves, scenario.leavers) && !self.hosts[to].leaves() {
                actions.push(Action::Leave(to));
            }
            if may(self.budget.releases, scenario.askers) {
                actions.push(Action::Release(to));
            }
            if may(self.budget.crashes, scenario.crashers) {
                actions.push(Action::Crash(to));
            }
            if may(self.budget.deaths, scenario.mortals) {
                actions.push(Action::Die(to));
            }
            if self.budget.removals > 0 {
                let of_this = scenario.removals.iter().filter(|(on, _)| *on == to);
                actions.extend(of_this.clone().map(|(on, who)| Action::Remove(*on, *who)));
                if scenario.force {
                    actions.extend(of_this.map(|(on, who)| Action::Force(*on, *who)));
                }
            }
        }
        if self.cut.is_some() {
            actions.push(Action::Join);
        } else if self.budget.cuts > 0 {
            actions.extend(self.living().map(Action::Cut));
        }
        if self.budget.ticks > 0 {
            actions.push(Action::Tick);
        }
    }

    /// What comes of an action; `None` if nothing does.
    pub(crate) fn after(&self, action: Action) -> Option<Self> {
        let mut next = self.clone();
        let now = self.now;
        match action {
            Action::Hear { from, to, origin, what } => {
                let records = self.hosts[from].held[origin].clone();
                if self.hosts[to].held[origin] == records {
                    return None;
                }
                next.host(to).hear(origin, &records, what, now);
            }
            Action::Meet { from, to } => next.meet(from, to),
            Action::Late { from, to, age } => {
                let host = &self.hosts[from];
                let before = host.former.len().checked_sub(age)?;
                let records = host.former.get(before).unwrap_or(&host.held[from]).clone();
                next.host(to).hear(from, &records, What::All, now);
            }
            Action::Cut(host) => {
                next.budget.cuts -= 1;
                next.cut = Some(host);
                next.reach();
            }
            Action::Join => {
                next.cut = None;
                next.reach();
            }
            Action::Ask(host) => {
                next.asked += 1;
                next.budget.asks -= 1;
                let key = next.asked.to_string();
                next.host(host).ask(&key, now);
            }
            Action::AskFor(host) => {
                next.budget.named -= 1;
                next.host(host).ask_for("named", NAMED, now);
            }
            Action::AskWithin(host) => {
                next.budget.parts -= 1;
                next.host(host).ask_within("part", PART, now);
            }
            Action::Heal(on, with) => {
                next.budget.heals -= 1;
                next.host(on).heal(name(with), now);
            }
            Action::Leave(host) => {
                next.budget.leaves -= 1;
                next.host(host).leave(now);
            }
            Action::Release(host) => {
                let key = self.hosts[host].keys().into_iter().next()?;
                next.budget.releases -= 1;
                next.host(host).release(&key, now);
            }
            Action::Remove(on, who) => {
                next.budget.removals -= 1;
                next.removed |= next.host(on).remove(who, false, now);
            }
            Action::Force(on, who) => {
                next.budget.removals -= 1;
                next.removed |= next.host(on).remove(who, true, now);
            }
            Action::Crash(host) => {
                next.budget.crashes -= 1;
                let names = self.reached_by(host);
                next.host(host).crash(&names, now);
            }
            Action::Die(host) => {
                next.budget.deaths -= 1;
                let dead = next.host(host);
                dead.alive = false;
                next.reach();
            }
            Action::Tick => {
                next.budget.ticks -= 1;
                next.pass(Duration::from_secs(3));
            }
        }
        next.refresh(self);
        let same = (next.budget, next.cut) == (self.budget, self.cut)
            && next.hosts.iter().zip(&self.hosts).all(|(a, b)| a.digest == b.digest);
        (!same).then_some(next)
    }

    /// Computes the digests of hosts that are not shared with `before`.
    pub(crate) fn refresh(&mut self, before: &Self) {
        for (host, before) in self.hosts.iter_mut().zip(&before.hosts) {
            if !Arc::ptr_eq(host, before) {
                Arc::make_mut(host).refresh();
            }
        }
    }

    /// `to` hears all that `from` holds.
    pub(crate) fn meet(&mut self, from: usize, to: usize) {
        let (now, teller) = (self.now, Arc::clone(&self.hosts[from]));
        for (origin, records) in teller.held.iter().enumerate() {
            if origin != to && self.hosts[to].held[origin] != *records {
                self.host(to).hear(origin, records, What::All, now);
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let (now, living): (_, Vec<usize>) = (self.now, self.living().collect());
        living.into_iter().for_each(|index| self.host(index).tick(now));
    }

    /// How many addresses there are.
    pub(crate) fn size(&self) -> u128 {
        let ranges = self.hosts.first().map(|host| host.space().ranges).unwrap_or_default();
        ranges.iter().map(|range| 1_u128 << (32 - range.prefix_len.min(32))).sum()
    }

    /// All pairs of hosts.
    fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        self.hosts.iter().enumerate().flat_map(move |(index, one)| {
            self.hosts.iter().skip(index + 1).map(move |other| (&**one, &**other))
        })
    }

    /// While nobody is removed, no address of one ring is in use twice, the dead included, but for what was
    /// brought from another ring.
    pub(crate) fn unique_anywhere(&self) -> bool {
        let apart = |one: &Host, other: &Host| one.space().ring != other.space().ring;
        let unique = |one: &Host, other: &Host| {
            one.used_by_right().is_disjoint(&other.used_by_right())
                || self.apart && apart(one, other)
        };
        self.removed || self.pairs().all(|(one, other)| unique(one, other))
    }

    /// While nobody is removed, no Pod loses its address unless another one has it.
    pub(crate) fn nobody_is_robbed(&self) -> bool {
        self.removed || self.hosts.iter().all(|host| !host.robbed)
    }

    /// No address is owned or in use twice by two that go along with the same removals and completed
    /// the same ones.
    pub(crate) fn unique_in_a_view(&self) -> bool {
        self.pairs().filter(|(one, other)| one.alive && other.alive).all(|(one, other)| {
            let (a, b) = (one.space(), other.space());
            let owned_twice = a
                .owned
                .iter()
                .any(|a| b.owned.iter().any(|b| a.start <= b.end && b.start <= a.end));
            let same = a.view == b.view && a.ring == b.ring;
            let disjoint = || one.used_by_right().is_disjoint(&other.used_by_right());
            !same || (!owned_twice && disjoint())
        })
    }

    /// No address is in use twice by two that hold the same records, each other's included.
    pub(crate) fn unique_after_exchange(&self) -> bool {
        self.pairs()
            .filter(|(one, other)| one.alive && other.alive)
            .filter(|(one, other)| one.space().ring == other.space().ring)
            .all(|(one, other)| {
                one.held != other.held || one.used_by_right().is_disjoint(&other.used_by_right())
            })
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let digests = |state: &Self| state.hosts.iter().map(|host| host.digest).collect::<Vec<_>>();
        (self.now, self.budget, self.removed, self.cut)
            == (other.now, other.budget, other.removed, other.cut)
            && digests(self) == digests(other)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hash: &mut H) {
        (self.now, self.budget, self.removed, self.cut).hash(hash);
        self.hosts.iter().for_each(|host| host.digest.hash(hash));
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for host in &self.hosts {
            let removals: Vec<String> = host
                .ipam
                .removals()
                .iter()
                .map(|removal| format!("{} {:?}", removal.name.short(), removal.waits_for))
                .collect();
            let space = host.space();
            writeln!(
                f,
                "{}{}: uses {:?}, owns {:x?}, grants {:x?}, removals {removals:?}, view {:x?}, out {:?}",
                name(host.index).short(),
                if host.alive { "" } else { " (dead)" },
                host.used(),
                space.owned,
                space.grants,
                &space.view[..2],
                host.ipam.removed_by()
            )?;
        }
        Ok(())
    }
}
