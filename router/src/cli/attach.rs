//! `weft attach` and `weft detach`: what a container runtime does through the CNI plugin, by hand;
//! `weft expose` and `weft hide`: the same for the host, by the daemon.

use std::path::{Path, PathBuf};

use weft_api::attach::{AttachReply, AttachRequest, AttachmentQuery};
use weft_cni_shim::client::{ATTACH_TIMEOUT, Client};
use weft_cni_shim::wire::{self, Plan, WireError};

use super::args::{AttachArgs, DetachArgs};
use super::{Failure, block_on, output, render};

/// Reserves addresses and wires the namespace; all or nothing.
pub(super) fn attach(client: &Client, args: &AttachArgs) -> Result<(), Failure> {
    let netns = existing(&args.interface.netns)?;
    let request = AttachRequest {
        container: key(&netns)?,
        ifname: args.interface.ifname.clone(),
        namespace: args.namespace.clone(),
        pod: args.pod.clone(),
        labels: args.labels.iter().cloned().collect(),
        ports: args.ports.clone(),
        ips: args.ips.clone(),
        ..AttachRequest::default()
    };
    let reply = block_on(reserve_and_wire(client, netns, &request))?;
    show(&reply, args.json)
}

/// Prints the attachment, or its addresses, one a line.
fn show(reply: &AttachReply, json: bool) -> Result<(), Failure> {
    if json {
        output::print_json(&reply.attachment)?;
    } else {
        output::print(&render::addresses(&reply.attachment))?;
    }
    Ok(())
}

/// Gives the host addresses of its own.
pub(super) fn expose(client: &Client, json: bool) -> Result<(), Failure> {
    show(&block_on(async { Ok(client.expose().await?) })?, json)
}

/// Takes them away again.
pub(super) fn hide(client: &Client) -> Result<(), Failure> {
    block_on(async { Ok(client.hide().await?) }).map(drop)
}

async fn reserve_and_wire(
    client: &Client,
    netns: PathBuf,
    request: &AttachRequest,
) -> Result<AttachReply, Failure> {
    let query = query(&request.container, &request.ifname);
    // What stood before this call is not this call's to undo.
    let repeated = !client.attachments(&query).await?.is_empty();
    let reply = client.attach(request, ATTACH_TIMEOUT).await?;
    let Err(error) = wire_up(netns, &reply, repeated).await else { return Ok(reply) };
    let mut text = error.to_string();
    if !repeated && let Err(undo) = client.detach(&query).await {
        text = format!(
            "{text}; then, freeing the addresses failed too ({undo}): \
             run `weft detach --netns {} --ifname {}`",
            request.container, request.ifname
        );
    }
    Err(Failure::Failed(text))
}

async fn wire_up(netns: PathBuf, reply: &AttachReply, repeated: bool) -> Result<(), WireError> {
    let plan = Plan::from_reply(netns, reply)?;
    if repeated && wire::check(&plan).await.is_ok() {
        return Ok(());
    }
    wire::attach(&plan).await?;
    Ok(())
}

/// Unwires the namespace and frees its addresses, in this order: a freed address may be given away.
pub(super) fn detach(client: &Client, args: &DetachArgs) -> Result<(), Failure> {
    let container = key(&as_canonical(&args.interface.netns))?;
    let ifname = &args.interface.ifname;
    block_on(async {
        // Asked first, so that without the daemon nothing is taken apart.
        client.attachments(&query(&container, ifname)).await?;
        let unwired = wire::detach(&container, ifname).await;
        unwired.map_err(|error| Failure::Failed(error.to_string()))?;
        client.detach(&query(&container, ifname)).await?;
        Ok(())
    })
}

fn query(container: &str, ifname: &str) -> AttachmentQuery {
    AttachmentQuery {
        container: Some(container.to_owned()),
        ifname: Some(ifname.to_owned()),
        network: None,
    }
}

/// The canonical path of a namespace, which is the key of its attachments: however the operator
/// writes it, it is one container.
fn existing(netns: &Path) -> Result<PathBuf, Failure> {
    if let Err(error) = netns.metadata() {
        return Err(Failure::Failed(format!(
            "cannot open the network namespace {}: {error}: give the path of one that exists, \
             `ip netns add NAME` makes /run/netns/NAME",
            netns.display()
        )));
    }
    Ok(as_canonical(netns))
}

/// The canonical path of a namespace that may be gone: then that of its directory is used, as it is
/// for a link below /proc/PID/ns, which leads to no path.
fn as_canonical(netns: &Path) -> PathBuf {
    if let Ok(canonical) = netns.canonicalize() {
        return canonical;
    }
    let absolute = std::path::absolute(netns).unwrap_or_else(|_| netns.to_owned());
    match (absolute.parent().map(Path::canonicalize), absolute.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => absolute,
    }
}

fn key(netns: &Path) -> Result<String, Failure> {
    netns
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Failed(format!("the path {} is not UTF-8 text", netns.display())))
}

#[cfg(test)]
mod tests;
