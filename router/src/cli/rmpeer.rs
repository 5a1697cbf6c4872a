//! `weft rmpeer`: removes nodes for good, and says how far it is.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_api::peers::RemoveRequest;
use weft_api::status::Removal;
use weft_cni_shim::client::Client;

use super::args::RmpeerArgs;
use super::{Failure, block_on, output, render};

/// How long the command waits for the others' words, which take a moment where they are reachable.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks for the removals, waits a little until they are complete, and prints what became of them.
pub(super) fn rmpeer(client: &Client, args: &RmpeerArgs) -> Result<(), Failure> {
    let request = RemoveRequest { peers: args.names.clone(), force: args.force };
    let removals = block_on(async {
        let asked = client.remove(&request).await?.removals;
        wait(client, asked).await
    })?;
    Ok(output::print(&render::removals(&removals))?)
}

async fn wait(client: &Client, asked: Vec<Removal>) -> Result<Vec<Removal>, Failure> {
    let names: BTreeSet<String> = asked.iter().map(|r| r.node.peer.clone()).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut removals = asked;
    while removals.iter().any(|r| !r.complete) && Instant::now() < deadline {
        sleep(PAUSE).await;
        removals = client.status().await?.ipam.removals;
        removals.retain(|r| names.contains(&r.node.peer));
    }
    Ok(removals)
}
