//! Cutting super-frames into the frames that a wire would have seen.

use super::checksum;
use super::checksum::replaced;
use super::layout::{Layout, Transport};
use super::vnet::{Header, SegmentSize, open};
use crate::frame::{ETHERNET_LEN, part};

/// TCP flags that belong to the last segment of a super-frame alone: FIN and PSH.
pub(super) const LAST_ONLY: u8 = 0x09;
/// The TCP flag that belongs to the first segment alone: CWR (RFC 3168).
pub(super) const FIRST_ONLY: u8 = 0x80;

/// The segments of a super-frame, in order. Each is written by [`Segment::write`].
pub(crate) fn split(frame: &[u8], size: SegmentSize) -> impl Iterator<Item = Segment<'_>> {
    let SegmentSize { layout, bytes } = size;
    let (headers, payload) = frame.split_at_checked(layout.payload).unwrap_or_default();
    let count = payload.len().div_ceil(bytes);
    // A super-frame without content is one segment.
    (0..count.max(1)).map(move |index| {
        let offset = index * bytes;
        let slice = payload.get(offset..).unwrap_or_default();
        let slice = slice.get(..bytes).unwrap_or(slice);
        Segment { layout, headers, index, offset, slice, last: index + 1 >= count }
    })
}

/// One segment of a super-frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    layout: Layout,
    /// The headers of the super-frame.
    headers: &'a [u8],
    index: usize,
    /// Where its content begins in that of the super-frame.
    offset: usize,
    slice: &'a [u8],
    last: bool,
}

impl Segment<'_> {
    /// The length of the frame.
    pub(crate) fn len(&self) -> usize {
        self.headers.len() + self.slice.len()
    }

    /// Writes the frame to `out`, which has [`Segment::len`] bytes, and returns the virtio-net header for it.
    /// `None` when the headers are not those of the layout, which [`super::undone`] made sure of.
    pub(crate) fn write(&self, out: &mut [u8]) -> Option<Header> {
        let (headers, content) = out.split_at_mut_checked(self.headers.len())?;
        headers.copy_from_slice(self.headers);
        content.get_mut(..self.slice.len())?.copy_from_slice(self.slice);
        let index = u16::try_from(self.index).ok()?;
        let total = self.layout.end;
        rewrite(headers, &self.layout, total, self.len(), index)?;
        if self.layout.transport == Transport::Tcp {
            let sequence = word32(headers, self.layout.l4 + 4)?;
            let offset = u32::try_from(self.offset).ok()?;
            put(headers, self.layout.l4 + 4, sequence.wrapping_add(offset).to_be_bytes())?;
            let flags = headers.get_mut(self.layout.l4 + 13)?;
            if !self.last {
                *flags &= !LAST_ONLY;
            }
            if self.index > 0 {
                *flags &= !FIRST_ONLY;
            }
        }
        open(&self.layout)
    }
}

/// Changes the headers of a frame of `old` bytes into those of a frame of `new` bytes whose IPv4 identification
/// is higher by `step`: all lengths, and the checksums, of which that of the transport is open.
pub(super) fn rewrite(
    headers: &mut [u8],
    layout: &Layout,
    old: usize,
    new: usize,
    step: u16,
) -> Option<()> {
    let within = |frame_len: usize, start: usize| u16::try_from(frame_len.checked_sub(start)?).ok();
    if layout.v6 {
        let start = ETHERNET_LEN + crate::frame::IPV6_LEN;
        put(headers, ETHERNET_LEN + 4, within(new, start)?.to_be_bytes())?;
    } else {
        put(headers, ETHERNET_LEN + 2, within(new, ETHERNET_LEN)?.to_be_bytes())?;
        let identification = word16(headers, ETHERNET_LEN + 4)?.wrapping_add(step);
        put(headers, ETHERNET_LEN + 4, identification.to_be_bytes())?;
        put(headers, ETHERNET_LEN + 10, [0, 0])?;
        let sum = !checksum::sum(headers.get(ETHERNET_LEN..layout.l4)?, 0);
        put(headers, ETHERNET_LEN + 10, sum.to_be_bytes())?;
    }
    let (old_len, new_len) = (within(old, layout.l4)?, within(new, layout.l4)?);
    if layout.transport == Transport::Udp {
        put(headers, layout.l4 + 4, new_len.to_be_bytes())?;
    }
    let sum = word16(headers, layout.checksum())?;
    put(headers, layout.checksum(), replaced(sum, old_len, new_len).to_be_bytes())
}

pub(super) fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    part(bytes, at).map(u16::from_be_bytes)
}

pub(super) fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    part(bytes, at).map(u32::from_be_bytes)
}

pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    bytes.get_mut(at..)?.first_chunk_mut().map(|place| *place = value)
}
