//! The configuration of the daemon: one struct, and how it comes out of flags, environment and file.
//!
//! Flags beat the environment, the environment beats the file, the file beats the defaults; each
//! setting by itself. [`Config::resolve`] reports everything that is wrong at once. Reading order:
//! [`Config`], [`Setting`] (the names), `value` and `peer` (the types), `sources` and `resolve`.

mod error;
mod file;
mod kubernetes;
mod peer;
mod resolve;
mod setting;
mod value;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use weft_crypto::{Secrets, SuitePolicy};

pub use error::{ConfigError, Origin, Place, Problems};
pub use kubernetes::Kubernetes;
pub use peer::{PeerAddr, PeerAddrError};
pub use resolve::Sources;
pub(crate) use resolve::read_secrets;
pub use setting::Setting;
pub use value::{
    Cipher, InvalidValue, IpallocInit, LogLevel, Mtu, PolicyEstablished, Tunnel, Workers,
};

/// The port between nodes.
pub const DEFAULT_PORT: u16 = 6783;
/// The configuration file that is read if it exists.
pub const DEFAULT_FILE: &str = "/etc/weft/weft.toml";
/// Where state is kept.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/weft";
/// Metrics and health: this host only.
pub const DEFAULT_STATUS_ADDR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6782);
/// The bridge's name.
pub const DEFAULT_BRIDGE: &str = "weft";
/// The greatest number of connections: what Weave Net ended at after 10, 30 and 100.
pub const DEFAULT_CONN_LIMIT: usize = 200;
/// Two minutes: what a stolen key opens at most, beside what was under way.
pub const DEFAULT_REKEY_INTERVAL: Duration = Duration::from_secs(120);
/// The range of the overlay, Weave Net's: seldom used by others.
pub const DEFAULT_RANGE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 32, 0, 0), 12));

/// Everything `weft launch` was told, checked. Nothing in it was looked up in the kernel.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name for people, shown beside the node's own; need not be unique. The host's name by
    /// default. 1 to 63 printable ASCII characters without spaces and parentheses.
    pub nickname: String,
    /// The UDP port for everything between nodes, and the port to dial where a peer has none.
    /// Never 0 when read from text; a test in the process may use 0 for any free port.
    pub port: u16,
    /// What all members of the cluster know; two while they change it. Long and unguessable: the type
    /// makes sure.
    pub secrets: Secrets,
    /// The file that they came from, where they came from one.
    pub secret_file: Option<PathBuf>,
    /// Where identity, ring and allocations are kept. Absolute.
    pub data_dir: PathBuf,
    /// The path of the control socket. Absolute; short enough for the kernel.
    pub socket: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub status_addr: SocketAddr,
    /// The ranges of the overlay: one of IPv4, one of IPv6, or both, IPv4 first. Host bits are zero.
    /// All nodes of a cluster must have the same.
    pub ipalloc_range: Vec<IpNet>,
    /// Whether [`Config::ipalloc_range`] came from the operator. A default range that overlaps a
    /// route of the host is an error; an explicit one is the operator's decision.
    pub ipalloc_range_explicit: bool,
    /// How the ring comes to be when no ring is known.
    pub ipalloc_init: IpallocInit,
    /// The bridge that Pods and TAP are ports of: a valid interface name.
    pub bridge: String,
    /// The MTU of the overlay.
    pub mtu: Mtu,
    /// Whether peers of peers are dialled too.
    pub discovery: bool,
    /// The greatest number of connections, both directions counted together. At least 1.
    pub conn_limit: usize,
    /// Reserved for networks on which packets need no encryption. Accepted, without effect:
    /// everything is encrypted.
    pub trusted_subnets: Vec<IpNet>,
    /// The cipher suite of the data plane.
    pub cipher: Cipher,
    /// What carries the data packets.
    pub tunnel: Tunnel,
    /// Keys of data packets that are in use are changed before they are this old. 2 to 120 s; the lower
    /// values are for tests.
    pub rekey_interval: Duration,
    /// Whether the data plane's threads run before ordinary ones, where the kernel lets them.
    pub realtime: bool,
    /// How many workers the data plane has for each direction.
    pub workers: Workers,
    /// Whether connections that policies no longer allow are cut.
    pub policy_established: PolicyEstablished,
    /// Whether to wait for as long as another daemon holds [`Config::data_dir`], and then to take its place.
    pub stand_by: bool,
    /// How much is logged.
    pub log_level: LogLevel,
    /// How a Kubernetes API server is listened to: then nodes, policies and Pods' labels come from there,
    /// and no peer is needed. `None` where there is none.
    pub kubernetes: Option<Kubernetes>,
    /// The peers to dial, without duplicates, in the order given. The targets kept in the data
    /// directory come on top.
    pub peers: Vec<PeerAddr>,
    /// What the operator should know about this configuration, one line each; to be logged once
    /// logging works, and fit for `weft status`.
    pub warnings: Vec<String>,
}

impl Config {
    /// The configuration of a launch that was told nothing but the secret and the host's name.
    pub fn with_defaults(nickname: String, secrets: impl Into<Secrets>) -> Self {
        Self {
            nickname,
            port: DEFAULT_PORT,
            secrets: secrets.into(),
            secret_file: None,
            data_dir: DEFAULT_DATA_DIR.into(),
            socket: weft_api::path::DEFAULT_SOCKET.into(),
            status_addr: DEFAULT_STATUS_ADDR,
            ipalloc_range: vec![DEFAULT_RANGE],
            ipalloc_range_explicit: false,
            ipalloc_init: IpallocInit::Auto,
            bridge: DEFAULT_BRIDGE.to_owned(),
            mtu: Mtu::Auto,
            discovery: true,
            conn_limit: DEFAULT_CONN_LIMIT,
            trusted_subnets: Vec::new(),
            cipher: Cipher(SuitePolicy::Auto),
            tunnel: Tunnel::Auto,
            rekey_interval: DEFAULT_REKEY_INTERVAL,
            realtime: true,
            workers: Workers::Auto,
            policy_established: PolicyEstablished::Cut,
            stand_by: false,
            log_level: LogLevel::Info,
            kubernetes: None,
            peers: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
