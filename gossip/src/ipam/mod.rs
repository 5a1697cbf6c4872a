//! The ring, which says who owns which addresses, and the allocator of this node's own.
//!
//! The rules and the argument why no address has two owners are in `docs/ipam.md`.

mod advert;
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
mod output;
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
        Ack, Ballot, Founding, Grant, Heal, IpamChange, IpamSnapshot, ParkedRemovals, Paxos,
        RangeWant, RawName, RawRange, Refusal, RingId, SavedRemovals, ShortName, SnapshotV1, Space,
        Span, Tombstone, View, ViewId, Want, Weight,
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
    /// What nodes published whose removal is complete. It counts again if a greater verdict has them as
    /// members.
    set_aside: BTreeMap<PeerName, Space>,
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
            self.set_aside.remove(&origin);
            self.other_ranges.remove(&origin);
            return Ok(());
        };
        let old = self.spaces.get(&origin).is_some_and(|known| space.revision <= known.revision);
        if old {
            return Ok(());
        }
        let checked = validate::space(origin, &space, &self.universe);
        if self.removals.is_done(origin) && self.is_of_ours(&space) {
            if checked.is_ok() {
                self.stale |= self.spaces.remove(&origin).is_some();
                self.set_aside.insert(origin, space);
            }
            return Ok(());
        }
        if let Err(Misbehaved::OtherRanges { theirs, .. }) = &checked {
            self.other_ranges.insert(origin, theirs.clone());
        }
        checked?;
        self.yield_to(&space);
        let taken_over = self.take_over(origin, &space);
        let in_flight = self.own.grants.len();
        self.drop_taken(origin, &space);
        self.take_back(origin, &space);
        let landed = self.own.grants.len() < in_flight;
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
        // Nobody waits for the word of one who left; and words on removals may have come before the
        // record that shows which ring they are about.
        self.removals.stale |= space.left || known.is_none_or(|known| known.ring != space.ring);
        self.spaces.insert(origin, space);
        if landed {
            // What was granted on may have been offered to this node already.
            self.take_over_late();
        }
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

    /// Sets how many other nodes there are, for [`Init::Auto`] and [`Init::Consensus`] without a number:
    /// [`IpamConfig::targets`] as it turns out to be. With `None` it is not known yet, and this node
    /// takes no part in making a ring; with 0 it founds the ring at once, if it knows of none and of
    /// no vote. Means nothing once a ring is known.
    pub fn set_targets(&mut self, targets: Option<usize>, now: Time) {
        self.change_targets(targets);
        self.settle(now);
    }

    /// Tells which other nodes records can be exchanged with, directly or through others.
    pub fn handle_reachable(&mut self, reachable: &BTreeSet<PeerName>, now: Time) {
        if self.own.ring == NO_RING && self.reachable != *reachable {
            // It may look at another ring now.
            self.stale = true;
            self.removals.stale = true;
        }
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

    /// Takes a newer record of this node's own, which others held, as the truth: the disk lost what
    /// was promised. Addresses that it does not cover are given up; returns who held them. A record
    /// that is not newer, or makes no sense, changes nothing.
    pub fn adopt(&mut self, space: Space, now: Time) -> Vec<(String, Vec<IpNet>)> {
        self.take_as_own(&space, now)
    }
}
