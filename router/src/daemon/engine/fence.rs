//! Pods whose addresses are another node's: they are cut off, and named.
//!
//! That happens to a node that was removed from the ring and is alive, to one that took addresses from
//! such a node, and to one whose disk went back. What is void is judged by the state, not by the order
//! of events: an attachment whose addresses the allocator does not hold for it.
//!
//! The shell unplugs the ports on [`Output::CutOff`] and reports back. Until then this node's data plane
//! is apart from all peers ([`Engine::is_apart`]): the tables say so before anything else is done with
//! the message that told of it. The attachments stay, so that the Pods can be detached.

use ipnet::IpNet;
use tracing::{error, warn};
use weft_api::attach::{Attachment, EXPOSED};
use weft_gossip::Time;

use super::attachments::{allocation_key, join};
use super::{Engine, Output};

/// Pods named one by one in status; `weft ps` has them all.
const MAX_NAMED: usize = 8;

/// An interface that is to be cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct CutPort {
    /// The host's end of the veth that this project's wiring makes.
    pub(in crate::daemon) ifname: String,
    /// The Pod's MAC address, by which another plugin's port is found.
    pub(in crate::daemon) mac: String,
}

/// How far the shell is.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// Whether attachments are to be judged anew.
    due: bool,
    /// The token of the last order, and of the last one that was carried out.
    last: u64,
    done: u64,
    /// What could not be cut off.
    failure: Option<String>,
}

impl Engine {
    /// The allocator gave up addresses that Pods here have.
    pub(super) fn fence_later(&mut self) {
        self.fence.due = true;
    }

    /// Cuts off what has lost its addresses since the last look.
    pub(super) fn fence_due(&mut self) {
        if !std::mem::take(&mut self.fence.due) {
            return;
        }
        let void: Vec<(String, String)> = self
            .attachments
            .iter()
            .filter(|attachment| attachment.fenced.is_none() && !self.holds(attachment))
            .map(|attachment| (attachment.container.clone(), attachment.ifname.clone()))
            .collect();
        if void.is_empty() {
            return;
        }
        for key in &void {
            if key.0 == EXPOSED {
                self.lose_exposure();
            } else if let Some(attachment) = self.attachments.get_mut(key) {
                let lost = join(&attachment.ips);
                let text = format!("{} is cut off: {lost} is another node's now", pod(attachment));
                warn!("{text}");
                attachment.fenced = Some(format!("{lost} is another node's now"));
            }
        }
        self.write_attachments();
        self.tell_host_changes();
        self.tell_policy_changes();
        self.cut_off();
    }

    /// Has the shell cut off all Pods that are to be, also those that it was told of before.
    pub(super) fn cut_off(&mut self) {
        let ports: Vec<CutPort> = self
            .attachments
            .iter()
            .filter(|attachment| attachment.fenced.is_some())
            .map(|attachment| CutPort {
                ifname: weft_cni_shim::wire::host_ifname(&attachment.container, &attachment.ifname),
                mac: attachment.mac.clone(),
            })
            .collect();
        if ports.is_empty() {
            return;
        }
        self.tables_changed = true;
        self.fence.last += 1;
        self.outputs.push_back(Output::CutOff { token: self.fence.last, ports });
    }

    /// The ports of [`Output::CutOff`] with this token, and all before it, are cut off; or some could
    /// not be, and are tried again. Until they are this node stays apart.
    pub(in crate::daemon) fn handle_cut_off(
        &mut self,
        token: u64,
        result: Result<(), String>,
        now: Time,
    ) {
        match result {
            Ok(()) => {
                self.fence.done = self.fence.done.max(token);
                self.fence.failure = None;
            }
            Err(why) => {
                if self.fence.failure.as_ref() != Some(&why) {
                    error!("{why}");
                }
                self.fence.failure = Some(why);
            }
        }
        self.tables_changed = true;
        self.settle(now);
    }

    /// Whether no packet may go to or from a peer, since Pods with void addresses are still plugged in.
    pub(in crate::daemon) fn is_apart(&self) -> bool {
        self.fence.done < self.fence.last
    }

    /// Whether the allocator holds an attachment's addresses for it.
    fn holds(&self, attachment: &Attachment) -> bool {
        let key = allocation_key(&attachment.container, &attachment.ifname);
        self.is_allocated(&key, &attachment.ips)
    }

    /// Whether the allocator holds `ips` for `key` at this moment.
    pub(super) fn is_allocated(&self, key: &str, ips: &[IpNet]) -> bool {
        let held = self.node.allocated(key);
        ips.iter().all(|ip| held.iter().any(|held| held.addr() == ip.addr()))
    }

    /// Pods that are cut off, for status.
    pub(super) fn fence_warnings(&self) -> Vec<String> {
        let mut fenced = self.attachments.iter().filter_map(|attachment| {
            let why = attachment.fenced.as_ref()?;
            let pod = pod(attachment);
            Some(format!("{pod} is cut off: {why}; delete it and make it anew"))
        });
        let mut warnings: Vec<String> = fenced.by_ref().take(MAX_NAMED).collect();
        let more = fenced.count();
        if more > 0 {
            warnings.push(format!("{more} more Pods are cut off: see `weft ps`"));
        }
        warnings.extend(self.fence.failure.clone());
        warnings
    }

    /// How many Pods are cut off.
    pub(in crate::daemon) fn fenced_count(&self) -> usize {
        self.attachments.iter().filter(|attachment| attachment.fenced.is_some()).count()
    }
}

/// A Pod for people: `Pod shop/web (5f0c2b..., eth0)`, or its container alone.
pub(super) fn pod(attachment: &Attachment) -> String {
    let (container, ifname) = (&attachment.container, &attachment.ifname);
    match &attachment.pod {
        Some(pod) => {
            let namespace = attachment.namespace.as_deref().unwrap_or("-");
            format!("Pod {namespace}/{pod} ({ifname} of {container})")
        }
        None => format!("{ifname} of {container}"),
    }
}
