//! Machines die, operators remove them, and some come back.

use std::collections::BTreeSet;

use weft_crypto::PeerName;

use super::{Happening, World};
use crate::host::Host;

/// The time of day at which a history begins, seconds since the Unix epoch.
const EPOCH: i64 = 1_800_000_000;
/// Removals in one history: rings have a bound, of which the end needs its part.
const MAX_REMOVALS: u64 = 24;

impl World {
    /// The machine stops for a long time, if it is not one of the last.
    pub(super) fn die(&mut self, host: usize) {
        let dead = self.hosts.iter().filter(|host| host.dead).count();
        // One that removed others stays: it may be the only one left.
        let running = self.hosts.get(host).is_some_and(|host| {
            host.daemon.as_ref().is_some_and(|daemon| {
                !daemon.node.removals().iter().any(|removal| removal.by == host.name())
            })
        });
        let others = self.hosts.iter().enumerate().filter(|(index, _)| *index != host);
        if running
            && dead < self.hosts.len() / 3
            && others.filter(|(_, it)| it.serves()).count() > 1
        {
            self.crash(host);
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.dead = true;
            }
            self.report.deaths += 1;
        }
    }

    /// A machine that died and was removed starts again, with the disk it had.
    pub(super) fn come_back(&mut self) {
        let removed = |host: &Host| host.dead && !host.left && self.removes(host.name());
        let back: Vec<usize> = (0..self.hosts.len())
            .filter(|index| self.hosts.get(*index).is_some_and(removed))
            .collect();
        if back.is_empty() {
            return;
        }
        let chosen = self.pick(back.len());
        let Some(&host) = back.get(chosen) else { return };
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.dead = false;
        }
        self.report.returns += 1;
        self.note(|| format!("h{host}: comes back"));
        self.after(std::time::Duration::ZERO, Happening::Start { host });
    }

    /// Whether any node that stays removes `name`.
    fn removes(&self, name: PeerName) -> bool {
        self.hosts.iter().filter(|host| host.stays()).any(|host| {
            host.daemon.as_ref().is_some_and(|daemon| {
                daemon.node.removals().iter().any(|removal| removal.name == name)
            })
        })
    }

    /// The operator of a node that learnt of its removal starts it anew, without its data directory.
    pub(super) fn rejoin(&mut self) {
        let out: Vec<usize> = (0..self.hosts.len())
            .filter(|index| {
                self.hosts.get(*index).is_some_and(|host| host.daemon.is_some() && !host.stays())
            })
            .collect();
        if out.is_empty() {
            return;
        }
        let chosen = self.pick(out.len());
        let Some(&host) = out.get(chosen) else { return };
        self.note(|| format!("h{host}: starts anew"));
        self.crash(host);
        self.ghosts.extend(self.name(host));
        self.begin_anew(host);
        self.report.rejoined += 1;
    }

    /// Somebody removes another machine: mostly a dead one, and now and then, by mistake, one that
    /// is alive; on one node or on two at once, one or two of them.
    pub(super) fn remove_some(&mut self, on: usize) -> Vec<usize> {
        let mistake = self.one_in(6);
        let force = self.one_in(8);
        let many = 1 + self.pick(4) / 3;
        let mut places = vec![on];
        if self.one_in(3) {
            places.push(self.pick(self.hosts.len()));
        }
        let mut chosen = None;
        for on in &places {
            for _ in 0..many {
                // At two places mostly the same one.
                let who = match chosen {
                    Some(who) if !self.one_in(3) => Some(who),
                    _ => self.victim(*on, mistake),
                };
                if let Some(who) = who.filter(|who| who != on) {
                    chosen = Some(who);
                    self.remove(*on, who, force);
                }
            }
        }
        places
    }

    fn victim(&mut self, on: usize, mistake: bool) -> Option<usize> {
        let wanted: Vec<usize> = (0..self.hosts.len())
            .filter(|other| *other != on)
            .filter(|other| self.hosts.get(*other).is_some_and(|host| host.dead != mistake))
            .collect();
        if wanted.is_empty() || self.report.removals >= MAX_REMOVALS {
            return None;
        }
        let chosen = self.pick(wanted.len());
        wanted.get(chosen).copied()
    }

    fn remove(&mut self, on: usize, who: usize, force: bool) {
        let removed: BTreeSet<PeerName> =
            self.hosts.get(on).into_iter().flat_map(Host::removes).chain(self.name(who)).collect();
        // Nobody who leaves removes the last of those who stay: there would be no ring.
        if !self.hosts.iter().any(|host| host.serves() && !removed.contains(&host.name())) {
            return;
        }
        if let Some(name) = self.name(who)
            && self.remove_name(on, name, force)
        {
            self.note(|| format!("h{on}: remove h{who}{}", if force { " by force" } else { "" }));
        }
    }

    /// What the clock of a host says.
    pub(super) fn time_of_day(&self, host: usize) -> u64 {
        let passed = i64::try_from(self.now.since_start().as_secs()).unwrap_or(0);
        let error = self.hosts.get(host).map_or(0, |host| host.clock_error);
        u64::try_from(EPOCH + passed + error).unwrap_or(0)
    }

    /// Somebody asks on a host to remove a node. Answers whether that was taken on.
    pub(super) fn remove_name(&mut self, on: usize, name: PeerName, force: bool) -> bool {
        let now = self.now;
        let at = self.time_of_day(on);
        let Some(machine) = self.hosts.get_mut(on) else { return false };
        let Some(daemon) = machine.daemon.as_mut() else { return false };
        let time = daemon.time(now);
        let done = daemon.node.remove(name, force, at, time).is_ok();
        if done {
            self.report.removals += 1;
            self.changed.insert(on);
        }
        done
    }
}
