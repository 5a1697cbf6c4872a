//! What all objects have; namespaces and Pods.

use std::net::IpAddr;

use super::field::{Fields, Reader};
use super::names;
use crate::{Labels, NamedPort, Namespace, Pod, Protocol};

/// Where objects are that name no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// The fields of `metadata` that only a Kubernetes API server gives meaning to.
pub const SERVER_METADATA: [&str; 11] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reports a version of the API that is not the one expected.
pub(super) fn check_version(reader: &mut Reader, version: Option<&str>, expected: &str) {
    match version {
        Some(version) if version == expected => {}
        Some(_) => reader.invalid("apiVersion", format!("must be {expected}")),
        None => reader.unknown("apiVersion", format!("is missing: write {expected}")),
    }
}

/// An object's `metadata`.
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: Labels,
}

/// Reads `metadata`, and calls the object by its name from here on. `None` if it has no usable name.
pub(super) fn metadata(
    reader: &mut Reader,
    top: &mut Fields<'_>,
    kind: &str,
    namespaced: bool,
) -> Option<Metadata> {
    let Some(mut fields) = top.object(reader, "metadata") else {
        reader.invalid("metadata", "is missing");
        return None;
    };
    let before = reader.count();
    let name = fields.text(reader, "name");
    let namespace = fields.text(reader, "namespace").filter(|text| !text.is_empty());
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    if let Some(name) = name {
        let shown = if namespaced {
            format!("{kind} {namespace}/{name}")
        } else {
            format!("{kind} {name}")
        };
        reader.name(shown.escape_debug().to_string());
    }
    let syntax = if namespaced { names::dns_subdomain } else { names::dns_label };
    match name.map(syntax) {
        Some(Ok(())) => {}
        Some(Err(rule)) => reader.invalid("metadata.name", rule),
        None if reader.count() == before => reader.invalid("metadata.name", "is missing"),
        None => {}
    }
    if let Err(rule) = names::dns_label(namespace) {
        reader.invalid("metadata.namespace", rule);
    }
    let named = reader.count() == before;
    let labels = labels(reader, &mut fields, "labels");
    fields.allow(&SERVER_METADATA);
    fields.allow(&["annotations"]);
    fields.finish(reader);
    let name = name.filter(|_| named)?.to_owned();
    Some(Metadata { namespace: namespace.to_owned(), name, labels })
}

/// Reads a map of labels.
pub(super) fn labels(reader: &mut Reader, fields: &mut Fields<'_>, key: &'static str) -> Labels {
    let path = fields.at(key);
    let mut labels = Labels::new();
    for (name, value) in fields.texts(reader, key) {
        for rule in [names::label_key(name), names::label_value(value)] {
            if let Err(rule) = rule {
                reader.invalid(&format!("{path}[{}]", name.escape_debug()), rule);
            }
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels
}

pub(super) fn namespace(reader: &mut Reader, mut top: Fields<'_>) -> Option<Namespace> {
    let metadata = metadata(reader, &mut top, "Namespace", false)?;
    Some(Namespace::new(&metadata.name, metadata.labels))
}

/// Reads a Pod. Of its many fields only those that matter are looked at.
pub(super) fn pod(reader: &mut Reader, mut top: Fields<'_>) -> Option<Pod> {
    let metadata = metadata(reader, &mut top, "Pod", true)?;
    let mut pod = Pod {
        namespace: metadata.namespace,
        name: metadata.name,
        labels: metadata.labels,
        ..Pod::default()
    };
    if let Some(mut spec) = top.object(reader, "spec") {
        pod.host_network = spec.boolean(reader, "hostNetwork").unwrap_or(false);
        pod.node = spec.text(reader, "nodeName").map(str::to_owned);
        for (value, path) in spec.list(reader, "containers") {
            let container = Fields::new(reader, value, &path);
            pod.ports.extend(named_ports(reader, container));
        }
        for (value, path) in spec.list(reader, "initContainers") {
            let mut container = Fields::new(reader, value, &path);
            if container.text(reader, "restartPolicy") == Some("Always") {
                pod.ports.extend(named_ports(reader, container));
            }
        }
    }
    if let Some(mut status) = top.object(reader, "status") {
        let phase = status.text(reader, "phase");
        pod.finished = matches!(phase, Some("Succeeded" | "Failed"));
        for (value, path) in status.list(reader, "podIPs") {
            let mut entry = Fields::new(reader, value, &path);
            pod.addresses.extend(address(reader, &mut entry, "ip"));
        }
        if let Some(primary) = address(reader, &mut status, "podIP")
            && !pod.addresses.contains(&primary)
        {
            pod.addresses.insert(0, primary);
        }
    }
    Some(pod)
}

fn address(reader: &mut Reader, fields: &mut Fields<'_>, key: &'static str) -> Option<IpAddr> {
    let text = fields.text(reader, key).filter(|text| !text.is_empty())?;
    let address = text.parse().ok();
    if address.is_none() {
        reader.invalid(&fields.at(key), "is no IP address");
    }
    address
}

fn named_ports(reader: &mut Reader, mut container: Fields<'_>) -> Vec<NamedPort> {
    let mut ports = Vec::new();
    for (value, path) in container.list(reader, "ports") {
        let mut fields = Fields::new(reader, value, &path);
        let protocol = protocol(reader, &mut fields);
        let number = fields.value("containerPort").and_then(serde_json::Value::as_u64);
        let number = number.and_then(|number| u16::try_from(number).ok()).filter(|&n| n != 0);
        if number.is_none() {
            reader.invalid(&fields.at("containerPort"), "must be a number from 1 to 65535");
        }
        let Some(name) = fields.text(reader, "name").filter(|name| !name.is_empty()) else {
            continue;
        };
        if let Err(rule) = names::port_name(name) {
            reader.invalid(&fields.at("name"), rule);
        }
        if let (Some(protocol), Some(number)) = (protocol, number) {
            ports.push(NamedPort { name: name.to_owned(), protocol, number });
        }
    }
    ports
}

/// The field `protocol`: TCP where it is missing, `None` where it is wrong.
pub(super) fn protocol(reader: &mut Reader, fields: &mut Fields<'_>) -> Option<Protocol> {
    let Some(value) = fields.value("protocol") else { return Some(Protocol::Tcp) };
    let protocol = value.as_str().and_then(Protocol::from_api);
    if protocol.is_none() {
        reader.invalid(&fields.at("protocol"), "must be TCP, UDP or SCTP");
    }
    protocol
}
