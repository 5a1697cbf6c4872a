//! The end of a history: nothing fails any more, and everything must come right.

use std::{collections::BTreeSet, time::Duration};

use weft_crypto::PeerName;
use weft_gossip::ipam::Request;

use super::World;
use crate::{
    agreement,
    host::{COOL_DOWN, Host},
};

/// Virtual time the healed world may take to agree: the longest backoff of the connection maker, the
/// consensus, and some rounds of anti-entropy.
const HEALING: Duration = Duration::from_secs(180);
/// How long a request for an address may wait, and a bit.
const SERVED: Duration = Duration::from_secs(32);

/// Addresses asked for by name in the end.
const NAMED: usize = 4;

impl World {
    pub(super) fn end_well(&mut self) -> Result<(), String> {
        let started = self.now;
        self.agree()?;
        self.report.settled_ms = self.now.since(started).as_millis();
        // Those who wait since before get what was freed, or give up.
        self.pass(self.now + SERVED)?;
        // With what is free now: as many get an address as there are addresses.
        self.serve("full")?;
        // With Pods stopped until there is one for everybody.
        while agreement::free(&self.hosts) < self.hosts.len() {
            let most = (0..self.hosts.len())
                .filter(|host| self.hosts.get(*host).is_some_and(Host::stays))
                .max_by_key(|host| self.hosts.get(*host).map_or(0, |host| host.pods.len()));
            let Some(host) = most else { break };
            if self.hosts.get(host).is_none_or(|host| host.pods.is_empty()) {
                return Err(format!("nobody uses addresses, and none is free; {}", self.states()));
            }
            self.release_pod(host, 0);
            self.drain(host)?;
        }
        self.pass(self.now + COOL_DOWN)?;
        self.serve("last")?;
        self.by_name()?;
        self.agree()
    }

    /// Waits until all agree.
    fn agree(&mut self) -> Result<(), String> {
        let deadline = self.now + HEALING;
        loop {
            self.pass(self.now + Duration::from_millis(500))?;
            self.see_off();
            self.bury_the_dead()?;
            self.heal_rings()?;
            match agreement::reached(&self.hosts) {
                Ok(()) => return Ok(()),
                Err(missing) if self.now > deadline => {
                    return Err(format!("no agreement: {missing}; {}", self.states()));
                }
                Err(_) => {}
            }
        }
    }

    /// In the end operators remove what is gone, wherever nobody knows of that yet: those who remove
    /// each other do not listen to each other.
    fn bury_the_dead(&mut self) -> Result<(), String> {
        if !self.hosts.iter().all(|host| host.dead || host.daemon.is_some()) {
            return Ok(());
        }
        let dead = self.hosts.iter().filter(|host| host.dead && !host.left).map(Host::name);
        let gone: BTreeSet<PeerName> =
            dead.chain(self.ghosts.iter().copied()).chain(self.missed()).collect();
        for on in 0..self.hosts.len() {
            let Some(host) = self.hosts.get(on).filter(|host| host.stays()) else { continue };
            let Some(daemon) = host.daemon.as_ref().filter(|daemon| daemon.node.ready()) else {
                continue;
            };
            let known: BTreeSet<PeerName> =
                daemon.node.removals().iter().map(|removal| removal.name).collect();
            for name in gone.difference(&known) {
                if self.remove_name(on, *name, false) {
                    self.note(|| format!("h{on}: remove {}, which is gone", name.short()));
                }
            }
            self.drain(on)?;
        }
        Ok(())
    }

    /// Those that left, and of whom nobody heard it, for whom a removal waits or who seem to have space.
    fn missed(&self) -> Vec<PeerName> {
        let former = self.hosts.iter().flat_map(|host| &host.former).map(|(name, _)| *name);
        let left = self.hosts.iter().filter(|host| host.left).map(Host::name);
        // Or that another ring removed, so that they take nothing over.
        let out = self.hosts.iter().filter(|host| host.daemon.is_some() && !host.stays());
        // Or that were granted space and look at another ring, in which they want none.
        let late = self.now > self.healed_at + HEALING / 2;
        let nowhere = |host: &&Host| host.space().is_some_and(|space| space.ring == [0; 16]);
        let idle = self.hosts.iter().filter(|_| late && self.setting.apart()).filter(nowhere);
        let gone = out.chain(idle).map(Host::name);
        let left: BTreeSet<PeerName> = former.chain(left).chain(gone).collect();
        let daemons =
            self.hosts.iter().filter(|host| host.stays()).filter_map(|it| it.daemon.as_ref());
        let removals = daemons.flat_map(|daemon| daemon.node.removals());
        let missed = removals.filter_map(|removal| removal.waits_for).flatten();
        // Or whose last word was lost with the only one who had heard it.
        let daemons =
            self.hosts.iter().filter(|host| host.stays()).filter_map(|it| it.daemon.as_ref());
        let owners = daemons.filter(|_| late).flat_map(|daemon| daemon.node.owners());
        let missed = missed.chain(owners.map(|owner| owner.name));
        missed.filter(|name| left.contains(name)).collect()
    }

