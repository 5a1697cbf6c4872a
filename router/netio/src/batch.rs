//! Many datagrams with one system call: `recvmmsg` and `sendmmsg`.
//!
//! Both batches own their buffers, made once; filling, sending and receiving allocate nothing. Memory of a
//! buffer is touched, and so resident, only as far as datagrams have filled it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use crate::udp::{mapped_for, unmapped};

/// The most datagrams that one batch holds. More bring little: the cost of a call is spread already.
pub const MAX_BATCH: usize = 64;

/// `sizeof(struct sockaddr_in6)`, the larger of the two address forms.
const NAME_LEN: usize = 28;
/// `sizeof(struct sockaddr_in)`.
const NAME_LEN_V4: usize = 16;

/// A socket address as the kernel reads and writes it; copied bytewise, so alignment does not matter.
type Name = [u8; NAME_LEN];

/// Received datagrams with their senders.
#[derive(Debug)]
pub struct RecvBatch {
    buffers: Buffers,
    names: [Name; MAX_BATCH],
    len: usize,
}

impl RecvBatch {
    /// Makes room for `capacity` datagrams (at least 1, at most [`MAX_BATCH`]) of `buffer_len` bytes each.
    pub fn new(capacity: usize, buffer_len: usize) -> Self {
        let buffers = Buffers::new(capacity, buffer_len);
        Self { buffers, names: [[0; NAME_LEN]; MAX_BATCH], len: 0 }
    }

