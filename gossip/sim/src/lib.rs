//! A seeded world of gossip nodes: the real machines, a virtual clock, and a network and disks that
//! fail.
//!
//! [`run`] plays one history. Everything in it follows from the seed, so a history that breaks an
//! invariant is replayed by running its seed again. The nodes are `weft_gossip::Node` and
//! `weft_gossip::Connector` as the daemon uses them; what is simulated is what surrounds them:
//!
//! - links with latency, lost, repeated and overtaking messages, resets, and partitions that are
//!   noticed late;
//! - disks that take their time, and crashes that leave only what was written;
//! - people who start and stop Pods on random nodes.
//!
//! With [`Options::removals`] machines also die for ever, and operators remove nodes, dead and living,
//! also by force. Then no address may be in use or owned twice by nodes of the same state of
//! removals, and in the end by none that were not removed.
//!
//! After each event: no address was promised twice, no address has two owners, the machines are
//! consistent, and nobody complains. In the end everything heals, and all must agree and give out
//! addresses.

mod check;
mod host;
mod options;
mod world;

pub use crate::options::{Failure, Options, Report};

/// Plays one history.
///
/// # Errors
/// An invariant broke, or the cluster did not recover. The failure names the command that replays it.
pub fn run(options: &Options) -> Result<Report, Failure> {
    world::World::new(options.clone()).and_then(world::World::run)
}
