//! Taking back a half-made attachment.

use super::netlink::Netlink;
use super::{WireError, detach};
use crate::fault;

/// Removes the pair whose host's end is `host_ifname`, and with it all that was set on it, and
/// answers the error to report: `cause`, or that even the removal failed.
pub(super) async fn roll_back(host: &Netlink, host_ifname: &str, cause: WireError) -> WireError {
    fault::point("undoing");
    match detach::remove(host, host_ifname).await {
        Ok(()) => cause,
        Err(undo) => WireError::NotUndone {
            cause: Box::new(cause),
            host_ifname: host_ifname.to_owned(),
            undo: Box::new(undo),
        },
    }
}
