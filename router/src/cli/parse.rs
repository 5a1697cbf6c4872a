//! Values of the client commands: each parser answers one clause for the error line.

use ipnet::IpNet;
use weft_api::attach::NamedPort;
use weft_policy::{InvalidPort, PortSpec};

use crate::config::{PeerAddr, PeerAddrError};

/// A peer.
pub(super) fn peer(text: &str) -> Result<PeerAddr, PeerAddrError> {
    text.parse()
}

/// The name of an interface.
pub(super) fn ifname(text: &str) -> Result<String, String> {
    match weft_cni_shim::wire::validate_ifname(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A label, `key=value`; the value may be empty.
pub(super) fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value"),
    }
}

/// A named port, `name=80/tcp`; without a protocol it is TCP, as in a Pod's manifest.
pub(super) fn named_port(text: &str) -> Result<NamedPort, &'static str> {
    const FORM: &str = "write name=80/tcp, with tcp, udp or sctp";
    let (name, target) = text.split_once('=').ok_or(FORM)?;
    let (port, protocol) = target.split_once('/').unwrap_or((target, "tcp"));
    let port: u16 = port.parse().map_err(|_| FORM)?;
    let protocol = protocol.to_ascii_uppercase();
    if name.is_empty() || port == 0 || !["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) {
        return Err(FORM);
    }
    Ok(NamedPort { name: name.to_owned(), port, protocol })
}

/// The port that a policy is asked about.
pub(super) fn port_spec(text: &str) -> Result<PortSpec, InvalidPort> {
    text.parse()
}

/// An address with its prefix length.
pub(super) fn cidr(text: &str) -> Result<IpNet, &'static str> {
    text.parse()
        .map_err(|_| "write an address with the range's prefix length, such as 10.32.0.5/12")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(label("app=web"), Ok(("app".into(), "web".into())));
        assert_eq!(label("app="), Ok(("app".into(), String::new())));
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(label("app").is_err());
        assert!(label("=web").is_err());
    }

    #[test]
    fn named_ports() {
        let port = |name: &str, port, protocol: &str| {
            Ok(NamedPort { name: name.into(), port, protocol: protocol.into() })
        };
        assert_eq!(named_port("http=80/tcp"), port("http", 80, "TCP"));
        assert_eq!(named_port("dns=53/UDP"), port("dns", 53, "UDP"));
        assert_eq!(named_port("http=80"), port("http", 80, "TCP"));
        for text in ["http", "=80/tcp", "http=0/tcp", "http=65536/tcp", "http=80/icmp", "http=/tcp"]
        {
            assert!(named_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cidrs() {
        assert_eq!(cidr("10.32.0.5/12").unwrap().to_string(), "10.32.0.5/12");
        assert!(cidr("10.32.0.5").is_err());
    }
}
