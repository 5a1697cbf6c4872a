//! What a node is told at start.

use std::time::Duration;

use ipnet::IpNet;

use crate::ipam::Init;

/// The settings of a [`crate::Node`]. All are fixed for the life of the machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// What people call this node. Shown beside its name, need not be unique; cut to 256 bytes.
    pub nickname: String,
    /// The version of the software, for display by others.
    pub version: String,
    /// Differs between two starts of one node, so that others can tell a restart.
    pub boot_id: u64,
    /// The UDP port this node listens on.
    pub port: u16,
    /// The ranges Pod addresses are from: at most one IPv4 and one IPv6. The same on all nodes.
    pub ranges: Vec<IpNet>,
    /// Who makes the ring when there is none.
    pub init: Init,
    /// How many peers were configured at start, for [`Init::Auto`].
    pub targets: usize,
    /// How long a freed address rests before it is handed out again.
    pub cool_down: Duration,
}
