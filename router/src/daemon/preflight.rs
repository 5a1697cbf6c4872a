//! What is checked before anything is changed: a launch that cannot work leaves nothing behind.

use std::path::Path;

use caps::{CapSet, Capability};
use ipnet::IpNet;
use rtnetlink::Handle;

use super::host::{self, HostError};

/// What this host lacks, or has too much of.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The process may not set up networks.
    #[error(
        "CAP_NET_ADMIN is missing: run weft as root, or give its service AmbientCapabilities=CAP_NET_ADMIN"
    )]
    NetAdmin,
    /// The kernel's door to TAP devices is not there.
    #[error("/dev/net/tun is missing: load the tun module, or pass the device into the container")]
    Tun,
    /// The overlay would hide a part of the host's network.
    #[error(
        "the range {range} overlaps the host's route {route}: choose another with --ipalloc-range"
    )]
    Overlap {
        /// The range.
        range: IpNet,
        /// The route, in words.
        route: String,
    },
    /// The routing table could not be read.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Checks the process and the kernel.
pub(super) fn capabilities() -> Result<(), PreflightError> {
    let held = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN);
    if !held.unwrap_or(false) {
        return Err(PreflightError::NetAdmin);
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(PreflightError::Tun);
    }
    Ok(())
}

/// Checks the ranges against the host's routes.
pub(super) async fn ranges(
    handle: &Handle,
    ranges: &[IpNet],
    bridge: &str,
) -> Result<(), PreflightError> {
    match host::overlapping_route(handle, ranges, bridge).await? {
        Some((range, route)) => Err(PreflightError::Overlap { range, route }),
        None => Ok(()),
    }
}
