//! Sending.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::name::{NAME_LEN, NAME_LEN_V4, Name, encode, socklen};
use super::{CONTROL_HEADER, Control, EMPTY_CONTROL, EMPTY_IOVEC, EMPTY_MESSAGE, MAX_BATCH};
use crate::udp::mapped_for;

/// The most datagrams that one message may be cut into (`UDP_MAX_SEGMENTS` of kernels before 6.9).
const MAX_TRAIN: usize = 64;
/// The most bytes of one message: the payload of the longest IPv4 packet.
const MAX_TRAIN_BYTES: usize = 65_507;

/// Datagrams to send, each with its receiver.
///
/// Where the socket cuts messages ([`crate::udp::UdpOffload::cut`]), successive datagrams of one length to one
/// receiver go to the kernel as one message; the last of them may be shorter.
#[derive(Debug)]
pub struct SendBatch {
    bytes: Vec<u8>,
    /// How much of `bytes` holds datagrams, back to back.
    used: usize,
    names: [Name; MAX_BATCH],
    trains: [Train; MAX_BATCH],
    len: usize,
    local: SocketAddr,
    cut: bool,
}

/// Successive datagrams for one receiver.
#[derive(Clone, Copy, Debug)]
struct Train {
    to: SocketAddr,
    /// Bytes of all of them.
    bytes: usize,
    /// The length of each but the last, which is never longer.
    each: usize,
    count: usize,
}

impl Train {
    /// Whether a datagram of `len` bytes can go behind the others.
    fn takes(&self, len: usize, to: SocketAddr) -> bool {
        self.to == to
            && (1..=self.each).contains(&len)
            && self.bytes == self.each * self.count
            && self.count < MAX_TRAIN
            && self.bytes + len <= MAX_TRAIN_BYTES
    }
}

