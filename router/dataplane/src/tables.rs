//! What the workers forward by: one immutable snapshot of routes, peers and sessions.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ipnet::IpNet;
use weft_crypto::{Opener, PeerName, ReceiverIndex, Sealer};

use crate::Mac;
use crate::ranges::RangeMap;
use crate::relay::{RelayRoute, ShortId};
use crate::tunnel::Tunnel;

/// The place of a peer in [`TablesSpec::peers`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerSlot(pub usize);

/// Where packets to an address go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    /// The address is this node's: the bridge delivers.
    Local,
    /// To this peer.
    Peer(PeerSlot),
    /// Nobody has it, or its owner cannot be reached.
    Unreachable,
}

/// The addresses from `start` to `end`, both included, and where they are. Ranges may overlap: the narrowest
/// decides. One whose ends are of two families, or in the wrong order, is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
    /// Where they are. A slot that no peer has counts as [`Hop::Unreachable`].
    pub to: Hop,
}

/// A peer that packets can be sent to.
#[derive(Clone, Debug)]
pub struct PeerPath {
    /// Who it is. Names are unique within a snapshot.
    pub name: PeerName,
    /// Seals packets to it.
    pub sealer: Arc<Sealer>,
    /// Where sealed packets are sent.
    pub path: Path,
    /// How long they may be.
    pub size: PathSize,
}

/// How long packets to a peer may be.
#[derive(Clone, Debug)]
pub struct PathSize {
    /// The longest datagram that is sent to the peer, in bytes of UDP payload; what is longer goes in pieces.
    pub limit: usize,
    /// Whether that is what the path takes. While more is looked for Pods are not told, for they would keep to it.
    pub known: bool,
    /// Set by whoever sends a datagram that is longer than [`crate::SURE_DATAGRAM`], whether in pieces or not: then
    /// the path's MTU matters. Who looks at it takes it back.
    pub used: Arc<AtomicBool>,
}

impl PathSize {
    /// Whether there is a limit that packets of full size exceed.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit != usize::MAX
    }

    /// Says that a datagram of `len` bytes is sent. Writes to shared memory once for each look at it only.
    pub fn note(&self, len: usize) {
        if len > crate::SURE_DATAGRAM && !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

impl Default for PathSize {
    /// Any length.
    fn default() -> Self {
        Self { limit: usize::MAX, known: true, used: Arc::default() }
    }
}

/// How sealed packets get to a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Path {
    /// Straight to this address.
    Direct(SocketAddr),
    /// Through other nodes, each of which seals them once more for the next.
    Relay(Arc<RelayRoute>),
    /// Inside the control connection to the peer, as [`TablesSpec::tunnels`] says.
    Tunnel,
}

/// A session whose packets are accepted.
#[derive(Clone, Debug)]
pub struct RxSession {
    /// The index that packets of the session carry. Unique within a snapshot; the first of two counts.
    pub receiver: ReceiverIndex,
    /// Opens its packets, and remembers which it has opened.
    pub opener: Arc<Opener>,
    /// Who seals them.
    pub peer: PeerName,
}

/// The parts of a snapshot, in any order but for `peers`, whose places routes refer to.
#[derive(Clone, Default, Debug)]
pub struct TablesSpec {
    /// Where the addresses of `ranges` are. Addresses outside `ranges` have no route.
    pub routes: Vec<Route>,
    /// The peers that packets can be sent to. Broadcast goes to all of them.
    pub peers: Vec<PeerPath>,
    /// The sessions whose packets are accepted. Several may belong to one peer (an old epoch and a new one).
    pub sessions: Vec<RxSession>,
    /// The addresses at this host's bridge and the MAC that each really has.
    pub local: Vec<(IpAddr, Mac)>,
    /// The address ranges that the mesh hands out.
    pub ranges: Vec<IpNet>,
    /// The host's own addresses at the bridge.
    pub gateways: Vec<IpAddr>,
    /// This node; relayed datagrams for it arrive.
    pub us: Option<PeerName>,
    /// The way to nodes that have no direct path, whether they are among `peers` or not: for datagrams of the
    /// control connection, which is there before a session is.
    pub relays: Vec<(PeerName, Arc<RelayRoute>)>,
    /// The way into the control connection to each peer that can carry packets, whatever the path of its packets.
    pub tunnels: Vec<(PeerName, Tunnel)>,
}

/// An immutable snapshot that the workers forward by.
#[derive(Debug)]
pub struct Tables {
    /// Differs between any two snapshots of a process, so that workers notice a change.
    generation: u64,
    v4: RangeMap<u32, Hop>,
    v6: RangeMap<u128, Hop>,
    peers: Vec<PeerPath>,
    slots: BTreeMap<PeerName, PeerSlot>,
    /// Invariant: sorted by receiver index, no index twice.
    sessions: Vec<Session>,
    /// Invariant: sorted by address, no address twice.
    local: Vec<(IpAddr, Mac)>,
    ranges: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    us: ShortId,
    /// Of two peers with one id none is here.
    short: BTreeMap<ShortId, Option<PeerSlot>>,
    relays: BTreeMap<PeerName, Arc<RelayRoute>>,
    tunnels: BTreeMap<PeerName, Tunnel>,
}

