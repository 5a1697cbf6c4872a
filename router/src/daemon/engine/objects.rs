//! Policies and namespaces that the nodes share, and what they tell each other of their Pods.
//!
//! What other nodes wrote is not trusted to be what `weft policy apply` lets through: a policy that
//! cannot be understood isolates all Pods of its namespace and allows nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tracing::{info, warn};
use weft_api::attach::AttachRequest;
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::policy::{ChangeReply, Changed, ObjectName, Outcome, StoredObject};
use weft_crypto::PeerName;
use weft_gossip::{ObjectKey, ObjectView, PodInfo, PodPort, Stamp, Time, WriteId, Written};
use weft_policy::{
    Cluster, Labels, NamedPort, Namespace, NetworkPolicy, Object, Pod, Protocol, Selector,
    parse_value,
};

use super::meaning::{InForce, Meaning};
use super::others::OtherPods;
use super::policy::local_pod;
use super::{CallId, Engine, Kind, Output, Reply};

/// The kinds of objects that are shared.
pub(super) const POLICY: &str = "NetworkPolicy";
pub(super) const NAMESPACE: &str = "Namespace";

/// What is known of objects beside what the gossip node holds.
#[derive(Debug, Default)]
pub(super) struct Objects {
    read: BTreeMap<ObjectKey, Read>,
    /// Writes that wait for the disk.
    waiting: BTreeMap<WriteId, (CallId, ChangeReply)>,
    /// What of `read` is in force; shared with what is enforced, since most changes leave it alone.
    in_force: InForce,
    /// The Pods of other nodes.
    others: OtherPods,
    /// The gossip node may hold other objects than were read last.
    pub(super) changed: bool,
    /// It has Pods of other nodes that came, changed or went.
    pub(super) pods_changed: bool,
    /// This node's own Pods may have changed since the others were told.
    pub(super) own_pods_changed: bool,
    /// The Pods of this node that others are not told of.
    untold: BTreeSet<String>,
}

/// An object that has been read.
#[derive(Debug)]
struct Read {
    stamp: Stamp,
    writer: PeerName,
    meaning: Option<Meaning>,
    /// What is wrong with it.
    fault: Option<String>,
}

impl Objects {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.read.len()
    }

    /// What an operator should look at.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let untold = self.untold.iter().map(|key| {
            format!(
                "other nodes cannot be told of {key}, so no policy there knows it: \
                 its names and labels are too long, or there are too many Pods here"
            )
        });
        self.read.values().filter_map(|read| read.fault.clone()).chain(untold)
    }
}

impl Engine {
    /// The time of day, milliseconds since the Unix epoch.
    pub(in crate::daemon) fn set_clock(&mut self, millis: u64, now: Time) {
        self.tell_seconds(millis / 1000);
        if self.node.set_clock(millis, now) {
            self.settle(now);
        }
    }

    /// Takes back what other nodes had told before the restart. Without it they tell again.
    pub(super) fn recall(&mut self, heard: Option<&[u8]>, now: Time) {
        if let Some(heard) = heard
            && let Err(error) = self.node.recall(heard, now)
        {
            warn!(%error, "what other nodes told of policies and Pods is lost until they are met");
        }
        self.read_objects(now);
        self.read_pods();
    }

    /// What other nodes told and is not on disk yet, for the daemon's last write. Nothing is heard after
    /// it.
    pub(in crate::daemon) fn last_heard(&mut self) -> Option<Vec<u8>> {
        self.node.handle_stopping();
        self.node.poll_heard()
    }

    /// Writes objects that have been checked, and answers when they are on disk.
    pub(in crate::daemon) fn apply(
        &mut self,
        call: CallId,
        objects: Vec<(ObjectKey, Value)>,
        now: Time,
    ) {
        let names = objects.iter().map(|(key, _)| name_of(key));
        if self.refuse_write(call, names, "apply") {
            return;
        }
        let mut changes = Vec::new();
        let mut reply = Vec::new();
        for (key, value) in objects {
            let body = serde_json::to_vec(&value)
                .expect("invariant: what was JSON can be written as JSON");
            let held = self.node.object(&key, now);
            let outcome = match &held {
                Some(held) if *held.body == *body => Outcome::Unchanged,
                Some(_) => Outcome::Configured,
                None => Outcome::Created,
            };
            reply.push(Changed { object: name_of(&key), outcome });
            if outcome != Outcome::Unchanged {
                changes.push((key, Some(body)));
            }
        }
        self.write(call, changes, reply, now);
    }

