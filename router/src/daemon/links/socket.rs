//! The UDP socket of the QUIC endpoint, from which datagrams for some peers go through other nodes instead.
//!
//! A connection keeps the remote address with which it began for as long as it lives, whatever way its datagrams take
//! and wherever the peer moves: a real one, or, where it began through other nodes, a *virtual* one that is made from the peer's name and never seen
//! on a wire. [`Ways`] says which addresses stand for whom.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use weft_crypto::PeerName;
use weft_dataplane::{PathSize, RelaySender};

use super::canonical;

/// Datagrams that wait for the endpoint; more are dropped, and QUIC sends again.
const QUEUE: usize = 256;

/// Where virtual addresses lie: `fd57:6566:7400::/40`, a unique local prefix (RFC 4193).
const VIRTUAL: [u8; 5] = [0xfd, 0x57, 0x65, 0x66, 0x74];

/// The port of virtual addresses; any would do.
const VIRTUAL_PORT: u16 = 6783;

/// The virtual address of a peer.
pub(in crate::daemon) fn virtual_address(peer: &PeerName) -> SocketAddr {
    let mut octets = [0; 16];
    let bytes = VIRTUAL.iter().chain(peer.as_bytes());
    for (place, byte) in octets.iter_mut().zip(bytes) {
        *place = *byte;
    }
    SocketAddr::new(Ipv6Addr::from(octets).into(), VIRTUAL_PORT)
}

/// Whether an address is a virtual one.
pub(in crate::daemon) fn is_virtual(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V6(v6) => v6.ip().octets().starts_with(&VIRTUAL),
        SocketAddr::V4(_) => false,
    }
}

/// What the socket shares with the event loop.
#[derive(Default)]
pub(super) struct Ways {
    /// Whose datagrams go through other nodes, or to a virtual address, by the remote address of the connection.
    relayed: BTreeMap<SocketAddr, PeerName>,
    /// Where the remote address of a connection leads while there is a direct path to another.
    direct: BTreeMap<SocketAddr, SocketAddr>,
    /// How long datagrams to each address may be, where there is a direct path and a session; what is longer goes
    /// through the session, in pieces.
    sizes: BTreeMap<SocketAddr, (PeerName, PathSize)>,
    /// The reverse of `direct`, in the form that QUIC knows.
    back: BTreeMap<SocketAddr, SocketAddr>,
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

/// A handle to [`Ways`].
#[derive(Clone, Default)]
pub(super) struct SharedWays(Arc<Mutex<Ways>>);

impl SharedWays {
    fn lock(&self) -> MutexGuard<'_, Ways> {
        // Nothing that holds it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the ways. `relayed` goes through other nodes; `direct` leads from what QUIC takes for the remote address to
    /// where the peer is; `sizes` says how long datagrams may be.
    pub(super) fn set(
        &self,
        relayed: BTreeMap<SocketAddr, PeerName>,
        direct: BTreeMap<SocketAddr, SocketAddr>,
        sizes: BTreeMap<SocketAddr, (PeerName, PathSize)>,
    ) {
        let mut ways = self.lock();
        ways.sizes = sizes;
        ways.back = direct.iter().map(|(from, to)| (*to, *from)).collect();
        ways.relayed = relayed;
        ways.direct = direct.into_iter().map(|(from, to)| (canonical(from), to)).collect();
    }

    /// Hands a datagram to the endpoint as if it came from `from`.
    pub(super) fn deliver(&self, from: SocketAddr, datagram: Vec<u8>) {
        let mut ways = self.lock();
        if ways.arrived.len() < QUEUE {
            ways.arrived.push_back((from, datagram));
            if let Some(waker) = ways.waker.take() {
                waker.wake();
            }
        }
    }
}

/// The socket.
pub(super) struct WaySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    ways: SharedWays,
    relay: RelaySender,
}

impl WaySocket {
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        ways: SharedWays,
        relay: RelaySender,
    ) -> Self {
        Self { inner, ways, relay }
    }
}

impl fmt::Debug for WaySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaySocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for WaySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = canonical(transmit.destination);
        let each = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let (relayed, direct) = {
            let ways = self.ways.lock();
            let too_long = ways.sizes.get(&to).and_then(|(peer, size)| {
                size.note(each);
                (each > size.limit).then_some(*peer)
            });
            (too_long.or(ways.relayed.get(&to).copied()), ways.direct.get(&to).copied())
        };
        if let Some(peer) = relayed {
            for datagram in transmit.contents.chunks(each) {
                self.relay.send(&peer, datagram);
            }
            return Ok(());
        }
        match direct {
            Some(address) => {
                let local = self.inner.local_addr()?;
                let destination = weft_netio::udp::mapped_for(local, address);
                self.inner.try_send(&Transmit { destination, src_ip: None, ..transmit.clone() })
            }
            // Nobody is there at this moment. QUIC sends again.
            None if is_virtual(&to) => Ok(()),
            None => self.inner.try_send(transmit),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        {
            let mut ways = self.ways.lock();
            let mut count = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                let Some((addr, datagram)) = ways.arrived.pop_front() else { break };
                let Some(room) = buf.get_mut(..datagram.len()) else { continue };
                room.copy_from_slice(&datagram);
                let len = datagram.len();
                *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            ways.waker = Some(cx.waker().clone());
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            let ways = self.ways.lock();
            if !ways.back.is_empty() {
                for meta in meta.iter_mut().take(count) {
                    if let Some(address) = ways.back.get(&canonical(meta.addr)) {
                        meta.addr = *address;
                    }
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_addresses_are_told_from_real_ones_and_from_each_other() {
        let [a, b] = [1, 2].map(|n| virtual_address(&PeerName::from_bytes([n; 32])));
        assert!(is_virtual(&a) && is_virtual(&b) && a != b);
        for real in ["10.0.0.1:6783", "[fd99::1]:6783", "[2001:db8::1]:6783"] {
            assert!(!is_virtual(&real.parse().unwrap()));
        }
    }
}
