//! The types of single settings and how each is read from text.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use weft_crypto::{PeerName, SuitePolicy};

/// Why a value is refused: one clause that says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub(super) String);

/// Shortens the making of an [`InvalidValue`].
pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(why.into()))
}

/// The MTU of the overlay, in bytes of the IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// What the underlay leaves.
    Auto,
    /// A fixed size, [`Mtu::LEAST`] to 65535.
    Fixed(u16),
}

impl Mtu {
    /// What every IPv4 host must take in one piece (RFC 791, section 3.1).
    pub const LEAST: u16 = 576;
}

impl FromStr for Mtu {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(mtu) if mtu >= Self::LEAST => Ok(Self::Fixed(mtu)),
            _ => refuse("must be auto or a number from 576 to 65535"),
        }
    }
}

/// How many workers the data plane has for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One of each for each processor.
    Auto,
    /// So many: 1 to [`Workers::MOST`].
    Fixed(NonZeroU8),
}

impl Workers {
    /// More than any host has processors for; each has a queue of the TAP, of which the kernel allows 256.
    pub const MOST: u8 = 64;
    /// Where [`Workers::Auto`] stops: a plain choice, so that a large host is not taken up by its network.
    const MOST_BY_ITSELF: u8 = 8;

    /// How many on a host with so many processors.
    pub fn on(self, processors: usize) -> NonZeroU8 {
        match self {
            Self::Fixed(workers) => workers,
            Self::Auto => {
                let workers = u8::try_from(processors).unwrap_or(u8::MAX);
                NonZeroU8::new(workers.min(Self::MOST_BY_ITSELF)).unwrap_or(NonZeroU8::MIN)
            }
        }
    }
}

impl FromStr for Workers {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<NonZeroU8>() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(workers) if workers.get() <= Self::MOST => Ok(Self::Fixed(workers)),
            _ => refuse("must be auto or a number from 1 to 64"),
        }
    }
}

/// What happens to connections that policies no longer allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyEstablished {
    /// They end: their packets are dropped.
    Cut,
    /// They go on until they are closed.
    Keep,
}

impl PolicyEstablished {
    /// Whether they end.
    pub const fn cut(self) -> bool {
        matches!(self, Self::Cut)
    }
}

impl FromStr for PolicyEstablished {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cut" => Ok(Self::Cut),
            "keep" => Ok(Self::Keep),
            _ => refuse("must be cut or keep"),
        }
    }
}

/// How the ring of addresses comes to be when this node knows of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpallocInit {
    /// Join if any peer has a ring; else agree with the configured peers; alone, make it.
    Auto,
    /// Make the ring.
    Founder,
    /// Agree with the first N nodes, or with as many as there are configured peers and this node.
    Consensus(Option<usize>),
    /// Share the ring evenly among these nodes, by their full names.
    Seed(Vec<PeerName>),
    /// Never make a ring, only join one.
    Observer,
}

impl FromStr for IpallocInit {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (form, argument) = match text.split_once('=') {
            Some((form, argument)) => (form, Some(argument)),
            None => (text, None),
        };
        match (form, argument) {
            ("auto", None) => Ok(Self::Auto),
            ("founder", None) => Ok(Self::Founder),
            ("observer", None) => Ok(Self::Observer),
            ("consensus", None) => Ok(Self::Consensus(None)),
            ("consensus", Some(count)) => match count.parse() {
                Ok(count) if count > 0 => Ok(Self::Consensus(Some(count))),
                _ => refuse("consensus=N needs a number of nodes, at least 1"),
            },
            ("seed", Some(names)) => {
                let names: Result<Vec<_>, _> =
                    names.split(',').map(|name| name.trim().parse()).collect();
                match names {
                    Ok(names) => Ok(Self::Seed(names)),
                    Err(_) => refuse(
                        "seed=A,B,.. needs the full names of the nodes, 64 hexadecimal digits each",
                    ),
                }
            }
            _ => refuse("must be auto, founder, consensus[=N], seed=NAME,.. or observer"),
        }
    }
}

/// The cipher suite of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cipher(pub SuitePolicy);

impl FromStr for Cipher {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(policy) => Ok(Self(policy)),
            Err(_) => refuse("must be auto, aes-256-gcm or chacha20-poly1305"),
        }
    }
}

/// What carries the data packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// Packets of our own; where those get no answer and QUIC does, QUIC datagrams, until that has changed.
    Auto,
    /// Packets of our own on the one UDP port.
    Udp,
    /// QUIC datagrams of the control connection, for networks that let nothing else through.
    Quic,
}

impl FromStr for Tunnel {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "udp" => Ok(Self::Udp),
            "quic" => Ok(Self::Quic),
            _ => refuse("must be auto, udp or quic"),
        }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What ends the daemon.
    Error,
    /// What someone should look at some time.
    Warn,
    /// What users see change: peers that come and go, addresses that move.
    Info,
    /// Deviations and decisions.
    Debug,
    /// Every packet.
    Trace,
}

