//! DEL: remove the interface and free its addresses.

use super::Call;
use crate::cni::error::CniError;
use crate::{fault, wire};

/// Removes the veth pair by the host's end, then frees the addresses of (container, interface), in
/// that order: an address is not free while something still answers to it. Needs neither the
/// namespace nor an earlier ADD, and may be repeated.
///
/// # Errors
/// [`crate::cni::error::Code::TRY_AGAIN`] while the daemon does not answer: a success would tell
/// the runtime to forget the container, and the addresses would never come back.
pub async fn run(call: &Call) -> Result<(), CniError> {
    let environment = &call.environment;
    wire::detach(&environment.container, &environment.ifname).await?;
    fault::point("unwired");
    let key = call.key();
    call.patiently(|| call.client.detach(&key)).await.map(drop)
}
