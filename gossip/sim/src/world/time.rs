//! Time passes, and with it comes to pass what is due.

use rand_core::Rng;
use weft_gossip::Time;

use super::{Happening, World};

/// Events within one moment beyond which nothing will ever come of it.
const LIVELOCK: u32 = 20_000;

impl World {
    /// Lets the time pass, with all that comes to pass in it.
    pub(super) fn pass(&mut self, until: Time) -> Result<(), String> {
        let mut in_a_row = 0;
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = self.timeouts.iter().flatten().copied().min();
            let Some(next) = [queued, timer].into_iter().flatten().min().filter(|at| *at <= until)
            else {
                self.now = until;
                return Ok(());
            };
            in_a_row = if next > self.now { 0 } else { in_a_row + 1 };
            if in_a_row > LIVELOCK {
                return Err("time stands still".into());
            }
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some((_, happening)) = self.queue.pop_first() {
                    self.happen(happening)?;
                }
            } else {
                for host in 0..self.hosts.len() {
                    if self.timeouts.get(host).copied().flatten().is_some_and(|at| at <= self.now) {
                        self.wake(host)?;
                    }
                }
            }
            self.check()?;
        }
    }

    fn wake(&mut self, host: usize) -> Result<(), String> {
        let now = self.now;
        if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
            let time = daemon.time(now);
            daemon.node.handle_timeout(time);
        }
        self.drain(host)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Start { host } => self.start(host),
            Happening::Written { host, incarnation, token } => {
                self.written(host, incarnation, token);
                self.drain(host)
            }
            Happening::Deliver { from, to, generation, bytes } => {
                self.deliver(from, to, generation, &bytes)
            }
            Happening::Dialled { host, incarnation, endpoint } => {
                self.dialled(host, incarnation, &endpoint)
            }
            Happening::Noticed { host, peer, generation } => self.noticed(host, peer, generation),
        }
    }

    fn start(&mut self, host: usize) -> Result<(), String> {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
        if machine.dead || machine.daemon.is_some() {
            return Ok(());
        }
        machine.start(host, seed, now).map_err(|error| format!("h{host}: {error}"))?;
        // Pods that were stopped and that the disk still knew are stopped again.
        if let Some(daemon) = machine.daemon.as_mut() {
            let time = daemon.time(now);
            for key in &machine.stopped {
                daemon.node.release(key, time);
            }
        }
        self.changed.insert(host);
        self.note(|| format!("h{host}: start"));
        self.drain(host)
    }
}
