//! Receiving.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::name::{NAME_LEN, Name, decode, socklen};
use super::{CONTROL_HEADER, Control, EMPTY_CONTROL, EMPTY_IOVEC, EMPTY_MESSAGE, MAX_BATCH};

/// Received datagrams with their senders.
///
/// Where the socket joins datagrams ([`crate::udp::UdpOffload::join`]) a buffer takes a whole train of equally
/// long ones (the last may be shorter).
#[derive(Debug)]
pub struct RecvBatch {
    bytes: Vec<u8>,
    buffer_len: usize,
    names: [Name; MAX_BATCH],
    messages: [Received; MAX_BATCH],
    len: usize,
}

/// What came in one buffer.
#[derive(Clone, Copy, Debug)]
struct Received {
    /// Bytes; `None` when there were more than the buffer takes.
    len: Option<usize>,
    /// The length of each datagram but the last.
    each: usize,
}

impl RecvBatch {
    /// Makes room for `capacity` messages (at least 1, at most [`MAX_BATCH`]) of `buffer_len` bytes each.
    pub fn new(capacity: usize, buffer_len: usize) -> Self {
        let (capacity, buffer_len) = (capacity.clamp(1, MAX_BATCH), buffer_len.max(1));
        Self {
            bytes: vec![0; capacity * buffer_len],
            buffer_len,
            names: [[0; NAME_LEN]; MAX_BATCH],
            messages: [Received { len: None, each: 1 }; MAX_BATCH],
            len: 0,
        }
    }

    /// Replaces the content by what waits at `socket`, and returns how many messages (datagrams or trains of
    /// them) that were.
    ///
    /// Never blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing waits. The batch is empty after any error.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.len = 0;
        let mut iovecs = [EMPTY_IOVEC; MAX_BATCH];
        let mut messages = [EMPTY_MESSAGE; MAX_BATCH];
        let mut controls = [EMPTY_CONTROL; MAX_BATCH];
        let buffers = self.bytes.chunks_exact_mut(self.buffer_len);
        let parts = buffers.zip(&mut self.names).zip(&mut iovecs).zip(&mut controls);
        let mut count = 0;
        for ((((buffer, name), iovec), control), message) in parts.zip(&mut messages) {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            message.msg_hdr.msg_name = name.as_mut_ptr().cast();
            message.msg_hdr.msg_namelen = socklen(NAME_LEN);
            message.msg_hdr.msg_iov = iovec;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of::<Control>();
            count += 1;
        }
        // SAFETY: the first `count` messages point to one `iovec`, one name and one control buffer each, all
        // of which, and the buffers behind them, are exclusively borrowed and outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let parts = self.messages.iter_mut().zip(&messages).zip(&controls);
        for ((slot, message), control) in parts.take(received) {
            let len = message.msg_len as usize;
            let cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let joined = joined_len(control, message.msg_hdr.msg_controllen);
            *slot = Received { len: (!cut).then_some(len), each: joined.unwrap_or(len).max(1) };
        }
        self.len = received;
        Ok(received)
    }

    /// The datagrams of the last [`RecvBatch::recv`], each with its sender (an IPv4 address is never mapped
    /// into IPv6). Once without content for a message that was longer than its buffer.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, Option<&mut [u8]>)> {
        let buffers = self.bytes.chunks_exact_mut(self.buffer_len);
        let parts = buffers.zip(&self.messages).zip(&self.names).take(self.len);
        parts.flat_map(|((buffer, received), name)| {
            let from = decode(name);
            let train = received.len.and_then(|len| buffer.get_mut(..len));
            // An empty datagram is one datagram, yet no chunk.
            let single = train.as_ref().is_none_or(|train| train.is_empty());
            let cut_or_empty = single.then(|| train.is_some().then_some(Default::default()));
            let datagrams = train.unwrap_or_default().chunks_mut(received.each).map(Some);
            cut_or_empty.into_iter().chain(datagrams).map(move |datagram| (from, datagram))
        })
    }
}

/// The length of the datagrams that the kernel joined, from the control message `UDP_GRO`; `None` for a single
/// one. Nothing else is asked for on these sockets, so that only the first control message is looked at.
fn joined_len(control: &Control, len: usize) -> Option<usize> {
    let [_, level_and_type, value] = control.map(u64::to_ne_bytes);
    let (level, kind) = level_and_type.split_at(4);
    let named = level == libc::SOL_UDP.to_ne_bytes() && kind == libc::UDP_GRO.to_ne_bytes();
    if len < CONTROL_HEADER + 4 || !named {
        return None;
    }
    let each = i32::from_ne_bytes(*value.first_chunk()?);
    usize::try_from(each).ok().filter(|each| *each > 0)
}
