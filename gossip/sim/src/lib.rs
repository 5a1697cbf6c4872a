//! A seeded world of gossip nodes: the real machines, a virtual clock, and a network and disks that
//! fail.
//!
//! [`run`] plays one history. Everything in it follows from the seed, so a history that breaks an
//! invariant is replayed by running its seed again. The nodes are `weft_gossip::Node` and
//! `weft_gossip::Connector` as the daemon uses them; what is simulated is what surrounds them:
//!
//! - links with latency, lost, repeated and overtaking messages, resets, and partitions that are
//!   noticed late;
//! - disks that take their time, and crashes at any moment, also right before and after each write
//!   ([`CrashPoint`]), that leave only what was written;
//! - clocks: each daemon counts its own time from its start, which may leap forward, and a time of day
//!   that is set forward and back by hours;
//! - people who start and stop Pods on random nodes, more than there are addresses for in some
//!   histories, now and then with addresses by name or of a part of the range;
//! - nodes that leave for good, after which the machine is gone or begins anew;
//! - in half of them: machines that die, operators who remove nodes, dead and living, several at once,
//!   also by force, removed machines that return with their disk, and that rejoin without it.
//!
//! **After each event**: while nobody was removed, no address is in use twice anywhere and each address
//! of the ring is held once or on its way once; after removals no address is in use by two nodes that
//! hold each other's records, nor in use or owned twice by nodes of the same state of removals; no
//! node's ring gives an address to two, and one that holds the newest records covers the range; each
//! routes to itself what it owns; all that was promised is known; the machines are consistent; nobody
//! complains. **In the end** everything heals: all see one ring that covers the range exactly once, no
//! removal waits, each node gets an address while there are some, and any free one by name; who leaves has left.

mod agreement;
mod check;
mod host;
mod many;
mod options;
mod setting;
mod world;

pub use crate::{
    many::{Sum, play_all},
    options::{CrashPoint, Failure, Options, Report},
};

/// Plays one history.
///
/// # Errors
/// An invariant broke, or the cluster did not recover. The failure names the command that replays it.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    world::World::new(options.clone()).run()
}
