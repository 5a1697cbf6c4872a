//! The state that the nodes of a Weft cluster share, and how they keep it in step.
//!
//! Each node writes records about itself: who it is, whom it is linked to, which addresses it owns.
//! Records are signed, pushed to neighbours when they are new, and repaired by comparing digests. What
//! they say together is the membership, the topology, the ring that is both the address allocator's book
//! and the routing table, and the objects that any node may write, policies above all. `docs/protocol/gossip.md` is the normative description,
//! `docs/ipam.md` the argument about addresses.
//!
//! This crate is pure: no sockets, no files, no clock, no ambient randomness, no async, no panic that
//! others can cause. Time and seeds are arguments, messages and snapshots are results.
//!
//! Reading order: [`Record`] and its [`Key`], [`Node`] (the machine, and the contract of its inputs
//! and outputs), [`ipam::Ipam`] (inside it), [`Connector`] (beside it: whom to dial).

mod codec;
mod config;
mod connect;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
pub mod ipam;
#[cfg(test)]
mod laws;
pub mod limits;
mod membership;
mod message;
mod node;
mod objects;
mod record;
mod stats;
mod store;
mod time;
mod topology;

pub use crate::{
    codec::DecodeError,
    config::Config,
    connect::{Attempt, AttemptState, Connector, ConnectorConfig, DialError, Endpoint, Retry},
    error::{MessageError, RestoreError},
    event::{Event, Persist, Saved, Transmit, Written},
    membership::{LinkState, LinkView, Member},
    node::Node,
    objects::types::{
        ObjectError, ObjectKey, ObjectView, PodChange, PodInfo, PodPort, Stamp, WriteId,
    },
    record::{Key, Kind, Record, RecordError, SignedRecord},
    stats::Stats,
    time::Time,
    topology::reachable,
};
