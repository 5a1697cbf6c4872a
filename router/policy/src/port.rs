//! The port that a question is about, as people write it: `80/tcp`, `http/tcp`.

use std::fmt;
use std::str::FromStr;

use crate::Protocol;

/// A port by number, or by the name that the destination Pod gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSpec {
    /// A number.
    Number(u16, Protocol),
    /// A name.
    Name(String, Protocol),
}

/// A text is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write 80/tcp, or the name of a port as http/tcp, with tcp, udp or sctp")]
pub struct InvalidPort;

impl FromStr for PortSpec {
    type Err = InvalidPort;

    /// Reads `80/tcp` or `http/tcp`; without a protocol it is TCP, as in a manifest.
    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Protocol::from_api(&protocol.to_ascii_uppercase()).ok_or(InvalidPort)?;
        if port.starts_with('+') {
            return Err(InvalidPort);
        }
        match port.parse() {
            Ok(0) => Err(InvalidPort),
            Ok(number) => Ok(Self::Number(number, protocol)),
            Err(_) if crate::parse::names::port_name(port).is_ok() => {
                Ok(Self::Name(port.to_owned(), protocol))
            }
            Err(_) => Err(InvalidPort),
        }
    }
}

impl fmt::Display for PortSpec {
    /// `TCP/80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number, protocol) => write!(f, "{protocol}/{number}"),
            Self::Name(name, protocol) => write!(f, "{protocol}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let number = |number, protocol| Ok(PortSpec::Number(number, protocol));
        assert_eq!("80/tcp".parse(), number(80, Protocol::Tcp));
        assert_eq!("53/UDP".parse(), number(53, Protocol::Udp));
        assert_eq!("65535/sctp".parse(), number(65535, Protocol::Sctp));
        assert_eq!("80".parse(), number(80, Protocol::Tcp));
        assert_eq!("http/tcp".parse(), Ok(PortSpec::Name("http".into(), Protocol::Tcp)));
        for text in [
            "",
            "/tcp",
            "0/tcp",
            "65536/tcp",
            "-1/tcp",
            "+80/tcp",
            "80/icmp",
            "80/",
            "Http/tcp",
            "80-90/tcp",
        ] {
            assert_eq!(text.parse::<PortSpec>(), Err(InvalidPort), "{text}");
        }
    }

    #[test]
    fn shown_as_in_the_contract() {
        assert_eq!(PortSpec::Number(80, Protocol::Tcp).to_string(), "TCP/80");
        assert_eq!(PortSpec::Name("dns".into(), Protocol::Udp).to_string(), "UDP/dns");
    }
}
