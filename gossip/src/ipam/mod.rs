//! The ring, which says who owns which addresses, and the allocator of this node's own.
//!
//! The rules and the argument why no address has two owners are in `docs/ipam.md`.

mod change;
mod check;
mod consensus;
mod donate;
mod error;
mod found;
mod heal;
mod leave;
mod limits;
mod local;
mod named;
mod removal;
mod request;
mod restore;
mod ring;
mod spans;
#[cfg(test)]
mod tests;
mod types;
mod universe;
mod validate;
mod view;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use ipnet::IpNet;
use weft_crypto::PeerName;

use self::{
    consensus::Consensus, donate::Asking, local::Local, named::Named, removal::Removals,
    request::Pending, restore::Own, ring::Segment, universe::Universe, validate::NO_RING,
};
pub use self::{
    error::{AllocateError, Misbehaved, RestoreError},
    types::{
        Conflict, Fenced, HealError, Healing, Init, IpamConfig, IpamStats, Kept, Leaving,
        OwnerView, Publish, RemovalView, RemoveError, Request, RequestId, Route, Waiting,
    },
    wire::{
        Ack, Ballot, Founding, Grant, Heal, IpamChange, IpamSnapshot, Paxos, RangeWant, RawName,
        RawRange, Refusal, RingId, SavedRemovals, ShortName, SnapshotV1, Space, Span, Tombstone,
        View, ViewId, Want, Weight,
    },
};
use crate::Time;

/// The ring and the allocator of one node.
///
/// Sans-IO: the caller puts in what others published, what can be reached and the time, and drains
/// what is to be published, persisted and answered. After every `handle_*`, [`Ipam::allocate`],
/// [`Ipam::release`], [`Ipam::cancel`] and [`Ipam::adopt`]:
///
/// 1. if [`Ipam::dirty`], make [`Ipam::snapshot`] durable;
/// 2. only then publish what [`Ipam::poll_publish`] gives and answer what [`Ipam::poll_outcome`]
///    gives (they may be taken out before, and held back until the snapshot is durable);
/// 3. call [`Ipam::handle_timeout`] at [`Ipam::poll_timeout`].
#[derive(Clone)]
pub struct Ipam {
    config: IpamConfig,
    universe: Universe,
    seed: [u8; 32],
    /// The content of the own `Space` record.
    own: Own,
    /// Whether the own share of a ring was claimed.
    founded: bool,
    local: Local,
    /// For each asker its want that was served last.
    served: BTreeMap<PeerName, u64>,
    asking: Asking,
    named: Named,
    /// Addresses in use that are not this node's own: it brought them from the ring it was in before.
    kept: BTreeSet<u128>,
    consensus: Option<Consensus>,
    removals: Removals,
    /// What others published, checked. Never this node's own.
    spaces: BTreeMap<PeerName, Space>,
    wants: BTreeMap<PeerName, Want>,
    /// Nodes that were configured with other ranges, and those ranges.
    other_ranges: BTreeMap<PeerName, String>,
    reachable: BTreeSet<PeerName>,
    synced: BTreeSet<PeerName>,
    pending: VecDeque<Pending>,
    next_request: u64,
    outcomes: VecDeque<(RequestId, Result<Vec<IpNet>, AllocateError>)>,
    /// Free addresses by range, and addresses in use, as told in the own record.
    advert: (Vec<u64>, u64),
    /// When a change of these counts is to be told at latest.
    advert_at: Option<Time>,
    /// The fold of all claims.
    segments: Vec<Segment>,
    generation: u64,
    /// Whether the content of the own record changed since its revision was made.
    touched: bool,
    /// Whether claims changed since the fold.
    stale: bool,
    publish_space: bool,
    publish_want: bool,
    publish_paxos: bool,
    told_paxos: bool,
    dirty: bool,
    /// The form of what [`Ipam::change`] told last, but for who holds what.
    told: Vec<u8>,
    stats: IpamStats,
}

