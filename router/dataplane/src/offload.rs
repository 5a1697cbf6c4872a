//! What Pods and the kernel leave undone in frames, and how it crosses the tunnel.
//!
//! A frame read from the TAP may have an open checksum, and may be a *super-frame*: many segments of one flow
//! behind one set of headers. A super-frame is [`split`] into the frames that a wire would have seen, each a
//! datagram of its own, their checksums still open. The other side joins ([`Joiner`]) what arrived in one
//! batch into a super-frame again, as a network card does. Neither looks at more than headers.

pub(crate) mod checksum;
mod join;
mod layout;
mod split;
#[cfg(test)]
mod testing;
mod vnet;

pub(crate) use join::{Joiner, Written};
pub(crate) use split::split;
pub(crate) use vnet::{Header, Undone, open_checksum, undone};
