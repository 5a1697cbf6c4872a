//! What the Kubernetes API tells, and what is made of it: API mode.
//!
//! | module | what lives there |
//! |---|---|
//! | `heard` | namespaces, policies and this node's Pods as they were heard last, and their form on disk |
//! | `watches` | which watch works, which does not, and since when |
//! | `targets` | the cluster's nodes as targets, and as those who vote on a new ring |
//! | `policies` | policies and namespaces on their way to the policy engine |
//! | `pods` | what the API knows of Pods that are attached here |
//! | `admission` | calls for addresses that wait until enough is known |
//! | `removal` | nodes that are gone from the API and are to leave the ring |
//! | `presence` | what this node says of itself |
//! | `view` | status, warnings, figures |
//!
//! The shell hands over [`weft_kubernetes::Event`]s and carries out [`super::Output::Kubernetes`]. What was heard counts
//! until something else is heard: an API server that is away changes nothing here.

mod admission;
mod heard;
mod pods;
mod policies;
mod presence;
mod removal;
mod targets;
mod view;
mod watches;

use std::net::IpAddr;
use std::time::Duration;

use tracing::info;
use weft_api::attach::Attachment;
use weft_gossip::{Time, Written};
use weft_kubernetes::{Event, Resource};

use super::{Engine, Kind};
use admission::Admission;
use heard::Heard;
pub(in crate::daemon) use heard::SavedKubernetes;
use policies::Notes;
use presence::Presence;
use removal::Former;
use targets::Nodes;
use watches::Watches;

/// How long what was heard may be newer than the disk. Objects come in bursts, and each write is of all of
/// them; what a crash loses, the API tells again.
const SAVE_PAUSE: Duration = Duration::from_secs(2);

/// What the engine is told of API mode at its start.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct KubernetesSettings {
    /// The name of this node's Node object.
    pub(in crate::daemon) node: String,
    /// The address of the API server's own Service, where this process was told it.
    pub(in crate::daemon) service: Option<IpAddr>,
}

/// What is known of the cluster.
#[derive(Debug)]
pub(super) struct Kubernetes {
    settings: KubernetesSettings,
    heard: Heard,
    watches: Watches,
    nodes: Nodes,
    former: Former,
    admission: Admission,
    presence: Presence,
    notes: Notes,
    /// What could not be said to the API server.
    unsaid: Option<String>,
    /// When what was heard is written, if it is newer than the disk.
    save_at: Option<Time>,
}

impl Kubernetes {
    pub(super) fn new(
        settings: KubernetesSettings,
        saved: Option<SavedKubernetes>,
        now: Time,
    ) -> Self {
        let saved = saved.unwrap_or_default();
        let former = Former::restored(&saved.peers);
        Self {
            settings,
            heard: Heard::restored(saved),
            watches: Watches::new(now),
            nodes: Nodes::default(),
            former,
            admission: Admission::default(),
            presence: Presence::default(),
            notes: Notes::default(),
            unsaid: None,
            save_at: None,
        }
    }

    /// Whether the policies of the cluster are known, from the API or from the disk.
    pub(super) fn knows_policies(&self) -> bool {
        self.heard.is_complete()
    }

