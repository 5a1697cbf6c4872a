//! From the peers to the TAP.

mod bridge;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weft_crypto::{Header, Replayed};
use weft_netio::batch::RecvBatch;
use weft_netio::wait::{readable_or_raised, readable_rung_or_raised};

use super::heard::Listener;
use super::pace::Pace;
use super::payload::Payload;
use super::placement::Placement;
use super::relay::Relay;
use super::urgency::Urgency;
use super::{BUFFER_LEN, DataEvent, Lane, Shared};
use crate::tables::Session;
use crate::{Counters, DropReason, Tables, Traffic};
pub(super) use bridge::check_frame;
use bridge::{Back, ToBridge};

/// How many receive errors in a row mean that the socket is lost. A single one may be a leftover of an
/// earlier send, or a moment without memory; a plain choice.
const MAX_ERRORS: usize = 16;

/// The most messages taken with one system call. Each may be a train of many datagrams, and all of them should
/// stay in a core's cache.
const MAX_MESSAGES: usize = 16;

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
            let arrived = self.deliver();
            self.pace.moved(arrived);
            self.shared.counters.absorb(&mut self.tally);
            self.urgency.worked();
            if received < self.batch_len {
                break;
            }
        }
        self.pace.rest();
        Ok(true)
    }

    /// Opens, checks and passes on what was received, and returns how much that was, whatever became of it.
    fn deliver(&mut self) -> Traffic {
        let (shared, lane) = (&*self.shared, &*self.lane);
        let tables = shared.tables.load();
        self.listener.follow(&tables);
        let mut bridge = ToBridge::new(shared, lane, &tables, &mut self.tally);
        let mut arrived = Traffic::default();
        for (from, packet) in self.batch.datagrams() {
            arrived.packets += 1;
            arrived.bytes += packet.as_ref().map_or(0, |packet| packet.len() as u64);
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
        arrived
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

#[cfg(test)]
mod tests;
