//! What the node is to enforce: policies, the Pods they are about, and the ports of its own Pods.
//!
//! The shell has the kernel do it on [`Output::Policy`] and reports back. A Pod is answered only
//! when its rules stand.

use std::sync::Arc;

use ipnet::IpNet;
use tracing::warn;
use weft_api::attach::{Attachment, EXPOSED};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_cni_shim::wire::{Mac, host_ifname};
use weft_gossip::Time;
use weft_policy::{Cluster, NamedPort, Pod, Protocol};

use super::{CallId, Engine, Output, Reply};
use crate::daemon::policy::{PolicyEvent, PolicyState, Port, Standing};

/// The namespace of Pods that were attached without one.
const DEFAULT_NAMESPACE: &str = "default";

/// What the shell was told to enforce, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Enforcement {
    /// The last that was told.
    told: Arc<PolicyState>,
    /// The token of the last order, and of the last one that was carried out.
    last: u64,
    done: u64,
    /// Answers that wait for an order to be carried out, by its token.
    waiting: Vec<(u64, CallId, Reply)>,
    /// What stands; None before anything does.
    standing: Option<Standing>,
    /// Why the last order does not stand.
    failure: Option<String>,
    /// What somebody else did to the rules.
    watched: Option<String>,
}

impl Enforcement {
    /// `weft status`.
    pub(super) fn status(&self) -> weft_api::status::Policy {
        weft_api::status::Policy {
            policies: self.told.cluster.policies.len(),
            isolated_pods: self.standing.map_or(0, |standing| standing.isolated_pods),
            enforcing: self.standing.is_some() && self.failure.is_none(),
        }
    }

    /// Whether the kernel does not enforce what it should; no Pod is answered then.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What an operator should know.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.failure.clone().into_iter().chain(self.watched.clone())
    }

    /// What was told last.
    pub(super) fn told(&self) -> &PolicyState {
        &self.told
    }
}

impl Engine {
    /// Everything that policies are about: the Pods of all nodes, the namespaces, the policies.
    ///
    /// What other nodes tell is added here. Of a Pod of another node, [`Pod::node`] is that node's
    /// full name.
    fn policy_cluster(&mut self) -> Cluster {
        let node = self.settings.name.to_string();
        let pods = self.pods().map(|attachment| self.own_pod(attachment, &node)).collect();
        let mut cluster = Cluster { pods, ..Cluster::default() };
        self.add_shared(&mut cluster);
        cluster
    }

    /// Tells the shell what is to be enforced, where that has changed. To be called after any change
    /// of attachments, of known Pods, namespaces or policies.
    pub(super) fn tell_policy_changes(&mut self) {
        if self.policies_are_unknown() {
            return;
        }
        let state = PolicyState {
            cluster: self.policy_cluster(),
            node: self.settings.name.to_string(),
            ports: self.pods().filter_map(port).collect(),
        };
        if *self.enforcement.told != state {
            self.enforcement.last += 1;
            self.enforcement.told = Arc::new(state);
            let state = self.enforcement.told.clone();
            self.outputs.push_back(Output::Policy { token: self.enforcement.last, state });
        }
    }

    /// The attachments of Pods, the host's own and those that are cut off left out.
    pub(super) fn standing_pods(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|attachment| is_pod(attachment))
    }

    /// The same, and also those that the disk does not have yet, so that the kernel and the disk work at
    /// the same time.
    fn pods(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.with_prepared().filter(|attachment| is_pod(attachment))
    }

    /// Answers a call once what has been told so far is enforced.
    pub(super) fn answer_enforced(&mut self, call: CallId, reply: Reply) {
        if matches!(reply, Reply::Attach(_)) && self.enforcement.done < self.enforcement.last {
            self.enforcement.waiting.push((self.enforcement.last, call, reply));
        } else {
            self.outputs.push_back(Output::Reply { call, result: Ok(reply) });
        }
    }

    /// The kernel does what [`Output::Policy`] asked for; or could not be made to. Then it goes on
    /// with what it did before, and the shell tries again.
    pub(in crate::daemon) fn handle_policy(&mut self, event: PolicyEvent, now: Time) {
        let (token, result) = match event {
            PolicyEvent::Done { token, result } => (token, result),
            PolicyEvent::Watched(warning) => {
                self.enforcement.watched = warning;
                return;
            }
        };
        let failure = match result {
            Ok(standing) => {
                self.enforcement.done = self.enforcement.done.max(token);
                self.enforcement.standing = Some(standing);
                None
            }
            Err(why) => Some(why),
        };
        if let Some(why) = &failure
            && self.enforcement.failure != failure
        {
            warn!("{why}");
        }
        self.enforcement.failure.clone_from(&failure);
        let (due, rest) = std::mem::take(&mut self.enforcement.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(awaited, ..)| *awaited <= token);
        self.enforcement.waiting = rest;
        for (_, call, reply) in due {
            let result = failure
                .clone()
                .map_or(Ok(reply), |message| Err(ErrorBody { code: ErrorCode::NotReady, message }));
            self.outputs.push_back(Output::Reply { call, result });
        }
        self.settle(now);
    }
}

fn is_pod(attachment: &Attachment) -> bool {
    attachment.container != EXPOSED && attachment.fenced.is_none()
}

/// A Pod of this node as policies see it. One that nobody named is called like its container.
pub(super) fn local_pod(attachment: &Attachment, node: &str) -> Pod {
    let named = |port: &weft_api::attach::NamedPort| {
        let protocol = Protocol::ALL.into_iter().find(|known| known.as_str() == port.protocol)?;
        Some(NamedPort { name: port.name.clone(), protocol, number: port.port })
    };
    Pod {
        namespace: attachment.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: attachment.pod.clone().unwrap_or_else(|| attachment.container.clone()),
        labels: attachment.labels.clone(),
        addresses: attachment.ips.iter().map(IpNet::addr).collect(),
        ports: attachment.ports.iter().filter_map(named).collect(),
        host_network: false,
        finished: false,
        node: Some(node.to_owned()),
    }
}

/// The port of a Pod's interface. None where the MAC address is none, so that nothing gets through.
fn port(attachment: &Attachment) -> Option<(String, Port)> {
    let mac: Mac = attachment.mac.parse().ok()?;
    let name = host_ifname(&attachment.container, &attachment.ifname);
    Some((name, Port { mac, addresses: attachment.ips.iter().map(IpNet::addr).collect() }))
}
