//! The commands that ask the daemon and print what it answers.

use serde::Serialize;
use weft_api::attach::{Attachment, AttachmentQuery};
use weft_api::peers::{ConnectRequest, ForgetRequest};
use weft_api::status::{Connection, IpamOwner, Peer, Status, Target};
use weft_cni_shim::client::Client;

use super::args::{ConnectArgs, ForgetArgs, StatusArgs, Table};
use super::{Failure, block_on, output, render};
use crate::config::PeerAddr;

/// `weft status` and its tables.
pub(super) fn status(client: &Client, args: &StatusArgs) -> Result<(), Failure> {
    match args.table {
        None => show(args.json, block_on(fetch(client.status()))?, render::status),
        Some(Table::Connections) => {
            show(args.json, block_on(fetch(client.connections()))?, |rows| {
                render::connections(rows)
            })
        }
        Some(Table::Targets) => {
            show(args.json, block_on(fetch(client.targets()))?, |rows| render::targets(rows))
        }
        Some(Table::Policy) => {
            show(args.json, block_on(fetch(client.policies()))?, |rows| render::policies(rows))
        }
        Some(Table::Peers) if args.json => {
            Ok(output::print_json(&block_on(fetch(client.peers()))?)?)
        }
        Some(Table::Ipam) if args.json => Ok(output::print_json(&block_on(fetch(client.ipam()))?)?),
        // These two begin with this node, which the status knows.
        Some(Table::Peers) => block_on(async {
            let (own, rows) = (client.status().await?, client.peers().await?);
            Ok(output::print(&render::peers(&own.router.name, &rows))?)
        }),
        Some(Table::Ipam) => block_on(async {
            let (own, rows) = (client.status().await?, client.ipam().await?);
            Ok(output::print(&render::ipam(&own.router.name, &rows, &own.ipam.removals))?)
        }),
    }
}

/// `weft report --json`: everything the API tells, under the names of the commands.
#[derive(Serialize)]
pub(super) struct Report {
    /// The version of this command, which may not be the daemon's.
    pub(super) version: &'static str,
    pub(super) status: Status,
    pub(super) connections: Vec<Connection>,
    pub(super) peers: Vec<Peer>,
    pub(super) targets: Vec<Target>,
    pub(super) ipam: Vec<IpamOwner>,
    pub(super) attachments: Vec<Attachment>,
}

/// `weft report`.
pub(super) fn report(client: &Client, json: bool) -> Result<(), Failure> {
    let report = block_on(async {
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            status: client.status().await?,
            connections: client.connections().await?,
            peers: client.peers().await?,
            targets: client.targets().await?,
            ipam: client.ipam().await?,
            attachments: client.attachments(&AttachmentQuery::default()).await?,
        })
    })?;
    show(json, report, render::report)
}

/// `weft ps`.
pub(super) fn ps(client: &Client, json: bool) -> Result<(), Failure> {
    let all = AttachmentQuery::default();
    show(json, block_on(fetch(client.attachments(&all)))?, |rows| render::ps(rows))
}

/// `weft connect`.
pub(super) fn connect(client: &Client, args: &ConnectArgs) -> Result<(), Failure> {
    let request = ConnectRequest { peers: texts(&args.peers), replace: args.replace };
    block_on(fetch(client.connect(&request))).map(drop)
}

/// `weft forget`.
pub(super) fn forget(client: &Client, args: &ForgetArgs) -> Result<(), Failure> {
    let request = ForgetRequest { peers: texts(&args.peers) };
    block_on(fetch(client.forget(&request))).map(drop)
}

fn texts(peers: &[PeerAddr]) -> Vec<String> {
    peers.iter().map(ToString::to_string).collect()
}

/// A call whose failure is the command's.
async fn fetch<T>(
    call: impl Future<Output = Result<T, weft_cni_shim::client::ClientError>>,
) -> Result<T, Failure> {
    Ok(call.await?)
}

fn show<T: Serialize>(json: bool, value: T, table: impl Fn(&T) -> String) -> Result<(), Failure> {
    if json {
        output::print_json(&value)?
    } else {
        output::print(&table(&value))?
    }
    Ok(())
}
