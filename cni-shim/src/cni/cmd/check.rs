//! CHECK: compare the interface with the result of ADD and with what the daemon knows.

use super::Call;
use crate::cni::error::{CniError, Code};
use crate::cni::result::CniResult;
use crate::wire::{self, Plan};

/// Succeeds if everything that ADD made is there. What plugins chained behind have changed since,
/// the MAC address or the MTU say, stands in the previous result and counts as it stands there.
///
/// # Errors
/// [`Code::CHECK`], naming the first thing that is missing or differs.
pub async fn run(call: &Call) -> Result<(), CniError> {
    let previous = call.config.previous_of_check()?;
    let mut plan = plan(call, &previous)?;
    let known = call.client.attachments(&call.key()).await?;
    let attachment = known.first().ok_or_else(|| {
        let (container, ifname) = (&call.environment.container, &call.environment.ifname);
        differs(format!("weft knows no interface \"{ifname}\" of container {container}"))
    })?;
    if let Some(lacking) = &attachment.unprotected {
        return Err(differs(format!("the rules at the Pod's port do not stand: {lacking}")));
    }
    if let Some(ip) = attachment.ips.iter().find(|ip| !plan.ips.contains(ip)) {
        return Err(differs(format!("address {ip} is missing in prevResult")));
    }
    if let Some(ip) = plan.ips.iter().find(|ip| !attachment.ips.contains(ip)) {
        return Err(differs(format!(
            "address {ip} of prevResult does not belong to the container"
        )));
    }
    plan.routes = call.routes(&attachment.gateways);
    // What ADD has not made, because the Pod had a default route, is not missing.
    plan.default_via = attachment.gateways.clone();
    plan.default_via.retain(|via| {
        let reported = previous.routes.iter();
        let reported = reported.filter(|r| r.dst.prefix_len() == 0 && r.gw == Some(*via)).count();
        let configured = plan.routes.iter();
        let configured =
            configured.filter(|r| r.dst.prefix_len() == 0 && r.via == Some(*via)).count();
        reported > configured
    });
    wire::check(&plan).await.map_err(CniError::from)
}

/// What ADD was to make, by its result.
fn plan(call: &Call, previous: &CniResult) -> Result<Plan, CniError> {
    let environment = &call.environment;
    let (ifname, sandbox) = (&environment.ifname, call.sandbox());
    let host_ifname = wire::host_ifname(&environment.container, ifname);
    let absent = |name: &str| differs(format!("interface \"{name}\" is missing in prevResult"));
    let (index, pod) = previous.interface(ifname, &sandbox).ok_or_else(|| absent(ifname))?;
    let host = previous.host_interface(&host_ifname).ok_or_else(|| absent(&host_ifname))?;
    // ADD puts the bridge right before the host's end, wherever in the chain that is.
    let bridge = host.checked_sub(1).and_then(|bridge| previous.interfaces.get(bridge));
    let bridge = bridge.ok_or_else(|| absent("the bridge"))?;
    let mac =
        pod.mac.as_deref().ok_or_else(|| differs(format!("\"{ifname}\" has no MAC address")))?;
    let ips = previous.ips.iter().filter(|ip| ip.interface == Some(index));
    Ok(Plan {
        netns: environment.netns.clone().unwrap_or_default(),
        ifname: ifname.clone(),
        host_ifname,
        bridge: bridge.name.clone(),
        mac: mac.parse()?,
        ips: ips.map(|ip| ip.address).collect(),
        // Not compared; any valid value will do where the result's version has none.
        mtu: pod.mtu.unwrap_or(wire::MIN_MTU),
        routes: Vec::new(),
        default_via: Vec::new(),
        hairpin: call.config.hairpin,
        multicast_route: previous
            .ips
            .iter()
            .any(|ip| ip.interface == Some(index) && ip.address.addr().is_ipv4()),
    })
}

fn differs(text: String) -> CniError {
    CniError::new(Code::CHECK, text)
}