    /// Deletes objects, and answers when that is on disk.
    pub(in crate::daemon) fn delete(&mut self, call: CallId, names: &[ObjectName], now: Time) {
        if self.refuse_write(call, names.iter().cloned(), "delete") {
            return;
        }
        let keys: Vec<ObjectKey> = names.iter().map(key_of).collect();
        let missing: Vec<String> = keys
            .iter()
            .filter(|key| self.node.object(key, now).is_none())
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "there is no {}: `weft policy get` lists what there is; nothing was deleted",
                missing.join(", no ")
            );
            let result = Err(ErrorBody { code: ErrorCode::NotFound, message });
            self.outputs.push_back(Output::Reply { call, result });
            return;
        }
        let deleted = |key| Changed { object: name_of(key), outcome: Outcome::Deleted };
        let reply = keys.iter().map(deleted).collect();
        self.write(call, keys.into_iter().map(|key| (key, None)).collect(), reply, now);
    }

    fn write(
        &mut self,
        call: CallId,
        changes: Vec<(ObjectKey, Option<Vec<u8>>)>,
        objects: Vec<Changed>,
        now: Time,
    ) {
        let count = changes.len();
        match self.node.write_objects(changes, now) {
            Ok(id) => {
                info!(count, "objects are written for all nodes");
                self.objects.waiting.insert(id, (call, ChangeReply { objects }));
                self.settle(now);
            }
            Err(error) => {
                let message = format!("{error}; nothing was written");
                let result = Err(ErrorBody { code: ErrorCode::Conflict, message });
                self.outputs.push_back(Output::Reply { call, result });
            }
        }
    }

    pub(super) fn handle_written(&mut self, id: WriteId) {
        if let Some((call, reply)) = self.objects.waiting.remove(&id) {
            self.outputs.push_back(Output::Reply { call, result: Ok(Reply::Changed(reply)) });
        }
    }

    /// `weft policy get`: Namespaces, then policies, by name.
    pub(in crate::daemon) fn object_list(&self, now: Time) -> Vec<StoredObject> {
        if let Some(objects) = self.kubernetes_object_list() {
            return objects;
        }
        let objects = self.node.objects(now).map(|view| StoredObject {
            id: name_of(&view.key),
            written_ms: view.stamp.millis,
            writer: view.writer.to_string(),
            nickname: self.node.nickname(view.writer).unwrap_or_default().to_owned(),
            object: serde_json::from_slice(&view.body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&view.body).into())),
        });
        // By kind first, and a Namespace is before a NetworkPolicy.
        objects.collect()
    }

    /// What other nodes told, or in API mode the Kubernetes API: namespaces, policies; and others' Pods.
    pub(super) fn add_shared(&mut self, cluster: &mut Cluster) {
        let in_force = self.kubernetes_in_force().unwrap_or(&self.objects.in_force);
        in_force.enter(cluster);
        cluster.others = self.objects.others.groups();
    }

    /// Tells the other nodes of this one's Pods, as far as they have changed.
    pub(super) fn tell_pods(&mut self, now: Time) {
        if !std::mem::take(&mut self.objects.own_pods_changed) {
            return;
        }
        let node = self.settings.name.to_string();
        let mut pods = BTreeMap::new();
        for attachment in self.standing_pods() {
            let key = format!("{}/{}", attachment.container, attachment.ifname);
            let pod = self.own_pod(attachment, &node);
            if !pod.finished {
                pods.insert(key, pod_info(&pod));
            }
        }
        self.objects.untold = self.node.set_pods(pods, now).into_iter().collect();
    }

    /// Draws the consequences of what the gossip node learnt.
    pub(super) fn settle_objects(&mut self, now: Time) {
        if let Some(bytes) = self.node.poll_heard() {
            let token = self.saving.next_token();
            self.save_bytes(Kind::Heard, token, Written::Snapshot(bytes));
        }
        let objects = std::mem::take(&mut self.objects.changed);
        let pods = std::mem::take(&mut self.objects.pods_changed);
        if objects {
            self.read_objects(now);
        }
        if pods {
            self.read_pods();
        }
        if objects || pods {
            self.tell_policy_changes();
        }
    }

    /// Reads what other nodes told of their Pods since the last time.
    fn read_pods(&mut self) {
        while let Some(change) = self.node.poll_pod() {
            self.objects.others.change(change);
        }
    }

    /// Reads the objects that were written since the last time.
    fn read_objects(&mut self, now: Time) {
        let mut before = std::mem::take(&mut self.objects.read);
        for view in self.node.objects(now) {
            let same = before
                .remove(&view.key)
                .filter(|read| read.stamp == view.stamp && read.writer == view.writer);
            let read = same.unwrap_or_else(|| {
                let writer = self.title(view.writer);
                let (object, fault) = read_object(&view);
                let fault =
                    fault.map(|fault| format!("{}, written on {writer}: {fault}", view.key));
                if let Some(fault) = &fault {
                    warn!("{fault}");
                }
                let meaning = object.and_then(Meaning::of);
                Read { stamp: view.stamp, writer: view.writer, meaning, fault }
            });
            self.objects.read.insert(view.key, read);
        }
        let meanings = self.objects.read.values().filter_map(|read| read.meaning.as_ref());
        self.objects.in_force = InForce::of(meanings);
    }
}

