//! STATUS: whether an ADD would be served.

use super::Call;
use crate::cni::error::{CniError, Code};

/// Asks the daemon, once: the runtime asks again by itself.
///
/// # Errors
/// [`Code::UNAVAILABLE`], with what the daemon waits for; [`Code::IMPAIRED`] where nothing is carried
/// between hosts either, because the daemon or its data plane is gone.
pub async fn run(call: &Call) -> Result<(), CniError> {
    let status = call
        .client
        .status()
        .await
        .map_err(|error| CniError::new(Code::IMPAIRED, error.to_string()))?;
    if status.ready {
        return Ok(());
    }
    let details = status.warnings.join("; ");
    // With addresses to give and not ready all the same, it is the data plane that has stopped.
    if status.ipam.state == "ready" {
        return Err(CniError::new(Code::IMPAIRED, "weft carries no traffic").details(details));
    }
    let text = format!("weft is not ready: ipam is {}", status.ipam.state);
    Err(CniError::new(Code::UNAVAILABLE, text).details(details))
}
