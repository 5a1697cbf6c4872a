//! From the peers to the TAP.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weft_crypto::{Header, PeerName, Replayed};
use weft_netio::batch::RecvBatch;
use weft_netio::tap::VNET_HEADER_LEN;
use weft_netio::wait::{readable_or_raised, readable_rung_or_raised};

use super::heard::Listener;
use super::pace::Pace;
use super::payload::{Kind, Payload};
use super::placement::Placement;
use super::relay::{Arrived, Relay, Whole};
use super::urgency::Urgency;
use super::{BUFFER_LEN, DataEvent, Lane, Shared};
use crate::classify::admit;
use crate::offload::{Joiner, Written, open_checksum};
use crate::relay::{RelayHeader, ShortId};
use crate::tables::Session;
use crate::{Counters, DropReason, Tables};

/// How many receive errors in a row mean that the socket is lost. A single one may be a leftover of an
/// earlier send, or a moment without memory; a plain choice.
const MAX_ERRORS: usize = 16;

/// The most messages taken with one system call. Each may be a train of many datagrams, and all of them should
/// stay in a core's cache.
const MAX_MESSAGES: usize = 16;

/// Set in the first byte of every QUIC packet (RFC 9000 section 17).
const QUIC_BIT: u8 = 0x40;

/// Where a packet came from that came inside a control connection.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// The receiving worker.
pub(super) struct Ingress {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    /// Whether it takes what comes inside control connections.
    tunnels: bool,
    batch: RecvBatch,
    batch_len: usize,
    listener: Listener,
    relay: Relay,
    urgency: Urgency,
    pace: Pace,
    placement: Option<Placement>,
    /// Receive errors since the last success.
    errors: usize,
    tally: Counters,
}

impl Ingress {
    pub(super) fn new(
        shared: Arc<Shared>,
        lane: Arc<Lane>,
        batch_len: usize,
        realtime: bool,
        placement: Option<Placement>,
    ) -> Self {
        let batch_len = batch_len.min(MAX_MESSAGES);
        Self {
            tunnels: Arc::ptr_eq(&shared.lane, &lane),
            batch: RecvBatch::new(batch_len, BUFFER_LEN),
            batch_len,
            listener: Listener::default(),
            relay: Relay::new(&shared),
            urgency: Urgency::new(realtime),
            pace: Pace::new(),
            placement,
            errors: 0,
            tally: Counters::default(),
            shared,
            lane,
        }
    }

