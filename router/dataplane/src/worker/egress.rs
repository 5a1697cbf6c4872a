//! From the TAP to the peers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_crypto::{PeerName, SealError};
use weft_netio::batch::SendBatch;
use weft_netio::tap::VNET_HEADER_LEN;
use weft_netio::udp::MESSAGE_TOO_LONG;
use weft_netio::wait::readable_or_raised;

use super::pace::Pace;
use super::payload::{self, FramePacket};
use super::placement::Placement;
use super::relay::{self, Leap};
use super::urgency::Urgency;
use super::{BUFFER_LEN, Lane, MAX_FRAME, Shared};
use crate::offload::{Header, Undone, split, undone};
use crate::relay::RelayHeader;
use crate::too_big::{self, Notices};
use crate::{Action, Counters, DropReason, Path, PeerPath, Tables, classify};

/// Room for packets that go out together, in bytes: a super-frame in its packets, twice. It is filled and read
/// again and again, so it should stay in a core's cache.
const BATCH_LEN: usize = 2 * (BUFFER_LEN + MAX_PACKETS * payload::FRAME_OVERHEAD);
/// Packets of a super-frame that `BATCH_LEN` reckons with; more only mean another system call.
const MAX_PACKETS: usize = 64;
/// How many bytes wait at most while more frames are read, so that the receiver begins early.
const SEND_AT: usize = 32 << 10;

/// The longest frame of our own: what tells a Pod that its packet is too big.
const MAX_ANSWER: usize = too_big::MAX_LEN;

/// The sending worker.
pub(super) struct Egress {
    out: Outbox,
    /// The frame at hand, behind its virtio-net header.
    frame: Vec<u8>,
    batch_len: usize,
    urgency: Urgency,
    pace: Pace,
    placement: Option<Placement>,
}

/// Packets on their way out.
struct Outbox {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    batch: SendBatch,
    /// A packet that is to be sealed once more, for a relay.
    inner: Vec<u8>,
    notices: Notices,
    tally: Counters,
}

impl Egress {
    pub(super) fn new(
        shared: Arc<Shared>,
        lane: Arc<Lane>,
        batch_len: usize,
        realtime: bool,
        placement: Option<Placement>,
    ) -> Self {
        let batch = SendBatch::new(BATCH_LEN, shared.local, shared.offload.udp.cut);
        let (notices, tally) = (Notices::default(), Counters::default());
        let out = Outbox { shared, lane, batch, inner: Vec::new(), notices, tally };
        let urgency = Urgency::new(realtime);
        let pace = Pace::new();
        Self { out, frame: vec![0; MAX_FRAME], batch_len, urgency, pace, placement }
    }

    /// Works until shutdown or until the TAP fails.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.out.shared.failed("egress", error),
            }
        }
    }

    /// Sleeps until frames come, then moves all of them. Returns whether to go on.
    fn turn(&mut self) -> io::Result<bool> {
        let Outbox { shared, lane, .. } = &self.out;
        if readable_or_raised(&lane.tap, &shared.waker)?.raised {
            return Ok(false);
        }
        self.urgency.kept_up();
        if let (Some(load), Some(placement)) = (self.pace.woken(), &mut self.placement) {
            placement.follow(load, shared, lane);
        }
        let mut more = true;
        while more && !self.out.shared.stopping() {
            let filled = self.fill();
            self.out.flush();
            self.pace.moved(self.out.tally.sent);
            self.out.shared.counters.absorb(&mut self.out.tally);
            self.urgency.worked();
            more = filled?;
        }
        self.pace.rest();
        Ok(true)
    }

    /// Takes frames from the TAP until there are none or enough was taken. Returns whether there may be more.
    fn fill(&mut self) -> io::Result<bool> {
        let (shared, lane) = (Arc::clone(&self.out.shared), Arc::clone(&self.out.lane));
        let tables = shared.tables.load();
        self.out.notices.next_batch();
        for _ in 0..self.batch_len {
            let len = match lane.tap.recv(&mut self.frame) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let with_header = self.frame.get_mut(..len).unwrap_or_default();
            let outcome = match with_header.split_first_chunk_mut() {
                Some((header, frame)) => self.out.forward(*header, frame, &tables),
                None => Err(DropReason::Malformed),
            };
            if let Err(reason) = outcome {
                self.out.tally.drops.count(reason);
            }
            if self.out.batch.bytes() >= SEND_AT {
                break;
            }
        }
        Ok(true)
    }
}

