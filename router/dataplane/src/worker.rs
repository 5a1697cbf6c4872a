//! The threads that move packets.

mod egress;
pub(crate) mod fuzzing;
mod heard;
mod ingress;
mod pace;
mod payload;
mod placement;
pub(crate) mod relay;
pub(crate) mod urgency;

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use weft_crypto::{PeerName, ReceiverIndex};
use weft_netio::batch::MAX_BATCH;
use weft_netio::tap::{Tap, TapOffload, VNET_HEADER_LEN};
use weft_netio::udp::{UdpOffload, enable_offload, mapped_for};
use weft_netio::wait::Waker;

use crate::counters::SharedCounters;
use crate::frame::ETHERNET_LEN;
use crate::tunnel::Inlet;
use crate::{Counters, DropReason, Path, PeerPath, ShortId, Tables};
use egress::Egress;
use heard::Heard;
use ingress::Ingress;
use placement::{Placement, SharedLoad};
use urgency::Scheduling;

/// How much longer a packet is than the frame in it.
pub(crate) const PACKET_OVERHEAD: usize = payload::FRAME_OVERHEAD;
/// The longest frame with its virtio-net header: an IP packet can be 65,535 bytes.
const MAX_FRAME: usize = VNET_HEADER_LEN + ETHERNET_LEN + 65_535;
/// Room for the longest frame, sealed.
const BUFFER_LEN: usize = payload::OVERHEAD + MAX_FRAME;

/// How a [`Dataplane`] works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataplaneConfig {
    /// How many frames (of which each may be cut into many packets) are moved between two looks at the tables,
    /// with one system call for the socket: 1 to [`MAX_BATCH`]. More amortise better and delay the first of a
    /// batch longer.
    pub batch: usize,
    /// Whether workers run before ordinary threads while they keep up with their queues (not under overload), where
    /// the process may (`CAP_SYS_NICE`). It is what keeps a packet's delay short on a host that is busy.
    pub realtime: bool,
    /// The longest datagram that is sent to a relay, in bytes of UDP payload; what is longer goes in pieces.
    /// [`datagram_len`] of the Pods' MTU always fits the underlay.
    pub datagram: usize,
}

/// The length of the longest sealed packet that a Pod with that MTU makes, in bytes.
pub fn datagram_len(pod_mtu: u32) -> usize {
    usize::try_from(pod_mtu).unwrap_or(usize::MAX).saturating_add(ETHERNET_LEN + PACKET_OVERHEAD)
}

impl Default for DataplaneConfig {
    /// 32 frames: beyond, a call's cost is below a twentieth of sealing what it sends. Real-time.
    fn default() -> Self {
        Self { batch: 32, realtime: true, datagram: datagram_len(crate::MIN_POD_MTU) }
    }
}

