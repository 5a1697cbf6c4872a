//! The address of a peer as an operator writes it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A peer to dial: `host`, `host:port`, `[v6]:port`, `[v6]` or a bare IPv6 address.
///
/// Prints as it was given, but for brackets around an IPv6 address without a port, which go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    /// A host name or an address without brackets; names are in lower case.
    pub host: String,
    /// The port, where one was given; see [`PeerAddr::port_or`].
    pub port: Option<u16>,
}

impl PeerAddr {
    /// The port to dial: the one given, else `default`, which is the port of this node.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }

    /// The peer as the connection maker knows it: `host:port`, the port always there.
    pub fn target(&self, default: u16) -> String {
        Self { host: self.host.clone(), port: Some(self.port_or(default)) }.to_string()
    }

    /// Whether both lead to the same host and port, `default` being the port where none is given.
    pub fn same_target(&self, other: &Self, default: u16) -> bool {
        self.host == other.host && self.port_or(default) == other.port_or(default)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Why a text is no address of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddrError {
    /// Nothing before the port, or nothing at all.
    #[error("the host is missing, write host[:port]")]
    NoHost,
    /// A port that is no number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// An opening bracket without `]` or `]:port` to end it.
    #[error("write an IPv6 address with a port as [address]:port")]
    Brackets,
    /// Several colons, or brackets, around what is no IPv6 address.
    #[error("not an IPv6 address, write host[:port] or [v6]:port")]
    NotIpv6,
    /// A last label that is a number, so that it can only be meant as an IPv4 address.
    #[error("not an IPv4 address, write host[:port]")]
    NotIpv4,
    /// A character that no host name has, or a label of no or too great length.
    #[error("not a host name or address, write host[:port]")]
    NotHost,
}

impl FromStr for PeerAddr {
    type Err = PeerAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(PeerAddrError::Brackets)?;
            let address: Ipv6Addr = address.parse().map_err(|_| PeerAddrError::NotIpv6)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if rest.is_empty() => None,
                None => return Err(PeerAddrError::Brackets),
            };
            return Ok(Self { host: address.to_string(), port });
        }
        match text.split_once(':') {
            None => Ok(Self { host: parse_host(text)?, port: None }),
            Some((_, rest)) if rest.contains(':') => {
                let address: Ipv6Addr = text.parse().map_err(|_| PeerAddrError::NotIpv6)?;
                Ok(Self { host: address.to_string(), port: None })
            }
            Some((host, port)) => {
                Ok(Self { host: parse_host(host)?, port: Some(parse_port(port)?) })
            }
        }
    }
}

fn parse_port(text: &str) -> Result<u16, PeerAddrError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PeerAddrError::Port);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(PeerAddrError::Port)
}

/// Checks a host name by RFC 1123, underscores allowed as they occur in practice, or an IPv4 address.
fn parse_host(text: &str) -> Result<String, PeerAddrError> {
    if text.is_empty() {
        return Err(PeerAddrError::NoHost);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() > 253 || !name.split('.').all(label_fits) {
        return Err(PeerAddrError::NotHost);
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PeerAddrError::NotIpv4);
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<u16>) {
        let peer: PeerAddr = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        (peer.host, peer.port)
    }

    #[test]
    fn the_forms_of_the_contract() {
        assert_eq!(parsed("10.0.0.1"), ("10.0.0.1".into(), None));
        assert_eq!(parsed("10.0.0.1:7000"), ("10.0.0.1".into(), Some(7000)));
        assert_eq!(parsed("Node-1.example.org:1"), ("node-1.example.org".into(), Some(1)));
        assert_eq!(parsed("[fd99::1]:6783"), ("fd99::1".into(), Some(6783)));
        assert_eq!(parsed("[fd99::1]"), ("fd99::1".into(), None));
        assert_eq!(parsed("fd99:0::1"), ("fd99::1".into(), None));
        assert_eq!(parsed("host_1"), ("host_1".into(), None));
        assert_eq!(parsed("h1."), ("h1.".into(), None));
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("", PeerAddrError::NoHost),
            (":6783", PeerAddrError::NoHost),
            ("h1:", PeerAddrError::Port),
            ("h1:0", PeerAddrError::Port),
            ("h1:65536", PeerAddrError::Port),
            ("h1:+1", PeerAddrError::Port),
            ("[fd99::1]:x", PeerAddrError::Port),
            ("[fd99::1", PeerAddrError::Brackets),
            ("[fd99::1]6783", PeerAddrError::Brackets),
            ("[10.0.0.1]:6783", PeerAddrError::NotIpv6),
            ("fd99::g", PeerAddrError::NotIpv6),
            ("10.0.0.1:1:2", PeerAddrError::NotIpv6),
            ("10.0.0.300", PeerAddrError::NotIpv4),
            ("10.0.0", PeerAddrError::NotIpv4),
            ("a b", PeerAddrError::NotHost),
            ("h1..example", PeerAddrError::NotHost),
            ("-h1", PeerAddrError::NotHost),
            ("http://h1", PeerAddrError::Port),
            ("nœud", PeerAddrError::NotHost),
        ] {
            assert_eq!(text.parse::<PeerAddr>(), Err(error), "{text}");
        }
    }

    #[test]
    fn prints_what_parses_again() {
        for text in ["10.0.0.1", "h1:7000", "[fd99::1]:6783", "fd99::1"] {
            let peer: PeerAddr = text.parse().unwrap();
            assert_eq!(peer.to_string(), text);
        }
    }

    #[test]
    fn the_default_port_makes_targets_equal() {
        let (bare, full): (PeerAddr, PeerAddr) =
            ("h1".parse().unwrap(), "H1:6783".parse().unwrap());
        assert!(bare.same_target(&full, 6783));
        assert!(!bare.same_target(&full, 7000));
    }
}
