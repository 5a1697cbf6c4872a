//! The node's own network: the bridge, the TAP's place in it, and what must not be there.
//!
//! All by rtnetlink, in the network namespace that the daemon was started in.

mod addresses;
mod bridge;
mod cut;
mod masquerade;
mod outbound;
mod routes;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use tokio::sync::Mutex;

pub(super) use bridge::{Bridge, TAP_NAME};
pub(super) use cut::{CutDone, Scissors};
pub(super) use outbound::{HostDone, Outbound};
pub(super) use routes::{overlapping_route, underlay_mtu};

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A netlink request failed.
    #[error("cannot {action}: {source}")]
    Netlink {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The netlink socket could not be opened.
    #[error("cannot open a netlink socket: {0}")]
    Socket(std::io::Error),
    /// The bridge's name is taken by something else.
    #[error(
        "interface {name} exists and is not a bridge: remove it or choose another with --bridge"
    )]
    NotABridge {
        /// The interface.
        name: String,
    },
    /// An interface that was made is not there.
    #[error("interface {name} is gone: somebody else removed it")]
    Gone {
        /// The interface.
        name: String,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot set {path}: {source}")]
    Sysctl {
        /// Its file.
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// nftables refused.
    #[error("cannot masquerade what leaves the mesh: {why}")]
    Nft {
        /// What nft said.
        why: String,
    },
}

impl HostError {
    /// Says what was tried when the kernel refused.
    fn during(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| Self::Netlink { action: action.into(), source }
    }
}

/// Opens a netlink socket and serves it on the present runtime.
pub(super) fn connect() -> Result<Handle, HostError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(HostError::Socket)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// The interface of that name, if there is one.
async fn link(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, HostError> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc_enodev() => Ok(None),
        Err(e) => Err(HostError::during(format!("look up interface {name}"))(e)),
    }
}

/// `ENODEV`, which the kernel answers for a name that no interface has.
fn libc_enodev() -> i32 {
    nix::errno::Errno::ENODEV as i32
}

/// Held while the kernel lists something: on one socket it does so once at a time, and answers `EBUSY` to who asks for
/// more meanwhile.
static LISTING: Mutex<()> = Mutex::const_new(());

/// All interfaces.
async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, HostError> {
    let _alone = LISTING.lock().await;
    let mut get = handle.link().get();
    get.message_mut().header.interface_family = AddressFamily::Unspec;
    get.execute().try_collect().await.map_err(HostError::during("list the interfaces"))
}

/// The interface's name.
fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The interface's MAC address.
fn mac_of(link: &LinkMessage) -> Option<[u8; 6]> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// The interface's MTU, bytes.
fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The index of the bridge that the interface is a port of.
fn controller_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_that_are_asked_for_at_once_are_all_answered() {
        let handle = connect().unwrap();
        let lists = (0..50).map(|_| links(&handle));
        for list in futures_util::future::join_all(lists).await {
            assert!(!list.unwrap().is_empty(), "there is a loopback");
        }
    }
}
