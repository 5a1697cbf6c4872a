//! Nodes that leave: they hand their space over, and then are gone or begin anew.

use std::collections::BTreeSet;

use weft_crypto::PeerName;

use super::{World, ends};
use crate::host::{self, Host};

impl World {
    /// The operator of a node stops its Pods and lets it leave, if others own space.
    pub(super) fn leave(&mut self, host: usize) {
        let removed: BTreeSet<PeerName> =
            self.hosts.get(host).into_iter().flat_map(Host::removes).collect();
        let others = self.hosts.iter().enumerate().filter(|(index, _)| *index != host);
        let others =
            others.filter(|(_, other)| other.serves() && !removed.contains(&other.name())).count();
        if others < 2 || !self.hosts.get(host).is_some_and(Host::serves) {
            return;
        }
        self.stop_pods(host);
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let Some(daemon) = machine.daemon.as_mut() else { return };
        let time = daemon.time(now);
        daemon.node.leave(time);
        self.report.leaves += 1;
        self.changed.insert(host);
        self.note(|| format!("h{host}: leaves"));
    }

    fn stop_pods(&mut self, host: usize) {
        while self.hosts.get(host).is_some_and(|it| it.daemon.is_some() && !it.pods.is_empty()) {
            self.release_pod(host, 0);
        }
    }

    /// Those that have left are stopped, and mostly begin anew.
    pub(super) fn see_off(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts.get(host).is_some_and(Host::leaves) {
                // An address that was given just before, and promised just after.
                self.stop_pods(host);
                self.changed.insert(host);
            }
            if !self.hosts.get(host).is_some_and(Host::has_left) {
                continue;
            }
            let dead = self.hosts.iter().filter(|host| host.dead).count();
            let anew = dead >= self.hosts.len() / 3 || !self.one_in(3);
            self.note(|| {
                format!("h{host}: has left, and {}", if anew { "begins anew" } else { "is gone" })
            });
            self.report.left += 1;
            self.crash(host);
            if anew {
                self.begin_anew(host);
            } else {
                if let Some(machine) = self.hosts.get_mut(host) {
                    machine.dead = true;
                    machine.left = true;
                }
                self.tell_of_all();
            }
        }
    }

    /// A link of a chain is gone: operators tell each node of all others.
    fn tell_of_all(&mut self) {
        let now = self.now;
        for host in 0..self.hosts.len() {
            let targets = self.others(host);
            let Some(machine) = self.hosts.get_mut(host) else { continue };
            machine.targets.clone_from(&targets);
            if let Some(daemon) = machine.daemon.as_mut() {
                let time = daemon.time(now);
                daemon.connector.set_targets(targets, time);
            }
        }
    }

    fn others(&self, host: usize) -> BTreeSet<String> {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        others.map(|other| host::address(other).to_string()).collect()
    }

    /// A machine whose daemon does not run gets a new identity, and joins; it does not found.
    pub(super) fn begin_anew(&mut self, host: usize) {
        let seed = self.options.seed;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        machine.forget(host, seed);
        machine.init = weft_gossip::ipam::Init::Observer;
        for peer in 0..self.hosts.len() {
            self.links.remove(&ends(host, peer));
        }
    }
}
