//! Joining segments of one flow into a super-frame, as a network card does.

use std::io::{self, IoSlice};

use weft_netio::tap::{TapOffload, VNET_HEADER_LEN};

use super::checksum::{replaced, same};
use super::layout::{Layout, Transport, header_sum_right};
use super::split::{FIRST_ONLY, LAST_ONLY, rewrite, word16, word32};
use super::vnet::joined;
use crate::frame::ETHERNET_LEN;

/// The most segments of a super-frame; as many as go out in one message.
const MAX_SEGMENTS: usize = 64;
/// The longest super-frame: an IP packet can be 65,535 bytes.
const MAX_LEN: usize = ETHERNET_LEN + 65_535;
/// The TCP flags with which segments may be joined: FIN, PSH, ACK, ECE and CWR.
const JOINABLE: u8 = 0xd9;

/// At most one super-frame in the making, out of successive frames of one batch.
///
/// Frames are joined only where cutting the super-frame again yields them byte by byte, so their headers must
/// follow from each other, and their checksums must be open: a checksum that is in a frame may be wrong, and has
/// to stay so. Nothing is held beyond the batch, so that a gap, a repetition or another order costs no more than on
/// a wire.
pub(crate) struct Joiner<'p> {
    tcp: bool,
    udp: bool,
    pending: Option<Pending<'p>>,
    /// The contents of the segments so far.
    slices: [&'p [u8]; MAX_SEGMENTS],
}

/// The super-frame in the making.
struct Pending<'p> {
    /// The virtio-net header and the headers of the first segment; of the others, their FIN and PSH are added.
    head: &'p mut [u8],
    layout: Layout,
    /// Whose session the segments came in.
    session: usize,
    /// The destination MAC that the first segment came with; the one in `head` may be corrected.
    destination: [u8; 6],
    /// Segments so far.
    count: usize,
    /// The length of the content of each segment but the last.
    each: usize,
    /// The length of the super-frame, without virtio-net header.
    len: usize,
    /// Whether nothing more can follow.
    closed: bool,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// How many of the frames that came.
    pub(crate) frames: u64,
    /// Their bytes, without virtio-net headers.
    pub(crate) bytes: u64,
    /// Whether the TAP took them.
    pub(crate) taken: bool,
}

impl<'p> Joiner<'p> {
    /// Joins what a TAP with this offload takes.
    pub(crate) fn new(offload: TapOffload) -> Self {
        let TapOffload { tcp, udp, .. } = offload;
        Self { tcp, udp, pending: None, slices: [&[]; MAX_SEGMENTS] }
    }

    /// Takes a frame, with its virtio-net header, that continues the one before. It needs no check of its own then,
    /// for nothing that any check looks at is different.
    ///
    /// # Errors
    /// Gives back a frame that does not continue it.
    pub(crate) fn extend(
        &mut self,
        session: usize,
        packet: &'p mut [u8],
    ) -> Result<(), &'p mut [u8]> {
        let Some(pending) = &mut self.pending else { return Err(packet) };
        let Some(flags) = pending.continued_by(session, packet) else { return Err(packet) };
        let Some(slot) = self.slices.get_mut(pending.count) else { return Err(packet) };
        let Some(slice) = packet.get(pending.head.len()..) else { return Err(packet) };
        if let (true, Some(own)) = (flags != 0, pending.flags_mut()) {
            *own |= flags;
        }
        pending.closed = flags != 0 || slice.len() < pending.each;
        pending.len += slice.len();
        pending.count += 1;
        *slot = packet.get(pending.head.len()..).unwrap_or_default();
        Ok(())
    }

    /// Begins with a checked frame, with its virtio-net header, whose checksum is open, and which came with this
    /// destination MAC. What was pending must have been written.
    ///
    /// # Errors
    /// Gives back a frame that nothing can be joined to.
    pub(crate) fn begin(
        &mut self,
        session: usize,
        packet: &'p mut [u8],
        destination: [u8; 6],
    ) -> Result<(), &'p mut [u8]> {
        let Some((layout, each)) = self.joinable(packet) else { return Err(packet) };
        let len = packet.len().saturating_sub(VNET_HEADER_LEN);
        let (head, content) = packet.split_at_mut(VNET_HEADER_LEN + layout.payload);
        if let Some(slot) = self.slices.first_mut() {
            *slot = content;
        }
        self.pending = Some(Pending {
            head,
            layout,
            session,
            destination,
            count: 1,
            each,
            len,
            closed: false,
        });
        Ok(())
    }

    /// The layout of a frame to which others can be joined, and the length of its content.
    fn joinable(&self, packet: &[u8]) -> Option<(Layout, usize)> {
        let frame = packet.get(VNET_HEADER_LEN..)?;
        let layout = Layout::parse(frame)?;
        let each = layout.end.checked_sub(layout.payload).filter(|each| *each > 0)?;
        let kind = match layout.transport {
            Transport::Tcp => {
                let flags = *frame.get(layout.l4 + 13)?;
                self.tcp && flags & !JOINABLE == 0 && flags & LAST_ONLY == 0
            }
            Transport::Udp => self.udp,
        };
        (kind && layout.is_regular(frame)).then_some((layout, each))
    }

    /// Hands what is pending to `write`, if anything is.
    pub(crate) fn flush(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Option<Written> {
        let mut pending = self.pending.take()?;
        // Cannot fail: `head` has the layout, and all lengths were checked when segments were taken.
        let ready = pending.finish();
        let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS + 1];
        let content = self.slices.get(..pending.count).unwrap_or_default();
        let slices = std::iter::once(&*pending.head).chain(content.iter().copied());
        for (part, slice) in parts.iter_mut().zip(slices) {
            *part = IoSlice::new(slice);
        }
        let parts = parts.get(..=pending.count).unwrap_or_default();
        let taken = ready.is_some() && write(parts).is_ok();
        let repeated = (pending.count - 1) * pending.layout.payload;
        let bytes = (pending.len + repeated) as u64;
        Some(Written { frames: pending.count as u64, bytes, taken })
    }
}

