//! The command line: parse, do one thing, answer with the contract's exit code.
//!
//! Errors are lines on stderr that begin with `weft: ` and name the cure; results go to stdout, as
//! tables for people (`render`) or as JSON for programs.

mod args;
mod attach;
mod enforcement;
mod heal;
mod launch;
mod output;
mod parse;
mod policy;
mod query;
mod render;
mod reset;
mod rmpeer;
mod setup_cni;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use weft_cni_shim::client::{Client, ClientError};
use weft_crypto::ClusterSecret;

use args::{Cli, Command, PolicyCommand, SecretCommand};

/// How a command ended, as a process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: called wrongly; nothing was tried.
    Usage,
    /// 3: the daemon is not reachable.
    Unreachable,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It failed; one line.
    #[error("{0}")]
    Failed(String),
    /// It was called wrongly; one or more lines, each a problem of its own.
    #[error("{0}")]
    Usage(String),
    /// A call to the daemon failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Client(error) if error.is_unreachable() => Exit::Unreachable,
            Self::Failed(_) | Self::Client(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

/// Runs the command that the arguments ask for, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => dispatch(cli),
        Err(error) => misuse(&error, &command_named(&arguments)),
    };
    match result {
        Ok(()) => Exit::Done,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.exit()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let socket = cli.socket.as_ref();
    match cli.command {
        Command::Launch(args) => launch::launch(&args, socket),
        Command::Status(args) => query::status(&client(socket), &args),
        Command::Report(args) => query::report(&client(socket), args.json),
        Command::Connect(args) => query::connect(&client(socket), &args),
        Command::Forget(args) => query::forget(&client(socket), &args),
        Command::Heal(args) => heal::heal(&client(socket), &args),
        Command::Reset(args) => reset::reset(&client(socket), &args),
        Command::Rmpeer(args) => rmpeer::rmpeer(&client(socket), &args),
        Command::Attach(args) => attach::attach(&client(socket), &args),
        Command::Detach(args) => attach::detach(&client(socket), &args),
        Command::Ps(args) => query::ps(&client(socket), args.json),
        Command::Policy(args) => match args.command {
            PolicyCommand::Matrix(args) => policy::matrix(&args),
            PolicyCommand::Explain(args) => enforcement::explain(&client(socket), &args),
            PolicyCommand::Drops(args) => enforcement::drops(&client(socket), &args),
            PolicyCommand::Apply(args) => policy::objects::apply(&client(socket), &args),
            PolicyCommand::Get(args) => policy::objects::get(&client(socket), &args),
            PolicyCommand::Delete(args) => policy::objects::delete(&client(socket), &args),
        },
        Command::Expose(args) => attach::expose(&client(socket), args.json),
        Command::Hide => attach::hide(&client(socket)),
        Command::SetupCni(args) => setup_cni::setup_cni(&client(socket), &args),
        Command::Secret(args) => match args.command {
            SecretCommand::New => secret_new(),
            SecretCommand::Reload => secret_reload(&client(socket)),
        },
        Command::Version => Ok(output::print(&format!("weft {}\n", env!("CARGO_PKG_VERSION")))?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "weft", &mut script);
            Ok(output::print_bytes(&script)?)
        }
    }
}

/// The client of the daemon that `--socket`, `WEFT_SOCKET` or nothing names.
fn client(socket: Option<&PathBuf>) -> Client {
    socket.map_or_else(Client::from_env, |socket| Client::new(socket.clone()))
}

/// Runs a client's calls. One thread is enough for calls made one after another.
fn block_on<T>(calls: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?
        .block_on(calls)
}

fn secret_new() -> Result<(), Failure> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)
        .map_err(|error| Failure::Failed(format!("no random numbers from the system: {error}")))?;
    let text = ClusterSecret::from_entropy(entropy).to_text();
    Ok(output::print_bytes(text.as_bytes()).and_then(|()| output::print("\n"))?)
}

fn secret_reload(client: &Client) -> Result<(), Failure> {
    let reply = block_on(async { Ok(client.reload_secrets().await?) })?;
    let text = match reply.accepted {
        1 => "one secret is accepted\n".to_owned(),
        two => format!("{two} secrets are accepted, the old and the new\n"),
    };
    Ok(output::print(&text)?)
}

/// What the parser did not turn into a command: help and version are results, the rest is one line
/// that leads to the help of `command`.
fn misuse(error: &clap::Error, command: &str) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(output::print(&error.render().to_string())?)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(Failure::Usage(format!("no command given: see `{command} --help`")))
        }
        ErrorKind::ValueValidation if argument(error).contains("PEER") => {
            // In the words of the configuration: a peer is a peer wherever it is given.
            let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
            let value = value.unwrap_or_default();
            let why = std::error::Error::source(error).map(ToString::to_string);
            let why = why.unwrap_or_default();
            Err(Failure::Usage(format!(
                "invalid peer \"{}\": {why}: see `{command} --help`",
                value.escape_debug()
            )))
        }
        _ => {
            let text = error.render().to_string();
            let mut reason = text.lines().take_while(|line| !line.is_empty());
            let first = reason.next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            let rest: Vec<_> = reason.map(str::trim).collect();
            let mut line = first.to_owned();
            if !rest.is_empty() {
                line = format!("{line} {}", rest.join(", "));
            }
            if let Some(meant) = suggestion(error) {
                line = format!("{line}, did you mean '{meant}'?");
            }
            Err(Failure::Usage(format!("{line}: see `{command} --help`")))
        }
    }
}

/// The command that some arguments name, as far as they name one: `weft secret new`.
fn command_named(arguments: &[OsString]) -> String {
    let mut command = &Cli::command();
    let mut name = command.get_name().to_owned();
    for argument in arguments.iter().skip(1) {
        if let Some(inner) = command.find_subcommand(argument) {
            command = inner;
            name = format!("{name} {}", inner.get_name());
        }
    }
    name
}

/// The argument that an error is about, as help writes it.
fn argument(error: &clap::Error) -> String {
    error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default()
}

/// What the parser believes was meant.
fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    })
}
