//! What is told of API mode: status, warnings, figures.

use weft_api::status::{Kubernetes as View, KubernetesState};
use weft_crypto::PeerName;
use weft_gossip::Time;
use weft_kubernetes::PEER_ANNOTATION;

use super::watches::Health;
use crate::daemon::engine::Engine;
use crate::utc::utc;

/// Figures of API mode, for the metrics.
#[derive(Debug, Default)]
pub(in crate::daemon) struct KubernetesFigures {
    /// Each watch: whether it works, and how often it began to fail.
    pub(in crate::daemon) watches: Vec<(&'static str, bool, u64)>,
    /// Calls for addresses that wait for the API.
    pub(in crate::daemon) waiting: u64,
    /// Calls that went on without what the API knows of their Pod.
    pub(in crate::daemon) blind: u64,
}

impl Engine {
    /// The part of `weft status`; `None` outside of API mode.
    pub(in crate::daemon::engine) fn kubernetes_view(&self) -> Option<View> {
        let kubernetes = self.kubernetes.as_ref()?;
        let (health, since, detail) = kubernetes.watches.summary();
        let state = match health {
            Health::Watching => KubernetesState::Watching,
            Health::Away => KubernetesState::Away,
            Health::Failing => KubernetesState::Failing,
        };
        Some(View { node: kubernetes.settings.node.clone(), state, since: utc(since), detail })
    }

    /// What an operator should look at.
    pub(in crate::daemon::engine) fn kubernetes_warnings(&self) -> Vec<String> {
        let Some(kubernetes) = &self.kubernetes else { return Vec::new() };
        let (health, since, detail) = kubernetes.watches.summary();
        let mut warnings = Vec::new();
        if let Some(detail) = detail {
            let state = if health == Health::Failing { "fails" } else { "is away" };
            let known = if kubernetes.knows_policies() {
                "Pods keep what was known of them and of policies"
            } else {
                "no Pod is served before the policies are known"
            };
            let since = utc(since);
            warnings.push(format!("the Kubernetes API {state} since {since}: {detail}; {known}"));
        }
        let node = &kubernetes.settings.node;
        match &kubernetes.nodes.listed {
            Some(nodes) if nodes.is_empty() => warnings.push(
                "the Kubernetes API has no Nodes: was its state lost? nobody is removed from the ring"
                    .to_owned(),
            ),
            Some(nodes) if !nodes.contains_key(node) => warnings.push(format!(
                "this node has no Node {node} in the Kubernetes API: restart the kubelet, so that it \
                 registers again, or launch with the right --kubernetes-node; nobody is removed from the ring"
            )),
            Some(_) | None => {}
        }
        for (peer, node) in &kubernetes.nodes.awaited {
            warnings.push(format!(
                "no ring is made here, since {}, which the Node {node} names, may have one and cannot be \
                 reached: start weft there; if it is gone for good, delete the Node or its annotation \
                 {PEER_ANNOTATION}",
                self.title(*peer)
            ));
        }
        let title = |peer: PeerName| self.title(peer);
        warnings.extend(kubernetes.former_warnings(&title));
        warnings.extend(kubernetes.overlaps(&self.settings.ranges));
        warnings.extend(kubernetes.faults());
        warnings.extend(kubernetes.unsaid.clone());
        let shadowed = self.objects.count();
        if shadowed > 0 {
            warnings.push(format!(
                "{shadowed} objects of `weft policy apply` are not in force here: policies come from the \
                 Kubernetes API; delete them on a node that is not in API mode"
            ));
        }
        warnings
    }

    /// Whether what is wrong with the watches is more than a node that is ready may have.
    pub(in crate::daemon::engine) fn kubernetes_is_overdue(&self, now: Time) -> bool {
        self.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.watches.is_overdue(now))
    }

    /// Figures for the metrics; `None` outside of API mode.
    pub(in crate::daemon) fn kubernetes_figures(&self) -> Option<KubernetesFigures> {
        let kubernetes = self.kubernetes.as_ref()?;
        Some(KubernetesFigures {
            watches: kubernetes.watches.figures().collect(),
            waiting: u64::try_from(kubernetes.admission.waiting()).unwrap_or(u64::MAX),
            blind: kubernetes.admission.blind,
        })
    }
}