impl Pending<'_> {
    /// Whether the frame behind the virtio-net header in `packet` continues this one, and if so with which of the
    /// flags that only a last segment has.
    fn continued_by(&self, session: usize, packet: &[u8]) -> Option<u8> {
        let Layout { v6, transport, l4, payload, .. } = self.layout;
        let (vnet, frame) = packet.split_at_checked(VNET_HEADER_LEN)?;
        let (own_vnet, own) = self.head.split_at_checked(VNET_HEADER_LEN)?;
        let content = frame.len().checked_sub(payload)?;
        let fits = !self.closed
            && self.session == session
            && (1..=self.each).contains(&content)
            && self.len + content <= MAX_LEN;
        let equal = |from: usize, to: usize| own.get(from..to) == frame.get(from..to);
        // From the commonest difference, another flow, to what hardly ever differs.
        if !fits || !equal(l4, l4 + 4) || vnet != own_vnet {
            return None;
        }
        let ip_len =
            |start: usize| frame.len().checked_sub(start).and_then(|len| u16::try_from(len).ok());
        let network = frame.first_chunk::<6>() == Some(&self.destination)
            && equal(6, ETHERNET_LEN)
            && if v6 {
                let start = ETHERNET_LEN + crate::frame::IPV6_LEN;
                equal(14, 18) && word16(frame, 18) == ip_len(start) && equal(20, l4)
            } else {
                equal(14, 16)
                    && word16(frame, 16) == ip_len(ETHERNET_LEN)
                    && self.identified_by(word16(frame, 18)?, own)
                    && equal(20, 24)
                    && equal(26, l4)
                    && header_sum_right(frame, l4)
            };
        if !network {
            return None;
        }
        let l4_len = ip_len(l4)?;
        let first_len = u16::try_from(payload + self.each - l4).ok()?;
        let sum = replaced(word16(own, self.layout.checksum())?, first_len, l4_len);
        if !same(word16(frame, self.layout.checksum())?, sum) {
            return None;
        }
        match transport {
            Transport::Udp => (word16(frame, l4 + 4)? == l4_len).then_some(0),
            Transport::Tcp => {
                let done = u32::try_from(self.len - payload).ok()?;
                let sequence = word32(own, l4 + 4)?.wrapping_add(done);
                let (own_flags, flags) = (*own.get(l4 + 13)?, *frame.get(l4 + 13)?);
                let continues = word32(frame, l4 + 4)? == sequence
                    && equal(l4 + 8, l4 + 13)
                    && flags & !LAST_ONLY == own_flags & !FIRST_ONLY
                    && equal(l4 + 14, l4 + 16)
                    && equal(l4 + 18, payload);
                continues.then_some(flags & LAST_ONLY)
            }
        }
    }

    /// Whether a segment with this IPv4 identification can be the next: they count up, or are all the same where
    /// nobody may fragment, so that they mean nothing (RFC 6864).
    fn identified_by(&self, identification: u16, own: &[u8]) -> bool {
        let Some(first) = word16(own, 18) else { return false };
        let steps = identification.wrapping_sub(first);
        let unfragmented = own.get(20).is_some_and(|byte| byte & 0x40 != 0);
        usize::from(steps) == self.count || (unfragmented && steps == 0)
    }

    fn flags_mut(&mut self) -> Option<&mut u8> {
        match self.layout.transport {
            Transport::Tcp => self.head.get_mut(VNET_HEADER_LEN + self.layout.l4 + 13),
            Transport::Udp => None,
        }
    }

    /// Makes the headers those of the super-frame, if it has more than one segment.
    fn finish(&mut self) -> Option<()> {
        if self.count == 1 {
            return Some(());
        }
        let congestion = self.flags_mut().is_some_and(|flags| *flags & FIRST_ONLY != 0);
        let (vnet, headers) = self.head.split_first_chunk_mut::<VNET_HEADER_LEN>()?;
        *vnet = joined(&self.layout, self.each, congestion)?;
        rewrite(headers, &self.layout, self.layout.payload + self.each, self.len, 0)
    }
}

#[cfg(test)]
mod tests;