    /// Replaces the content by the datagrams that wait at `socket`, and returns how many that were.
    ///
    /// Never blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when none waits. The batch is empty after any error.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.len = 0;
        let mut iovecs = [EMPTY_IOVEC; MAX_BATCH];
        let mut messages = [EMPTY_MESSAGE; MAX_BATCH];
        let parts = self.buffers.chunks().zip(&mut self.names).zip(&mut iovecs);
        let mut count = 0;
        for (((buffer, name), iovec), message) in parts.zip(&mut messages) {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            message.msg_hdr.msg_name = name.as_mut_ptr().cast();
            message.msg_hdr.msg_namelen = socklen(NAME_LEN);
            message.msg_hdr.msg_iov = iovec;
            message.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` messages point to one `iovec` and one name each, all of which, and the
        // buffers behind them, are exclusively borrowed and outlive the call.
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
        for (len, message) in self.buffers.lens.iter_mut().zip(&messages).take(received) {
            *len = message.msg_len as usize;
            if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                *len = usize::MAX;
            }
        }
        self.len = received;
        Ok(received)
    }

    /// The datagrams of the last [`RecvBatch::recv`], each with its sender (an IPv4 address is never mapped
    /// into IPv6); without content where the datagram was longer than its buffer.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, Option<&mut [u8]>)> {
        let lens = self.buffers.lens;
        let parts = self.buffers.chunks().zip(lens).zip(&self.names).take(self.len);
        parts.map(|((buffer, len), name)| (decode(name), buffer.get_mut(..len)))
    }
}

/// Datagrams to send, each with its receiver.
#[derive(Debug)]
pub struct SendBatch {
    buffers: Buffers,
    names: [Name; MAX_BATCH],
    local: SocketAddr,
    len: usize,
}

impl SendBatch {
    /// Makes room for `capacity` datagrams (at least 1, at most [`MAX_BATCH`]) of `buffer_len` bytes each, to
    /// be sent from a socket bound to `local`.
    pub fn new(capacity: usize, buffer_len: usize, local: SocketAddr) -> Self {
        let buffers = Buffers::new(capacity, buffer_len);
        Self { buffers, names: [[0; NAME_LEN]; MAX_BATCH], local, len: 0 }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffer of the next datagram, with whatever it held before; `None` when the batch is full.
    pub fn next_buffer(&mut self) -> Option<&mut [u8]> {
        let index = self.len;
        self.buffers.chunk(index)
    }

    /// Takes the first `len` bytes of the next buffer as a datagram to `to`. Does nothing when the batch is
    /// full or `len` exceeds the buffer.
    pub fn push(&mut self, len: usize, to: SocketAddr) {
        let fits = self.buffers.chunk(self.len).is_some_and(|buffer| len <= buffer.len());
        let place = (self.names.get_mut(self.len), self.buffers.lens.get_mut(self.len));
        if let (true, (Some(name), Some(slot))) = (fits, place) {
            *name = encode(mapped_for(self.local, to));
            *slot = len;
            self.len += 1;
        }
    }

    /// Sends all, in order, and empties the batch. `failed` hears of each datagram that could not be sent; the
    /// others are sent all the same.
    pub fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(io::Error)) {
        let lens = self.buffers.lens;
        let mut iovecs = [EMPTY_IOVEC; MAX_BATCH];
        let mut messages = [EMPTY_MESSAGE; MAX_BATCH];
        let parts = self.buffers.chunks().zip(lens).zip(&mut self.names).zip(&mut iovecs);
        for ((((buffer, len), name), iovec), message) in parts.zip(&mut messages).take(self.len) {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = len.min(buffer.len());
            message.msg_hdr.msg_name = name.as_mut_ptr().cast();
            let v6 = self.local.is_ipv6();
            message.msg_hdr.msg_namelen = socklen(if v6 { NAME_LEN } else { NAME_LEN_V4 });
            message.msg_hdr.msg_iov = iovec;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut rest = messages.get_mut(..self.len).unwrap_or_default();
        while !rest.is_empty() {
            // SAFETY: names, vectors and buffers that the messages point to are borrowed by this function.
            match unsafe { send_messages(socket, rest) } {
                Ok(sent) => rest = rest.split_at_mut(sent.clamp(1, rest.len())).1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The error is that of the first message of the rest: report it and go on behind it.
                Err(error) => {
                    failed(error);
                    rest = rest.split_at_mut(1).1;
                }
            }
        }
        self.len = 0;
    }
}

/// `sendmmsg`: how many of `messages`, from the first on, were sent; never 0.
///
/// # Safety
/// All pointers in `messages` must be valid during the call.
unsafe fn send_messages(socket: &UdpSocket, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let count = libc::c_uint::try_from(messages.len()).unwrap_or(libc::c_uint::MAX);
    let fd = socket.as_raw_fd();
    // SAFETY: `count` is the length of `messages`; what they point to is valid by this function's contract.
    let sent = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Equal buffers in one allocation, and how much of each is used.
#[derive(Debug)]
struct Buffers {
    bytes: Vec<u8>,
    buffer_len: usize,
    lens: [usize; MAX_BATCH],
}

impl Buffers {
    fn new(capacity: usize, buffer_len: usize) -> Self {
        let (capacity, buffer_len) = (capacity.clamp(1, MAX_BATCH), buffer_len.max(1));
        Self { bytes: vec![0; capacity * buffer_len], buffer_len, lens: [0; MAX_BATCH] }
    }

    fn chunks(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.bytes.chunks_exact_mut(self.buffer_len)
    }

    fn chunk(&mut self, index: usize) -> Option<&mut [u8]> {
        let start = index.checked_mul(self.buffer_len)?;
        self.bytes.get_mut(start..)?.get_mut(..self.buffer_len)
    }
}

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

/// The length of an address form for the kernel.
fn socklen(len: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(len).unwrap_or(0)
}

/// Lays an address out as `struct sockaddr_in` or `struct sockaddr_in6`.
fn encode(addr: SocketAddr) -> Name {
    let mut name = [0; NAME_LEN];
    match addr {
        SocketAddr::V4(v4) => {
            put(&mut name, 0, &family(libc::AF_INET));
            put(&mut name, 4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(&mut name, 0, &family(libc::AF_INET6));
            put(&mut name, 4, &v6.flowinfo().to_be_bytes());
            put(&mut name, 8, &v6.ip().octets());
            put(&mut name, 24, &v6.scope_id().to_ne_bytes());
        }
    }
    put(&mut name, 2, &addr.port().to_be_bytes());
    name
}

/// Reads what the kernel laid out; an IPv4 address mapped into IPv6 comes back as IPv4.
fn decode(name: &Name) -> SocketAddr {
    let port = u16::from_be_bytes(take(name, 2));
    if take(name, 0) == family(libc::AF_INET6) {
        let ip = Ipv6Addr::from(take::<16>(name, 8));
        let scope = u32::from_ne_bytes(take(name, 24));
        unmapped(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
    } else {
        SocketAddr::new(Ipv4Addr::from(take::<4>(name, 4)).into(), port)
    }
}

/// An address family as the first field of an address.
fn family(family: libc::c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(family).unwrap_or(0).to_ne_bytes()
}

fn put(name: &mut Name, at: usize, bytes: &[u8]) {
    if let Some(room) = name.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        room.copy_from_slice(bytes);
    }
}

fn take<const N: usize>(name: &Name, at: usize) -> [u8; N] {
    name.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in ["192.0.2.1:6783", "[2001:db8::1]:1", "[fe80::1%7]:65535"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(addr)), addr);
        }
        let v4: SocketAddr = "192.0.2.1:6783".parse().unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        assert!(mapped_for(any, v4).is_ipv6());
        assert_eq!(decode(&encode(mapped_for(any, v4))), v4);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let local = "127.0.0.1:0".parse().unwrap();
        let mut batch = SendBatch::new(2, 8, local);
        assert!(batch.is_empty());
        batch.push(9, local);
        assert!(batch.is_empty(), "longer than the buffer");
        for _ in 0..2 {
            assert_eq!(batch.next_buffer().unwrap().len(), 8);
            batch.push(8, local);
        }
        assert!(batch.next_buffer().is_none());
        batch.push(1, local);
        assert_eq!(batch.len, 2);
    }
}