impl SendBatch {
    /// Makes room for `capacity` bytes of datagrams, to be sent from a socket bound to `local`. `cut` tells
    /// whether that socket cuts messages.
    pub fn new(capacity: usize, local: SocketAddr, cut: bool) -> Self {
        Self {
            bytes: vec![0; capacity],
            used: 0,
            names: [[0; NAME_LEN]; MAX_BATCH],
            trains: [Train { to: local, bytes: 0, each: 0, count: 0 }; MAX_BATCH],
            len: 0,
            local,
            cut,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes wait to be sent.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// The place of the next datagram, of `len` bytes, with whatever it held before; `None` when the batch has
    /// no room for it: send, and ask again.
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.len == MAX_BATCH {
            return None;
        }
        self.bytes.get_mut(self.used..)?.get_mut(..len)
    }

    /// Takes the first `len` bytes of the room as a datagram to `to`. Does nothing when there is no such room.
    pub fn push(&mut self, len: usize, to: SocketAddr) {
        if self.room(len).is_none() {
            return;
        }
        let last = self.len.checked_sub(1).and_then(|last| self.trains.get_mut(last));
        match last {
            Some(train) if self.cut && train.takes(len, to) => {
                train.bytes += len;
                train.count += 1;
                self.used += len;
            }
            _ => self.begin(len, to, len),
        }
    }

    /// The same, but the datagram is a message of its own. What judges packets by their length between two virtual
    /// devices sees a message before the kernel has cut it.
    pub fn push_alone(&mut self, len: usize, to: SocketAddr) {
        if self.room(len).is_some() {
            // No datagram is that short, so none follows.
            self.begin(len, to, 0);
        }
    }

    fn begin(&mut self, len: usize, to: SocketAddr, each: usize) {
        let place = (self.names.get_mut(self.len), self.trains.get_mut(self.len));
        let (Some(name), Some(train)) = place else { return };
        *name = encode(mapped_for(self.local, to));
        *train = Train { to, bytes: len, each, count: 1 };
        self.len += 1;
        self.used += len;
    }

    /// Sends all, in order, and empties the batch. `failed` hears of each datagram that could not be sent; the
    /// others are sent all the same.
    ///
    /// A train that the kernel refuses goes out one datagram a message.
    pub fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(io::Error)) {
        let mut iovecs = [EMPTY_IOVEC; MAX_BATCH];
        let mut messages = [EMPTY_MESSAGE; MAX_BATCH];
        let mut controls = [EMPTY_CONTROL; MAX_BATCH];
        let name_len = socklen(if self.local.is_ipv6() { NAME_LEN } else { NAME_LEN_V4 });
        let mut rest = self.bytes.as_mut_slice();
        let trains = self.trains.get(..self.len).unwrap_or_default();
        let parts = trains.iter().zip(&mut self.names).zip(&mut iovecs).zip(&mut controls);
        for ((((train, name), iovec), control), message) in parts.zip(&mut messages) {
            let Some((buffer, behind)) =
                std::mem::take(&mut rest).split_at_mut_checked(train.bytes)
            else {
                break;
            };
            rest = behind;
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            message.msg_hdr.msg_name = name.as_mut_ptr().cast();
            message.msg_hdr.msg_namelen = name_len;
            message.msg_hdr.msg_iov = iovec;
            message.msg_hdr.msg_iovlen = 1;
            if train.count > 1 {
                *control = cut_at(train.each);
                message.msg_hdr.msg_control = control.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = size_of::<Control>();
            }
        }
        let mut rest = messages.get_mut(..self.len).unwrap_or_default();
        let mut trains = trains;
        while !rest.is_empty() {
            // SAFETY: names, vectors, controls and buffers that the messages point to are borrowed by this
            // function.
            let done = match unsafe { send_messages(socket, rest) } {
                Ok(sent) => sent.clamp(1, rest.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The error is that of the first message of the rest: report it and go on behind it.
                Err(error) => {
                    let first = rest.first_mut().zip(trains.first());
                    match first {
                        Some((message, train)) if train.count > 1 => {
                            // SAFETY: as above; the vector is the message's own, of `train.bytes` bytes.
                            unsafe { send_singly(socket, message, train, &mut failed) };
                        }
                        _ => failed(error),
                    }
                    1
                }
            };
            rest = rest.split_at_mut(done).1;
            trains = trains.get(done..).unwrap_or_default();
        }
        self.len = 0;
        self.used = 0;
    }
}

/// Sends the datagrams of a train one by one.
///
/// # Safety
/// All pointers in `message` must be valid during the call, and its one vector must have `train.bytes` bytes.
unsafe fn send_singly(
    socket: &UdpSocket,
    message: &mut libc::mmsghdr,
    train: &Train,
    failed: &mut impl FnMut(io::Error),
) {
    message.msg_hdr.msg_control = std::ptr::null_mut();
    message.msg_hdr.msg_controllen = 0;
    let iovec = message.msg_hdr.msg_iov;
    // SAFETY: the message has one vector.
    let base: *mut u8 = unsafe { (*iovec).iov_base }.cast();
    let mut at = 0;
    while at < train.bytes {
        let len = train.each.clamp(1, train.bytes - at);
        // SAFETY: `at` is below `train.bytes`, the length of the buffer at `base`.
        let start = unsafe { base.add(at) };
        let one = libc::iovec { iov_base: start.cast(), iov_len: len };
        // SAFETY: the message has one vector, which nobody else looks at during this call.
        unsafe { *iovec = one };
        // SAFETY: the vector names `len` bytes within the buffer; the rest is as the caller promises.
        match unsafe { send_messages(socket, std::slice::from_mut(message)) } {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => failed(error),
            Ok(_) => {}
        }
        at += len;
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

/// The control message `UDP_SEGMENT`: the kernel cuts the message into datagrams of `each` bytes.
fn cut_at(each: usize) -> Control {
    let each = u16::try_from(each).unwrap_or(u16::MAX).to_ne_bytes();
    let len = CONTROL_HEADER + each.len();
    let mut level_and_type = [0; 8];
    let pair = libc::SOL_UDP.to_ne_bytes().into_iter().chain(libc::UDP_SEGMENT.to_ne_bytes());
    for (place, byte) in level_and_type.iter_mut().zip(pair) {
        *place = byte;
    }
    let mut value = [0; 8];
    for (place, byte) in value.iter_mut().zip(each) {
        *place = byte;
    }
    [len as u64, u64::from_ne_bytes(level_and_type), u64::from_ne_bytes(value)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_takes_no_more() {
        let local = "127.0.0.1:0".parse().unwrap();
        let mut batch = SendBatch::new(16, local, true);
        assert!(batch.is_empty());
        batch.push(17, local);
        assert!(batch.is_empty(), "longer than the batch");
        for _ in 0..2 {
            assert_eq!(batch.room(8).unwrap().len(), 8);
            batch.push(8, local);
        }
        assert!(batch.room(1).is_none());
        batch.push(1, local);
        assert_eq!(batch.bytes(), 16);
    }

    #[test]
    fn a_train_is_of_one_length_and_one_receiver() {
        let to: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let other = "192.0.2.2:1".parse().unwrap();
        let train = Train { to, bytes: 20, each: 10, count: 2 };
        assert!(train.takes(10, to) && train.takes(1, to));
        assert!(!train.takes(11, to) && !train.takes(0, to) && !train.takes(10, other));
        assert!(!Train { bytes: 19, ..train }.takes(9, to), "a shorter one was the last");
        assert!(!Train { each: 0, bytes: 20, count: 1, ..train }.takes(10, to), "alone");
        let many = Train { to, bytes: 64, each: 1, count: 64 };
        assert!(!many.takes(1, to));
        let long = Train { to, bytes: 65_000, each: 32_500, count: 2 };
        assert!(long.takes(507, to) && !long.takes(508, to));
    }
}
