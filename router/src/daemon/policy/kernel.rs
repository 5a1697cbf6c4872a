//! What stands in the kernel, and changing it: one transaction each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use serde_json::Value;
use tracing::{debug, info};
use weft_policy::nft::{Fate, Packet, PacketState, Ruleset};

use super::drops::GROUP;
use super::{PolicyError, PolicyState, Port, Standing, conntrack, nft, ports, watch};

/// The two tables as this daemon knows them to be.
#[derive(Debug)]
pub(super) struct Kernel {
    bridge: String,
    /// Whether connections that a change forbids are cut.
    cut: bool,
    /// Whether the kernel has a log for dropped packets.
    log: bool,
    /// What stands; None where that is not known, at the start or after a failure.
    standing: Option<Given>,
}

/// What the kernel was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) ruleset: Ruleset,
    pub(super) ports: BTreeMap<String, Port>,
}

impl Kernel {
    pub(super) fn new(bridge: String, cut: bool, log: bool) -> Self {
        Self { bridge, cut, log, standing: None }
    }

    /// What the kernel was given, where that is known.
    pub(super) fn standing(&self) -> Option<&Given> {
        self.standing.as_ref()
    }

    /// Has the tables made anew the next time, as one transaction.
    pub(super) fn doubt(&mut self) {
        self.standing = None;
    }

    /// Makes the tables say what the state says. What stands until then, stands until the moment
    /// that the new is in force, also where a killed daemon has left it.
    pub(super) fn apply(&mut self, state: &PolicyState) -> Result<Standing, PolicyError> {
        watch::bridge_settings()?;
        let local = |pod: &weft_policy::Pod| pod.node.as_deref() == Some(state.node.as_str());
        let mut ruleset = Ruleset::compile(&state.cluster, &self.bridge, local);
        if self.log {
            ruleset = ruleset.with_drop_log(GROUP);
        }
        let known = self.standing.take();
        let transaction = ruleset.transaction_from(known.as_ref().map(|given| &given.ruleset));
        let changed = !transaction.is_empty();
        let mut commands = transaction.to_json();
        if let (Some(given), Some(list)) =
            (&known, commands.get_mut("nftables").and_then(Value::as_array_mut))
        {
            list.extend(ports::changes(&given.ports, &state.ports));
        }
        let nothing = commands["nftables"].as_array().is_some_and(Vec::is_empty);
        if !nothing {
            nft::run_json(&commands)?;
        }
        // Policies first: a port is opened only when they stand.
        if known.is_none() {
            nft::run_script(&ports::script(&state.ports))?;
            info!(policies = state.cluster.policies.len(), "policies are enforced");
        }
        let others = known.as_ref().map(|given| moved(&given.ports, &state.ports));
        if changed || others.as_ref().is_some_and(|others| !others.is_empty()) {
            let cut = self.cut && changed;
            forget_flows(&ruleset, &self.bridge, &others.unwrap_or_default(), cut)?;
        }
        let isolated_pods = isolated(&ruleset, &state.cluster, local);
        self.standing = Some(Given { ruleset, ports: state.ports.clone() });
        Ok(Standing { isolated_pods })
    }

    /// Removes both tables. That there is none is no error.
    pub(super) fn remove(&mut self) -> Result<(), PolicyError> {
        self.standing = None;
        let (policy, port) = (weft_policy::nft::TABLE, ports::TABLE);
        nft::run_script(&format!(
            "table inet {policy}\ndelete table inet {policy}\ntable bridge {port}\ndelete table bridge {port}\n"
        ))
    }
}

/// The addresses that came to a port or went from one.
fn moved(before: &BTreeMap<String, Port>, after: &BTreeMap<String, Port>) -> BTreeSet<IpAddr> {
    let pairs = |ports: &BTreeMap<String, Port>| {
        let pairs = ports.iter().flat_map(|(name, port)| {
            port.addresses.iter().map(move |address| (name.clone(), *address))
        });
        pairs.collect::<BTreeSet<_>>()
    };
    pairs(before).symmetric_difference(&pairs(after)).map(|(_, address)| *address).collect()
}

/// Deletes flows of addresses that are another's now, and those that the rules would not let open
/// any more.
fn forget_flows(
    ruleset: &Ruleset,
    bridge: &str,
    others: &BTreeSet<IpAddr>,
    cut: bool,
) -> Result<(), PolicyError> {
    let interfaces = getifaddrs().map_err(|errno| PolicyError::Conntrack(errno.into()))?;
    let own: BTreeSet<IpAddr> =
        interfaces.filter_map(|interface| ip_of(interface.address?)).collect();
    let forbidden = |flow: &conntrack::Flow| {
        // What the node itself sends and gets is not asked about.
        let ends = [flow.source, flow.destination];
        let packet = Packet {
            from: bridge.to_owned(),
            to: bridge.to_owned(),
            state: PacketState::New,
            source: flow.source,
            destination: flow.destination,
            payload: flow.payload,
        };
        !ends.iter().any(|end| own.contains(end)) && ruleset.run(&packet) == Fate::Dropped
    };
    let deleted = conntrack::delete(|flow| flow.concerns(others) || (cut && forbidden(flow)))
        .map_err(PolicyError::Conntrack)?;
    debug!(deleted, "flows that must not go on");
    Ok(())
}

fn ip_of(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
    four.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
}

/// How many of the node's Pods are in one of the maps.
fn isolated(
    ruleset: &Ruleset,
    cluster: &weft_policy::Cluster,
    local: impl Fn(&weft_policy::Pod) -> bool,
) -> usize {
    let is_isolated = |pod: &weft_policy::Pod| {
        let in_map = |address| ruleset.maps.values().any(|map| map.elements.contains_key(address));
        local(pod) && pod.addresses.iter().any(in_map)
    };
    cluster.pods.iter().filter(|pod| is_isolated(pod)).count()
}

/// The state that nothing is known of yet.
pub(super) fn nothing() -> Arc<PolicyState> {
    Arc::default()
}
