//! What the API knows of Pods that are attached here: labels, named ports, whether they have ended.
//!
//! An attachment and a Pod of the API are the same where namespace, name and uid are. What the API says counts
//! then; what the runtime gave is the fallback. A Pod that is gone from the API keeps what it had for as
//! long as it is attached, so that no policy stops to select it before it ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::warn;
use weft_api::attach::{Attachment, NamedPort};
use weft_kubernetes::Object;
use weft_policy::{Pod, parse_value};

use super::Kubernetes;
use crate::daemon::engine::Engine;
use crate::daemon::engine::policy::local_pod;

/// The annotation under which the kubelet's own Pods have, in the API, the uid that the runtime knows them by.
const STATIC_UID: &str = "kubernetes.io/config.hash";

/// Which Pod one is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PodKey {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What the API knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownPod {
    labels: BTreeMap<String, String>,
    ports: Vec<NamedPort>,
    /// Whether it has ended: it is nobody's peer any more.
    finished: bool,
    /// The uid that the runtime knows it by, where that is another.
    static_uid: Option<String>,
    /// Whether the API has it no longer.
    pub(super) gone: bool,
}

impl PodKey {
    pub(super) fn of(object: &Object) -> Self {
        let (id, uid) = (object.id.clone(), object.uid.clone());
        Self { namespace: id.namespace, name: id.name, uid }
    }
}

impl KnownPod {
    /// What is worth knowing of a Pod; `None` where it has no network of its own.
    pub(super) fn read(object: &Object) -> Option<Self> {
        let parsed = parse_value("Pod", &object.value);
        let (id, fault) = (&object.id, parsed.faults.first());
        let Some(weft_policy::Object::Pod(pod)) = parsed.objects.into_iter().next() else {
            let why = fault.map_or("it is no Pod", |fault| fault.message.as_str());
            warn!(namespace = id.namespace, name = id.name, why, "a Pod cannot be understood");
            return None;
        };
        let port = |port: weft_policy::NamedPort| NamedPort {
            name: port.name,
            port: port.number,
            protocol: port.protocol.as_str().to_owned(),
        };
        let annotations = &object.value["metadata"]["annotations"];
        (!pod.host_network).then(|| Self {
            labels: pod.labels,
            ports: pod.ports.into_iter().map(port).collect(),
            finished: pod.finished,
            static_uid: annotations[STATIC_UID].as_str().map(str::to_owned),
            gone: false,
        })
    }

    /// Whether an attachment is of this Pod.
    pub(super) fn is(&self, key: &PodKey, attachment: &Attachment) -> bool {
        attachment.namespace.as_ref() == Some(&key.namespace)
            && attachment.pod.as_ref() == Some(&key.name)
            && self.has_uid(key, attachment.uid.as_deref())
    }

    /// Whether the runtime knows it by this uid; a runtime that tells none means the one that is there.
    fn has_uid(&self, key: &PodKey, uid: Option<&str>) -> bool {
        match uid {
            Some(uid) => uid == key.uid || Some(uid) == self.static_uid.as_deref(),
            None => !self.gone,
        }
    }
}

impl Kubernetes {
    /// What the API knows of the Pod that a runtime names so.
    pub(super) fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<&KnownPod> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let first = PodKey { namespace, name, uid: String::new() };
        let same = |key: &PodKey| key.namespace == first.namespace && key.name == first.name;
        let pods = self.heard.pods.range(&first..).take_while(|(key, _)| same(key));
        pods.filter(|(key, pod)| pod.has_uid(key, uid)).map(|(_, pod)| pod).next()
    }

    fn pod_of(&self, attachment: &Attachment) -> Option<&KnownPod> {
        let (namespace, name) = (attachment.namespace.as_ref()?, attachment.pod.as_ref()?);
        self.pod(namespace, name, attachment.uid.as_deref())
    }
}

impl Engine {
    /// A Pod of this node as policies see it.
    pub(in crate::daemon::engine) fn own_pod(&self, attachment: &Attachment, node: &str) -> Pod {
        let known = self.kubernetes.as_ref().and_then(|kubernetes| kubernetes.pod_of(attachment));
        let Some(known) = known else { return local_pod(attachment, node) };
        Pod { finished: known.finished, ..local_pod(&overlaid(attachment, known), node) }
    }

    /// An attachment with what the API knows of its Pod.
    pub(in crate::daemon::engine) fn as_known(&self, attachment: Attachment) -> Attachment {
        match self.kubernetes.as_ref().and_then(|kubernetes| kubernetes.pod_of(&attachment)) {
            Some(known) => overlaid(&attachment, known),
            None => attachment,
        }
    }
}

fn overlaid(attachment: &Attachment, known: &KnownPod) -> Attachment {
    let (labels, ports) = (known.labels.clone(), known.ports.clone());
    Attachment { labels, ports, ..attachment.clone() }
}
