//! The virtio-net header in front of a frame (`struct virtio_net_hdr`, little-endian).

use weft_netio::tap::VNET_HEADER_LEN;

use super::checksum;
use super::layout::{Layout, Transport};
use crate::DropReason;
use crate::frame::part;

/// The checksum is open: it holds the sum of the pseudo-header alone.
const NEEDS_CSUM: u8 = 1;
/// Types of segmentation, and the bit beside them that says that the first segment alone has CWR set.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// A virtio-net header as it goes to the TAP and over the wire.
pub(crate) type Header = [u8; VNET_HEADER_LEN];

/// A virtio-net header, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Vnet {
    flags: u8,
    segmentation: u8,
    header_len: u16,
    segment_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Vnet {
    fn decode(header: Header) -> Self {
        let [flags, segmentation, h0, h1, s0, s1, c0, c1, o0, o1] = header;
        Self {
            flags,
            segmentation,
            header_len: u16::from_le_bytes([h0, h1]),
            segment_size: u16::from_le_bytes([s0, s1]),
            checksum_start: u16::from_le_bytes([c0, c1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    fn encode(self) -> Header {
        let [h0, h1] = self.header_len.to_le_bytes();
        let [s0, s1] = self.segment_size.to_le_bytes();
        let [c0, c1] = self.checksum_start.to_le_bytes();
        let [o0, o1] = self.checksum_offset.to_le_bytes();
        [self.flags, self.segmentation, h0, h1, s0, s1, c0, c1, o0, o1]
    }
}

/// A complete frame.
const COMPLETE: Header = [0; VNET_HEADER_LEN];

/// The header of one segment whose checksum is open.
pub(super) fn open(layout: &Layout) -> Option<Header> {
    Some(
        Vnet {
            flags: NEEDS_CSUM,
            segmentation: GSO_NONE,
            header_len: 0,
            segment_size: 0,
            checksum_start: u16::try_from(layout.l4).ok()?,
            checksum_offset: u16::try_from(layout.transport.checksum_at()).ok()?,
        }
        .encode(),
    )
}

/// The header of a super-frame.
pub(super) fn joined(layout: &Layout, segment_size: usize, congestion: bool) -> Option<Header> {
    let kind = match (layout.transport, layout.v6) {
        (Transport::Tcp, false) => GSO_TCPV4,
        (Transport::Tcp, true) => GSO_TCPV6,
        (Transport::Udp, _) => GSO_UDP,
    };
    Some(
        Vnet {
            segmentation: if congestion { kind | GSO_ECN } else { kind },
            header_len: u16::try_from(layout.payload).ok()?,
            segment_size: u16::try_from(segment_size).ok()?,
            ..Vnet::decode(open(layout)?)
        }
        .encode(),
    )
}

/// What is left to be done to a frame from the TAP before each piece of it can be sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undone {
    /// Nothing: it goes as it is, behind this header.
    Nothing(Header),
    /// Cutting into segments of this size.
    Segments(SegmentSize),
}

impl Undone {
    /// The length of the longest frame that comes of `frame`.
    pub(crate) fn longest(&self, frame: &[u8]) -> usize {
        match self {
            Self::Nothing(_) => frame.len(),
            Self::Segments(size) => frame.len().min(size.layout.payload + size.bytes),
        }
    }

    /// The same with segments for frames of `room` bytes at most, where that is for us to choose: TCP is a stream, but
    /// a datagram has one length.
    pub(crate) fn within(self, room: usize) -> Self {
        match self {
            Self::Segments(size) if size.layout.transport == Transport::Tcp => {
                let bytes = room.saturating_sub(size.layout.payload);
                let bytes = if bytes == 0 { size.bytes } else { size.bytes.min(bytes) };
                Self::Segments(SegmentSize { bytes, ..size })
            }
            Self::Nothing(_) | Self::Segments(_) => self,
        }
    }
}

/// The size of the segments that a super-frame is made of, found to be right for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentSize {
    pub(super) layout: Layout,
    pub(super) bytes: usize,
}

/// Reads what the TAP put in front of `frame`.
///
/// An open checksum that is not that of a plain TCP or UDP packet, such as one within a tunnel of the Pod's own,
/// is computed here, since no receiver would take it.
///
/// # Errors
/// [`DropReason::Offload`] for what was not asked for, or does not fit the frame.
pub(crate) fn undone(header: Header, frame: &mut [u8]) -> Result<Undone, DropReason> {
    let vnet = Vnet::decode(header);
    let open_sum = vnet.flags & NEEDS_CSUM != 0;
    if vnet.segmentation == GSO_NONE {
        // Other flags only say what the kernel found out about a checksum that is in the frame.
        if !open_sum {
            return Ok(Undone::Nothing(COMPLETE));
        }
        let header = Vnet { header_len: 0, segment_size: 0, flags: NEEDS_CSUM, ..vnet }.encode();
        if open_checksum(header, frame).is_ok() {
            return Ok(Undone::Nothing(header));
        }
        finish(&vnet, frame).ok_or(DropReason::Offload)?;
        return Ok(Undone::Nothing(COMPLETE));
    }
    let layout = Layout::parse(frame).filter(|layout| layout.end == frame.len());
    let layout = layout.ok_or(DropReason::Offload)?;
    let kind = match (layout.transport, layout.v6) {
        (Transport::Tcp, false) => GSO_TCPV4,
        (Transport::Tcp, true) => GSO_TCPV6,
        (Transport::Udp, _) => GSO_UDP,
    };
    let fits = open_sum
        && vnet.segmentation & !GSO_ECN == kind
        && vnet.segment_size > 0
        && points_at(&vnet, &layout);
    if !fits {
        return Err(DropReason::Offload);
    }
    Ok(Undone::Segments(SegmentSize { layout, bytes: vnet.segment_size.into() }))
}

/// Checks what a peer put in front of `frame`: it is all zero, or says that the checksum of the TCP or UDP packet
/// in the frame is open. Returns whether it is.
///
/// The kernel acts on this header, and writes a checksum to the place that it names: were that any other, a member
/// could change a frame after it was checked, for instance its source address.
///
/// # Errors
/// [`DropReason::Offload`] for anything else.
pub(crate) fn open_checksum(header: Header, frame: &[u8]) -> Result<bool, DropReason> {
    if header == COMPLETE {
        return Ok(false);
    }
    let vnet = Vnet::decode(header);
    let plain = vnet.flags == NEEDS_CSUM
        && vnet.segmentation == GSO_NONE
        && vnet.header_len == 0
        && vnet.segment_size == 0;
    let right = plain && Layout::parse(frame).is_some_and(|layout| points_at(&vnet, &layout));
    if right { Ok(true) } else { Err(DropReason::Offload) }
}

fn points_at(vnet: &Vnet, layout: &Layout) -> bool {
    usize::from(vnet.checksum_start) == layout.l4
        && usize::from(vnet.checksum_offset) == layout.transport.checksum_at()
}

/// Computes an open checksum, wherever it is.
fn finish(vnet: &Vnet, frame: &mut [u8]) -> Option<()> {
    let start = usize::from(vnet.checksum_start);
    let at = start + usize::from(vnet.checksum_offset);
    part::<2>(frame, at)?;
    let sum = !checksum::sum(frame.get(start..)?, 0);
    // A UDP checksum of zero would mean that there is none; for others both forms of zero are right.
    let sum = if sum == 0 { u16::MAX } else { sum };
    frame.get_mut(at..)?.first_chunk_mut().map(|place| *place = sum.to_be_bytes())
}
