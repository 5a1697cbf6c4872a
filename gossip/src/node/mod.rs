//! The machine: what a node knows of the cluster, and what it says to its neighbours.

mod exchange;
mod objects;
mod own;
mod query;
mod settle;
#[cfg(test)]
mod tests;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use weft_crypto::{Identity, PeerName};

use self::{objects::Shared, own::Own, views::Views};
use crate::{
    Config, Event, MessageError, Persist, RestoreError, Saved, Stats, Time, Transmit,
    ipam::{AllocateError, HealError, Healing, Ipam, IpamConfig, RemoveError, Request, RequestId},
    limits::{LINKS_DELAY, SYNC_INTERVAL},
    membership::{LinkState, canonical},
    record::Record,
    store::Store,
};

/// One node's share of the cluster's state: the store of records, the views made of them, the ring
/// and the allocator.
///
/// # Contract
///
/// Sans-IO: nothing happens but in the calls below, and each takes the time. Inputs are the
/// `handle_*` methods, [`Self::allocate`], [`Self::cancel`], [`Self::release`] and
/// [`Self::persisted`]. After each input, drain the outputs **in this order**, each until `None`:
///
/// 1. [`Self::poll_persist`]: write the bytes to disk, in this order, and call [`Self::persisted`] when
///    they are safe there. This may take its time; nothing else has to wait for it.
/// 2. [`Self::poll_transmit`]: send to the neighbour, in order. What depends on the disk is kept
///    inside until that is persisted, so everything that comes out may leave at once.
/// 3. [`Self::poll_event`]: act on it. Outcomes of allocations are kept back in the same way.
///
/// Then sleep until the next input, or until [`Self::poll_timeout`], and call
/// [`Self::handle_timeout`]. Time must not go backwards.
///
/// After a crash, [`Self::new`] with what was safe on disk makes a node that keeps every promise the
/// former one made. Nothing else has to survive. What was written last may be missing, if
/// [`Self::persisted`] was not called for it. [`Self::snapshot`] takes the place of all that was written,
/// when that has grown long.
pub struct Node {
    name: PeerName,
    identity: Arc<Identity>,
    config: Config,
    rng: ChaCha8Rng,
    store: Store,
    views: Views,
    own: Own,
    ipam: Ipam,
    /// Objects and Pods.
    shared: Shared,
    neighbours: BTreeMap<PeerName, Neighbour>,
    /// The nodes that links lead to, this one included.
    reachable: BTreeSet<PeerName>,
    /// Links or neighbours have changed since `reachable` was computed.
    topology_changed: bool,
    /// Records to push: what, and who need not be told because it came from there.
    fresh: Vec<(Arc<Record>, Option<PeerName>)>,
    /// Outcomes, each with the token of the write it depends on.
    outcomes: VecDeque<(u64, RequestId, Result<Vec<IpNet>, AllocateError>)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    timers: Timers,
    routes_generation: u64,
    stats: Stats,
}

/// A node with an admitted control link.
#[derive(Clone, Debug)]
struct Neighbour {
    address: SocketAddr,
    outbound: bool,
    state: LinkState,
}

#[derive(Debug)]
struct Timers {
    /// When one neighbour is compared with, in turn.
    sync: Time,
    /// The neighbour that had its turn last.
    last: Option<PeerName>,
    /// When the gathered changes of links are published.
    links: Option<Time>,
    /// Whom to compare with out of turn, and when.
    resync: BTreeSet<PeerName>,
    resync_at: Option<Time>,
}

impl Node {
    /// A node that starts. `seed` must differ between nodes and between starts; `restored` is the
    /// what was persisted.
    ///
    /// # Errors
    /// What was persisted does not belong here or cannot be used, or the ranges cannot. See
    /// [`RestoreError`].
    pub fn new(
        config: Config,
        identity: Arc<Identity>,
        seed: [u8; 32],
        restored: Option<&Saved>,
        now: Time,
    ) -> Result<Self, RestoreError> {
        let name = identity.name();
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut ipam_seed = [0; 32];
        rng.fill_bytes(&mut ipam_seed);
        let restored = restored.map(|saved| own::restore(saved, name)).transpose()?;
        let (own, ceiling, records, ipam) = match restored {
            Some(restored) => {
                let own = Own::restored(&restored);
                (own, restored.ceiling, restored.records, Some(restored.ipam))
            }
            None => (Own::new(), 0, Vec::new(), None),
        };
        let ipam_config = IpamConfig {
            name,
            ranges: config.ranges.clone(),
            init: config.init.clone(),
            targets: config.targets,
            cool_down: config.cool_down,
        };
        let mut node = Self {
            name,
            identity,
            config,
            rng,
            store: Store::default(),
            views: Views::default(),
            own,
            ipam: Ipam::new(ipam_config, ipam, ipam_seed, now)?,
            shared: Shared::new(ceiling),
            neighbours: BTreeMap::new(),
            reachable: BTreeSet::from([name]),
            topology_changed: false,
            fresh: Vec::new(),
            outcomes: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            timers: Timers {
                sync: now,
                last: None,
                links: None,
                resync: BTreeSet::new(),
                resync_at: None,
            },
            routes_generation: 0,
            stats: Stats::default(),
        };
        node.restore_own(records);
        node.publish_node();
        node.publish_links();
        node.timers.sync = now + node.sync_pause();
        node.settle(now);
        Ok(node)
    }

