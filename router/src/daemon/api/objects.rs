//! Shared objects on the control socket: what is applied is judged here as strictly as by the command
//! line, since others may call as well.

use std::collections::BTreeSet;

use axum::extract::{Json, State};
use serde_json::{Map, Value};
use weft_api::policy::{ApplyRequest, ChangeReply, DeleteRequest, StoredObject};
use weft_gossip::ObjectKey;
use weft_policy::{Object, Parsed, SERVER_METADATA, parse_value};

use super::control::{Answer, Body, Failure, ask, invalid, mixed_up};
use super::{Call, Command, Door, Reply};

/// The longest request, bytes: all that one node may hold of its own writing, and room for spaces.
pub(super) const MAX_REQUEST: usize = 16 << 20;

pub(super) async fn list(State(door): State<Door>) -> Answer<Vec<StoredObject>> {
    ask(&door, Command::Objects).await
}

pub(super) async fn apply(
    State(door): State<Door>,
    request: Body<ApplyRequest>,
) -> Answer<ChangeReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    let mut objects = Vec::new();
    let mut seen = BTreeSet::new();
    for mut value in request.objects {
        let key = check(&value).map_err(invalid)?;
        if !seen.insert(key.clone()) {
            return Err(invalid(format!("{key} is given twice: remove one of them")));
        }
        tidy(&mut value, &key);
        objects.push((key, value));
    }
    changed(&door, Call::Apply(objects)).await
}

pub(super) async fn delete(
    State(door): State<Door>,
    request: Body<DeleteRequest>,
) -> Answer<ChangeReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    let mut seen = BTreeSet::new();
    let mut objects = request.objects;
    objects.retain(|object| seen.insert(object.clone()));
    changed(&door, Call::Delete(objects)).await
}

async fn changed(door: &Door, call: Call) -> Answer<ChangeReply> {
    match door.call(call).await.map_err(Failure)? {
        Reply::Changed(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

/// Which object it is, if all of it is as the Kubernetes API wants it under strict validation.
fn check(value: &Value) -> Result<ObjectKey, String> {
    let Parsed { objects, faults, ignored } = parse_value("request", value);
    if let Some(fault) = faults.first() {
        return Err(fault.to_string());
    }
    let key = |kind: &str, namespace: &str, name: &str| ObjectKey {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    match objects.as_slice() {
        [Object::NetworkPolicy(policy)] => {
            Ok(key("NetworkPolicy", &policy.namespace, &policy.name))
        }
        [Object::Namespace(namespace)] => Ok(key("Namespace", "", &namespace.name)),
        [Object::Pod(pod)] => Err(format!(
            "Pod {} cannot be applied: Pods are told of by `weft attach` and the CNI plugin",
            pod.full_name()
        )),
        _ => match ignored.first() {
            Some(kind) => Err(format!("{kind} cannot be applied: NetworkPolicy and Namespace can")),
            None => Err("one object each must be given".to_owned()),
        },
    }
}

/// Writes the namespace out, and leaves away what only a Kubernetes API server gives meaning to: it
/// would make one object many that differ.
fn tidy(value: &mut Value, key: &ObjectKey) {
    let Some(fields) = value.as_object_mut() else { return };
    fields.remove("status");
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    for field in SERVER_METADATA {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    if key.namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), Value::String(key.namespace.clone()));
    }
}
