//! The verbs of `weft-ipam`: addresses of the mesh for an interface that another plugin makes.
//!
//! The key is (container, interface) as with `weft-net`. The daemon is told the interface's real MAC
//! address where the other plugin has made it already: the Pods of other hosts send to the one that
//! follows from the address, and the data plane has to know which it really is.

use std::path::Path;

use serde_json::{Map, Value};

use super::cmd::Call;
use super::cmd::add::{give_back, request, routes};
use super::error::{CniError, Code};
use super::result::{CniResult, IpEntry};
use crate::client::ATTACH_TIMEOUT;
use crate::{fault, wire};

/// ADD: reserves addresses and answers them, with gateways and routes where the configuration asks
/// for them.
///
/// # Errors
/// [`Code::EXISTS`] if the interface has addresses already: whoever undoes a second ADD must not
/// free those of the first. Any other [`CniError`]; nothing stays reserved.
pub async fn add(call: &Call) -> Result<Value, CniError> {
    let environment = &call.environment;
    let key = call.key();
    if !call.patiently(|| call.client.attachments(&key)).await?.is_empty() {
        let (ifname, container) = (&environment.ifname, &environment.container);
        return Err(CniError::new(
            Code::EXISTS,
            format!("interface \"{ifname}\" of container {container} has addresses already"),
        ));
    }
    let mut request = request(call);
    let netns = environment.netns.as_deref().unwrap_or(Path::new(""));
    request.mac = wire::mac_of(netns, &environment.ifname).await?.map(|mac| mac.to_string());
    let reply = match call.patiently(|| call.client.attach(&request, ATTACH_TIMEOUT)).await {
        Ok(reply) => reply,
        Err(error) => return Err(give_back(call, error).await),
    };
    fault::point("reserved");
    let attachment = &reply.attachment;
    let gateway = |ip: &ipnet::IpNet| {
        attachment.gateways.iter().find(|g| g.is_ipv4() == ip.addr().is_ipv4()).copied()
    };
    let ips = attachment.ips.iter().map(|ip| IpEntry {
        version: None,
        address: *ip,
        gateway: gateway(ip),
        interface: None,
        other: Map::new(),
    });
    let configured = call.routes(&attachment.gateways);
    let result = CniResult {
        ips: ips.collect(),
        routes: routes(call, &attachment.gateways, &configured),
        dns: call.config.dns.clone(),
        ..CniResult::default()
    };
    Ok(result.to_json(call.config.version))
}

/// DEL: frees the addresses of this interface, and of no other.
///
/// # Errors
/// [`Code::TRY_AGAIN`] while the daemon does not answer.
pub async fn del(call: &Call) -> Result<(), CniError> {
    let key = call.key();
    call.patiently(|| call.client.detach(&key)).await.map(drop)
}

/// CHECK: whether the addresses of the previous result are this interface's.
///
/// # Errors
/// [`Code::CHECK`], naming the first that is not.
pub async fn check(call: &Call) -> Result<(), CniError> {
    let previous = call.config.previous_of_check()?;
    let known = call.client.attachments(&call.key()).await?;
    let Some(attachment) = known.first() else {
        let (ifname, container) = (&call.environment.ifname, &call.environment.container);
        let text = format!("weft knows no interface \"{ifname}\" of container {container}");
        return Err(CniError::new(Code::CHECK, text));
    };
    // The result is that of the whole chain: it may hold others' addresses too.
    match attachment.ips.iter().find(|ip| !previous.ips.iter().any(|p| p.address == **ip)) {
        Some(ip) => {
            Err(CniError::new(Code::CHECK, format!("address {ip} is missing in prevResult")))
        }
        None => Ok(()),
    }
}