/// What an object of another node means here, and what is wrong with it.
pub(super) fn read_object(view: &ObjectView) -> (Option<Object>, Option<String>) {
    match serde_json::from_slice::<Value>(&view.body) {
        Ok(value) => read_value(&view.key, &value),
        Err(error) => judge(&view.key, None, Some(format!("is no JSON ({error})"))),
    }
}

/// The same of one that is JSON, whoever it is from.
pub(super) fn read_value(key: &ObjectKey, value: &Value) -> (Option<Object>, Option<String>) {
    let parsed = parse_value("object", value);
    let fault = parsed.faults.first().map(|fault| format!("{}: {}", fault.field, fault.message));
    judge(key, parsed.objects.into_iter().next(), fault)
}

/// Takes what could be read, and what is wrong with it, for the object of that key.
fn judge(
    key: &ObjectKey,
    object: Option<Object>,
    fault: Option<String>,
) -> (Option<Object>, Option<String>) {
    let ObjectKey { kind, namespace, name } = key;
    if kind != POLICY && kind != NAMESPACE {
        return (None, None);
    }
    match object {
        Some(Object::NetworkPolicy(policy))
            if kind == POLICY && policy.namespace == *namespace && policy.name == *name =>
        {
            let fault = fault.map(|fault| format!("{fault}; what it concerns allows nothing"));
            (Some(Object::NetworkPolicy(policy)), fault)
        }
        Some(Object::Namespace(found)) if kind == NAMESPACE && found.name == *name => {
            (Some(Object::Namespace(found)), fault)
        }
        _ => {
            let fault = fault.unwrap_or_else(|| "is another object".to_owned());
            if kind == NAMESPACE {
                let bare = Namespace::new(name, Labels::new());
                return (Some(Object::Namespace(bare)), Some(format!("{fault}; it has no labels")));
            }
            let closed = NetworkPolicy {
                namespace: namespace.clone(),
                name: name.clone(),
                subjects: Selector::default(),
                ingress: Some(Vec::new()),
                egress: Some(Vec::new()),
            };
            let fault =
                format!("{fault}; all Pods of {namespace} are isolated: apply or delete it");
            (Some(Object::NetworkPolicy(closed)), Some(fault))
        }
    }
}

/// Refuses a Pod that other nodes could not be told of.
pub(super) fn refuse_untellable(request: &AttachRequest) -> Result<(), ErrorBody> {
    let attachment = weft_api::attach::Attachment {
        container: request.container.clone(),
        namespace: request.namespace.clone(),
        pod: request.pod.clone(),
        labels: request.labels.clone(),
        ports: request.ports.clone(),
        ..Default::default()
    };
    pod_info(&local_pod(&attachment, "")).check().map_err(|why| {
        let pod = request.pod.as_ref().unwrap_or(&request.container).escape_debug().to_string();
        let message = format!("Pod {pod}: {why} in its names, labels or ports");
        ErrorBody { code: ErrorCode::Invalid, message }
    })
}

/// A Pod of this node as other nodes are told of it.
fn pod_info(pod: &Pod) -> PodInfo {
    let port = |port: &NamedPort| PodPort {
        name: port.name.clone(),
        protocol: number_of(port.protocol),
        number: port.number,
    };
    PodInfo {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone().into_iter().collect(),
        ports: pod.ports.iter().map(port).collect(),
        addresses: pod.addresses.clone(),
    }
}

/// The protocol's number in IP.
pub(super) fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn key_of(name: &ObjectName) -> ObjectKey {
    ObjectKey {
        kind: name.kind.clone(),
        namespace: name.namespace.clone().unwrap_or_default(),
        name: name.name.clone(),
    }
}

pub(super) fn name_of(key: &ObjectKey) -> ObjectName {
    let namespace = Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty());
    ObjectName { kind: key.kind.clone(), namespace, name: key.name.clone() }
}
