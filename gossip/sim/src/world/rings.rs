//! Two rings that were founded apart, and the word of an operator that makes them one.

use weft_gossip::ipam::Conflict;

use super::World;
use crate::host::Host;

impl World {
    /// Somebody says on a host that the ring of another node it sees and its own are to be one.
    pub(super) fn heal_word(&mut self, on: usize) {
        let Some(host) = self.hosts.get(on).filter(|host| host.stays()) else { return };
        let Some(daemon) = &host.daemon else { return };
        let conflicts = daemon.node.ipam().conflicts();
        let others = conflicts.iter().filter_map(|conflict| match conflict {
            Conflict::OtherRing { node } => Some(*node),
            Conflict::Claimed { .. } | Conflict::OtherRanges { .. } => None,
        });
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return;
        }
        let chosen = self.pick(others.len());
        let Some(&peer) = others.get(chosen) else { return };
        let now = self.now;
        let at = self.time_of_day(on);
        let daemon = self.hosts.get_mut(on).and_then(|host| host.daemon.as_mut());
        let Some(daemon) = daemon else { return };
        let time = daemon.time(now);
        if let Ok(way) = daemon.node.heal(peer, at, time) {
            self.report.heals += 1;
            self.changed.insert(on);
            self.note(|| format!("h{on}: heal with {}: {way:?}", peer.short()));
        }
    }

    /// A node that the nodes of one ring removed, and do not listen to, while it is in another; or one that
    /// moves to a ring of which nobody is left.
    fn unheard(&self) -> Option<usize> {
        let ring = |host: &Host| host.space().map(|space| space.ring);
        let stay = || self.hosts.iter().enumerate().filter(|(_, host)| host.stays());
        let removed = |(_, host): &(usize, &Host)| {
            let by = |other: &Host| other.removes().contains(&host.name());
            stay().any(|(_, other)| ring(other) != ring(host) && by(other))
        };
        let lost = |(_, host): &(usize, &Host)| {
            let joins = host.space().map(|space| space.joins).filter(|joins| *joins != [0; 16]);
            joins.is_some() && !stay().any(|(_, other)| ring(other) == joins)
        };
        // One keeps what there is.
        let serving = stay().filter(|(_, host)| host.serves()).count();
        let spare = |(_, host): &(usize, &Host)| serving > usize::from(host.serves());
        let mut unheard = stay().filter(spare).filter(|host| removed(host) || lost(host));
        unheard.next().map(|(index, _)| index)
    }

    /// In the end operators say so wherever two rings are seen.
    pub(super) fn heal_rings(&mut self) -> Result<(), String> {
        if !self.setting.apart() || !self.hosts.iter().all(|it| it.dead || it.daemon.is_some()) {
            return Ok(());
        }
        if let Some(host) = self.unheard() {
            self.note(|| format!("h{host}: starts anew: no ring listens to it"));
            self.crash(host);
            self.ghosts.extend(self.name(host));
            self.begin_anew(host);
            self.report.rejoined += 1;
            return Ok(());
        }
        for on in 0..self.hosts.len() {
            if self.hosts.get(on).is_some_and(Host::stays) {
                self.heal_word(on);
                self.drain(on)?;
            }
        }
        Ok(())
    }
}
