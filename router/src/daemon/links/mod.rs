//! Control connections: dialling, answering, admitting, and carrying gossip frames. The I/O half;
//! which link to keep is decided by the engine.
//!
//! Each connection has one task that reads and one that writes. Both are bounded: a peer that does
//! not read loses messages, which anti-entropy repairs; a peer that floods is slowed down by QUIC's
//! flow control.

mod accept;
mod endpoint;
mod frame;
mod handshake;
mod hello;
mod link;
mod rekey;
mod socket;
mod tunnel;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::VarInt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;
use weft_crypto::{Epochs, Identity, PeerName, Role, Secrets, Suite};
use weft_dataplane::{Path, PathSize, RelaySender, Tunnel, TunnelReceiver};
use weft_gossip::{DialError, Endpoint, Retry};

pub use endpoint::EndpointError;
use frame::FrameType;
pub(super) use handshake::Local;
pub(super) use handshake::close_code;
use handshake::{Admitted, HandshakeError};
use link::Link;
use socket::SharedWays;
pub(super) use socket::{is_virtual, virtual_address};

/// Names one control connection for as long as the daemon runs.
pub(super) type LinkId = u64;

/// A v4 address that came as a v6 one is shown and compared as v4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An admitted connection that waits for the engine's word.
pub(super) struct NewLink {
    /// Its id.
    pub(super) id: LinkId,
    /// Who is at the other end.
    pub(super) peer: PeerName,
    /// Where, as this node sees it.
    pub(super) address: SocketAddr,
    /// What was dialled; `None` where the peer dialled.
    pub(super) dialled: Option<Endpoint>,
    /// The peer's boot id.
    pub(super) boot_id: u64,
    /// The dialler's count of its dials.
    pub(super) dial_number: u64,
    /// The cipher suite of the data path.
    pub(super) suite: Suite,
    /// Whether the connection can carry sealed packets as well.
    pub(super) carries_packets: bool,
    admitted: Box<Admitted>,
}

/// What happened on the network.
pub(super) enum LinkEvent {
    /// A handshake came to its end.
    Admitted(NewLink),
    /// A dial failed.
    DialFailed { endpoint: Endpoint, error: DialError },
    /// Somebody who does not know the secret tried to come in.
    Stranger { peer: PeerName, address: SocketAddr },
    /// A member cannot be talked to for that reason.
    Mismatch { peer: PeerName, address: SocketAddr, why: String },
    /// A gossip message came.
    Message { id: LinkId, bytes: Bytes },
    /// A message about new keys came.
    Rekey { id: LinkId, bytes: Bytes },
    /// The peer looks for a direct path, and asks that this node do so too.
    Punch { id: LinkId },
    /// A link ended; `broken` where the peer broke the framing.
    Closed { id: LinkId, reason: String, broken: bool },
}