impl Outbox {
    /// Does with a frame from the TAP what the tables say.
    fn forward(
        &mut self,
        header: Header,
        frame: &mut [u8],
        tables: &Tables,
    ) -> Result<(), DropReason> {
        match classify(frame, tables) {
            Action::Send(slot) => {
                let peer = tables.peer(slot).ok_or(DropReason::Unreachable)?;
                let undone = undone(header, frame)?;
                let undone = self.fit(tables, peer, undone, frame);
                self.send(tables, peer, undone, frame);
            }
            Action::Flood => {
                let undone = undone(header, frame)?;
                self.tally.flooded += 1;
                for peer in tables.peers() {
                    let undone = self.fit(tables, peer, undone, frame);
                    self.send(tables, peer, undone, frame);
                }
            }
            Action::AnswerArp(request) => {
                let answered = self.answer(&request.answer());
                self.tally.arp_answered += answered;
            }
            Action::AnswerNeighbour(solicitation) => {
                let answered = self.answer(&solicitation.answer());
                self.tally.nd_answered += answered;
            }
            Action::Drop(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Looks whether what comes of a frame fits the path. If not, its sender is told, and a TCP super-frame is cut into
    /// shorter segments; what still does not fit goes in pieces.
    fn fit(&mut self, tables: &Tables, peer: &PeerPath, undone: Undone, frame: &[u8]) -> Undone {
        let longest = undone.longest(frame);
        peer.size.note(payload::FRAME_OVERHEAD + longest);
        let room = peer.size.limit.saturating_sub(payload::FRAME_OVERHEAD);
        if longest <= room {
            // Through another node, which adds its own, a stream goes in shorter segments rather than each in two pieces.
            return match &peer.path {
                Path::Relay(route) => {
                    let whole = relay::whole(&self.shared, tables, route);
                    undone.within(whole.saturating_sub(payload::FRAME_OVERHEAD))
                }
                Path::Direct(_) | Path::Tunnel => undone,
            };
        }
        if peer.size.known
            && self.notices.allow(|| self.shared.started.elapsed())
            && let Some(notice) = too_big::notice(frame, longest, room, |v6| tables.gateway(v6))
        {
            self.tally.too_big_told += self.answer(&notice);
        }
        undone.within(room)
    }

    /// Sends a frame, or the frames that it is cut into, to a peer.
    fn send(&mut self, tables: &Tables, peer: &PeerPath, undone: Undone, frame: &[u8]) {
        match undone {
            Undone::Nothing(header) => self.seal(tables, peer, frame.len(), |place| {
                place.copy_from_slice(frame);
                Some(header)
            }),
            Undone::Segments(size) => {
                for segment in split(frame, size) {
                    self.seal(tables, peer, segment.len(), |place| segment.write(place));
                }
            }
        }
    }

    /// Seals a frame of `len` bytes, which `write` puts in its place, returning its header.
    fn seal(
        &mut self,
        tables: &Tables,
        peer: &PeerPath,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<Header>,
    ) {
        let packet_len = payload::FRAME_OVERHEAD + len;
        let path = match &peer.path {
            Path::Direct(_) if packet_len > peer.size.limit => {
                let outcome = self.seal_apart(peer, len, write, |out, packet| {
                    let header = relay::direct_header(tables, &peer.name);
                    out.push_legs(tables, &peer.name, header, packet)
                });
                return outcome.unwrap_or_else(|reason| self.tally.drops.count(reason));
            }
            Path::Direct(address) => *address,
            Path::Relay(route) => {
                let outcome = self.seal_apart(peer, len, write, |out, packet| {
                    let header = relay::header(tables, &peer.name, route);
                    out.push_legs(tables, &route.first, header, packet)
                });
                return outcome.unwrap_or_else(|reason| self.tally.drops.count(reason));
            }
            Path::Tunnel => {
                let outcome = self.seal_apart(peer, len, write, |out, packet| {
                    out.shared.send_tunnelled(tables, &peer.name, packet)
                });
                return outcome.unwrap_or_else(|reason| self.tally.drops.count(reason));
            }
        };
        if self.batch.room(packet_len).is_none() {
            self.flush();
        }
        let Some(packet) = self.batch.room(packet_len) else {
            return self.tally.drops.count(DropReason::TooBig);
        };
        let header = FramePacket::new(packet).and_then(|FramePacket { header, frame }| {
            *header = write(frame)?;
            Some(())
        });
        if header.is_none() {
            return self.tally.drops.count(DropReason::Offload);
        }
        if let Err(error) = peer.sealer.seal(packet) {
            return self.tally.drops.count(unsealed(error));
        }
        self.push(packet_len, path, peer);
        self.tally.sent.packets += 1;
        self.tally.sent.bytes += len as u64;
    }

    /// Seals a frame for a peer, outside the batch, and has `send` take the packet.
    fn seal_apart(
        &mut self,
        peer: &PeerPath,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<Header>,
        send: impl FnOnce(&mut Self, &[u8]) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let mut inner = std::mem::take(&mut self.inner);
        // What was in it is written over.
        inner.resize(payload::FRAME_OVERHEAD + len, 0);
        let sealed = FramePacket::new(&mut inner)
            .and_then(|FramePacket { header, frame }| {
                *header = write(frame)?;
                Some(())
            })
            .ok_or(DropReason::Offload)
            .and_then(|()| peer.sealer.seal(&mut inner).map_err(unsealed))
            .and_then(|_| send(self, &inner));
        self.inner = inner;
        sealed?;
        self.tally.sent.packets += 1;
        self.tally.sent.bytes += len as u64;
        Ok(())
    }

    /// Takes a packet that is in the batch's room.
    fn push(&mut self, len: usize, to: SocketAddr, neighbour: &PeerPath) {
        if neighbour.size.is_limited() {
            self.batch.push_alone(len, to);
        } else {
            self.batch.push(len, to);
        }
    }

    /// Puts a packet on its way inside packets to the neighbour `first`.
    fn push_legs(
        &mut self,
        tables: &Tables,
        first: &PeerName,
        header: RelayHeader,
        inner: &[u8],
    ) -> Result<(), DropReason> {
        let (first, leap) = relay::neighbour(tables, first)?;
        first.size.note(inner.len());
        let shared = Arc::clone(&self.shared);
        for leg in relay::legs(&shared, first, header, inner) {
            match leap {
                Leap::Datagram(address) => {
                    let len = leg.packet_len();
                    if self.batch.room(len).is_none() {
                        self.flush();
                    }
                    let packet = self.batch.room(len).ok_or(DropReason::TooBig)?;
                    leg.seal(packet, &first.sealer)?;
                    self.push(len, address, first);
                }
                Leap::Tunnel(tunnel) => tunnel.send(&leg.sealed(&first.sealer)?)?,
            }
        }
        Ok(())
    }

    /// Writes a frame of our own to the TAP. Returns how many were taken: 0 or 1.
    fn answer(&mut self, frame: &[u8]) -> u64 {
        let mut buffer = [0; VNET_HEADER_LEN + MAX_ANSWER];
        let len = VNET_HEADER_LEN + frame.len();
        let Some(with_header) = buffer.get_mut(..len) else { return 0 };
        if let Some(room) = with_header.get_mut(VNET_HEADER_LEN..) {
            room.copy_from_slice(frame);
        }
        match self.lane.tap.send(with_header) {
            Ok(_) => 1,
            Err(_) => {
                self.tally.drops.count(DropReason::TapFailed);
                0
            }
        }
    }

    fn flush(&mut self) {
        let drops = &mut self.tally.drops;
        self.batch.send(&self.lane.socket, |error| drops.count(reason(&error)));
    }
}

/// Why a packet was not sealed.
pub(super) fn unsealed(error: SealError) -> DropReason {
    match error {
        SealError::TooLong { .. } => DropReason::TooBig,
        SealError::Exhausted | _ => DropReason::KeyExhausted,
    }
}

/// Why the kernel did not send.
pub(super) fn reason(error: &io::Error) -> DropReason {
    if error.raw_os_error() == Some(MESSAGE_TOO_LONG) {
        DropReason::TooBig
    } else {
        DropReason::SendFailed
    }
}
