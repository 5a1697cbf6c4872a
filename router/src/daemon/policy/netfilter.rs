//! Messages to netfilter over netlink (nfnetlink): as few kinds as are needed.
//!
//! A message is a netlink header, the header of nfnetlink, and attributes (netlink(7)); numbers in
//! attributes are in network order.

use std::io;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// The part of netfilter that a message is for (`linux/netfilter/nfnetlink.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subsystem {
    /// None: what begins and ends a batch.
    Batch = 0,
    Conntrack = 1,
    Log = 4,
    Tables = 10,
}

/// Flags of a request (`linux/netlink.h`).
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;

/// The header of netlink and that of nfnetlink, bytes.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// The types of netlink's own messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The bits of an attribute's type that are not flags.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A request under construction.
#[derive(Debug, Clone)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request without attributes. `resource` is the group where there is one.
    pub(super) fn new(
        subsystem: Subsystem,
        message: u8,
        flags: u16,
        family: u8,
        resource: u16,
    ) -> Self {
        let kind = ((subsystem as u16) << 8) | u16::from(message);
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([family, 0]);
        bytes.extend(resource.to_be_bytes());
        Self(bytes)
    }

    /// Appends an attribute. One that does not fit the length field is cut, which the kernel refuses.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.0, kind, value);
        self
    }

    /// Appends an attribute that holds attributes.
    pub(super) fn nested(mut self, kind: u16, value: &[u8]) -> Self {
        put_nested(&mut self.0, kind, value);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        bytes.splice(..4, length);
        bytes
    }
}

/// Appends an attribute to others, or to a message. One that does not fit the length field is cut,
/// which the kernel refuses.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends an attribute that holds attributes.
pub(super) fn put_nested(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put(bytes, kind | NESTED, value);
}

/// A way to netfilter that is kept: closing a socket to it waits until the kernel has done away with
/// what transactions have removed, which takes one of its grace periods, 4 ms and more
/// (`nft_rcv_nl_event` of Linux 6.18). Opened when it is first needed, in the namespace of the thread
/// that needs it, and anew after a failure, of which more answers may be under way.
#[derive(Default)]
pub(in crate::daemon) struct Channel(Option<Netfilter>);

impl Channel {
    /// Lends the socket.
    pub(super) fn with<T>(
        &mut self,
        job: impl FnOnce(&Netfilter) -> io::Result<T>,
    ) -> io::Result<T> {
        let socket = self.0.take().map_or_else(Netfilter::open, Ok)?;
        let outcome = job(&socket)?;
        self.0 = Some(socket);
        Ok(outcome)
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel").field(&self.0.is_some()).finish()
    }
}

/// A socket to netfilter, of the namespace that it was opened in.
pub(super) struct Netfilter(Socket);

impl Netfilter {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request and hands each message of the answer to `each`, until it is complete: a dump
    /// that is done, or an acknowledgement. The request must ask for one of them.
    pub(super) fn ask(&self, request: &Request, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.0.send(&request.bytes(), 0)?;
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            for (kind, body) in messages(&datagram) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => return outcome(body),
                    _ => each(body.get(GENERIC..).unwrap_or_default()),
                }
            }
        }
    }

    /// Sends the messages of a batch as one and waits until the kernel has carried them out. One of
    /// them must ask for a confirmation; the first error is the batch's.
    pub(super) fn commit(&self, batch: &[Request]) -> io::Result<()> {
        self.0.send(&batch.iter().flat_map(Request::bytes).collect::<Vec<_>>(), 0)?;
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            if let Some((_, body)) = messages(&datagram).find(|(kind, _)| *kind == ERROR) {
                return outcome(body);
            }
        }
    }

    /// Waits for messages that come by themselves, and hands the attributes of each to `each`.
    pub(super) fn receive(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let (datagram, _) = self.0.recv_from_full()?;
        for (kind, body) in messages(&datagram) {
            if kind != ERROR && kind != DONE {
                each(body.get(GENERIC..).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// The messages of a datagram: type and what follows netlink's header. Ends where it makes no sense.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Attributes: type without flags, and value. Ends where they make no sense.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, value))
    })
}

/// The value of the first attribute of a type.
pub(super) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// What an error message says; 0 is an acknowledgement.
fn outcome(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_ends_the_walk() {
        let request = Request::new(Subsystem::Conntrack, 2, ACK, 2, 0)
            .attribute(1, &[1, 2, 3])
            .nested(2, &[4; 8]);
        let bytes = request.bytes();
        let [(kind, body)] = messages(&bytes).collect::<Vec<_>>()[..] else { panic!("one") };
        assert_eq!(kind, 0x102);
        let found: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!(found, [(1, &[1, 2, 3][..]), (2, &[4; 8][..])]);
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0, "{end}");
        }
        for end in 4..12 {
            assert_eq!(attributes(&body[4..][..end]).count(), usize::from(end >= 7), "{end}");
        }
        // A length of nothing, and one beyond the end.
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 1, 2, 3]).count(), 0);
    }
}