impl FromStr for LogLevel {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => refuse("must be error, warn, info, debug or trace"),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Reads the port; a port of 0 is refused, as peers could not be told of it.
pub(super) fn port(text: &str) -> Result<u16, InvalidValue> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ if text.contains("://") => refuse(
            "must be a number from 1 to 65535; Kubernetes sets this variable for a Service \
             named weft, set enableServiceLinks to false in the Pod",
        ),
        _ => refuse("must be a number from 1 to 65535"),
    }
}

/// Reads the greatest number of connections.
pub(super) fn conn_limit(text: &str) -> Result<usize, InvalidValue> {
    match text.parse() {
        Ok(limit) if (1..=65535).contains(&limit) => Ok(limit),
        _ => refuse("must be a number from 1 to 65535"),
    }
}

/// Reads the age by which keys in use are changed, in seconds.
pub(super) fn rekey_interval(text: &str) -> Result<Duration, InvalidValue> {
    match text.parse() {
        Ok(seconds) if (2..=120).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => refuse("must be a number of seconds from 2 to 120"),
    }
}

/// `on` or `off`.
pub(super) fn on_or_off(text: &str) -> Result<bool, InvalidValue> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => refuse("must be on or off"),
    }
}

/// Reads a switch as it stands in the environment.
pub(super) fn switch(text: &str) -> Result<bool, InvalidValue> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => refuse("must be true or false"),
    }
}

/// Checks a nickname: it stands in tables and in `name(nickname)`, so it has no spaces or parentheses.
pub(super) fn nickname(text: &str) -> Result<String, InvalidValue> {
    let fits = |c: char| c.is_ascii_graphic() && !"()".contains(c);
    if text.is_empty() || text.len() > 63 {
        return refuse("must have 1 to 63 characters");
    }
    if !text.chars().all(fits) {
        return refuse("must be of ASCII letters, digits and punctuation without parentheses");
    }
    Ok(text.to_owned())
}

/// Checks the name of an interface by the kernel's rules (`dev_valid_name`).
pub(super) fn interface(text: &str) -> Result<String, InvalidValue> {
    if text.is_empty() || text.len() > 15 {
        return refuse("must have 1 to 15 characters");
    }
    let refused = |c: char| !c.is_ascii_graphic() || "/:%".contains(c);
    if text == "." || text == ".." || text.contains(refused) {
        return refuse("must be the name of an interface: ASCII without spaces, / : or %");
    }
    Ok(text.to_owned())
}

/// Reads a path and makes it absolute.
pub(super) fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    match std::path::absolute(text) {
        _ if text.is_empty() => refuse("must not be empty"),
        Ok(path) => Ok(path),
        Err(error) => refuse(error.to_string()),
    }
}

/// Reads the path of a socket, which must fit the kernel's address.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, InvalidValue> {
    let path = path(text)?;
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return refuse(format!("must have at most {MAX_SOCKET_PATH} bytes as an absolute path"));
    }
    Ok(path)
}

/// Reads an address and port to listen on.
pub(super) fn socket_addr(text: &str) -> Result<SocketAddr, InvalidValue> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => refuse("must be address:port, such as 127.0.0.1:6782 or [::1]:6782"),
    }
}

/// Reads a network whose host bits are zero.
pub(super) fn network(text: &str) -> Result<IpNet, InvalidValue> {
    let Ok(network) = text.parse::<IpNet>() else {
        return refuse("must be a network such as 10.32.0.0/12 or fd00:77::/48");
    };
    if network.addr() != network.network() {
        return refuse(format!("the host bits are not zero, write {}", network.trunc()));
    }
    Ok(network)
}

/// Reads a range of the overlay: a [`network`] of a useful size and kind.
///
/// The sizes: below a /29 nothing is left to hand out once a few nodes hold a block each; above a
/// /8 or /16 it cannot be unicast space of one's own.
pub(super) fn range(text: &str) -> Result<IpNet, InvalidValue> {
    let range = network(text)?;
    let (least, greatest) = match range {
        IpNet::V4(_) => (8, 29),
        IpNet::V6(_) => (16, 120),
    };
    if !(least..=greatest).contains(&range.prefix_len()) {
        return refuse(format!("the prefix length must be from /{least} to /{greatest}"));
    }
    let shares = |special: &IpNet| special.contains(&range) || range.contains(special);
    if NOT_UNICAST.iter().filter_map(|special| special.parse().ok()).any(|special| shares(&special))
    {
        return refuse("must be unicast space, not loopback, link-local, multicast or reserved");
    }
    Ok(range)
}

/// A path of a Unix socket and its final zero fill `sun_path` (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// What no Pod can have: this network, loopback, link-local, multicast, reserved (RFC 6890), and for
/// IPv6 the block of the unspecified, loopback and mapped addresses.
const NOT_UNICAST: [&str; 8] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/16",
    "fe80::/10",
    "ff00::/8",
];