impl Ipam {
    /// The machine of a node that starts, with what it saved before, if anything. `seed` makes the
    /// name of a ring that this node may found unlike any other's.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn new(
        config: IpamConfig,
        restored: Option<IpamSnapshot>,
        seed: [u8; 32],
        now: Time,
    ) -> Result<Self, RestoreError> {
        Self::build(config, restored, seed, now)
    }

    /// Takes in what another node publishes about its space; `None` if it took that back.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter, and what
    /// [`Ipam::conflicts`] says about nodes with other ranges. A grant that is refused
    /// ([`Misbehaved::ForeignGrant`]) is not taken over; the rest of its record is used.
    pub fn handle_space(
        &mut self,
        origin: PeerName,
        space: Option<Space>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        if origin == self.config.name {
            return Ok(());
        }
        let taken = self.take_space(origin, space);
        self.stats.misbehaved += u64::from(taken.is_err());
        self.settle(now);
        taken
    }

    fn take_space(&mut self, origin: PeerName, space: Option<Space>) -> Result<(), Misbehaved> {
        let Some(space) = space else {
            self.stale |= self.spaces.remove(&origin).is_some();
            self.other_ranges.remove(&origin);
            return Ok(());
        };
        let old = self.spaces.get(&origin).is_some_and(|known| space.revision <= known.revision);
        if old || self.removals.is_done(origin) {
            return Ok(());
        }
        let checked = validate::space(origin, &space, &self.universe);
        if let Err(Misbehaved::OtherRanges { theirs, .. }) = &checked {
            self.other_ranges.insert(origin, theirs.clone());
        }
        checked?;
        self.yield_to(&space);
        let taken_over = self.take_over(origin, &space);
        self.drop_taken(origin, &space);
        self.take_back(origin, &space);
        self.other_ranges.remove(&origin);
        let known = self.spaces.get(&origin);
        let more_free = known.is_none_or(|known| known.free != space.free);
        if more_free {
            self.asking.tried.remove(&origin);
        }
        self.stale |= known.is_none_or(|known| {
            known.view != space.view
                || known.left != space.left
                || known.leaving != space.leaving
                || known.owned != space.owned
                || known.grants != space.grants
                || known.accepted != space.accepted
                || known.ring != space.ring
        });
        // Nobody waits for the word of one who left.
        self.removals.stale |= space.left;
        self.spaces.insert(origin, space);
        taken_over
    }

    /// Takes in what another node asks for; `None` if nothing.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter.
    pub fn handle_want(
        &mut self,
        origin: PeerName,
        want: Option<Want>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        if origin == self.config.name {
            return Ok(());
        }
        match want {
            None => {
                self.wants.remove(&origin);
            }
            Some(want) => {
                let checked = validate::want(origin, &want, &self.universe);
                self.stats.misbehaved += u64::from(checked.is_err());
                checked?;
                self.wants.insert(origin, want);
            }
        }
        self.settle(now);
        Ok(())
    }

    /// Takes in another node's word on removals that are not complete; `None` if it took that back.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter.
    pub fn handle_pending(
        &mut self,
        origin: PeerName,
        ack: Option<Ack>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        self.take_pending(origin, ack, now)
    }

    /// Takes in another node's word on removals that are complete; `None` if it took that back.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter.
    pub fn handle_completed(
        &mut self,
        origin: PeerName,
        view: Option<View>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        self.take_completed(origin, view, now)
    }

    /// Removes another node from the ring: as soon as all owners have acknowledged that, its space
    /// falls to the owners of the addresses before it. `at` is the time of day, seconds since the Unix
    /// epoch, for people. With `force`, the owners whose word is missing are removed as well.
    ///
    /// Asking again for what is under way or done changes nothing, but for `force`.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub fn remove(
        &mut self,
        name: PeerName,
        force: bool,
        at: u64,
        now: Time,
    ) -> Result<(), RemoveError> {
        self.start_removal(name, force, at, now)
    }

    /// Leaves the ring for good: hands all space over to owners who stay, addresses in use as soon as
    /// they are released and have cooled down, and gives out none from here on; requests that wait
    /// fail. There is no way back, also not by a restart. [`Ipam::leaving`] tells how far it is.
    pub fn leave(&mut self, now: Time) {
        self.start_leaving();
        self.settle(now);
    }

    /// Makes the ring of `peer` and this node's own one: the nodes of the ring with the higher name move
    /// to the other, all of them, as they hear of it, with the addresses that are in use on them. Where
    /// such an address is in use in the ring that stays, the Pod that came loses it ([`Ipam::poll_fenced`]).
    /// `at` is the time of day, seconds since the Unix epoch, for people.
    ///
    /// # Errors
    /// See [`HealError`].
    pub fn heal(&mut self, peer: PeerName, at: u64, now: Time) -> Result<Healing, HealError> {
        let result = self.start_healing(peer, at);
        self.settle(now);
        result
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

    /// The next Pod that lost its addresses to a removal. They are free here already, or another's.
    pub fn poll_fenced(&mut self) -> Option<Fenced> {
        self.removals.fenced.pop_front()
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

    /// Takes in another node's part in the consensus; `None` if it took that back.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter.
    pub fn handle_paxos(
        &mut self,
        origin: PeerName,
        paxos: Option<Paxos>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        if origin == self.config.name {
            return Ok(());
        }
        let checked = paxos.as_ref().map_or(Ok(()), |paxos| validate::paxos(origin, paxos));
        self.stats.misbehaved += u64::from(checked.is_err());
        checked?;
        if let Some(consensus) = &mut self.consensus {
            consensus.handle(origin, paxos);
        }
        self.settle(now);
        Ok(())
    }

    /// Tells which other nodes records can be exchanged with, directly or through others.
    pub fn handle_reachable(&mut self, reachable: &BTreeSet<PeerName>, now: Time) {
        self.reachable.clone_from(reachable);
        // Whoever was away may have learnt of a ring meanwhile.
        self.synced.retain(|name| reachable.contains(name));
        self.settle(now);
    }

    /// Tells that a neighbour and this node hold the same records, or did a moment ago: so a ring
    /// that the neighbour knows is known here.
    pub fn handle_synced(&mut self, with: PeerName, now: Time) {
        self.synced.insert(with);
        self.settle(now);
    }

    /// Does what is due. Call it at [`Ipam::poll_timeout`]; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.settle(now);
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

    /// Brings everything into the state that follows from what is known: each public entry ends
    /// here, and a second call at the same time changes nothing.
    fn settle(&mut self, now: Time) {
        self.local.warm(now);
        self.found_together(now);
        self.settle_heal(now);
        self.settle_removals(now);
        self.grant_kept();
        self.serve_requests(now);
        self.serve_wants();
        self.refuse();
        self.hand_over();
        self.ask(now);
        self.advertise(now);
        if self.touched {
            self.touched = false;
            self.stale = true;
            self.own.revision += 1;
            self.publish_space = true;
            self.dirty = true;
        }
        if std::mem::take(&mut self.stale) {
            self.refold();
        }
    }

    /// Tells how much is free: with any other change of the record; at once if it matters to those
    /// who look for a donor; else a while later.
    fn advertise(&mut self, now: Time) {
        if self.own.ring == NO_RING {
            self.advert_at = None;
            return;
        }
        let free = |place| u64::try_from(self.free(place)).unwrap_or(u64::MAX);
        let free: Vec<u64> = self.universe.iter().map(|(place, _)| free(place)).collect();
        let current = (free, self.active());
        if current == self.advert {
            self.advert_at = None;
            return;
        }
        let told = |place: usize| self.advert.0.get(place).copied().unwrap_or(0);
        let matters = current.0.iter().enumerate().any(|(place, &is)| {
            let was = told(place);
            (was == 0) != (is == 0) || is / 2 > was || is < was / 2
        });
        let due = self.advert_at.is_some_and(|at| at <= now);
        if self.touched || matters || due {
            self.advert = current;
            self.advert_at = None;
            self.touched = true;
        } else if self.advert_at.is_none() {
            self.advert_at = Some(now + limits::ADVERT_DELAY);
        }
    }

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

    /// Asks for addresses for the owner `key`, who gets the same ones again if it has some. The
    /// outcome comes out of [`Ipam::poll_outcome`], perhaps at once, and at `deadline` at latest.
    pub fn allocate(
        &mut self,
        key: &str,
        request: Request,
        deadline: Time,
        now: Time,
    ) -> RequestId {
        let id = self.queue_request(key, &request, deadline);
        self.settle(now);
        id
    }

    /// Forgets a request and its outcome. Addresses that it got already stay with their owner until
    /// [`Ipam::release`].
    pub fn cancel(&mut self, id: RequestId) {
        self.pending.retain(|pending| pending.id != id);
        self.outcomes.retain(|(done, _)| *done != id);
    }

    /// Frees the addresses of an owner and fails its waiting requests. Returns what it had.
    pub fn release(&mut self, key: &str, now: Time) -> Vec<IpAddr> {
        let freed = self.release_key(key, now);
        self.settle(now);
        freed
    }

    /// The next request that is done: addresses with the prefix length of their range, or why not.
    pub fn poll_outcome(&mut self) -> Option<(RequestId, Result<Vec<IpNet>, AllocateError>)> {
        self.outcomes.pop_front()
    }

    /// Takes a newer record of this node's own, which others held, as the truth: the disk lost what
    /// was promised. Addresses that it does not cover are given up; returns who held them. A record
    /// that is not newer, or makes no sense, changes nothing.
    pub fn adopt(&mut self, space: Space, now: Time) -> Vec<(String, Vec<IpNet>)> {
        self.take_as_own(&space, now)
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
}