    fn save_later(&mut self, now: Time) {
        self.save_at.get_or_insert(now + SAVE_PAUSE);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let timers = [
            self.save_at,
            self.admission.poll_timeout(),
            self.former.poll_timeout(),
            self.notes.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    fn saved(&self) -> SavedKubernetes {
        let mut saved = self.heard.saved();
        saved.peers = self.former.saved();
        saved
    }
}

impl Engine {
    /// The time of day, seconds since the Unix epoch.
    pub(in crate::daemon::engine) fn tell_seconds(&mut self, seconds: u64) {
        if self.seconds_of_day == 0
            && let Some(kubernetes) = &mut self.kubernetes
        {
            kubernetes.watches.begin(seconds);
        }
        self.seconds_of_day = seconds;
    }

    /// News from the API server, in their order.
    pub(in crate::daemon) fn handle_kubernetes(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        now: Time,
    ) {
        if self.kubernetes.is_none() {
            return;
        }
        let mut changed = Changed::default();
        for event in events {
            self.handle_kubernetes_event(event, &mut changed, now);
        }
        if changed.policies
            && let Some(kubernetes) = &mut self.kubernetes
        {
            kubernetes.heard.renew();
        }
        if changed.pods {
            self.forget_kubernetes_pods();
            self.objects.own_pods_changed = true;
        }
        if changed.pods || changed.policies {
            if let Some(kubernetes) = &mut self.kubernetes {
                kubernetes.save_later(now);
            }
            self.tell_policy_changes();
        }
        self.settle(now);
    }

    fn handle_kubernetes_event(&mut self, event: Event, changed: &mut Changed, now: Time) {
        let seconds = self.seconds_of_day;
        let Some(kubernetes) = &mut self.kubernetes else { return };
        match event {
            Event::Nodes(nodes) => {
                kubernetes.watches.listed(Resource::Nodes, seconds, now);
                self.handle_nodes(nodes, now);
            }
            Event::Listed(resource, objects) => {
                info!(
                    kind = resource.as_str(),
                    count = objects.len(),
                    "listed by the Kubernetes API"
                );
                kubernetes.watches.listed(resource, seconds, now);
                kubernetes.heard.listed(resource, objects);
                kubernetes.notes.review(&kubernetes.heard, now);
                changed.note(resource);
            }
            Event::Applied(resource, object) => {
                kubernetes.heard.applied(resource, object);
                kubernetes.notes.review(&kubernetes.heard, now);
                changed.note(resource);
            }
            Event::Deleted(resource, id) => {
                kubernetes.heard.deleted(resource, &id);
                kubernetes.notes.review(&kubernetes.heard, now);
                changed.note(resource);
            }
            Event::Watching(resource) => kubernetes.watches.watching(resource, seconds, now),
            Event::Failing { resource, why, answered } => {
                kubernetes.watches.failing(resource, why, answered, seconds, now);
            }
            Event::Unsaid(unsaid) => kubernetes.unsaid = unsaid,
        }
    }

    /// When [`Engine::handle_timeout`] has something to do here.
    pub(super) fn next_kubernetes_timeout(&self) -> Option<Time> {
        self.kubernetes.as_ref()?.poll_timeout()
    }

    /// Does what is due.
    pub(super) fn drive_kubernetes(&mut self, now: Time) {
        self.look_at_former(now);
        self.say_notes(now);
        let Some(kubernetes) = &mut self.kubernetes else { return };
        if kubernetes.save_at.is_some_and(|at| at <= now) {
            kubernetes.save_at = None;
            let saved = kubernetes.saved();
            self.save(Kind::Kubernetes, &saved);
        }
    }

    /// Draws the consequences of what else has changed: of the ring, of who can be reached, of rules that
    /// stand. Answers whether the gossip node was told something, so that it may have outputs.
    pub(super) fn settle_kubernetes(&mut self, now: Time) -> bool {
        if self.kubernetes.is_none() {
            return false;
        }
        let told = self.update_vote(now);
        let admitted = self.admit_waiting(now);
        self.tell_presence();
        told || admitted
    }

    /// What was heard and is not on disk yet, for the daemon's last write.
    pub(in crate::daemon) fn last_kubernetes(&mut self) -> Option<Written> {
        let kubernetes = self.kubernetes.as_mut()?;
        kubernetes.save_at.take()?;
        let bytes = serde_json::to_vec(&kubernetes.saved())
            .expect("invariant: maps of strings and numbers are always JSON");
        Some(Written::Snapshot(bytes))
    }

    /// Forgets Pods that are gone from the API and from here.
    fn forget_kubernetes_pods(&mut self) {
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let attached: Vec<&Attachment> = self.attachments.with_prepared().collect();
        kubernetes
            .heard
            .forget_pods(|key, pod| attached.iter().any(|attachment| pod.is(key, attachment)));
    }
}

/// What several events have changed, so that it is told once.
#[derive(Debug, Default)]
struct Changed {
    policies: bool,
    pods: bool,
}

impl Changed {
    fn note(&mut self, resource: Resource) {
        match resource {
            Resource::Namespaces | Resource::NetworkPolicies => self.policies = true,
            Resource::Pods => self.pods = true,
            Resource::Nodes => {}
        }
    }
}
