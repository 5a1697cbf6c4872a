//! `weft reset`: the node begins anew under another identity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_api::path::DEFAULT_SOCKET;
use weft_api::reset::{ResetReply, ResetRequest};
use weft_cni_shim::client::Client;

use super::args::ResetArgs;
use super::launch::sources;
use super::{Failure, block_on, output, render};
use crate::config::Config;
use crate::daemon::{OfflineReset, reset_data_dir};

/// How long the command waits for the daemon to be back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Has the daemon do it; where none runs, resets the data directory.
pub(super) fn reset(client: &Client, args: &ResetArgs) -> Result<(), Failure> {
    let request = ResetRequest { force: args.force };
    let answer = block_on(async { Ok(client.reset(&request).await) })?;
    match answer {
        Ok(reply) => {
            output::print(&describe(&reply))?;
            block_on(await_return(client, &reply.peer))
        }
        Err(error) if error.is_unreachable() && error.is_transient() => offline(client, args),
        Err(error) => Err(error.into()),
    }
}

fn describe(reply: &ResetReply) -> String {
    let (former, nickname) = (&reply.former.peer, &reply.former.nickname);
    let was = render::name(former, nickname);
    let mut text = format!("{was} is {} from here on\n", render::name(&reply.peer, nickname));
    for pod in &reply.cut_off {
        text.push_str(&format!("{} is cut off\n", render::clean(pod)));
    }
    if reply.left_behind > 0 {
        text.push_str(&format!(
            "{} addresses of {was} are left behind: run `weft rmpeer {}` on another node\n",
            reply.left_behind,
            render::name(former, "")
        ));
    }
    text
}

/// Waits until the daemon answers under its new name.
async fn await_return(client: &Client, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.status().await {
            Ok(status) if status.router.name == name => return Ok(()),
            _ if Instant::now() >= deadline => {
                let text =
                    "the reset is done, but the daemon is not back: see its log, start it again";
                return Err(Failure::Failed(text.to_owned()));
            }
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

fn offline(client: &Client, args: &ResetArgs) -> Result<(), Failure> {
    let dir = data_dir(client.socket(), args)?;
    let OfflineReset { former, name } =
        reset_data_dir(&dir, args.force).map_err(|error| Failure::Failed(error.to_string()))?;
    let (dir, now) = (dir.display(), render::name(&name.to_string(), ""));
    let mut text = match former {
        Some(former) => {
            format!("no daemon runs; {dir} was {}'s and is {now}'s now\n", former.short())
        }
        None => format!("no daemon runs; {dir} is {now}'s now\n"),
    };
    if let Some(former) = former {
        text.push_str(&format!(
            "if it owned addresses, they rest until `weft rmpeer {}` is run on another node\n",
            former.short()
        ));
    }
    Ok(output::print(&text)?)
}

/// The directory of the daemon that is not there. Which one that is must be beyond doubt: several nodes
/// can share a machine.
fn data_dir(socket: &Path, args: &ResetArgs) -> Result<PathBuf, Failure> {
    let sources = sources(args.settings(), args.config.clone());
    let dir =
        Config::data_dir(&sources).map_err(|problems| Failure::Usage(problems.to_string()))?;
    match dir {
        Some(dir) => Ok(dir),
        None if socket == Path::new(DEFAULT_SOCKET) => Ok(Config::default_data_dir()),
        None => Err(Failure::Usage(format!(
            "no daemon answers at {}: start it, or say with --data-dir which directory to reset",
            socket.display()
        ))),
    }
}
