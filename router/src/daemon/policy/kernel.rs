//! What stands in the kernel, and changing it: one transaction each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use serde_json::Value;
use tracing::{debug, info};
use weft_policy::nft::{Fate, Packet, PacketState, Ruleset, Tightening, Transaction};

use super::drops::GROUP;
use super::netfilter::Channel;
use super::{PolicyError, PolicyState, Port, Standing, batch, conntrack, nft, ports, watch};

/// The two tables as this daemon knows them to be.
#[derive(Debug)]
pub(super) struct Kernel {
    bridge: String,
    /// Whether connections that a change forbids are cut.
    cut: bool,
    /// Whether the kernel has a log for dropped packets.
    log: bool,
    channel: Channel,
    /// What stands; None where that is not known, at the start or after a failure.
    standing: Option<Given>,
}

/// What the kernel was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) ruleset: Ruleset,
    pub(super) ports: BTreeMap<String, Port>,
}

impl Given {
    fn lacking(&self, channel: &mut Channel, port: &str) -> io::Result<Option<String>> {
        let Some((name, rules)) = self.ports.get_key_value(port) else {
            return Ok(Some(format!("the port {port} is closed")));
        };
        let own = BTreeMap::from([(name.clone(), rules.clone())]);
        let mut elements = ports::changes(&BTreeMap::new(), &own).to_batch();
        elements.extend(batch::members_of(&self.ruleset, &rules.addresses));
        let lacking = batch::lacking(channel, &elements)?;
        Ok(lacking.map(|of| format!("{port} is missing in set {} of table {}", of.set, of.table)))
    }
}

impl Kernel {
    pub(super) fn new(bridge: String, cut: bool, log: bool) -> Self {
        Self { bridge, cut, log, channel: Channel::default(), standing: None }
    }

    /// What the kernel was given, where that is known.
    pub(super) fn standing(&self) -> Option<&Given> {
        self.standing.as_ref()
    }

    /// What the kernel lacks of the rules of a Pod's port; None where they stand.
    pub(super) fn lacking(&mut self, port: &str) -> io::Result<Option<String>> {
        match &self.standing {
            None => Ok(Some("no rules stand".to_owned())),
            Some(given) => given.lacking(&mut self.channel, port),
        }
    }

    /// The number of transactions that the namespace's nftables have seen, where the kernel tells.
    pub(super) fn generation(&mut self) -> Option<u32> {
        watch::generation(&mut self.channel).ok().flatten()
    }

    /// What the tables lack or have too much; None where they are as they were given, or where that
    /// is not known.
    pub(super) fn difference(&mut self) -> io::Result<Option<String>> {
        match &self.standing {
            None => Ok(None),
            Some(given) => watch::difference(&mut self.channel, given),
        }
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
        match &known {
            Some(given) => {
                let ports = ports::changes(&given.ports, &state.ports);
                change(&mut self.channel, &transaction, &ports)?;
            }
            None => {
                nft::run_json(&transaction.to_json())?;
                // Policies first: a port is opened only when they stand.
                nft::run_script(&ports::script(&state.ports))?;
                info!(policies = state.cluster.policies.len(), "policies are enforced");
            }
        }
        let others = known.as_ref().map(|given| moved(&given.ports, &state.ports));
        let others = others.unwrap_or_default();
        if !others.is_empty() {
            conntrack::forget(&mut self.channel, &others).map_err(PolicyError::Conntrack)?;
        }
        if self.cut {
            // Every flow that stands was allowed by the rules that stood, or has been cut then: only
            // where these deny more are there any to cut. After a failure nothing is known to stand,
            // and all flows are looked at.
            let mut tightening = match &known {
                Some(given) => ruleset.tightening(&given.ruleset, &transaction),
                None => Tightening::Anywhere,
            };
            if let Tightening::At(addresses) = &mut tightening {
                // Their flows are gone.
                addresses.retain(|address| !others.contains(address));
            }
            cut_flows(&mut self.channel, &tightening, &ruleset, &self.bridge)?;
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

/// Makes the tables that stand others, as one transaction: by a message of our own where that is
/// enough, by `nft` where it is not or the kernel did not take it.
fn change(
    channel: &mut Channel,
    transaction: &Transaction,
    ports: &ports::Difference,
) -> Result<(), PolicyError> {
    if let Some(mut changes) = batch::changes(transaction) {
        changes.extend(ports.to_batch());
        if batch::fits(&changes) {
            match batch::run(channel, &changes) {
                Ok(()) => return Ok(()),
                Err(error) => debug!(%error, "the kernel did not take the elements, nft is asked"),
            }
        }
    }
    let mut commands = transaction.to_json();
    if let Some(list) = commands.get_mut("nftables").and_then(Value::as_array_mut) {
        list.extend(ports.to_json());
    }
    nft::run_json(&commands)
}

/// Deletes the flows that the rules would not let open any more.
fn cut_flows(
    channel: &mut Channel,
    tightening: &Tightening,
    ruleset: &Ruleset,
    bridge: &str,
) -> Result<(), PolicyError> {
    let at = match tightening {
        Tightening::At(addresses) if addresses.is_empty() => return Ok(()),
        Tightening::At(addresses) => Some(addresses),
        Tightening::Anywhere => None,
    };
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
    let deleted = conntrack::delete(channel, at, forbidden).map_err(PolicyError::Conntrack)?;
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
    cluster.all_pods().filter(|pod| is_isolated(pod)).count()
}

/// The state that nothing is known of yet.
pub(super) fn nothing() -> Arc<PolicyState> {
    Arc::default()
}
