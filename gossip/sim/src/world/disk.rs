//! Writes, and the moments around them at which machines crash.

use weft_gossip::{Persist, Written};

use super::{Happening, World, ends};
use crate::{CrashPoint, host::Write};

impl World {
    /// The daemon of `host` hands over what shall survive.
    pub(super) fn write(&mut self, host: usize, persist: Persist) {
        let crash = self.crash_point();
        self.report.writes += 1;
        let lying = self.options.lying_disk;
        // Long journals are replaced by all they say.
        let replaced = self.one_in(8);
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let incarnation = machine.incarnation;
        let Some(daemon) = machine.daemon.as_mut() else { return };
        let Persist { token, what } = persist;
        let whole = replaced.then(|| Written::Snapshot(daemon.node.snapshot()));
        if lying {
            let time = daemon.time(now);
            daemon.node.persisted(token, time);
        }
        let space = daemon.space();
        if crash == Some(CrashPoint::Before) {
            self.note(|| format!("h{host}: stops before write {token}"));
            self.report.crashes_at_writes += 1;
            self.crash(host);
            return;
        }
        for what in std::iter::once(what).chain(whole) {
            let space = space.clone();
            machine.writing.push(Write { incarnation, token, what, space, crash });
        }
        let delay = self.millis(if lying { 2000 } else { 30 });
        self.after(delay, Happening::Written { host, incarnation, token });
    }

    /// Whether a machine stops at the next write.
    fn crash_point(&mut self) -> Option<CrashPoint> {
        if let Some((write, point)) = self.options.crash_at
            && write == self.report.writes
        {
            return Some(point);
        }
        if !self.chance(self.setting.weather.crashes) {
            return None;
        }
        let chosen = self.pick(CrashPoint::ALL.len());
        CrashPoint::ALL.get(chosen).copied()
    }

    /// A write has come to its end.
    pub(super) fn written(&mut self, host: usize, incarnation: u64, token: u64) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let of_this = |write: &Write| write.incarnation == incarnation && write.token == token;
        // A write that was finished with a later one has had its end.
        let Some(at) = machine.writing.iter().rposition(of_this) else { return };
        let done: Vec<Write> = machine.writing.drain(..=at).collect();
        let crash = done.iter().find_map(|write| write.crash);
        done.into_iter().for_each(|write| machine.finish_write(write));
        if crash == Some(CrashPoint::Unreported) {
            self.note(|| format!("h{host}: stops with write {token} done, not told"));
            self.report.crashes_at_writes += 1;
            self.crash(host);
            return;
        }
        if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
            let time = daemon.time(now);
            daemon.node.persisted(token, time);
        }
        if crash == Some(CrashPoint::Unsent) {
            for _ in 0..self.pick(4) {
                let daemon = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut());
                let Some(transmit) = daemon.and_then(|daemon| daemon.node.poll_transmit()) else {
                    break;
                };
                self.transmit(host, transmit);
            }
            self.note(|| format!("h{host}: stops with write {token} done, not all told"));
            self.report.crashes_at_writes += 1;
            self.crash(host);
        }
    }

    /// The daemon stops at once, and will be started again.
    pub(super) fn crash(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let Some(daemon) = machine.daemon.take() else { return };
        // Whoever asked for these heard nothing, and gives up what may be held for them.
        machine.stopped.extend(daemon.waiting.into_values().map(|(key, _)| key));
        self.report.crashes += 1;
        self.changed.insert(host);
        if let Some(timeout) = self.timeouts.get_mut(host) {
            *timeout = None;
        }
        self.note(|| format!("h{host}: crash"));
        // Of the writes under way the first few were finished.
        let writing = self.hosts.get_mut(host).map(|host| std::mem::take(&mut host.writing));
        for write in writing.into_iter().flatten() {
            if self.one_in(2) {
                break;
            }
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.finish_write(write);
            }
        }
        for (peer, generation) in daemon.links {
            if let Some(peer) = self.index_of(peer) {
                self.links.remove(&ends(host, peer));
                let delay = self.millis(3000);
                self.after(delay, Happening::Noticed { host: peer, peer: host, generation });
            }
        }
        let delay = self.millis(6000);
        self.after(delay, Happening::Start { host });
    }
}
