//! ADD: addresses from the daemon, then the interface.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use weft_api::attach::{AttachReply, AttachRequest, Outbound};

use super::Call;
use crate::client::ATTACH_TIMEOUT;
use crate::cni::error::{CniError, Code};
use crate::cni::result::{CniResult, Interface, IpEntry, RouteEntry};
use crate::fault;
use crate::wire::{self, Place, Plan, Route, RouteSettings, Wired};

/// Makes the interface and answers the result, added to that of the plugins before.
///
/// # Errors
/// Any [`CniError`]. The interface and the addresses are given back first; where that fails too,
/// the details say so, and the DEL that the runtime owes a failed ADD finds them.
pub async fn run(call: &Call) -> Result<Value, CniError> {
    let environment = &call.environment;
    let netns = environment.netns.as_deref().unwrap_or(Path::new(""));
    let previous = call.config.previous()?.unwrap_or_default();
    // Before anything is asked for: a repeated ADD must not give back the addresses of the first.
    let place = Place::open(netns).await?;
    place.vacant(&environment.container, &environment.ifname).await?;
    fault::point("vacant");
    match serve(call, &place, netns, previous).await {
        Ok(result) => Ok(result.to_json(call.config.version)),
        Err(error) => Err(give_back(call, error).await),
    }
}

async fn serve(
    call: &Call,
    place: &Place,
    netns: &Path,
    previous: CniResult,
) -> Result<CniResult, CniError> {
    let request = request(call);
    let reply = call.patiently(|| call.client.attach(&request, ATTACH_TIMEOUT)).await?;
    fault::point("reserved");
    let plan = plan(call, netns, &reply)?;
    let wired = place.attach(&plan).await?;
    fault::point("wired");
    Ok(result(call, &plan, &wired, &reply.attachment.gateways, previous))
}

/// Frees the addresses, which the daemon may have reserved even where its answer did not arrive.
/// One attempt only: a daemon that is away has kept the runtime waiting long enough.
pub(in crate::cni) async fn give_back(call: &Call, error: CniError) -> CniError {
    fault::point("failed");
    match call.client.detach(&call.key()).await {
        Ok(_) => error,
        Err(second) if second.is_unreachable() => error,
        Err(second) => error.details(format!("freeing the addresses failed too: {second}")),
    }
}

/// What the daemon is asked for.
pub(in crate::cni) fn request(call: &Call) -> AttachRequest {
    let (config, environment) = (&call.config, &call.environment);
    AttachRequest {
        container: environment.container.clone(),
        ifname: environment.ifname.clone(),
        namespace: environment.namespace.clone(),
        pod: environment.pod.clone(),
        uid: environment.uid.clone(),
        labels: config.labels.clone(),
        ports: Vec::new(),
        ips: if config.ips.is_empty() { &environment.ips } else { &config.ips }.clone(),
        subnets: config.subnets.clone(),
        mac: None,
        network: Some(config.name.clone()),
        outbound: (config.default_route || config.ip_masq).then(|| Outbound {
            masquerade: config.ip_masq,
            exempt: config.ip_masq_exempt.clone(),
        }),
    }
}

fn plan(call: &Call, netns: &Path, reply: &AttachReply) -> Result<Plan, CniError> {
    let (config, environment) = (&call.config, &call.environment);
    let attachment = &reply.attachment;
    if (&attachment.container, &attachment.ifname) != (&environment.container, &environment.ifname)
    {
        return Err(CniError::new(Code::DAEMON, "weft answered for another attachment"));
    }
    let mut plan = Plan::from_reply(netns.to_owned(), reply)?;
    if let Some(mtu) = config.mtu {
        if mtu > reply.mtu {
            return Err(CniError::new(
                Code::CONFIG,
                format!("mtu {mtu} of the configuration exceeds the overlay's {}", reply.mtu),
            ));
        }
        plan.mtu = mtu;
    }
    plan.routes = call.routes(&attachment.gateways);
    if config.default_route {
        plan.default_via = attachment.gateways.clone();
        // One of the configuration is the operator's choice.
        plan.default_via.retain(|via| {
            !plan
                .routes
                .iter()
                .any(|route| route.is_default() && route.dst.addr().is_ipv4() == via.is_ipv4())
        });
    }
    plan.hairpin = config.hairpin;
    plan.validate()?;
    Ok(plan)
}

/// The result: the bridge, the host's end and the Pod's, in this order, behind what is there.
fn result(
    call: &Call,
    plan: &Plan,
    wired: &Wired,
    gateways: &[IpAddr],
    mut result: CniResult,
) -> CniResult {
    result.interfaces.push(Interface {
        name: plan.bridge.clone(),
        mac: wired.bridge_mac.map(|mac| mac.to_string()),
        ..Interface::default()
    });
    result.interfaces.push(Interface {
        name: plan.host_ifname.clone(),
        mac: Some(wired.host_mac.to_string()),
        mtu: Some(plan.mtu),
        ..Interface::default()
    });
    let index = result.interfaces.len();
    result.interfaces.push(Interface {
        name: plan.ifname.clone(),
        mac: Some(wired.pod_mac.to_string()),
        mtu: Some(plan.mtu),
        sandbox: Some(call.sandbox()),
        ..Interface::default()
    });
    result.ips.extend(plan.ips.iter().map(|address| IpEntry {
        version: None,
        address: *address,
        gateway:
            gateways.iter().find(|gateway| gateway.is_ipv4() == address.addr().is_ipv4()).copied(),
        interface: Some(index),
        other: serde_json::Map::new(),
    }));
    result.routes.extend(routes(call, &wired.defaults, &plan.routes));
    result.dns = result.dns.or_else(|| call.config.dns.clone());
    result
}

/// The default routes that were made, then those of the configuration with their gateways.
pub(in crate::cni) fn routes(
    call: &Call,
    defaults: &[IpAddr],
    configured: &[Route],
) -> Vec<RouteEntry> {
    let made = defaults.iter().map(|via| RouteEntry {
        dst: wire::default_destination(*via),
        gw: Some(*via),
        settings: RouteSettings::default(),
        other: serde_json::Map::new(),
    });
    let configured = call.config.routes.iter().zip(configured);
    let configured = configured.map(|(entry, route)| RouteEntry { gw: route.via, ..entry.clone() });
    made.chain(configured).collect()
}
