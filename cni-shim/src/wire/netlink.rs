//! A netlink socket in one namespace, and the questions that wiring asks it.

use std::io;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use nix::errno::Errno;
use rtnetlink::Handle;
use tokio::task::JoinHandle;

use super::namespace::Namespace;
use super::{Mac, WireError};

/// A netlink socket; closed on drop.
#[derive(Debug)]
pub(super) struct Netlink {
    pub(super) handle: Handle,
    driver: JoinHandle<()>,
}

/// What wiring needs to know about an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Option<Mac>,
    pub(super) up: bool,
    /// Whether it can send.
    pub(super) running: bool,
    /// The index of the bridge that it is a port of.
    pub(super) master: Option<u32>,
    /// Whether it sends frames back to where they came from, if it is a port of a bridge.
    pub(super) hairpin: Option<bool>,
}

impl Netlink {
    /// Opens a socket in the caller's namespace.
    pub(super) fn open() -> Result<Self, WireError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| kernel("open netlink", source))?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// Opens a socket in a Pod's namespace; the socket stays there, whoever uses it.
    pub(super) async fn open_in(namespace: &Namespace) -> Result<Self, WireError> {
        let (connection, handle) = namespace
            .run(|| rtnetlink::new_connection().map(|(connection, handle, _)| (connection, handle)))
            .await?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// The interface of that name, if there is one.
    pub(super) async fn link(&self, name: &str) -> Result<Option<Link>, WireError> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(message) => Ok(message.map(Link::from)),
            Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(refused(format!("look up interface \"{name}\""), error)),
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            mac: None,
            up: message.header.flags.contains(LinkFlags::Up),
            running: message.attributes.contains(&LinkAttribute::OperState(State::Up)),
            master: None,
            hairpin: None,
        };
        for attribute in message.attributes {
            if let LinkAttribute::Address(bytes) = &attribute {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            if let LinkAttribute::LinkInfo(infos) = &attribute {
                link.hairpin = infos.iter().find_map(hairpin);
            }
            if let LinkAttribute::Controller(index) = attribute {
                link.master = Some(index);
            }
        }
        link
    }
}

fn hairpin(info: &LinkInfo) -> Option<bool> {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return None };
    port.iter().find_map(|attribute| match attribute {
        InfoBridgePort::HairpinMode(on) => Some(*on),
        _ => None,
    })
}

/// Collects a dump. A message that this crate's netlink library cannot parse fails the dump.
pub(super) async fn collect<T>(
    step: &str,
    dump: impl futures_util::Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, WireError> {
    let mut dump = std::pin::pin!(dump);
    let mut all = Vec::new();
    while let Some(item) = dump.next().await {
        all.push(item.map_err(|error| refused(step, error))?);
    }
    Ok(all)
}

/// The error of a netlink request, as "cannot {step}".
pub(super) fn refused(step: impl Into<String>, error: rtnetlink::Error) -> WireError {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    };
    kernel(step, source)
}

/// The error number of a netlink request that the kernel refused.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    if let rtnetlink::Error::NetlinkError(message) = error {
        message.to_io().raw_os_error().map(Errno::from_raw)
    } else {
        None
    }
}

fn kernel(step: impl Into<String>, source: io::Error) -> WireError {
    WireError::Kernel { step: step.into(), source }
}
