//! The workers' checks, without devices, for [`crate::fuzzing`].

use std::net::SocketAddr;

use super::ingress::{check_frame, open};
use super::payload::Payload;
use super::windows::Windows;
use crate::Tables;
use crate::relay::RelayHeader;
use crate::tables::Session;

/// Whether a packet from anywhere is opened.
pub(crate) fn open_packet(packet: &mut [u8], tables: &Tables) -> bool {
    let mut windows = Windows::default();
    windows.follow(tables);
    open(packet, Some(SocketAddr::from(([192, 0, 2, 1], 6783))), tables, &mut windows).is_ok()
}

/// The frame, behind its virtio-net header, that an unsealed payload carries.
pub(crate) fn parse_payload(plaintext: &mut [u8]) -> Option<&mut [u8]> {
    match Payload::parse(plaintext) {
        Ok(Payload::Frame(frame)) => Some(frame),
        Ok(Payload::Relay(body)) => {
            RelayHeader::parse(body);
            None
        }
        _ => None,
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
