//! The ring, which says who owns which addresses, and the allocator of this node's own.
//!
//! The rules and the argument why no address has two owners are in `docs/ipam.md`.

mod error;
mod types;
mod wire;

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use weft_crypto::PeerName;

pub use self::{
    error::{AllocateError, Misbehaved, RestoreError},
    types::{
        Conflict, Init, IpamConfig, IpamStats, OwnerView, Publish, Request, RequestId, Route,
        Waiting,
    },
    wire::{
        Ballot, Founding, Grant, IpamSnapshot, Paxos, RangeWant, RawName, RawRange, RingId,
        SnapshotV1, Space, Span, Want,
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
pub struct Ipam {
    config: IpamConfig,
    stats: IpamStats,
}

impl Ipam {
    /// The machine of a node that starts, with what it saved before, if anything. `seed` makes the
    /// name of a ring that this node may found, and the pauses of the consensus, unlike any other's.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn new(
        config: IpamConfig,
        restored: Option<IpamSnapshot>,
        seed: [u8; 32],
        now: Time,
    ) -> Result<Self, RestoreError> {
        let _ = (restored, seed, now);
        Ok(Self { config, stats: IpamStats::default() })
    }

    /// Takes in what another node publishes about its space; `None` if it took that back.
    ///
    /// # Errors
    /// [`Misbehaved`] if the record makes no sense; nothing has changed but the counter.
    pub fn handle_space(
        &mut self,
        origin: PeerName,
        space: Option<Space>,
        now: Time,
    ) -> Result<(), Misbehaved> {
        let _ = (origin, space, now);
        Ok(())
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
        let _ = (origin, want, now);
        Ok(())
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
        let _ = (origin, paxos, now);
        Ok(())
    }

    /// Tells which other nodes records can be exchanged with, directly or through others.
    pub fn handle_reachable(&mut self, reachable: &BTreeSet<PeerName>, now: Time) {
        let _ = (reachable, now);
    }

    /// Tells that a neighbour and this node hold the same records, or did a moment ago: so a ring
    /// that the neighbour knows is known here.
    pub fn handle_synced(&mut self, with: PeerName, now: Time) {
        let _ = (with, now);
    }

    /// Does what is due. Call it at [`Ipam::poll_timeout`]; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        let _ = now;
    }

    /// When [`Ipam::handle_timeout`] wants to be called; `None` while nothing is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// The next record to publish in this node's name: the newest state, each change once. After a
    /// restart all records that are in force come out again.
    pub fn poll_publish(&mut self) -> Option<Publish> {
        None
    }

    /// All that must survive a crash.
    pub fn snapshot(&self) -> IpamSnapshot {
        IpamSnapshot::V1(SnapshotV1::default())
    }

    /// Whether [`Ipam::snapshot`] must be made durable again; true once after each change.
    pub fn dirty(&mut self) -> bool {
        false
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
        let _ = (key, request, deadline, now);
        RequestId(0)
    }

    /// Forgets a request and its outcome. Addresses that it got already stay with their owner until
    /// [`Ipam::release`].
    pub fn cancel(&mut self, id: RequestId) {
        let _ = id;
    }

    /// Frees the addresses of an owner and fails its waiting requests. Returns what it had.
    pub fn release(&mut self, key: &str, now: Time) -> Vec<IpAddr> {
        let _ = (key, now);
        Vec::new()
    }

    /// The next request that is done: addresses with the prefix length of their range, or why not.
    pub fn poll_outcome(&mut self) -> Option<(RequestId, Result<Vec<IpNet>, AllocateError>)> {
        None
    }

    /// Takes a newer record of this node's own, which others held, as the truth: the disk lost what
    /// was promised. Addresses that it does not cover are given up; returns who held them.
    pub fn adopt(&mut self, space: Space, now: Time) -> Vec<(String, Vec<IpNet>)> {
        let _ = (space, now);
        Vec::new()
    }

    /// Who holds which addresses on this node, by owner.
    pub fn allocations(&self) -> impl Iterator<Item = (&str, Vec<IpNet>)> {
        std::iter::empty()
    }

    /// The node that packets to `ip` are for.
    pub fn owner_of(&self, ip: IpAddr) -> Option<PeerName> {
        let _ = ip;
        None
    }

    /// All of the ring: sorted, disjoint, consecutive spans of one owner in one piece, this node's
    /// own included.
    pub fn routes(&self) -> Vec<Route> {
        Vec::new()
    }

    /// Differs from an earlier value whenever [`Ipam::routes`] does.
    pub fn routes_generation(&self) -> u64 {
        0
    }

    /// The owners of space, by name.
    pub fn owners(&self) -> Vec<OwnerView> {
        Vec::new()
    }

    /// What this machine does or waits for, in words; `nick` gives people's names for nodes.
    pub fn state(&self, nick: &dyn Fn(PeerName) -> String) -> String {
        Waiting::Ready.describe(nick)
    }

    /// Whether this node has space of every range, so that Pods can get addresses.
    pub fn ready(&self) -> bool {
        false
    }

    /// What should not be, sorted.
    pub fn conflicts(&self) -> Vec<Conflict> {
        Vec::new()
    }

    /// Addresses of the first range that this node owns, at most `u64::MAX`.
    pub fn owned(&self) -> u64 {
        0
    }

    /// Addresses of the first range in use on this node.
    pub fn active(&self) -> u64 {
        0
    }

    /// What happened so far.
    pub fn stats(&self) -> &IpamStats {
        &self.stats
    }

    /// Panics unless the state is as the rules demand. For tests and the simulator.
    pub fn check_invariants(&self) {
        assert!(!self.config.ranges.is_empty());
    }
}