/// What the packet path tells the engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataEvent {
    /// A reply to a probe came back, authenticated: the path works both ways.
    Confirmed {
        /// The session that the reply came in.
        receiver: ReceiverIndex,
        /// Who replied.
        peer: PeerName,
        /// Where the reply came from.
        from: SocketAddr,
        /// The token of the probe that it answers.
        token: u64,
        /// Whether it came through other nodes; `from` is then the last of them.
        relayed: bool,
    },
    /// A peer asked with a probe, and was answered: its packets arrive.
    Asked {
        /// Who asked.
        peer: PeerName,
        /// Where the probe came from.
        from: SocketAddr,
        /// Whether the peer misses answers on this path.
        urgent: bool,
        /// Whether it came through other nodes; `from` is then the last of them.
        relayed: bool,
    },
    /// A reply to a probe came back inside the control connection, authenticated.
    TunnelConfirmed {
        /// Who replied.
        peer: PeerName,
        /// The token of the probe that it answers.
        token: u64,
    },
    /// A peer asked with a probe inside the control connection, and was answered there.
    TunnelAsked {
        /// Who asked.
        peer: PeerName,
        /// Whether the peer misses answers on this way.
        urgent: bool,
    },
    /// A datagram of a control connection came through other nodes.
    Datagram {
        /// Who sent it, by its own word.
        origin: ShortId,
        /// QUIC.
        datagram: Vec<u8>,
    },
    /// An authentic packet of this session came from another address than the one before, or is its first.
    /// A hint, no proof of a path: who is on the path can forward a packet from elsewhere.
    Heard {
        /// The session.
        receiver: ReceiverIndex,
        /// Who sealed the packet.
        peer: PeerName,
        /// Where it came from.
        from: SocketAddr,
    },
    /// A direction has ended for good because its device or socket failed; the other may go on.
    Failed {
        /// `"egress"` (bridge to peers) or `"ingress"` (peers to bridge).
        direction: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What the kernel does for the packet path, found out at its start. What it lacks costs speed alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offload {
    /// At the TAP.
    pub tap: TapOffload,
    /// At the UDP socket.
    pub udp: UdpOffload,
}

/// One line for the log: all features by their kernel names, absent ones with a minus.
impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |on| if on { '+' } else { '-' };
        let Offload { tap: TapOffload { checksum, tcp, udp }, udp: UdpOffload { cut, join } } =
            *self;
        let (checksum, tcp, udp) = (sign(checksum), sign(tcp), sign(udp));
        let (cut, join) = (sign(cut), sign(join));
        write!(f, "tap {checksum}csum {tcp}tso {udp}uso, udp {cut}gso {join}gro")
    }
}

/// Where events go.
type Events = Box<dyn Fn(DataEvent) + Send + Sync>;

/// What a pair of workers, one for each direction, moves packets between.
#[derive(Debug)]
pub struct Lane {
    /// The TAP, or one of its queues.
    pub tap: Tap,
    /// The socket for data packets, or one of those.
    pub socket: UdpSocket,
}

/// What all workers and the handle use. Nothing in it changes but atomically.
struct Shared {
    /// What is not sent by a worker goes through this one.
    lane: Arc<Lane>,
    lanes: NonZeroU8,
    load: SharedLoad,
    heard: Heard,
    local: SocketAddr,
    offload: Offload,
    scheduling: Scheduling,
    tables: Arc<ArcSwap<Tables>>,
    events: Events,
    counters: SharedCounters,
    waker: Waker,
    inlet: Inlet,
    stopping: AtomicBool,
    /// The longest packet to a relay.
    datagram: usize,
    /// Names the next datagram that is cut into pieces.
    cut: AtomicU32,
    started: Instant,
}

/// Sends datagrams of control connections through other nodes, for as long as the packet path runs.
#[derive(Clone, Debug)]
pub struct RelaySender(Weak<Shared>);

impl RelaySender {
    /// Sends a datagram to a node along the route that the tables have to it, or, if that is a neighbour, in pieces that
    /// its path takes. What cannot be sent is dropped and counted.
    pub fn send(&self, to: &PeerName, datagram: &[u8]) {
        let Some(shared) = self.0.upgrade() else { return };
        let tables = shared.tables.load();
        let sent = match tables.relay_to(to) {
            Some(route) => {
                let header = relay::header(&tables, to, route);
                shared.send_relayed(&tables, &route.first, header, datagram)
            }
            None => shared.send_relayed(&tables, to, relay::direct_header(&tables, to), datagram),
        };
        if let Err(reason) = sent {
            let mut tally = Counters::default();
            tally.drops.count(reason);
            shared.counters.absorb(&mut tally);
        }
    }
}

/// Takes sealed packets that came inside control connections, for as long as the packet path runs.
#[derive(Clone, Debug)]
pub struct TunnelReceiver(Weak<Shared>);

