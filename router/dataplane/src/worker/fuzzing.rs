//! The workers' checks, without devices, for [`crate::fuzzing`].

use std::time::Duration;

use super::ingress::{check_frame, open};
use super::payload::Payload;
use super::relay::Pieces;
use crate::Tables;
use crate::relay::RelayHeader;
use crate::tables::Session;

/// Whether a packet from anywhere is opened.
pub(crate) fn open_packet(packet: &mut [u8], tables: &Tables) -> bool {
    open(packet, tables).is_ok()
}

/// Pieces of datagrams, as the receiving worker keeps them.
#[derive(Default)]
pub(crate) struct Joining(Pieces);

impl Joining {
    /// The frame, behind its virtio-net header, that an unsealed payload carries. A piece of a datagram is joined with
    /// those before it, one second after each other.
    pub(crate) fn parse<'a>(
        &mut self,
        plaintext: &'a mut [u8],
        number: u64,
    ) -> Option<&'a mut [u8]> {
        match Payload::parse(plaintext) {
            Ok(Payload::Frame(frame)) => Some(frame),
            Ok(Payload::Relay(body)) => {
                if let Some((header, piece)) = RelayHeader::parse(body) {
                    let now = Duration::from_secs(number);
                    let whole = self.0.join(&header, piece, now);
                    assert!(!whole || self.0.joined.len() >= piece.len(), "a piece was lost");
                }
                None
            }
            _ => None,
        }
    }
}

/// Whether a frame's checksum is open, and the destination that it came with; `None` where it is dropped.
pub(crate) fn check(
    frame: &mut [u8],
    session: &Session,
    tables: &Tables,
) -> Option<(bool, [u8; 6])> {
    check_frame(frame, session, tables).ok().map(|checked| (checked.open, checked.destination))
}