    /// Works until shutdown or until the socket fails.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.shared.failed("ingress", error),
            }
        }
    }

    /// Sleeps until packets come, then moves all of them. Returns whether to go on.
    fn turn(&mut self) -> io::Result<bool> {
        let (shared, socket) = (&self.shared, &self.lane.socket);
        let stopping = if self.tunnels {
            readable_rung_or_raised(socket, &shared.inlet.bell, &shared.waker)?
        } else {
            readable_or_raised(socket, &shared.waker)?.raised
        };
        if stopping {
            return Ok(false);
        }
        self.urgency.kept_up();
        if let (Some(load), Some(placement)) = (self.pace.woken(), &mut self.placement) {
            placement.follow(load, shared, &self.lane);
        }
        while !self.shared.stopping() {
            if self.tunnels {
                self.take_tunnelled();
            }
            let received = match self.batch.recv(&self.lane.socket) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if self.errors < MAX_ERRORS => {
                    self.errors += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.errors = 0;
            self.relay.behind = self.urgency.is_behind();
            self.deliver();
            self.pace.moved(self.tally.received);
            self.shared.counters.absorb(&mut self.tally);
            self.urgency.worked();
            if received < self.batch_len {
                break;
            }
        }
        self.pace.rest();
        Ok(true)
    }

    /// Opens, checks and passes on what was received.
    fn deliver(&mut self) {
        let (shared, lane) = (&*self.shared, &*self.lane);
        let tables = shared.tables.load();
        self.listener.follow(&tables);
        let mut bridge = ToBridge::new(shared, lane, &tables, &mut self.tally);
        for (from, packet) in self.batch.datagrams() {
            let outcome = match packet {
                Some(packet) => open(packet, &tables),
                None => Err(DropReason::Oversized),
            };
            let Opened { session, place, payload } = match outcome {
                Ok(opened) => opened,
                Err(reason) => {
                    bridge.tally.drops.count(reason);
                    continue;
                }
            };
            let (receiver, peer) = (session.rx.receiver, session.rx.peer);
            if self.listener.moved(&shared.heard, place, from) {
                (shared.events)(DataEvent::Heard { receiver, peer, from });
            }
            match payload {
                Payload::Frame(frame) => bridge.pass(place, session, frame),
                Payload::ProbeRequest { token, urgent } => {
                    bridge.reply(session, token, |packet| shared.send_packet(packet, from));
                    (shared.events)(DataEvent::Asked { peer, from, urgent, relayed: false });
                }
                Payload::ProbeReply(token) => {
                    bridge.tally.probes_confirmed += 1;
                    let relayed = false;
                    (shared.events)(DataEvent::Confirmed { receiver, peer, from, token, relayed });
                }
                Payload::SizeRequest(token) => {
                    bridge.reply(session, token, |packet| shared.send_packet(packet, from));
                }
                Payload::Relay(body) => {
                    bridge.unpack(body, session, from, &mut self.relay);
                }
            }
        }
        bridge.flush();
        self.relay.flush(&lane.socket, &mut self.tally);
    }

    /// Opens, checks and passes on what came inside control connections.
    fn take_tunnelled(&mut self) {
        let (shared, lane) = (&*self.shared, &*self.lane);
        let mut packets = shared.inlet.take();
        if packets.is_empty() {
            return;
        }
        let tables = shared.tables.load();
        let mut bridge = ToBridge::new(shared, lane, &tables, &mut self.tally);
        for packet in &mut packets {
            let outcome = open(packet, &tables).and_then(|opened| match opened {
                Opened { session, payload: Payload::Relay(body), .. } => {
                    bridge.unpack(body, session, NOWHERE, &mut self.relay);
                    Ok(())
                }
                Opened { session, place, payload: Payload::Frame(frame) } => {
                    bridge.pass(place, session, frame);
                    Ok(())
                }
                opened => bridge.answer(opened, &Back::Tunnel),
            });
            outcome.unwrap_or_else(|reason| bridge.tally.drops.count(reason));
        }
        bridge.flush();
        self.relay.flush(&lane.socket, &mut self.tally);
        shared.counters.absorb(&mut self.tally);
    }
}

/// How the answer to what came on a way other than the underlay goes back.
enum Back {
    /// Inside the control connection.
    Tunnel,
    /// Through other nodes, the first of which is `relay`, which sent what came from `from`.
    Relay { relay: PeerName, header: RelayHeader, from: SocketAddr },
}

/// An authentic packet that was not received before.
pub(super) struct Opened<'p, 't> {
    session: &'t Session,
    /// The place of the session in the tables.
    place: usize,
    payload: Payload<'p>,
}

/// Opens a packet and takes it into its session's replay window. No byte of it is believed before its seal is
/// verified, and what fails leaves the window as it was.
pub(super) fn open<'p, 't>(
    packet: &'p mut [u8],
    tables: &'t Tables,
) -> Result<Opened<'p, 't>, DropReason> {
    let header = Header::parse(packet).map_err(|_| DropReason::BadHeader)?;
    let (place, session) = tables.session(header.receiver).ok_or(DropReason::UnknownSession)?;
    let opener = &session.rx.opener;
    // A replay is recognised before the work of opening it.
    opener.replay().check(header.counter)?;
    let (counter, plaintext) = opener.open(packet).map_err(|_| DropReason::Forged)?;
    opener.replay().accept(counter)?;
    let payload = Payload::parse(plaintext)?;
    Ok(Opened { session, place, payload })
}

impl From<Replayed> for DropReason {
    fn from(replayed: Replayed) -> Self {
        match replayed {
            Replayed::Duplicate => DropReason::Replayed,
            Replayed::TooOld => DropReason::TooOld,
        }
    }
}

/// The way of one batch's frames to the TAP.
struct ToBridge<'p, 'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    tables: &'a Tables,
    joiner: Joiner<'p>,
    tally: &'a mut Counters,
}

impl<'p, 'a> ToBridge<'p, 'a> {
    fn new(
        shared: &'a Shared,
        lane: &'a Lane,
        tables: &'a Tables,
        tally: &'a mut Counters,
    ) -> Self {
        Self { shared, lane, tables, joiner: Joiner::new(shared.offload.tap), tally }
    }

