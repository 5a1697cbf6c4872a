//! `weft launch`: gathers the configuration, starts logging, hands over to the daemon.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::Failure;
use super::args::LaunchArgs;
use crate::config::{Config, DEFAULT_FILE, LogLevel, Setting, Sources};

/// Runs the daemon until it is told to stop.
pub(super) fn launch(args: &LaunchArgs, socket: Option<&PathBuf>) -> Result<(), Failure> {
    let config = Config::resolve(&sources(args.settings(socket), args.config.clone()))
        .map_err(|problems| Failure::Usage(problems.to_string()))?;
    start_logging(config.log_level);
    log_config(&config);
    crate::daemon::run(config).map_err(|error| Failure::Failed(error.to_string()))
}

/// Where a configuration comes from on this host.
pub(super) fn sources(
    flags: BTreeMap<Setting, Vec<String>>,
    config_file: Option<PathBuf>,
) -> Sources<'static> {
    Sources {
        flags,
        config_file,
        default_file: DEFAULT_FILE.into(),
        environment: &|name| std::env::var_os(name),
        hostname: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// Logs to stderr; a panic is logged too, so that it does not get lost among a service's output.
fn start_logging(level: LogLevel) {
    // Every target of this workspace begins with "weft". The libraries below have their say only
    // where something is wrong: their own traces would drown ours. That a peer's network is
    // unreachable is told per connection by `weft status`, not per packet by quinn's socket.
    let others = level.min(LogLevel::Warn);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{others},quinn_udp=error,weft={level}")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .finish();
    // Somebody else's subscriber, in a test that runs a node in its own process, serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(place = panic.location().map(tracing::field::display), "panicked");
        previous(panic);
    }));
}

/// What is in force, the secret left out by its type; then what the operator should know about it.
/// Only the latter is above DEBUG: where the launch fails, its reason should stand alone.
fn log_config(config: &Config) {
    tracing::debug!(version = env!("CARGO_PKG_VERSION"), ?config, "launching");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}
