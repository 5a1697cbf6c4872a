//! From the TAP to the peers.

use std::io;
use std::sync::Arc;

use weft_crypto::{SealError, TAG_LEN};
use weft_netio::batch::SendBatch;
use weft_netio::tap::VNET_HEADER_LEN;
use weft_netio::udp::MESSAGE_TOO_LONG;
use weft_netio::wait::readable_or_raised;

use super::payload::{self, FRAME_AT};
use super::{BUFFER_LEN, MAX_FRAME, Shared};
use crate::{Action, Counters, DropReason, PeerPath, Tables, classify};

/// The sending worker.
pub(super) struct Egress {
    shared: Arc<Shared>,
    batch: SendBatch,
    batch_len: usize,
    /// The frame that is being flooded; touched by floods only.
    flooded: Vec<u8>,
    tally: Counters,
}

impl Egress {
    pub(super) fn new(shared: Arc<Shared>, batch_len: usize) -> Self {
        let batch = SendBatch::new(batch_len, BUFFER_LEN, shared.local);
        Self { batch, batch_len, flooded: vec![0; MAX_FRAME], tally: Counters::default(), shared }
    }

    /// Works until shutdown or until the TAP fails.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.shared.failed("egress", error),
            }
        }
    }

    /// Sleeps until frames come, then moves all of them. Returns whether to go on.
    fn turn(&mut self) -> io::Result<bool> {
        if readable_or_raised(&self.shared.tap, &self.shared.waker)?.raised {
            return Ok(false);
        }
        let mut more = true;
        while more && !self.shared.stopping() {
            let filled = self.fill();
            self.flush();
            self.shared.counters.absorb(&mut self.tally);
            more = filled?;
        }
        Ok(true)
    }

    /// Takes frames from the TAP until there are none or a batch's worth was taken. Returns whether there may
    /// be more.
    fn fill(&mut self) -> io::Result<bool> {
        let shared = Arc::clone(&self.shared);
        let tables = shared.tables.load();
        for _ in 0..self.batch_len {
            let Some(buffer) = self.batch.next_buffer() else { return Ok(true) };
            let end = buffer.len().saturating_sub(TAG_LEN);
            let Some(room) = buffer.get_mut(FRAME_AT..end) else { return Ok(false) };
            let len = match shared.tap.recv(room) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let action = match room.get(VNET_HEADER_LEN..len) {
                Some(frame) => classify(frame, &tables),
                None => Action::Drop(DropReason::Malformed),
            };
            match action {
                Action::Send(slot) => match tables.peer(slot) {
                    Some(peer) => self.seal(peer, len),
                    None => self.tally.drops.count(DropReason::Unreachable),
                },
                Action::Flood => self.flood(&tables, len),
                Action::AnswerArp(request) => {
                    let answered = self.answer(&request.answer());
                    self.tally.arp_answered += answered;
                }
                Action::AnswerNeighbour(solicitation) => {
                    let answered = self.answer(&solicitation.answer());
                    self.tally.nd_answered += answered;
                }
                Action::Drop(reason) => self.tally.drops.count(reason),
            }
        }
        Ok(true)
    }

    /// Seals the frame of `len` bytes, with its header, in the batch's next buffer.
    fn seal(&mut self, peer: &PeerPath, len: usize) {
        let packet_len = payload::OVERHEAD + len;
        let packet = self.batch.next_buffer().and_then(|buffer| buffer.get_mut(..packet_len));
        let Some(packet) = packet else { return self.tally.drops.count(DropReason::Malformed) };
        payload::mark_frame(packet);
        if let Err(error) = peer.sealer.seal(packet) {
            return self.tally.drops.count(unsealed(error));
        }
        self.batch.push(packet_len, peer.path);
        self.tally.sent.packets += 1;
        self.tally.sent.bytes += len.saturating_sub(VNET_HEADER_LEN) as u64;
    }

    /// Seals a copy of the frame in the batch's next buffer for every peer.
    fn flood(&mut self, tables: &Tables, len: usize) {
        self.tally.flooded += 1;
        let frame =
            self.batch.next_buffer().and_then(|buffer| buffer.get(FRAME_AT..FRAME_AT + len));
        let (Some(frame), Some(copy)) = (frame, self.flooded.get_mut(..len)) else { return };
        copy.copy_from_slice(frame);
        for peer in tables.peers() {
            if self.batch.next_buffer().is_none() {
                self.flush();
            }
            let buffer = self.batch.next_buffer();
            let room = buffer.and_then(|buffer| buffer.get_mut(FRAME_AT..FRAME_AT + len));
            if let (Some(room), Some(frame)) = (room, self.flooded.get(..len)) {
                room.copy_from_slice(frame);
                self.seal(peer, len);
            }
        }
    }

    /// Writes a frame of our own to the TAP. Returns how many were taken: 0 or 1.
    fn answer<const N: usize>(&mut self, frame: &[u8; N]) -> u64 {
        // Room for the longest answer; const generics cannot add.
        let mut buffer = [0; VNET_HEADER_LEN + 128];
        let Some(with_header) = buffer.get_mut(..VNET_HEADER_LEN + N) else { return 0 };
        if let Some(room) = with_header.get_mut(VNET_HEADER_LEN..) {
            room.copy_from_slice(frame);
        }
        match self.shared.tap.send(with_header) {
            Ok(_) => 1,
            Err(_) => {
                self.tally.drops.count(DropReason::TapFailed);
                0
            }
        }
    }

    fn flush(&mut self) {
        let drops = &mut self.tally.drops;
        self.batch.send(&self.shared.socket, |error| drops.count(reason(&error)));
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
