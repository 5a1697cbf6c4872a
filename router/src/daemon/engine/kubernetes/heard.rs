//! Namespaces, policies and this node's Pods as they were heard last, and their form on disk.
//!
//! Only what matters here is kept of each, so that the file stays small and changes seldom.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use weft_kubernetes::{Object, ObjectId, Resource};

use super::pods::{KnownPod, PodKey};
use super::policies::{Shared, read};
use crate::daemon::engine::meaning::InForce;

/// What is on disk of the cluster.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::daemon) struct SavedKubernetes {
    /// Whether namespaces and policies are all that there were.
    complete: bool,
    namespaces: Vec<SavedObject>,
    policies: Vec<SavedObject>,
    pods: Vec<(PodKey, KnownPod)>,
    /// The peers that Nodes named, by full name, each with its Node's name.
    pub(super) peers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedObject {
    uid: String,
    value: Value,
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Which of the two kinds were listed, at any time.
    listed: BTreeSet<Resource>,
    pub(super) namespaces: BTreeMap<ObjectId, Shared>,
    pub(super) policies: BTreeMap<ObjectId, Shared>,
    pub(super) pods: BTreeMap<PodKey, KnownPod>,
    /// What namespaces and policies come to, as of the last [`Heard::renew`].
    pub(super) in_force: InForce,
}

impl Heard {
    /// To be called when namespaces or policies have changed.
    pub(super) fn renew(&mut self) {
        let all = self.namespaces.values().chain(self.policies.values());
        self.in_force = InForce::of(all.filter_map(|shared| shared.meaning.as_ref()));
    }

    pub(super) fn restored(saved: SavedKubernetes) -> Self {
        let mut heard = Self { pods: saved.pods.into_iter().collect(), ..Self::default() };
        let kinds =
            [(Resource::Namespaces, saved.namespaces), (Resource::NetworkPolicies, saved.policies)];
        for (resource, objects) in kinds {
            for SavedObject { uid, value } in objects {
                let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
                let id =
                    ObjectId { namespace: text("namespace").into(), name: text("name").into() };
                heard.applied(resource, Object { id, uid, value });
            }
            if saved.complete {
                heard.listed.insert(resource);
            }
        }
        heard.renew();
        heard
    }

    pub(super) fn saved(&self) -> SavedKubernetes {
        let all = |objects: &BTreeMap<ObjectId, Shared>| {
            let saved = |shared: &Shared| SavedObject {
                uid: shared.uid.clone(),
                value: shared.value.clone(),
            };
            objects.values().map(saved).collect()
        };
        SavedKubernetes {
            complete: self.is_complete(),
            namespaces: all(&self.namespaces),
            policies: all(&self.policies),
            pods: self.pods.clone().into_iter().collect(),
            peers: BTreeMap::new(),
        }
    }

    /// Whether all namespaces and policies are known, as they were at some time.
    pub(super) fn is_complete(&self) -> bool {
        [Resource::Namespaces, Resource::NetworkPolicies].iter().all(|r| self.listed.contains(r))
    }

    /// These are all that there are.
    pub(super) fn listed(&mut self, resource: Resource, objects: Vec<Object>) {
        self.listed.insert(resource);
        match resource {
            Resource::Namespaces | Resource::NetworkPolicies => {
                let present: BTreeSet<ObjectId> = objects.iter().map(|o| o.id.clone()).collect();
                if let Some(held) = self.shared_mut(resource) {
                    held.retain(|id, _| present.contains(id));
                }
            }
            Resource::Pods => {
                let present: BTreeSet<PodKey> = objects.iter().map(PodKey::of).collect();
                for (key, pod) in &mut self.pods {
                    pod.gone |= !present.contains(key);
                }
            }
            Resource::Nodes => {}
        }
        for object in objects {
            self.applied(resource, object);
        }
    }

    /// An object is new or has changed.
    pub(super) fn applied(&mut self, resource: Resource, object: Object) {
        match resource {
            Resource::Namespaces | Resource::NetworkPolicies => {
                let value = essence(&object.value);
                let Some(held) = self.shared_mut(resource) else { return };
                let same = held
                    .get(&object.id)
                    .is_some_and(|shared| shared.uid == object.uid && shared.value == value);
                if !same {
                    let shared = read(resource, &object.id, object.uid, value);
                    held.insert(object.id, shared);
                }
            }
            Resource::Pods => {
                if let Some(pod) = KnownPod::read(&object) {
                    self.pods.insert(PodKey::of(&object), pod);
                }
            }
            Resource::Nodes => {}
        }
    }

    /// An object is gone. A Pod stays known for as long as its interface is there.
    pub(super) fn deleted(&mut self, resource: Resource, id: &ObjectId) {
        if let Some(held) = self.shared_mut(resource) {
            held.remove(id);
        }
        if resource == Resource::Pods {
            let same = |key: &PodKey| key.namespace == id.namespace && key.name == id.name;
            self.pods.iter_mut().filter(|(key, _)| same(key)).for_each(|(_, pod)| pod.gone = true);
        }
    }

    /// Forgets the Pods that are gone, but for those still in use.
    pub(super) fn forget_pods(&mut self, in_use: impl Fn(&PodKey, &KnownPod) -> bool) {
        self.pods.retain(|key, pod| !pod.gone || in_use(key, pod));
    }

    fn shared_mut(&mut self, resource: Resource) -> Option<&mut BTreeMap<ObjectId, Shared>> {
        match resource {
            Resource::Namespaces => Some(&mut self.namespaces),
            Resource::NetworkPolicies => Some(&mut self.policies),
            Resource::Nodes | Resource::Pods => None,
        }
    }
}

/// What of a Namespace or a policy has a meaning here.
fn essence(value: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "creationTimestamp"] {
        if let Some(found) = value["metadata"].get(field) {
            metadata.insert(field.to_owned(), found.clone());
        }
    }
    let mut essence = json!({
        "apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": metadata,
    });
    // The `spec` of a Namespace says nothing of Pods.
    if value["kind"] == "NetworkPolicy"
        && let Some(spec) = value.get("spec")
    {
        essence["spec"] = spec.clone();
    }
    essence
}