    /// Takes a frame with its virtio-net header: checks it and writes it to the TAP, at the latest with
    /// [`ToBridge::flush`], always in the order of arrival.
    fn pass(&mut self, place: usize, session: &Session, frame: &'p mut [u8]) {
        let Err(frame) = self.joiner.extend(place, frame) else { return };
        self.flush();
        let checked = match check_frame(frame, session, self.tables) {
            Ok(checked) => checked,
            Err(reason) => return self.tally.drops.count(reason),
        };
        let frame = if checked.open {
            match self.joiner.begin(place, frame, checked.destination) {
                Ok(()) => return,
                Err(frame) => frame,
            }
        } else {
            frame
        };
        self.write(frame);
    }

    /// Answers a probe.
    fn reply(
        &mut self,
        session: &Session,
        token: u64,
        send: impl FnOnce(&[u8]) -> Result<(), DropReason>,
    ) {
        let Some(peer) = session.slot.and_then(|slot| self.tables.peer(slot)) else { return };
        let sent = self.shared.sealed_probe(peer, Kind::ProbeReply, token);
        match sent.and_then(|packet| send(&packet)) {
            Ok(()) => self.tally.probes_answered += 1,
            Err(reason) => self.tally.drops.count(reason),
        }
    }

    /// Takes the body of a packet of a neighbour's in which a datagram is, or a piece of one.
    fn unpack(
        &mut self,
        body: &'p mut [u8],
        session: &Session,
        from: SocketAddr,
        relay: &mut Relay,
    ) {
        let neighbour = session.rx.peer;
        let outcome = match self.handle(body, session, relay) {
            Ok(None) => return,
            Ok(Some(Arrived { origin, back, datagram })) => {
                let back = Back::Relay { relay: neighbour, header: back, from };
                // What a neighbour sends to us itself is a packet of any kind that was too long for the path.
                let ours = origin == ShortId::from(&neighbour);
                match datagram {
                    Whole::Here(datagram) => {
                        self.arrived(origin, datagram, &back, ours.then_some(relay))
                    }
                    Whole::Joined => {
                        let mut joined = relay.take_joined();
                        let inside = ours.then_some(&mut *relay);
                        let outcome = self.arrived_apart(origin, &mut joined, &back, inside);
                        relay.keep(joined);
                        outcome
                    }
                }
            }
            Err(reason) => Err(reason),
        };
        outcome.unwrap_or_else(|reason| self.tally.drops.count(reason));
    }