impl TunnelReceiver {
    /// Hands a packet to the receiving worker, which trusts it no more than one from the underlay. Dropped and
    /// counted where too many wait.
    pub fn deliver(&self, packet: Vec<u8>) {
        let Some(shared) = self.0.upgrade() else { return };
        if let Err(reason) = shared.inlet.push(packet) {
            let mut tally = Counters::default();
            tally.drops.count(reason);
            shared.counters.absorb(&mut tally);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("local", &self.local).finish_non_exhaustive()
    }
}

/// A running packet path: in each lane one thread from the TAP to the socket, one back.
///
/// A flow keeps to a lane in each direction and so keeps its order: the kernel puts its frames into one queue of the
/// TAP, and all packets of one session into one socket. While there is little to do, real-time workers of several lanes
/// divide the processors among them, and the kernel chooses the socket by the processor that it receives on: then the
/// order is kept of what is received on one processor.
/// Packets that came inside control connections are the first lane's.
///
/// Dropping it stops the threads and removes the TAP, as [`Dataplane::shutdown`] does.
pub struct Dataplane {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Dataplane {
    /// Starts moving packets in all `lanes` by whatever snapshot `tables` holds at the time. Their TAPs are queues of
    /// one device and their sockets have one address.
    ///
    /// A snapshot stored later is used from the next batch on; the old one is let go before a thread sleeps.
    /// `events` is called on the receiving thread and must not block.
    ///
    /// # Errors
    /// When threads or descriptors have run out, or there is no lane, or more than 255; nothing runs then.
    pub fn start(
        lanes: Vec<Lane>,
        tables: Arc<ArcSwap<Tables>>,
        events: Events,
        config: DataplaneConfig,
    ) -> io::Result<Self> {
        let lanes: Vec<_> = lanes.into_iter().map(Arc::new).collect();
        let first = lanes.first().cloned();
        let count = u8::try_from(lanes.len()).ok().and_then(NonZeroU8::new);
        let (Some(lane), Some(count)) = (first, count) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not 1 to 255 lanes"));
        };
        let local = lane.socket.local_addr()?;
        let udp = enable_offload(&lane.socket);
        // One kernel serves them all alike.
        for other in lanes.iter().skip(1) {
            enable_offload(&other.socket);
        }
        let offload = Offload { tap: lane.tap.offload(), udp };
        let scheduling = Scheduling::found(config.realtime);
        let realtime = scheduling == Scheduling::Realtime;
        let shared = Arc::new(Shared {
            lane,
            lanes: count,
            load: SharedLoad::new(),
            heard: Heard::default(),
            local,
            offload,
            scheduling,
            tables,
            events,
            counters: SharedCounters::default(),
            waker: Waker::new()?,
            inlet: Inlet::new()?,
            stopping: AtomicBool::new(false),
            datagram: config.datagram,
            cut: AtomicU32::new(0),
            started: Instant::now(),
        });
        let batch = config.batch.clamp(1, MAX_BATCH);
        let mut dataplane = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (place, lane) in lanes.into_iter().enumerate() {
            // An ordinary thread that waits for a processor is better off with a choice of them.
            let placement = || realtime.then(|| Placement::new(place, count)).flatten();
            let (to_peers, from_peers) = (Arc::clone(&shared), Arc::clone(&shared));
            let egress = Egress::new(to_peers, Arc::clone(&lane), batch, realtime, placement());
            dataplane.spawn("weft-egress", place, move || egress.run())?;
            let ingress = Ingress::new(from_peers, lane, batch, realtime, placement());
            dataplane.spawn("weft-ingress", place, move || ingress.run())?;
        }
        Ok(dataplane)
    }

