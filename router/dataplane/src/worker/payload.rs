//! What a sealed packet carries (`docs/protocol/data.md`).

use weft_crypto::{HEADER_LEN, TAG_LEN};
use weft_netio::tap::VNET_HEADER_LEN;

use crate::DropReason;

/// Where the plaintext begins: a byte that tells its kind.
const KIND_AT: usize = HEADER_LEN;
/// Where the virtio-net header of a frame begins.
pub(super) const FRAME_AT: usize = KIND_AT + 1;
/// How much longer a packet is than the frame in it with its virtio-net header.
pub(super) const OVERHEAD: usize = FRAME_AT + TAG_LEN;
/// The length of a probe's token.
const TOKEN_LEN: usize = 8;
/// The length of a sealed probe.
const PROBE_LEN: usize = FRAME_AT + TOKEN_LEN + TAG_LEN;

/// The kinds of payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Frame = 0x01,
    ProbeRequest = 0x02,
    ProbeReply = 0x03,
}

/// A payload, taken apart.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Payload<'a> {
    /// A virtio-net header and the frame behind it.
    Frame(&'a mut [u8]),
    ProbeRequest(u64),
    ProbeReply(u64),
}

impl<'a> Payload<'a> {
    /// Reads an opened packet's plaintext.
    pub(super) fn parse(plaintext: &'a mut [u8]) -> Result<Self, DropReason> {
        let (kind, body) = plaintext.split_first_mut().ok_or(DropReason::UnknownKind)?;
        match *kind {
            kind if kind == Kind::Frame as u8 => Ok(Payload::Frame(body)),
            kind if kind == Kind::ProbeRequest as u8 => token(body).map(Payload::ProbeRequest),
            kind if kind == Kind::ProbeReply as u8 => token(body).map(Payload::ProbeReply),
            _ => Err(DropReason::UnknownKind),
        }
    }
}

fn token(body: &[u8]) -> Result<u64, DropReason> {
    body.try_into().map(u64::from_le_bytes).map_err(|_| DropReason::Malformed)
}

/// A probe, ready to be sealed.
pub(super) fn probe(kind: Kind, token: u64) -> [u8; PROBE_LEN] {
    let mut packet = [0; PROBE_LEN];
    let plaintext = std::iter::once(kind as u8).chain(token.to_le_bytes());
    for (place, byte) in packet.iter_mut().skip(KIND_AT).zip(plaintext) {
        *place = byte;
    }
    packet
}

/// Marks a packet as one that carries a frame.
pub(super) fn mark_frame(packet: &mut [u8]) {
    if let Some(kind) = packet.get_mut(KIND_AT) {
        *kind = Kind::Frame as u8;
    }
}

/// Splits a virtio-net header that this version understands from the frame behind it.
///
/// Neither segmentation nor an open checksum is part of this version, and the kernel would act on what a
/// header says, so a header must be all zero.
pub(super) fn plain_frame(with_header: &mut [u8]) -> Result<&mut [u8], DropReason> {
    let (header, frame) =
        with_header.split_first_chunk_mut::<VNET_HEADER_LEN>().ok_or(DropReason::Malformed)?;
    if *header == [0; VNET_HEADER_LEN] { Ok(frame) } else { Err(DropReason::Offload) }
}
