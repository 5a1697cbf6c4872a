//! The packet path: frames between the TAP on the bridge and sealed datagrams to peers.
//!
//! The engine publishes an immutable [`Tables`] snapshot; two threads forward by it, one per direction, so
//! that sealing and opening use two cores and neither shares mutable state with the other. Per packet there is
//! no allocation, no lock, no log line and no clock; while nothing arrives the threads sleep in the kernel.
//!
//! The packet's form is in `docs/protocol/data.md`, its cryptography in `weft-crypto`, the system calls in
//! `weft-netio`. This crate never decides who is a member or who owns an address.
//!
//! Reading order: [`Tables`], [`classify()`], [`Dataplane`], [`Counters`].

mod arp;
mod classify;
mod counters;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod gauge;
mod mac;
mod mtu;
mod nd;
mod offload;
mod ranges;
mod relay;
mod tables;
mod too_big;
mod tunnel;
mod worker;

pub use arp::ArpRequest;
pub use classify::{Action, classify};
pub use counters::{Counters, DropReason, Drops, Traffic};
pub use mac::{Mac, mac_for};
pub use mtu::{MIN_POD_MTU, SURE_DATAGRAM, pod_mtu, pod_mtu_within};
pub use nd::Solicitation;
pub use relay::{MAX_RELAYS, RelayRoute, ShortId};
pub use tables::{Hop, Path, PathSize, PeerPath, PeerSlot, Route, RxSession, Tables, TablesSpec};
pub use tunnel::Tunnel;
pub use worker::relay::relayed_within;
pub use worker::urgency::Scheduling;
pub use worker::{
    DataEvent, Dataplane, DataplaneConfig, Lane, Offload, RelaySender, TunnelReceiver, datagram_len,
};
