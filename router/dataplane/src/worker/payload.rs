//! What a sealed packet carries (`docs/protocol/data.md`).

use weft_crypto::{HEADER_LEN, TAG_LEN};
use weft_netio::tap::VNET_HEADER_LEN;

use crate::DropReason;
use crate::offload::Header;

/// Where the plaintext begins: a byte that tells its kind.
const KIND_AT: usize = HEADER_LEN;
/// How much longer a packet is than the plaintext behind its kind.
pub(super) const OVERHEAD: usize = KIND_AT + 1 + TAG_LEN;
/// How much longer a packet is than the frame in it.
pub(super) const FRAME_OVERHEAD: usize = OVERHEAD + VNET_HEADER_LEN;
/// The length of a probe's token.
const TOKEN_LEN: usize = 8;
/// The length of a sealed probe.
pub(super) const PROBE_LEN: usize = OVERHEAD + TOKEN_LEN;

/// The kinds of payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Frame = 0x01,
    ProbeRequest = 0x02,
    ProbeReply = 0x03,
    UrgentRequest = 0x04,
    Relay = 0x05,
    SizeRequest = 0x06,
}

/// A payload, taken apart.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Payload<'a> {
    /// A virtio-net header and the frame behind it.
    Frame(&'a mut [u8]),
    ProbeRequest {
        token: u64,
        urgent: bool,
    },
    ProbeReply(u64),
    /// Asks whether a packet of this length arrives.
    SizeRequest(u64),
    /// A relay header and the datagram behind it.
    Relay(&'a mut [u8]),
}

impl<'a> Payload<'a> {
    /// Reads an opened packet's plaintext.
    pub(super) fn parse(plaintext: &'a mut [u8]) -> Result<Self, DropReason> {
        let (kind, body) = plaintext.split_first_mut().ok_or(DropReason::UnknownKind)?;
        match *kind {
            kind if kind == Kind::Frame as u8 => Ok(Payload::Frame(body)),
            kind if kind == Kind::ProbeRequest as u8 => {
                token(body).map(|token| Payload::ProbeRequest { token, urgent: false })
            }
            kind if kind == Kind::UrgentRequest as u8 => {
                token(body).map(|token| Payload::ProbeRequest { token, urgent: true })
            }
            kind if kind == Kind::Relay as u8 => Ok(Payload::Relay(body)),
            kind if kind == Kind::SizeRequest as u8 => body
                .split_first_chunk()
                .ok_or(DropReason::Malformed)
                .map(|(token, _)| Payload::SizeRequest(u64::from_le_bytes(*token))),
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

/// A packet of `len` bytes, but no less than a probe's, that asks whether it arrives; ready to be sealed.
pub(super) fn size_request(token: u64, len: usize) -> Vec<u8> {
    let mut packet = probe(Kind::SizeRequest, token).to_vec();
    packet.resize(len.max(PROBE_LEN), 0);
    packet
}

/// The parts of a packet that carries a frame, before it is sealed.
pub(super) struct FramePacket<'a> {
    /// The virtio-net header.
    pub(super) header: &'a mut Header,
    /// The frame.
    pub(super) frame: &'a mut [u8],
}

impl<'a> FramePacket<'a> {
    /// Marks `packet` as one that carries a frame, and gives access to the places of its parts. `None` when it is
    /// shorter than [`FRAME_OVERHEAD`].
    pub(super) fn new(packet: &'a mut [u8]) -> Option<Self> {
        let end = packet.len().checked_sub(TAG_LEN)?;
        let (kind, body) = packet.get_mut(KIND_AT..end)?.split_first_mut()?;
        *kind = Kind::Frame as u8;
        let (header, frame) = body.split_first_chunk_mut()?;
        Some(Self { header, frame })
    }
}