    /// The control link to `peer` is admitted. A second call for one peer means that a new link has
    /// replaced the old one. `address` is where this node sees the peer.
    pub fn handle_connected(
        &mut self,
        peer: PeerName,
        address: SocketAddr,
        outbound: bool,
        now: Time,
    ) {
        if peer == self.name {
            return;
        }
        let address = canonical(address);
        self.neighbours.insert(peer, Neighbour { address, outbound, state: LinkState::Pending });
        self.links_changed(now);
        // One side begins, so that the two do not compare twice. The other would within seconds.
        if outbound {
            self.send_summary(peer);
        }
        self.settle(now);
    }

    /// How data packets get to `peer` has changed. A link that is [`LinkState::Dead`] leads nowhere,
    /// although the control connection may stand for a while.
    pub fn handle_link_state(&mut self, peer: PeerName, state: LinkState, now: Time) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && neighbour.state != state
        {
            neighbour.state = state;
            self.links_changed(now);
            self.settle(now);
        }
    }

    /// The control link to `peer` is gone.
    pub fn handle_disconnected(&mut self, peer: PeerName, now: Time) {
        if self.neighbours.remove(&peer).is_some() {
            self.timers.resync.remove(&peer);
            self.transmits.retain(|transmit| transmit.to != peer);
            self.links_changed(now);
            self.settle(now);
        }
    }

    /// The control link to `peer` now leads to another address.
    pub fn handle_address(&mut self, peer: PeerName, address: SocketAddr, now: Time) {
        let address = canonical(address);
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && neighbour.address != address
        {
            neighbour.address = address;
            self.links_changed(now);
            self.settle(now);
        }
    }

    /// A message came from a neighbour.
    ///
    /// # Errors
    /// The message was wrong in whole or in part; it has been counted, what was good in it has been
    /// taken over, and the link stays.
    pub fn handle_message(
        &mut self,
        from: PeerName,
        bytes: &[u8],
        now: Time,
    ) -> Result<(), MessageError> {
        self.stats.messages_received += 1;
        let result = self.dispatch(from, bytes, now);
        self.settle(now);
        result
    }

    /// The time of [`Self::poll_timeout`] has come. Harmless before it.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.timers.sync <= now {
            self.timers.sync = now + self.sync_pause();
            if let Some(peer) = self.next_neighbour() {
                self.send_summary(peer);
            }
        }
        if self.timers.links.is_some_and(|at| at <= now) {
            self.timers.links = None;
            self.publish_links();
        }
        if self.timers.resync_at.is_some_and(|at| at <= now) {
            self.timers.resync_at = None;
            for peer in std::mem::take(&mut self.timers.resync) {
                self.send_summary(peer);
            }
        }
        if self.ipam.poll_timeout().is_some_and(|at| at <= now) {
            self.ipam.handle_timeout(now);
        }
        self.shared_timeout(now);
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`], if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let sync = (!self.neighbours.is_empty()).then_some(self.timers.sync);
        let timers = [sync, self.timers.links, self.timers.resync_at];
        timers
            .into_iter()
            .chain([self.ipam.poll_timeout(), self.shared.poll_timeout()])
            .flatten()
            .min()
    }

    /// What to make durable next.
    pub fn poll_persist(&mut self) -> Option<Persist> {
        self.own.poll_persist(self.name, &self.store, &mut self.ipam)
    }

    /// All that must survive at this moment. It may take the place of everything that
    /// [`Self::poll_persist`] gave so far; what that gives later belongs behind it. Nothing waits for it.
    pub fn snapshot(&self) -> Vec<u8> {
        self.own.snapshot(self.name, &self.store, &self.ipam)
    }

    /// What came out with that token, and with all smaller ones, is safe on disk.
    pub fn persisted(&mut self, token: u64, now: Time) {
        self.own.persisted(token);
        self.settle(now);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.transmits.pop_front()?;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += transmit.bytes.len() as u64;
        Some(transmit)
    }

    /// The next thing to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Asks for addresses for `key`; the answer is an [`Event::Allocated`], at once or later, at
    /// latest at `deadline`. Asking again for a key that has addresses answers the same ones.
    pub fn allocate(
        &mut self,
        key: &str,
        request: Request,
        deadline: Time,
        now: Time,
    ) -> RequestId {
        let id = self.ipam.allocate(key, request, deadline, now);
        self.settle(now);
        id
    }

    /// The requests that are decided and wait for the disk, with their outcomes: what depends on them
    /// can be written together with them. Nobody may be told before the [`Event::Allocated`], which
    /// may still turn out otherwise.
    pub fn decided(&self) -> impl Iterator<Item = (RequestId, &Result<Vec<IpNet>, AllocateError>)> {
        self.outcomes.iter().map(|(_, id, result)| (*id, result))
    }

    /// Nobody waits for that request any more. It has no outcome then, unless that is out already.
    pub fn cancel(&mut self, id: RequestId, now: Time) {
        self.ipam.cancel(id);
        self.outcomes.retain(|(_, other, _)| *other != id);
        self.settle(now);
    }

    /// Frees the addresses of `key` and answers which they were. They rest before they are used
    /// again. After a crash before the next snapshot is persisted they are held as before.
    pub fn release(&mut self, key: &str, now: Time) -> Vec<IpAddr> {
        let freed = self.ipam.release(key, now);
        self.settle(now);
        freed
    }

    /// Sets how many other nodes there are, as a majority for a new ring is counted: `None` while that is not
    /// known. See [`Ipam::set_targets`]. A node that is to wait from its start is configured with at least one
    /// target, and told `None` before anything else.
    pub fn set_targets(&mut self, targets: Option<usize>, now: Time) {
        self.ipam.set_targets(targets, now);
        self.settle(now);
    }

    /// Whether a ring is known here: this node is part of one, or a node that was heard of is.
    pub fn knows_ring(&self) -> bool {
        self.ipam.knows_ring()
    }

    /// Removes another node from the ring. `at` is the time of day, seconds since the Unix epoch, for
    /// people to read. With `force`, the owners that the removal waits for are removed as well, whether
    /// they are dead or not: those that are not lose their addresses when they meet the others.
    ///
    /// # Errors
    /// See [`RemoveError`]; nothing has changed.
    pub fn remove(
        &mut self,
        peer: PeerName,
        force: bool,
        at: u64,
        now: Time,
    ) -> Result<(), RemoveError> {
        let result = self.ipam.remove(peer, force, at, now);
        self.settle(now);
        result
    }

    /// Makes the ring of `peer`, founded apart, and this node's own one. All nodes of the ring with the
    /// higher name move to the other; Pods keep their addresses where nobody there uses them, and are
    /// fenced, by [`Event::Fenced`] and a warning that names the other user, where somebody does. `at`
    /// is the time of day, seconds since the Unix epoch, for people to read.
    ///
    /// # Errors
    /// See [`HealError`]; nothing has changed.
    pub fn heal(&mut self, peer: PeerName, at: u64, now: Time) -> Result<Healing, HealError> {
        let result = self.ipam.heal(peer, at, now);
        self.settle(now);
        result
    }

    /// Leaves the ring for good: all space of this node goes to owners who stay, addresses in use as
    /// soon as they are released. [`Self::leaving`] tells how far it is; keep the node running until
    /// it is done. There is no way back: the identity is of no use afterwards.
    pub fn leave(&mut self, now: Time) {
        self.ipam.leave(now);
        self.settle(now);
    }

    fn links_changed(&mut self, now: Time) {
        self.topology_changed = true;
        self.timers.links.get_or_insert(now + LINKS_DELAY);
    }

    /// The pause to the next round of anti-entropy: between three and five quarters of the interval.
    fn sync_pause(&mut self) -> Duration {
        let unit = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        SYNC_INTERVAL.mul_f64(0.75 + unit / 2.0)
    }

    /// The neighbour after the one that had its turn last.
    fn next_neighbour(&mut self) -> Option<PeerName> {
        let names = || self.neighbours.keys().copied();
        let next = names().find(|name| Some(*name) > self.timers.last).or_else(|| names().next());
        self.timers.last = next;
        next
    }
}
