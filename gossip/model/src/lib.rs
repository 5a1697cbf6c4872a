//! A model check of the ring: every order of what can happen to a few nodes.
//!
//! The nodes are [`weft_gossip::ipam::Ipam`] itself, not a copy of its rules. What is modelled is what
//! surrounds them: a disk that is written before anything is published, the newest record that each node
//! holds of each other (so that a message is lost as long as nobody delivers it, and late, repeated and
//! overtaking ones are those that somebody still holds), crashes, deaths, and people who start and
//! stop Pods and remove nodes. A partition needs nothing of its own: it is an order in which nothing
//! crosses it.
//!
//! [`Scenario`] says where the nodes begin and how often what may happen; with these bounds the number of
//! states is finite and all of them are visited. [`Scenario::check`] does it.

mod finish;
mod host;
mod scenario;
mod state;

pub use crate::{
    scenario::{Mutation, Outcome, Scenario},
    state::{Action, State},
};
