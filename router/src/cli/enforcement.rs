//! `weft policy explain` and `weft policy drops`: what the node's daemon enforces.

use std::time::Duration;

use weft_api::enforcement::{DropsQuery, ExplainQuery};
use weft_cni_shim::client::Client;
use weft_policy::PortSpec;

use super::args::{DropsArgs, ExplainArgs};
use super::{Failure, block_on, output, render};

/// How often `--follow` asks.
const PAUSE: Duration = Duration::from_millis(300);

/// `weft policy explain`.
pub(super) fn explain(client: &Client, args: &ExplainArgs) -> Result<(), Failure> {
    let port = match &args.port {
        PortSpec::Number(number, protocol) => format!("{number}/{protocol}"),
        PortSpec::Name(name, protocol) => format!("{name}/{protocol}"),
    };
    let query = ExplainQuery { from: args.from.clone(), to: args.to.clone(), port };
    let answer = block_on(async { Ok(client.explain(&query).await?) })?;
    if args.json {
        output::print_json(&answer)?;
    } else {
        output::print(&render::explanation(&answer))?;
    }
    Ok(())
}

/// `weft policy drops`.
pub(super) fn drops(client: &Client, args: &DropsArgs) -> Result<(), Failure> {
    block_on(async {
        let mut query = DropsQuery::default();
        loop {
            let dropped = client.drops(&query).await?;
            query.after = dropped.last().map_or(query.after, |packet| packet.sequence);
            if args.json && !args.follow {
                output::print_json(&dropped)?;
            }
            for packet in &dropped {
                if args.json && args.follow {
                    let line = serde_json::to_string(packet)
                        .expect("invariant: texts and numbers are always JSON");
                    output::print(&format!("{line}\n"))?;
                } else if !args.json {
                    output::print(&render::dropped(packet))?;
                }
            }
            if !args.follow {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}
