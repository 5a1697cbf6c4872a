//! STATUS: whether an ADD would be served.

use super::Call;
use crate::cni::error::{CniError, Code};

/// Asks the daemon, once: the runtime asks again by itself.
///
/// # Errors
/// [`Code::UNAVAILABLE`], with what the daemon waits for.
pub async fn run(call: &Call) -> Result<(), CniError> {
    let status = call
        .client
        .status()
        .await
        .map_err(|error| CniError::new(Code::UNAVAILABLE, error.to_string()))?;
    if status.ready {
        return Ok(());
    }
    Err(CniError::new(
        Code::UNAVAILABLE,
        format!("weft is not ready: ipam is {}", status.ipam.state),
    )
    .details(status.warnings.join("; ")))
}