/// Frames on control connections since the start, for `/metrics`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) messages_in: AtomicU64,
    pub(super) messages_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) queue_drops: AtomicU64,
    pub(super) unknown_frames: AtomicU64,
    pub(super) messages_ignored: AtomicU64,
    pub(super) admission_failures: AtomicU64,
    pub(super) handshakes_refused: AtomicU64,
    pub(super) handshakes_validated: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) rekeys: AtomicU64,
    pub(super) rekeys_refused: AtomicU64,
    pub(super) sessions_expired: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, value: usize) {
        counter.fetch_add(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// All control connections of this node.
pub(super) struct Links {
    endpoint: quinn::Endpoint,
    shared: Arc<Shared>,
    links: BTreeMap<LinkId, Link>,
    ways: SharedWays,
    dials: u64,
    accept: JoinHandle<()>,
}

/// What the tasks of the connections share.
struct Shared {
    local: Local,
    events: mpsc::Sender<LinkEvent>,
    counters: Arc<Counters>,
    receiver: TunnelReceiver,
    next_id: AtomicU64,
    /// The remote address of the connection to each peer, in the form that QUIC knows.
    remotes: Mutex<BTreeMap<PeerName, SocketAddr>>,
}

impl Shared {
    fn remotes(&self) -> MutexGuard<'_, BTreeMap<PeerName, SocketAddr>> {
        // Nothing that holds it can panic half-way.
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_link(&self, admitted: Admitted, dialled: Option<Endpoint>) -> NewLink {
        NewLink {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            peer: admitted.peer,
            address: admitted.address,
            dialled,
            boot_id: admitted.hello.boot_id,
            dial_number: admitted.dial_number,
            suite: admitted.suite,
            carries_packets: admitted.connection.max_datagram_size().is_some(),
            admitted: Box::new(admitted),
        }
    }
}

impl Links {
    /// Starts to answer on the socket. Must be called inside the runtime.
    pub(super) fn start(
        socket: std::net::UdpSocket,
        identity: &Identity,
        local: Local,
        (relay, receiver): (RelaySender, TunnelReceiver),
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Self, EndpointError> {
        let ways = SharedWays::default();
        let endpoint = endpoint::bind(socket, ways.clone(), relay, identity)?;
        let shared = Arc::new(Shared {
            local,
            events,
            counters: Arc::default(),
            receiver,
            next_id: AtomicU64::new(1),
            remotes: Mutex::default(),
        });
        let accept = tokio::spawn(accept::run(endpoint.clone(), shared.clone()));
        Ok(Self { endpoint, shared, links: BTreeMap::new(), ways, dials: 0, accept })
    }

    /// The counters.
    pub(super) fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// Dials; the outcome comes as an event.
    pub(super) fn dial(&mut self, to: Endpoint) {
        self.dials += 1;
        let (endpoint, shared, number) = (self.endpoint.clone(), self.shared.clone(), self.dials);
        tokio::spawn(async move {
            let event = match dial(&endpoint, &shared, &to, number).await {
                Ok(admitted) => LinkEvent::Admitted(shared.new_link(admitted, Some(to))),
                Err(e) => {
                    let retry = match e {
                        HandshakeError::Ourselves => Retry::Never,
                        HandshakeError::WrongSecret { .. } => Retry::Slow,
                        _ => Retry::Backoff,
                    };
                    let error = DialError { text: e.to_string(), retry };
                    LinkEvent::DialFailed { endpoint: to, error }
                }
            };
            // The receiver is gone only when the daemon stops.
            let _ = shared.events.send(event).await;
        });
    }

    /// Carries on with an admitted connection.
    pub(super) fn open(&mut self, new: NewLink, now: Duration) {
        self.links.insert(new.id, Link::start(new.id, *new.admitted, &self.shared, now));
    }

    /// Lets an admitted connection go.
    pub(super) fn decline(&self, new: NewLink, code: VarInt) {
        debug!(peer = new.peer.short(), "declining a connection");
        new.admitted.connection.close(code, b"");
    }

    /// Queues a message; drops and counts it where the peer does not read.
    pub(super) fn send(&self, id: LinkId, bytes: Vec<u8>) {
        if let Some(link) = self.links.get(&id) {
            link.send(FrameType::Gossip, Bytes::from(bytes), &self.shared.counters);
        }
    }

    /// Reads the gossip of a link from here on, or passes it over.
    pub(super) fn listen(&self, id: LinkId, listening: bool) {
        if let Some(link) = self.links.get(&id) {
            link.listen(listening);
        }
    }

    /// Asks the peer to look for a direct path now.
    pub(super) fn send_punch(&self, id: LinkId) {
        if let Some(link) = self.links.get(&id) {
            link.send(FrameType::Punch, Bytes::new(), &self.shared.counters);
        }
    }

    /// Closes a link. No event follows.
    pub(super) fn close(&mut self, id: LinkId, code: VarInt) {
        if let Some(link) = self.links.remove(&id) {
            link.close(code);
        }
    }

    /// Forgets a link that has ended.
    pub(super) fn closed(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    /// Says how datagrams to each peer go: those with a link along their path, and in pieces where they are longer than
    /// the limit that stands beside it; all others in `relayed` through other nodes.
    pub(super) fn set_ways<'a>(
        &self,
        linked: impl Iterator<Item = (PeerName, LinkId, Option<Path>, usize)>,
        relayed: impl Iterator<Item = &'a PeerName>,
    ) {
        let mut through: BTreeMap<SocketAddr, PeerName> =
            relayed.map(|peer| (virtual_address(peer), *peer)).collect();
        let mut direct = BTreeMap::new();
        let mut remotes = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        for (peer, id, path, limit) in linked {
            let Some(link) = self.links.get(&id) else { continue };
            let remote = link.remote();
            remotes.insert(peer, remote);
            if let Some(Path::Direct(_)) = path {
                let used = Arc::clone(&link.size_used);
                let size = PathSize { limit, known: true, used };
                sizes.insert(canonical(remote), (peer, size));
            }
            match path {
                Some(Path::Relay(_)) => {
                    through.insert(canonical(remote), peer);
                }
                // It began through others, or the peer has moved since.
                Some(Path::Direct(address)) if canonical(remote) != address => {
                    direct.insert(remote, address);
                }
                Some(Path::Direct(_) | Path::Tunnel) | None => {}
            }
        }
        *self.shared.remotes() = remotes;
        self.ways.set(through, direct, sizes);
    }

    /// Takes a datagram that came from `peer` through other nodes.
    pub(super) fn deliver(&self, peer: &PeerName, datagram: Vec<u8>) {
        let from = self.shared.remotes().get(peer).copied();
        let from = from.unwrap_or_else(|| virtual_address(peer));
        self.ways.deliver(from, datagram);
    }

    /// The data path's keys of a link.
    pub(super) fn epochs(&self, id: LinkId) -> Option<&Epochs> {
        self.links.get(&id).map(|link| &link.epochs)
    }

    /// Set by whoever sends a long datagram to the peer of a link.
    pub(super) fn size_used(&self, id: LinkId) -> Option<&Arc<AtomicBool>> {
        self.links.get(&id).map(|link| &link.size_used)
    }

    /// The way of sealed packets into the connection of a link.
    pub(super) fn tunnel(&self, id: LinkId) -> Option<&Tunnel> {
        self.links.get(&id).map(|link| &link.tunnel)
    }

    /// Has every handshake from here on accept these secrets. Connections that stand are not touched.
    pub(super) fn set_secrets(&self, secrets: Secrets) {
        self.shared.local.secrets.store(Arc::new(secrets));
    }

    /// The round-trip time of a link.
    pub(super) fn rtt(&self, id: LinkId) -> Option<Duration> {
        self.links.get(&id).map(Link::rtt)
    }

    /// Closes everything and waits, for at most a second, until the peers have been told.
    pub(super) async fn shutdown(self) {
        self.accept.abort();
        self.endpoint.close(close_code::SHUTDOWN, b"");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

async fn dial(
    endpoint: &quinn::Endpoint,
    shared: &Shared,
    to: &Endpoint,
    number: u64,
) -> Result<Admitted, HandshakeError> {
    let (addresses, expected) = match to {
        Endpoint::Address(address, peer) => (vec![*address], Some(*peer)),
        Endpoint::Target(target) => {
            let addresses = tokio::net::lookup_host(target.as_str())
                .await
                .map_err(|e| HandshakeError::Resolve { target: target.clone(), source: e })?;
            (addresses.collect(), None)
        }
    };
    let mut last = HandshakeError::NoAddress;
    for address in addresses {
        match tokio::time::timeout(
            handshake::DEADLINE,
            dial_address(endpoint, shared, address, expected, number),
        )
        .await
        {
            Ok(Ok(admitted)) => return Ok(admitted),
            Ok(Err(e)) => last = e,
            Err(_) => last = HandshakeError::TimedOut,
        }
    }
    Err(last)
}

async fn dial_address(
    endpoint: &quinn::Endpoint,
    shared: &Shared,
    address: SocketAddr,
    expected: Option<PeerName>,
    number: u64,
) -> Result<Admitted, HandshakeError> {
    let connection = endpoint.connect(address, weft_crypto::SERVER_NAME)?.await?;
    let peer = handshake::peer_of(&connection).ok();
    // It took long, as through a NAT that opened late, and the peer has connected meanwhile. The peer has not admitted this
    // one: that takes a proof from here. So the one that stands need not give way to it.
    if peer.is_some_and(|peer| expected == Some(peer) && shared.remotes().contains_key(&peer)) {
        connection.close(close_code::DUPLICATE, b"");
        return Err(HandshakeError::Duplicate);
    }
    let result = handshake::run(connection, Role::Client, number, &shared.local).await;
    result.map_err(|e| {
        let explained = e.explain(peer);
        if matches!(explained, HandshakeError::WrongSecret { .. }) {
            Counters::add(&shared.counters.admission_failures, 1);
        }
        explained
    })
}
