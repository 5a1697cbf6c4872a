//! From packets to the TAP: what is in them, and in the packets in those.

use std::net::SocketAddr;

use weft_crypto::PeerName;
use weft_netio::tap::VNET_HEADER_LEN;

use super::{Opened, open};
use crate::classify::admit;
use crate::offload::{Joiner, Written, open_checksum};
use crate::relay::{RelayHeader, ShortId};
use crate::tables::Session;
use crate::worker::payload::{Kind, Payload};
use crate::worker::relay::{Arrived, Relay, Whole};
use crate::worker::{DataEvent, Lane, Shared};
use crate::{Counters, DropReason, Tables};

/// Set in the first byte of every QUIC packet (RFC 9000 section 17).
const QUIC_BIT: u8 = 0x40;

/// How the answer to what came on a way other than the underlay goes back.
pub(super) enum Back {
    /// Inside the control connection.
    Tunnel,
    /// Through other nodes, the first of which is `relay`, which sent what came from `from`.
    Relay { relay: PeerName, header: RelayHeader, from: SocketAddr },
}

/// The way of one batch's frames to the TAP.
pub(super) struct ToBridge<'p, 'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    tables: &'a Tables,
    joiner: Joiner<'p>,
    pub(super) tally: &'a mut Counters,
}

impl<'p, 'a> ToBridge<'p, 'a> {
    pub(super) fn new(
        shared: &'a Shared,
        lane: &'a Lane,
        tables: &'a Tables,
        tally: &'a mut Counters,
    ) -> Self {
        Self { shared, lane, tables, joiner: Joiner::new(shared.offload.tap), tally }
    }

    /// Takes a frame with its virtio-net header: checks it and writes it to the TAP, at the latest with
    /// [`ToBridge::flush`], always in the order of arrival.
    pub(super) fn pass(&mut self, place: usize, session: &Session, frame: &'p mut [u8]) {
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
    pub(super) fn reply(
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
    pub(super) fn unpack(
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
    pub(super) fn answer(&mut self, opened: Opened<'_, '_>, back: &Back) -> Result<(), DropReason> {
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
    pub(super) fn flush(&mut self) {
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
pub(in crate::worker) struct Checked {
    /// Its transport checksum is open.
    pub(in crate::worker) open: bool,
    /// The destination MAC that it came with.
    pub(in crate::worker) destination: [u8; 6],
}

/// Checks a frame with its virtio-net header, and corrects its destination MAC where the local one is known.
pub(in crate::worker) fn check_frame(
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
