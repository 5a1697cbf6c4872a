//! Policies and namespaces on their way to the policy engine: through the same door as what other nodes write.
//!
//! The API server has accepted them; that does not mean that they can be understood here. What cannot isolates
//! and allows nothing, is named in status, and said on the policy itself by an Event.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::policy::{ObjectName, StoredObject};
use weft_gossip::{ObjectKey, Time};
use weft_kubernetes::{ObjectId, Resource, Word};

use super::Kubernetes;
use super::heard::Heard;
use crate::daemon::engine::meaning::{InForce, Meaning};
use crate::daemon::engine::objects::{NAMESPACE, POLICY, name_of, read_value};
use crate::daemon::engine::{CallId, Engine, Output};
use crate::utc::parse_utc;

/// How long a fault waits to be said: by then the members that a node starts among are known, and one of them
/// says it instead of all.
const NOTE_PAUSE: Duration = Duration::from_secs(5);

/// The reason of the Event on a policy.
const NOT_UNDERSTOOD: &str = "NotUnderstood";

/// What stands for the writer of an object that no node wrote.
const WRITER: &str = "kubernetes";

/// A Namespace or a policy.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) uid: String,
    pub(super) value: Value,
    pub(super) meaning: Option<Meaning>,
    fault: Option<String>,
}

/// Reads an object as those that nodes write are read.
pub(super) fn read(resource: Resource, id: &ObjectId, uid: String, value: Value) -> Shared {
    let (object, fault) = read_value(&key_of(resource, id), &value);
    if let Some(fault) = &fault {
        tracing::warn!(
            kind = resource.as_str(),
            namespace = id.namespace,
            name = id.name,
            "{fault}"
        );
    }
    Shared { uid, value, meaning: object.and_then(Meaning::of), fault }
}

fn key_of(resource: Resource, id: &ObjectId) -> ObjectKey {
    let kind = if resource == Resource::Namespaces { NAMESPACE } else { POLICY };
    ObjectKey { kind: kind.to_owned(), namespace: id.namespace.clone(), name: id.name.clone() }
}

/// What is to be said of policies that cannot be understood.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<ObjectId, Note>);

#[derive(Debug)]
struct Note {
    uid: String,
    fault: String,
    /// When it is due; `None` once it was said, here or by another.
    due: Option<Time>,
}

impl Notes {
    /// Looks at what was heard anew.
    pub(super) fn review(&mut self, heard: &Heard, now: Time) {
        self.0.retain(|id, _| heard.policies.contains_key(id));
        for (id, shared) in &heard.policies {
            let Some(fault) = &shared.fault else {
                self.0.remove(id);
                continue;
            };
            let known = self.0.get(id);
            if known.is_none_or(|note| note.uid != shared.uid || note.fault != *fault) {
                let (uid, fault) = (shared.uid.clone(), fault.clone());
                self.0.insert(id.clone(), Note { uid, fault, due: Some(now + NOTE_PAUSE) });
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.0.values().filter_map(|note| note.due).min()
    }

    fn take_due(&mut self, now: Time) -> Vec<Word> {
        let due = self.0.iter_mut().filter(|(_, note)| note.due.is_some_and(|due| due <= now));
        let words = due.map(|(id, note)| {
            note.due = None;
            Word::Note {
                resource: Resource::NetworkPolicies,
                id: id.clone(),
                uid: Some(note.uid.clone()),
                reason: NOT_UNDERSTOOD,
                message: format!("weft: {}", note.fault),
            }
        });
        words.collect()
    }
}

impl Kubernetes {
    /// What cannot be understood, one line each.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.all_shared().filter_map(|(resource, id, shared)| {
            let fault = shared.fault.as_ref()?;
            Some(format!("{}, of the Kubernetes API: {fault}", key_of(resource, id)))
        })
    }

    /// Namespaces, then policies, by name.
    fn all_shared(&self) -> impl Iterator<Item = (Resource, &ObjectId, &Shared)> {
        let of = |resource| move |(id, shared)| (resource, id, shared);
        let namespaces = self.heard.namespaces.iter().map(of(Resource::Namespaces));
        namespaces.chain(self.heard.policies.iter().map(of(Resource::NetworkPolicies)))
    }
}

impl Engine {
    /// Whether what is to be enforced is not known: then the kernel goes on with what it has.
    pub(in crate::daemon::engine) fn policies_are_unknown(&self) -> bool {
        self.kubernetes.as_ref().is_some_and(|kubernetes| !kubernetes.knows_policies())
    }

    /// The namespaces and policies of the Kubernetes API, which take the place of those that nodes wrote;
    /// `None` outside of API mode.
    pub(in crate::daemon::engine) fn kubernetes_in_force(&self) -> Option<&InForce> {
        self.kubernetes.as_ref().map(|kubernetes| &kubernetes.heard.in_force)
    }

    /// `weft policy get` in API mode.
    pub(in crate::daemon::engine) fn kubernetes_object_list(&self) -> Option<Vec<StoredObject>> {
        let row = |(resource, id, shared): (_, &ObjectId, &Shared)| {
            let created = shared.value["metadata"]["creationTimestamp"].as_str();
            StoredObject {
                id: name_of(&key_of(resource, id)),
                written_ms: created.and_then(parse_utc).unwrap_or_default().saturating_mul(1000),
                writer: WRITER.to_owned(),
                nickname: String::new(),
                object: shared.value.clone(),
            }
        };
        Some(self.kubernetes.as_ref()?.all_shared().map(row).collect())
    }

    /// Refuses a call that writes objects, in API mode, and says whether it did.
    pub(in crate::daemon::engine) fn refuse_write(
        &mut self,
        call: CallId,
        names: impl Iterator<Item = ObjectName>,
        verb: &str,
    ) -> bool {
        if self.kubernetes.is_none() {
            return false;
        }
        let title = |name: ObjectName| {
            let namespace = name.namespace.map(|namespace| format!("{namespace}/"));
            format!("{} {}{}", name.kind, namespace.unwrap_or_default(), name.name)
        };
        let names: Vec<String> = names.map(title).collect();
        let message = format!(
            "{} cannot be written here: this node takes policies and namespaces from the Kubernetes API: \
             use `kubectl {verb}`",
            names.join(", ")
        );
        let result = Err(ErrorBody { code: ErrorCode::Conflict, message });
        self.outputs.push_back(Output::Reply { call, result });
        true
    }

    /// Has those Events made that are due, by one of the members that reach each other.
    pub(super) fn say_notes(&mut self, now: Time) {
        let due = self.kubernetes.as_mut().map(|kubernetes| kubernetes.notes.take_due(now));
        let due = due.unwrap_or_default();
        if !due.is_empty() && self.rank() == 0 {
            self.outputs.extend(due.into_iter().map(Output::Kubernetes));
        }
    }

    /// How many of the members that are reachable from here have a lower name: 0 acts first.
    pub(super) fn rank(&self) -> u32 {
        let lower =
            |member: &weft_gossip::Member| member.reachable && member.name < self.settings.name;
        let count = self.node.members().iter().filter(|member| lower(member)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
