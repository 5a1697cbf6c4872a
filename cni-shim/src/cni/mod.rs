//! The CNI plugins: verbs of the Container Network Interface, versions 0.3.1 to 1.1.0. `weft-net`
//! makes a Pod's interface; `weft-ipam` gives addresses of the mesh to another plugin that does.
//!
//! A runtime starts the plugin once a verb, with the parameters in the environment and the network
//! configuration on standard input, and reads one JSON document from standard output: a result, or
//! an error with exit status 1. The plugin keeps no state; what it must find again is with the
//! daemon under the key (container, interface), or in the derived name of the host's end.
//!
//! Section numbers refer to the CNI specification, `SPEC.md` of version 1.1.0.

pub mod cmd;
pub mod config;
pub mod env;
pub mod error;
pub mod ipam;
pub mod result;
pub mod version;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use serde_json::Value;

use cmd::Call;
use config::Config;
use env::{Command, Environment};
use error::{CniError, Code};
use version::Version;

/// The longest configuration that is read: libcni's own are a few kilobytes, and a result of a
/// long chain is part of it.
const MAX_CONFIG: u64 = 4 << 20;

/// Which of the plugins the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// `weft-net`.
    Net,
    /// `weft-ipam`, which another plugin's configuration names in `ipam.type`.
    Ipam,
}

impl Plugin {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "weft-net",
            Self::Ipam => "weft-ipam",
        }
    }

    /// What a person reads who starts the plugin by hand.
    fn hint(self) -> String {
        let (name, starter) = match self {
            Self::Net => (self.name(), "a container runtime"),
            Self::Ipam => (self.name(), "the plugin whose addresses it manages"),
        };
        format!(
            "{name} is a CNI plugin: {starter} starts it, with CNI_COMMAND and other variables in \
             the environment and a network configuration on standard input. People use \
             `weft attach` and `weft detach`."
        )
    }
}

/// Runs a plugin with the process's arguments, environment and standard streams.
pub fn main(plugin: Plugin) -> ExitCode {
    let (name, hint) = (plugin.name(), plugin.hint());
    let first = std::env::args().nth(1);
    if matches!(first.as_deref(), Some("--version" | "-V" | "--help" | "-h")) {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{name} {version}\nCNI versions: {}\n{hint}", Version::list());
        return print(&text, ExitCode::SUCCESS);
    }
    let lookup = |name: &str| std::env::var(name).ok();
    if lookup(env::COMMAND).is_none_or(|command| command.is_empty()) {
        // Nobody reads standard error of a plugin that is told nothing, unless a person does.
        let _ = writeln!(std::io::stderr(), "{name}: CNI_COMMAND is not set\n{hint}");
        return ExitCode::from(4);
    }
    let (version, outcome) = dispatch(plugin, lookup);
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(answer)) => print(&answer.to_string(), ExitCode::SUCCESS),
        Err(error) => print(&error.to_json(version).to_string(), ExitCode::FAILURE),
    }
}

/// Carries out the verb. Answers what to print, and the version in whose shape an error goes.
fn dispatch(
    plugin: Plugin,
    lookup: impl Fn(&str) -> Option<String>,
) -> (Version, Result<Option<Value>, CniError>) {
    let input = read_config();
    // An error is written in the version that was asked for, if that much can be read.
    let asked = input.as_deref().map(version::peek).unwrap_or_default();
    let outcome = (|| {
        let command = Command::parse(&lookup)?;
        let input = input?;
        if command == Command::Version {
            return Ok(Some(cmd::version::answer(&input)?));
        }
        let config = match plugin {
            Plugin::Net => Config::parse(&input, command)?,
            Plugin::Ipam => Config::parse_ipam(&input, command)?,
        };
        command.require(config.version)?;
        let environment = Environment::parse(command, &lookup)?;
        run(plugin, Call::new(config, environment))
    })();
    (asked.unwrap_or(Version::NEWEST), outcome)
}

fn run(plugin: Plugin, call: Call) -> Result<Option<Value>, CniError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            CniError::new(Code::IO, "cannot start the runtime").details(error.to_string())
        })?;
    runtime.block_on(async {
        match call.environment.command {
            Command::Add if plugin == Plugin::Ipam => ipam::add(&call).await.map(Some),
            Command::Del if plugin == Plugin::Ipam => ipam::del(&call).await.map(|()| None),
            Command::Check if plugin == Plugin::Ipam => ipam::check(&call).await.map(|()| None),
            Command::Add => cmd::add::run(&call).await.map(Some),
            Command::Del => cmd::del::run(&call).await.map(|()| None),
            Command::Check => cmd::check::run(&call).await.map(|()| None),
            Command::Gc => cmd::gc::run(&call, plugin).await.map(|()| None),
            Command::Status => cmd::status::run(&call).await.map(|()| None),
            Command::Version => cmd::version::answer(b"").map(Some),
        }
    })
}

fn read_config() -> Result<Vec<u8>, CniError> {
    let stdin = std::io::stdin();
    let mut input = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_CONFIG + 1).read_to_end(&mut input).map_err(|error| {
            CniError::new(Code::IO, "cannot read the network configuration from standard input")
                .details(error.to_string())
        })?;
    }
    if input.len() as u64 > MAX_CONFIG {
        return Err(CniError::new(
            Code::CONFIG,
            format!("the network configuration is longer than {MAX_CONFIG} bytes"),
        ));
    }
    Ok(input)
}

/// Prints the answer; a runtime that does not read it gets a failure.
fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
