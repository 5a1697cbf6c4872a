//! From the peers to the TAP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_crypto::{Header, Replayed};
use weft_netio::batch::RecvBatch;
use weft_netio::tap::VNET_HEADER_LEN;
use weft_netio::wait::readable_or_raised;

use super::payload::{Kind, Payload, plain_frame};
use super::windows::Windows;
use super::{BUFFER_LEN, DataEvent, Shared};
use crate::classify::admit;
use crate::tables::Session;
use crate::{Counters, DropReason, Tables};

/// How many receive errors in a row mean that the socket is lost. A single one may be a leftover of an
/// earlier send, or a moment without memory; a plain choice.
const MAX_ERRORS: usize = 16;

/// The receiving worker.
pub(super) struct Ingress {
    shared: Arc<Shared>,
    batch: RecvBatch,
    batch_len: usize,
    windows: Windows,
    /// Receive errors since the last success.
    errors: usize,
    tally: Counters,
}

impl Ingress {
    pub(super) fn new(shared: Arc<Shared>, batch_len: usize) -> Self {
        let batch = RecvBatch::new(batch_len, BUFFER_LEN);
        let windows = Windows::default();
        Self { shared, batch, batch_len, windows, errors: 0, tally: Counters::default() }
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
        if readable_or_raised(&self.shared.socket, &self.shared.waker)?.raised {
            return Ok(false);
        }
        while !self.shared.stopping() {
            let received = match self.batch.recv(&self.shared.socket) {
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
            self.deliver();
            self.shared.counters.absorb(&mut self.tally);
            if received < self.batch_len {
                break;
            }
        }
        Ok(true)
    }

    /// Opens, checks and passes on what was received.
    fn deliver(&mut self) {
        let shared = &*self.shared;
        let tables = shared.tables.load();
        self.windows.follow(&tables);
        for (from, packet) in self.batch.datagrams() {
            let outcome = match packet {
                Some(packet) => open(packet, from, &tables, &mut self.windows),
                None => Err(DropReason::Oversized),
            };
            let Opened { session, payload, moved } = match outcome {
                Ok(opened) => opened,
                Err(reason) => {
                    self.tally.drops.count(reason);
                    continue;
                }
            };
            let (receiver, peer) = (session.rx.receiver, session.rx.peer);
            if moved {
                (shared.events)(DataEvent::Heard { receiver, peer, from });
            }
            match payload {
                Payload::Frame(frame) => match to_bridge(frame, session, &tables, shared) {
                    Ok(bytes) => {
                        self.tally.received.packets += 1;
                        self.tally.received.bytes += bytes;
                    }
                    Err(reason) => self.tally.drops.count(reason),
                },
                Payload::ProbeRequest(token) => {
                    if let Some(path) = session.slot.and_then(|slot| tables.peer(slot)) {
                        let tally = &mut self.tally;
                        let sent = shared.send_probe(path, from, Kind::ProbeReply, token, tally);
                        self.tally.probes_answered += u64::from(sent);
                    }
                }
                Payload::ProbeReply(token) => {
                    self.tally.probes_confirmed += 1;
                    (shared.events)(DataEvent::Confirmed { receiver, peer, from, token });
                }
            }
        }
    }
}

/// An authentic packet that was not received before.
pub(super) struct Opened<'p, 't> {
    session: &'t Session,
    payload: Payload<'p>,
    /// Whether the session's packet before came from elsewhere, or this is its first.
    moved: bool,
}

/// Opens a packet and takes it into its session's replay window. No byte of it is believed before its seal is
/// verified, and what fails leaves the window as it was.
pub(super) fn open<'p, 't>(
    packet: &'p mut [u8],
    from: SocketAddr,
    tables: &'t Tables,
    windows: &mut Windows,
) -> Result<Opened<'p, 't>, DropReason> {
    let header = Header::parse(packet).map_err(|_| DropReason::BadHeader)?;
    let (place, session) = tables.session(header.receiver).ok_or(DropReason::UnknownSession)?;
    let window = windows.at(place).ok_or(DropReason::UnknownSession)?;
    // A replay is recognised before the work of opening it.
    window.replay.check(header.counter)?;
    let (counter, plaintext) = session.rx.opener.open(packet).map_err(|_| DropReason::Forged)?;
    window.replay.accept(counter)?;
    let payload = Payload::parse(plaintext)?;
    let moved = window.heard_from.replace(from) != Some(from);
    Ok(Opened { session, payload, moved })
}

impl From<Replayed> for DropReason {
    fn from(replayed: Replayed) -> Self {
        match replayed {
            Replayed::Duplicate => DropReason::Replayed,
            Replayed::TooOld => DropReason::TooOld,
        }
    }
}

/// Checks a frame and writes it to the TAP. Returns its length without the virtio-net header.
fn to_bridge(
    with_header: &mut [u8],
    session: &Session,
    tables: &Tables,
    shared: &Shared,
) -> Result<u64, DropReason> {
    check_frame(with_header, session, tables)?;
    shared.tap.send(with_header).map_err(|_| DropReason::TapFailed)?;
    Ok(with_header.len().saturating_sub(VNET_HEADER_LEN) as u64)
}

/// Checks a frame and corrects its destination MAC where the local one is known.
fn check_frame(
    with_header: &mut [u8],
    session: &Session,
    tables: &Tables,
) -> Result<(), DropReason> {
    let frame = plain_frame(with_header)?;
    if let (Some(mac), Some(destination)) =
        (admit(frame, session.slot, tables)?, frame.first_chunk_mut::<6>())
    {
        *destination = mac.octets();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