    /// Each free address can be had by name, wherever it is asked for: tries some.
    fn by_name(&mut self) -> Result<(), String> {
        for count in 0..NAMED {
            self.pass(self.now + COOL_DOWN)?;
            let wanted = self.some_addresses();
            let used = |host: &Host| {
                let daemon = host.daemon.as_ref().filter(|_| host.stays());
                let mut held = daemon.into_iter().flat_map(|daemon| daemon.node.allocations());
                held.any(|(_, nets)| {
                    nets.iter().any(|net| wanted.iter().any(|it| it.addr() == net.addr()))
                })
            };
            let host = self.pick(self.hosts.len());
            if self.hosts.iter().any(used) || !self.hosts.get(host).is_some_and(Host::stays) {
                continue;
            }
            let key = format!("named-{count}");
            let crashes = self.report.crashes;
            self.allocate(host, key.clone(), Request { wanted, ..Request::default() });
            self.drain(host)?;
            let deadline = self.now + SERVED;
            while self.now < deadline && self.anybody_waits() {
                self.pass(self.now + Duration::from_millis(500))?;
            }
            let has = self.hosts.get(host).is_some_and(|host| host.pods.contains_key(&key));
            if !has && self.report.crashes == crashes {
                return Err(format!("{key} did not get what is free; {}", self.states()));
            }
        }
        Ok(())
    }

    /// Each node asks for an address; as many as there are addresses get one.
    fn serve(&mut self, word: &str) -> Result<(), String> {
        let stay: Vec<usize> = (0..self.hosts.len())
            .filter(|host| self.hosts.get(*host).is_some_and(Host::stays))
            .collect();
        if stay.is_empty() {
            return Err("nobody is left".into());
        }
        let wanted = stay.len().min(agreement::free(&self.hosts));
        let crashes = self.report.crashes;
        for host in &stay {
            self.allocate(*host, format!("{word}-{host}"), Request::default());
            self.drain(*host)?;
        }
        let served = |world: &Self| {
            let has = |host: &&usize| {
                let pods = world.hosts.get(**host).map(|host| &host.pods);
                pods.is_some_and(|pods| pods.contains_key(&format!("{word}-{host}")))
            };
            stay.iter().filter(has).count()
        };
        let deadline = self.now + SERVED;
        // Also those who get none: they would be in the way of others who ask later.
        while self.now < deadline && (served(self) < wanted || self.anybody_waits()) {
            self.pass(self.now + Duration::from_millis(500))?;
        }
        let served = served(self);
        if served < wanted && self.report.crashes > crashes {
            // Whoever asked a daemon that crashed asks again.
            return self.serve(&format!("{word}-again"));
        }
        if served < wanted {
            return Err(format!(
                "{served} of {} got an address, and there were {wanted}; {}",
                stay.len(),
                self.states()
            ));
        }
        Ok(())
    }

    fn anybody_waits(&self) -> bool {
        let waits = |host: &Host| {
            host.daemon.as_ref().is_none_or(|daemon| !daemon.waiting.is_empty()) && !host.dead
        };
        self.hosts.iter().any(waits)
    }

    fn states(&self) -> String {
        let state = |(index, host): (usize, &Host)| match &host.daemon {
            Some(daemon) => {
                let removals: Vec<String> =
                    daemon.node.removals().iter().map(|it| daemon.node.label(it.name)).collect();
                let space = daemon.space();
                let (name, [a, b, ..], [v, w, ..]) = (host.name().short(), space.ring, space.view);
                format!(
                    "h{index} ({name}, ring {a:02x}{b:02x}, view {v:02x}{w:02x}): {}, removes {removals:?}",
                    daemon.node.ipam_state()
                )
            }
            None => format!("h{index}: down"),
        };
        self.hosts.iter().enumerate().map(state).collect::<Vec<_>>().join("; ")
    }
}