    fn spawn(
        &mut self,
        name: &str,
        place: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = if place == 0 { name.to_owned() } else { format!("{name}-{place}") };
        self.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    /// Sends a sealed probe request to a peer along `path`, whether that is the path of its packets or not;
    /// the reply comes as [`DataEvent::Confirmed`] with the same token. An `urgent` one tells the peer that
    /// answers are missing here. Returns whether it went out; if not, a drop is counted unless the peer is
    /// unknown.
    pub fn probe(&self, to: PeerName, path: &Path, token: u64, urgent: bool) -> bool {
        let kind = if urgent { payload::Kind::UrgentRequest } else { payload::Kind::ProbeRequest };
        let tables = self.shared.tables.load();
        tables
            .peer_named(&to)
            .is_some_and(|peer| self.shared.probe(&tables, peer, path, kind, token))
    }

    /// Asks a peer whether datagrams of `len` bytes get to it straight at `address`; the reply comes as
    /// [`DataEvent::Confirmed`] with the same token. Returns whether the question went out: an underlay whose own MTU
    /// is smaller refuses it.
    pub fn probe_size(&self, to: PeerName, address: SocketAddr, token: u64, len: usize) -> bool {
        let tables = self.shared.tables.load();
        let Some(peer) = tables.peer_named(&to) else { return false };
        let mut packet = payload::size_request(token, len);
        let sealed = peer.sealer.seal_upkeep(&mut packet).is_ok();
        let sent = sealed && self.shared.send_packet(&packet, address).is_ok();
        let probes_sent = u64::from(sent);
        self.shared.counters.absorb(&mut Counters { probes_sent, ..Counters::default() });
        sent
    }

    /// For the control connections, which go through other nodes by the same routes.
    pub fn relay_sender(&self) -> RelaySender {
        RelaySender(Arc::downgrade(&self.shared))
    }

    /// For the control connections, inside which packets may come.
    pub fn tunnel_receiver(&self) -> TunnelReceiver {
        TunnelReceiver(Arc::downgrade(&self.shared))
    }

    /// What the kernel does for this packet path.
    pub fn offload(&self) -> Offload {
        self.shared.offload
    }

    /// How many lanes there are, each with a worker for each direction.
    pub fn lanes(&self) -> NonZeroU8 {
        self.shared.lanes
    }

    /// How the workers are scheduled.
    pub fn scheduling(&self) -> &Scheduling {
        &self.shared.scheduling
    }

    /// What has happened so far. A worker adds to it after each batch.
    pub fn counters(&self) -> Counters {
        self.shared.counters.read()
    }

    /// Stops the threads, waits for them, and removes the TAP.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.waker.raise();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so through the panic hook; nothing is left to do for it.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Dataplane");
        out.field("tap", &self.shared.lane.tap)
            .field("lanes", &self.shared.lanes)
            .field("local", &self.shared.local)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn probe(
        &self,
        tables: &Tables,
        peer: &PeerPath,
        path: &Path,
        kind: payload::Kind,
        token: u64,
    ) -> bool {
        let mut tally = Counters::default();
        let sent = self.sealed_probe(peer, kind, token).and_then(|packet| match path {
            Path::Direct(address) => self.send_packet(&packet, *address),
            Path::Relay(route) => {
                let header = relay::header(tables, &peer.name, route);
                self.send_relayed(tables, &route.first, header, &packet)
            }
            Path::Tunnel => self.send_tunnelled(tables, &peer.name, &packet),
        });
        match sent {
            Ok(()) => tally.probes_sent += 1,
            Err(reason) => tally.drops.count(reason),
        }
        self.counters.absorb(&mut tally);
        sent.is_ok()
    }

    /// A probe of either kind, sealed for a peer; probes are rare, so each has a system call of its own.
    fn sealed_probe(
        &self,
        peer: &PeerPath,
        kind: payload::Kind,
        token: u64,
    ) -> Result<[u8; payload::PROBE_LEN], DropReason> {
        let mut packet = payload::probe(kind, token);
        peer.sealer.seal_upkeep(&mut packet).map_err(egress::unsealed)?;
        Ok(packet)
    }

    fn send_packet(&self, packet: &[u8], to: SocketAddr) -> Result<(), DropReason> {
        let sent = self.lane.socket.send_to(packet, mapped_for(self.local, to));
        sent.map(|_| ()).map_err(|error| egress::reason(&error))
    }

    fn send_tunnelled(
        &self,
        tables: &Tables,
        to: &PeerName,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        tables.tunnel_to(to).ok_or(DropReason::TunnelFull)?.send(packet)
    }

    fn failed(&self, direction: &'static str, error: io::Error) {
        (self.events)(DataEvent::Failed { direction, error });
    }
}
