//! What this node says of itself: its name in the mesh, and whether Pods have a network here.
//!
//! It says nothing before it knows of a ring, so that its name on its Node tells others that there is one. The
//! one exception: where its Node has the name of another peer, the machine's former life, that name is
//! void, and others would wait for it.

use weft_kubernetes::Word;

use super::Kubernetes;
use crate::daemon::engine::{Engine, Output};

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Presence(Option<Word>);

impl Kubernetes {
    /// Whether this node's Node has the name of another peer.
    fn node_is_anothers(&self, own: &str) -> bool {
        let peer = self.own_node().and_then(|node| node.peer.as_deref());
        peer.is_some_and(|peer| peer != own)
    }
}

impl Engine {
    /// Says what has changed of it.
    pub(super) fn tell_presence(&mut self) {
        let name = self.settings.name.to_string();
        let Some(kubernetes) = &self.kubernetes else { return };
        if !self.node.knows_ring() && !kubernetes.node_is_anothers(&name) {
            return;
        }
        let message = self.why_not_serving();
        let word = Word::Present {
            up: message.is_none(),
            message: message
                .unwrap_or_else(|| "weft gives addresses and enforces policies".to_owned()),
        };
        let Some(kubernetes) = &mut self.kubernetes else { return };
        if kubernetes.presence.0.as_ref() != Some(&word) {
            kubernetes.presence.0 = Some(word.clone());
            self.outputs.push_back(Output::Kubernetes(word));
        }
    }

    /// Why no Pod could be served, the first reason; `None` where one could.
    fn why_not_serving(&self) -> Option<String> {
        if self.serves() {
            return None;
        }
        if !self.node.ready() {
            return Some(format!("ipam: {}", self.node.ipam_state()));
        }
        if self.policies_are_unknown() {
            return Some("the NetworkPolicies of this cluster are not known yet".to_owned());
        }
        let failure = self.data_failure.clone().or(self.saving.failure().map(str::to_owned));
        failure.or_else(|| self.enforcement.warnings().next())
    }
}