    fn handle<'b>(
        &mut self,
        body: &'b mut [u8],
        session: &Session,
        relay: &mut Relay,
    ) -> Result<Option<Arrived<'b>>, DropReason> {
        relay.handle(body, session, self.tables, self.shared, &self.lane.socket, self.tally)
    }

    /// Takes a datagram that has come to its end.
    fn arrived(
        &mut self,
        origin: ShortId,
        datagram: &'p mut [u8],
        back: &Back,
        inside: Option<&mut Relay>,
    ) -> Result<(), DropReason> {
        match (self.opened(origin, datagram)?, inside) {
            (None, _) => Ok(()),
            (Some(Opened { session, payload: Payload::Relay(body), .. }), Some(relay)) => {
                self.through(body, session, back, relay)
            }
            (Some(Opened { session, place, payload: Payload::Frame(frame) }), _) => {
                self.pass(place, session, frame);
                Ok(())
            }
            (Some(opened), _) => self.answer(opened, back),
        }
    }

    /// The same of one that does not lie in the batch, so that nothing can be joined to a frame in it.
    fn arrived_apart(
        &mut self,
        origin: ShortId,
        datagram: &mut [u8],
        back: &Back,
        inside: Option<&mut Relay>,
    ) -> Result<(), DropReason> {
        match (self.opened(origin, datagram)?, inside) {
            (None, _) => Ok(()),
            (Some(Opened { session, payload: Payload::Relay(body), .. }), Some(relay)) => {
                self.through(body, session, back, relay)
            }
            (Some(Opened { session, payload: Payload::Frame(frame), .. }), _) => {
                // What waits came before it.
                self.flush();
                check_frame(frame, session, self.tables)?;
                self.write(frame);
                Ok(())
            }
            (Some(opened), _) => self.answer(opened, back),
        }
    }

    /// Opens a datagram that has come to its end; `None` for one of a control connection, which is handed on.
    fn opened<'b>(
        &self,
        origin: ShortId,
        datagram: &'b mut [u8],
    ) -> Result<Option<Opened<'b, 'a>>, DropReason> {
        if datagram.first().is_some_and(|first| first & QUIC_BIT != 0) {
            let datagram = datagram.to_vec();
            (self.shared.events)(DataEvent::Datagram { origin, datagram });
            return Ok(None);
        }
        open(datagram, self.tables).map(Some)
    }

    /// Takes the body of a relayed packet that was too long for the path from the neighbour.
    fn through(
        &mut self,
        body: &mut [u8],
        session: &Session,
        outer: &Back,
        relay: &mut Relay,
    ) -> Result<(), DropReason> {
        let arrived = self.handle(body, session, relay)?;
        let Some(Arrived { origin, back: header, datagram }) = arrived else { return Ok(()) };
        let back = match *outer {
            Back::Relay { relay, from, .. } => Back::Relay { relay, header, from },
            Back::Tunnel => Back::Tunnel,
        };
        match datagram {
            Whole::Here(datagram) => self.arrived_apart(origin, datagram, &back, None),
            Whole::Joined => {
                let mut joined = relay.take_joined();
                let outcome = self.arrived_apart(origin, &mut joined, &back, None);
                relay.keep(joined);
                outcome
            }
        }
    }

    /// Answers or reports what is in a packet that came on a way other than the underlay.
    fn answer(&mut self, opened: Opened<'_, '_>, back: &Back) -> Result<(), DropReason> {
        let Opened { session, payload, .. } = opened;
        let (shared, tables) = (self.shared, self.tables);
        let (receiver, peer) = (session.rx.receiver, session.rx.peer);
        match payload {
            Payload::ProbeRequest { token, urgent } => match back {
                Back::Tunnel => {
                    self.reply(session, token, |packet| {
                        shared.send_tunnelled(tables, &peer, packet)
                    });
                    (shared.events)(DataEvent::TunnelAsked { peer, urgent });
                }
                &Back::Relay { relay, header, from } => {
                    self.reply(session, token, |packet| {
                        shared.send_relayed(tables, &relay, header, packet)
                    });
                    (shared.events)(DataEvent::Asked { peer, from, urgent, relayed: true });
                }
            },
            Payload::ProbeReply(token) => {
                self.tally.probes_confirmed += 1;
                match back {
                    Back::Tunnel => (shared.events)(DataEvent::TunnelConfirmed { peer, token }),
                    &Back::Relay { from, .. } => {
                        let relayed = true;
                        (shared.events)(DataEvent::Confirmed {
                            receiver,
                            peer,
                            from,
                            token,
                            relayed,
                        });
                    }
                }
            }
            // Nobody puts a relayed packet into a relayed packet, and only direct paths are asked for their size.
            // Frames are passed on by whoever knows how long they live.
            Payload::Frame(_) | Payload::Relay(_) | Payload::SizeRequest(_) => {
                return Err(DropReason::Malformed);
            }
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) {
        let bytes = frame.len().saturating_sub(VNET_HEADER_LEN) as u64;
        let taken = self.lane.tap.send(frame).is_ok();
        self.count(Written { frames: 1, bytes, taken });
    }

    /// Writes what waits for more to join it.
    fn flush(&mut self) {
        if let Some(written) = self.joiner.flush(|parts| self.lane.tap.send_parts(parts)) {
            self.count(written);
        }
    }

    fn count(&mut self, written: Written) {
        let Written { frames, bytes, taken } = written;
        if taken {
            self.tally.received.packets += frames;
            self.tally.received.bytes += bytes;
        } else {
            self.tally.drops.add(DropReason::TapFailed, frames);
        }
    }
}

/// What checking a frame found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Checked {
    /// Its transport checksum is open.
    pub(super) open: bool,
    /// The destination MAC that it came with.
    pub(super) destination: [u8; 6],
}

/// Checks a frame with its virtio-net header, and corrects its destination MAC where the local one is known.
pub(super) fn check_frame(
    with_header: &mut [u8],
    session: &Session,
    tables: &Tables,
) -> Result<Checked, DropReason> {
    let (header, frame) =
        with_header.split_first_chunk_mut::<VNET_HEADER_LEN>().ok_or(DropReason::Malformed)?;
    let mac = admit(frame, session.slot, tables)?;
    let open = open_checksum(*header, frame)?;
    let place = frame.first_chunk_mut::<6>().ok_or(DropReason::Malformed)?;
    let destination = *place;
    if let Some(mac) = mac {
        *place = mac.octets();
    }
    Ok(Checked { open, destination })
}

#[cfg(test)]
mod tests;
