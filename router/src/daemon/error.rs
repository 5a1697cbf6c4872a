//! Why a launch fails. Each text is one line that names the culprit and the cure.

use std::net::SocketAddr;

use super::{api::SocketError, host::HostError, links::EndpointError};
use super::{preflight::PreflightError, store::StoreError};

/// Why a launch fails.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The runtime could not be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    /// The host lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the data directory holds does not fit.
    #[error("{0}")]
    Restore(#[from] weft_gossip::RestoreError),
    /// The UDP port cannot be bound.
    #[error(transparent)]
    Bind(#[from] weft_netio::udp::BindError),
    /// The QUIC endpoint cannot be made.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The status port cannot be bound.
    #[error("cannot serve status on {address}: {source}: choose another with --status-addr")]
    Status {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The kernel refused the bridge.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The kernel refused the TAP.
    #[error(transparent)]
    Tap(#[from] weft_netio::tap::TapError),
    /// The data plane did not start.
    #[error("cannot start the data plane: {0}")]
    Dataplane(std::io::Error),
    /// The Kubernetes API cannot be listened to with what was configured.
    #[error(transparent)]
    Kubernetes(#[from] weft_kubernetes::StartError),
    /// SIGTERM came before the daemon before had ended.
    #[error("told to end while standing by: nothing was started")]
    StoodBy,
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signal(std::io::Error),
}