/// A session with its peer's place looked up.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) rx: RxSession,
    /// `None` while nothing can be sent to the peer.
    pub(crate) slot: Option<PeerSlot>,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl Tables {
    /// Builds a snapshot. Never fails: what contradicts itself in `spec` is resolved as the fields say.
    pub fn new(spec: TablesSpec) -> Self {
        let TablesSpec {
            routes,
            peers,
            sessions,
            mut local,
            ranges,
            gateways,
            us,
            relays,
            tunnels,
        } = spec;
        let checked = |hop| match hop {
            Hop::Peer(PeerSlot(slot)) if slot >= peers.len() => Hop::Unreachable,
            Hop::Local | Hop::Peer(_) | Hop::Unreachable => hop,
        };
        let v4 = RangeMap::new(routes.iter().filter_map(|route| match (route.start, route.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                Some((start.to_bits(), end.to_bits(), checked(route.to)))
            }
            _ => None,
        }));
        let v6 = RangeMap::new(routes.iter().filter_map(|route| match (route.start, route.end) {
            (IpAddr::V6(start), IpAddr::V6(end)) => {
                Some((start.to_bits(), end.to_bits(), checked(route.to)))
            }
            _ => None,
        }));
        let slots: BTreeMap<_, _> =
            peers.iter().enumerate().map(|(slot, peer)| (peer.name, PeerSlot(slot))).collect();
        let mut short = BTreeMap::new();
        for (name, slot) in &slots {
            let twice = short.insert(ShortId::from(name), Some(*slot)).is_some();
            if twice {
                short.insert(ShortId::from(name), None);
            }
        }
        let mut sessions: Vec<_> = sessions
            .into_iter()
            .map(|rx| Session { slot: slots.get(&rx.peer).copied(), rx })
            .collect();
        sessions.sort_by_key(|session| session.rx.receiver.0);
        sessions.dedup_by_key(|session| session.rx.receiver.0);
        local.sort_by_key(|(ip, _)| *ip);
        local.dedup_by_key(|(ip, _)| *ip);
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let us = us.as_ref().map(ShortId::from).unwrap_or_default();
        let relays = relays.into_iter().collect();
        let tunnels = tunnels.into_iter().collect();
        Self {
            generation,
            v4,
            v6,
            peers,
            slots,
            sessions,
            local,
            ranges,
            gateways,
            us,
            short,
            relays,
            tunnels,
        }
    }

    /// A snapshot that knows nobody and nothing: all frames and packets are dropped.
    pub fn empty() -> Self {
        Self::new(TablesSpec::default())
    }

    /// Where packets to `ip` go; `None` outside the mesh's ranges. Inside, an address that no route covers is
    /// [`Hop::Unreachable`].
    pub fn hop(&self, ip: IpAddr) -> Option<Hop> {
        if !self.ranges.iter().any(|range| range.contains(&ip)) {
            return None;
        }
        let hop = match ip {
            IpAddr::V4(v4) => self.v4.get(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.get(v6.to_bits()),
        };
        Some(hop.unwrap_or(Hop::Unreachable))
    }

    /// The peers that packets can be sent to.
    pub fn peers(&self) -> &[PeerPath] {
        &self.peers
    }

    pub(crate) fn peer(&self, slot: PeerSlot) -> Option<&PeerPath> {
        self.peers.get(slot.0)
    }

    pub(crate) fn peer_named(&self, name: &PeerName) -> Option<&PeerPath> {
        self.peer(*self.slots.get(name)?)
    }

    /// The peer with this id.
    pub(crate) fn peer_short(&self, id: ShortId) -> Option<&PeerPath> {
        self.peer((*self.short.get(&id)?)?)
    }

    /// The host's address of that family at the bridge.
    pub(crate) fn gateway(&self, v6: bool) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|ip| ip.is_ipv6() == v6)
    }

    /// This node.
    pub(crate) fn us(&self) -> ShortId {
        self.us
    }

    /// The way to a node that has no direct path.
    pub(crate) fn relay_to(&self, name: &PeerName) -> Option<&RelayRoute> {
        self.relays.get(name).map(|route| &**route)
    }

    /// The way into the control connection to a peer.
    pub(crate) fn tunnel_to(&self, name: &PeerName) -> Option<&Tunnel> {
        self.tunnels.get(name)
    }

    /// The session that packets with this index belong to, and its place in [`Tables::sessions`].
    pub(crate) fn session(&self, receiver: ReceiverIndex) -> Option<(usize, &Session)> {
        let place = self.sessions.binary_search_by_key(&receiver.0, |s| s.rx.receiver.0).ok()?;
        Some((place, self.sessions.get(place)?))
    }

    pub(crate) fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The MAC that a local address really has.
    pub(crate) fn local_mac(&self, ip: IpAddr) -> Option<Mac> {
        let place = self.local.binary_search_by_key(&ip, |(ip, _)| *ip).ok()?;
        self.local.get(place).map(|(_, mac)| *mac)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}
