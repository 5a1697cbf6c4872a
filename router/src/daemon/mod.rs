//! The daemon behind `weft launch`.
//!
//! | module | what lives there |
//! |---|---|
//! | `start` | everything from a configuration to a running node, and the way back |
//! | `run` | the event loop: the one task that owns the state |
//! | `engine` | the state machine, pure |
//! | `links` | QUIC control connections |
//! | `tables` | what the data plane forwards by, made from the engine's state |
//! | `host` | the bridge and the host's routes |
//! | `policy` | what policies the node enforces |
//! | `store` | the data directory |
//! | `api` | the control socket and the status port |
//! | `figures`, `metrics` | what `/metrics` exports, and how |
//! | `preflight` | the checks before anything is changed |
//! | `reset` | the data directory of a node that begins anew, without a daemon |
//! | `predecessor` | waiting for what a killed daemon has not let go of yet |

pub mod api;
mod clock;
mod engine;
mod error;
mod figures;
mod host;
pub mod links;
mod metrics;
mod policy;
mod predecessor;
mod preflight;
mod reset;
mod run;
mod start;
mod store;
mod tables;

pub use error::LaunchError;
pub use reset::{OfflineReset, ResetError, reset_data_dir};
#[doc(hidden)]
pub use store::Disk;

use crate::config::{Config, read_secrets};
use run::End;

/// Runs the daemon until it is told to stop by SIGTERM or SIGINT. A reset ends one node and starts the
/// next, with the same configuration.
///
/// # Errors
///
/// Whatever keeps it from starting. Then nothing is left behind: no bridge, no TAP, no socket.
pub fn run(mut config: Config) -> Result<(), LaunchError> {
    loop {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // The event loop, the QUIC connections and the API: control only, never a Pod's packet.
            .worker_threads(2)
            .thread_name("weft-control")
            .enable_all()
            .build()
            .map_err(LaunchError::Runtime)?;
        let end = runtime.block_on(async {
            let running = start::start(config.clone()).await?;
            running.run_until_stopped().await
        });
        // Ends all tasks, and with them what they listen on.
        drop(runtime);
        match end? {
            End::Stopped => return Ok(()),
            End::Reset => tracing::info!("beginning anew under another identity"),
        }
        // They may have been read again since. Where the file is no good now, the launch's are.
        if let Some(Ok((secrets, _))) = config.secret_file.as_deref().map(read_secrets) {
            config.secrets = secrets;
        }
    }
}

/// Bytes from the kernel's random generator, for keys, boot ids and seeds.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("invariant: getrandom(2) works on every supported kernel");
    bytes
}
