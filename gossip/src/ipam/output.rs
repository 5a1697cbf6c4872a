//! What comes out of the machine: what to publish, to keep and to answer, and what can be seen of it.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::{
    AllocateError, Conflict, Fenced, Ipam, IpamChange, IpamSnapshot, IpamStats, Kept, Leaving,
    OwnerView, Publish, RemovalView, RequestId, Route, consensus::Consensus, ring, universe,
};
use crate::Time;

impl Ipam {
    /// The next record to publish in this node's name: the newest state, each change once. After a
    /// restart all records that are in force come out again, but for a want, which is asked anew.
    pub fn poll_publish(&mut self) -> Option<Publish> {
        if std::mem::take(&mut self.publish_space) {
            return Some(Publish::Space(self.space()));
        }
        if std::mem::take(&mut self.publish_paxos)
            && let Some(consensus) = &self.consensus
        {
            return Some(Publish::Paxos(consensus.mine().clone()));
        }
        if std::mem::take(&mut self.removals.publish_pending) {
            return Some(Publish::Pending(self.removals.pending().cloned()));
        }
        if std::mem::take(&mut self.removals.publish_completed) {
            return Some(Publish::Completed(self.removals.done().cloned()));
        }
        if std::mem::take(&mut self.publish_want) {
            return Some(Publish::Want(self.asking.current.clone()));
        }
        None
    }

    /// All that must survive a crash.
    pub fn snapshot(&self) -> IpamSnapshot {
        self.save()
    }

    /// What changed since the last call; the first time, since [`Ipam::new`], in no way that could
    /// be used: keep an [`Ipam::snapshot`] then.
    ///
    /// [`IpamSnapshot::changed_by`] with it and all before makes the snapshot of this moment.
    pub fn change(&mut self) -> IpamChange {
        self.take_change()
    }

    /// Whether [`Ipam::snapshot`] must be made durable again; true once after each change.
    pub fn dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The next request that is done: addresses with the prefix length of their range, or why not.
    pub fn poll_outcome(&mut self) -> Option<(RequestId, Result<Vec<IpNet>, AllocateError>)> {
        self.outcomes.pop_front()
    }

    /// The next Pod that lost its addresses to a removal. They are free here already, or another's.
    pub fn poll_fenced(&mut self) -> Option<Fenced> {
        self.removals.fenced.pop_front()
    }

    /// The Pods of which it is not settled whether they can keep their addresses, by key, while this
    /// node moves to another ring.
    pub fn kept(&self) -> Vec<Kept> {
        self.list_kept()
    }

    /// How far leaving is; `None` if nobody asked for it.
    pub fn leaving(&self) -> Option<Leaving> {
        self.describe_leaving()
    }

    /// The removals in this ring, by name, complete ones included.
    pub fn removals(&self) -> Vec<RemovalView> {
        self.list_removals()
    }

    /// The node on which somebody asked for the removal of this one, if that is complete.
    pub fn removed_by(&self) -> Option<PeerName> {
        self.removals.out()
    }

    /// The removal of this node itself, if that is complete.
    pub fn own_removal(&self) -> Option<RemovalView> {
        self.removals.own()
    }

    /// Whether another node gave up everything for good.
    pub fn has_left(&self, name: PeerName) -> bool {
        self.spaces.get(&name).is_some_and(|space| space.left)
    }

    /// Who holds which addresses on this node, by owner.
    pub fn allocations(&self) -> impl Iterator<Item = (&str, Vec<IpNet>)> {
        self.local
            .iter()
            .map(|(key, held)| (key, held.iter().map(|n| self.universe.with_prefix(*n)).collect()))
    }

    /// The addresses of one owner on this node; none if it holds none.
    pub fn allocated(&self, key: &str) -> Vec<IpNet> {
        let held = self.local.held_by(key).unwrap_or_default();
        held.iter().map(|n| self.universe.with_prefix(*n)).collect()
    }

    /// The node that packets to `ip` are for.
    pub fn owner_of(&self, ip: IpAddr) -> Option<PeerName> {
        ring::find(&self.segments, universe::number(ip)).map(|segment| segment.owner)
    }

    /// All of the ring: sorted, disjoint, consecutive spans of one owner in one piece, this node's
    /// own included.
    pub fn routes(&self) -> Vec<Route> {
        self.list_routes()
    }

    /// Differs from an earlier value whenever [`Ipam::routes`] does.
    pub fn routes_generation(&self) -> u64 {
        self.generation
    }

    /// The owners of space, by name.
    pub fn owners(&self) -> Vec<OwnerView> {
        self.list_owners()
    }

    /// What this machine does or waits for, in words; `nick` gives people's names for nodes.
    pub fn state(&self, nick: &dyn Fn(PeerName) -> String) -> String {
        match self.leaving() {
            Some(leaving) => leaving.describe(nick),
            None => self.waiting().describe(nick),
        }
    }

    /// Whether Pods can get addresses here: this node has space of every range, or is an observer
    /// that can ask for it.
    pub fn ready(&self) -> bool {
        !self.own.leaving && (self.settled() || self.idle())
    }

    /// Whether a ring is known: this node is part of one, or one that was heard of is.
    pub fn knows_ring(&self) -> bool {
        self.ring_in_view().is_some()
    }

    /// What should not be, sorted.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.list_conflicts()
    }

    /// Addresses of the first range that this node owns, at most `u64::MAX`.
    pub fn owned(&self) -> u64 {
        let owned = self.universe.get(0).map_or(0, |range| self.owned_in(range));
        u64::try_from(owned).unwrap_or(u64::MAX)
    }

    /// Addresses of the first range in use on this node.
    pub fn active(&self) -> u64 {
        self.local.held_count(0) as u64
    }

    /// What happened so far.
    pub fn stats(&self) -> &IpamStats {
        &self.stats
    }

    /// When [`Ipam::handle_timeout`] wants to be called; `None` while nothing is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadline = self.pending.iter().map(|pending| pending.deadline).min();
        let ask = self.asking.current.is_some().then_some(self.asking.retry_at);
        let vote = self.consensus.as_ref().filter(|_| !self.founded).and_then(Consensus::next);
        let timers =
            [deadline, ask, self.named.next(), vote, self.advert_at, self.local.next_warm()];
        timers.into_iter().flatten().min()
    }
}
