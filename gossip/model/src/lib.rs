//! A model check of the ring: every order of what can happen to a few nodes.
//!
//! The nodes are [`weft_gossip::ipam::Ipam`] itself, not a copy of its rules. What is modelled is what
//! surrounds them: a disk that is written before anything is published, the newest record that each node
//! holds of each other (so that a message is lost as long as nobody delivers it, and late, repeated and
//! overtaking ones are those that somebody still holds, or that were published before and are still under
//! way), nodes that are cut off and know it (without knowing, it is an order in which nothing reaches
//! them), crashes, deaths, and people who start and stop Pods and remove nodes. A node takes the records of
//! one origin in the order of their versions and none twice; that this is so is shown by the tests of
//! the store of records, and the simulator.
//!
//! [`Scenario`] says where the nodes begin and how often what may happen; with these bounds the number of
//! states is finite. [`Scenario::check`] visits them in breadth, up to a bound; [`Scenario::walk`] takes
//! random walks, which go deeper than breadth comes in settings where everything may happen.

mod finish;
mod host;
mod scenario;
mod state;
mod walk;

pub use crate::{
    scenario::{Mutation, Outcome, Scenario},
    state::{Action, State},
};
