//! Manifests to objects: YAML or JSON; one document, several, or a `List`.
//!
//! Reading never stops at the first thing wrong: everything that is not as the Kubernetes API wants it
//! becomes a [`Fault`], and the object is built so that the fault cannot widen what is allowed. The
//! caller decides what a fault means: whoever takes an object from an operator refuses it, whoever
//! enforces what others already accepted goes on with the closed form and shows the fault.

mod field;
pub(crate) mod names;
mod objects;
mod policy;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::Object;
use field::{Fields, Reader};
pub use objects::SERVER_METADATA;

/// The most documents of one YAML text: each object of a cluster with 10,000 Pods in its own, and room.
const MAX_DOCUMENTS: usize = 100_000;
/// The most nodes of one YAML text: about 400 for each of 10,000 Pods as the API shows them. What
/// aliases repeat is limited far lower, by the parser's own default.
const MAX_NODES: usize = 4_000_000;

/// What was read from one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The objects that could be read, in the order of the source.
    pub objects: Vec<Object>,
    /// What is not as it should be, in the order of the source.
    pub faults: Vec<Fault>,
    /// Kinds of objects that do not bear on a verdict and were left out, each once.
    pub ignored: Vec<String>,
}

/// Something in an object that is not as the API wants it.
///
/// The object is read nevertheless where it can be, closed: a rule with a fault allows nothing, a
/// policy whose selector or types have one isolates all Pods of its namespace and allows nothing. An
/// object without a usable name or kind is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the caller calls it.
    pub source: String,
    /// The object: `NetworkPolicy default/web`, or `document 3` where it has no name.
    pub object: String,
    /// The field: `spec.ingress[0].ports[1].endPort`; empty where the object as a whole is meant.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A field that this version does not know, which the API refuses under strict validation only.
    Unknown,
    /// The API refuses it.
    Invalid,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.source, self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A text is neither YAML nor JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {reason}")]
pub struct SyntaxError {
    /// The file, as the caller calls it.
    pub source_name: String,
    /// What is wrong, and where.
    pub reason: String,
}

/// Reads all objects of a text. `source` is what the text is called in faults and errors.
///
/// # Errors
/// The text as a whole cannot be read. Nothing of it is returned.
pub fn parse(source: &str, text: &str) -> Result<Parsed, SyntaxError> {
    let documents =
        documents(text).map_err(|reason| SyntaxError { source_name: source.to_owned(), reason })?;
    let mut parsed = Parsed::default();
    for (index, document) in documents.iter().enumerate() {
        if !document.is_null() {
            read(source, &format!("document {}", index + 1), document, None, &mut parsed);
        }
    }
    Ok(parsed)
}

/// Reads one object, or one list of objects, that is JSON already. `source` is what it is called in
/// faults.
pub fn parse_value(source: &str, value: &Value) -> Parsed {
    let mut parsed = Parsed::default();
    read(source, "object", value, None, &mut parsed);
    parsed
}

/// An object of a text, in the form that can be passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The object, with `kind` and `apiVersion` even if its list named them.
    pub value: Value,
    /// What was read of it: at most one object.
    pub parsed: Parsed,
}

/// As [`parse()`], for a caller that keeps the objects as they stand: lists are taken apart.
///
/// # Errors
/// The text as a whole cannot be read. Nothing of it is returned.
pub fn manifests(source: &str, text: &str) -> Result<Vec<Manifest>, SyntaxError> {
    let documents =
        documents(text).map_err(|reason| SyntaxError { source_name: source.to_owned(), reason })?;
    let mut manifests = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        if !document.is_null() {
            let called = format!("document {}", index + 1);
            take_apart(source, &called, document, None, &mut manifests);
        }
    }
    Ok(manifests)
}

fn take_apart(
    source: &str,
    called: &str,
    mut value: Value,
    item_kind: Option<(&str, &str)>,
    manifests: &mut Vec<Manifest>,
) {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text(&value, "kind").or(item_kind.map(|(_, kind)| kind.to_owned()));
    let version = text(&value, "apiVersion").or(item_kind.map(|(version, _)| version.to_owned()));
    if kind.as_deref().is_some_and(|kind| kind.ends_with("List"))
        && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take)
    {
        let kind = kind.as_deref().and_then(|kind| kind.strip_suffix("List"));
        let version = version.unwrap_or_default();
        let item_kind = kind.filter(|kind| !kind.is_empty()).map(|kind| (version.as_str(), kind));
        for (index, item) in items.into_iter().enumerate() {
            let called = format!("{called}, items[{index}]");
            take_apart(source, &called, item, item_kind, manifests);
        }
        return;
    }
    let mut parsed = Parsed::default();
    read(source, called, &value, item_kind, &mut parsed);
    if let Value::Object(fields) = &mut value {
        for (key, text) in [("kind", kind), ("apiVersion", version)] {
            if let (false, Some(text)) = (fields.get(key).is_some_and(Value::is_string), text) {
                fields.insert(key.to_owned(), Value::String(text));
            }
        }
    }
    manifests.push(Manifest { value, parsed });
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    // What begins with a brace is JSON, and YAML only if it is no JSON.
    if text.trim_start().starts_with('{')
        && let Ok(values) = serde_json::Deserializer::from_str(text).into_iter().collect()
    {
        return Ok(values);
    }
    // In YAML 1.2, y and no are strings: names that namespaces and labels have.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
    };
    serde_saphyr::from_multiple_with_options::<Document>(text, options)
        .map(|documents| documents.into_iter().map(|Document(value)| value).collect())
        .map_err(|error| {
            one_line(
                &error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter),
            )
        })
}

/// A YAML document. A document that holds nothing is null.
#[derive(Deserialize)]
#[serde(transparent)]
struct Document(Value);

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads one object. `called` is its name as long as it has told none; `item_kind` is the kind of the
/// list it is in, where the list names one.
fn read(
    source: &str,
    called: &str,
    value: &Value,
    item_kind: Option<(&str, &str)>,
    parsed: &mut Parsed,
) {
    let mut reader = Reader::new(source, called);
    let mut top = Fields::new(&mut reader, value, "");
    let kind = top.text(&mut reader, "kind").or(item_kind.map(|(_, kind)| kind));
    let version = top.text(&mut reader, "apiVersion").or(item_kind.map(|(version, _)| version));
    match kind {
        None if reader.is_clean() => reader.invalid("kind", "is missing"),
        None => {}
        Some(kind) if kind.ends_with("List") && value.get("items").is_some() => {
            let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
            let item_kind = item_kind.map(|kind| (version.unwrap_or_default(), kind));
            for (item, path) in top.list(&mut reader, "items") {
                let called = format!("{called}, {path}");
                read(source, &called, item, item_kind, parsed);
            }
        }
        Some("NetworkPolicy") if names_another_api(version) => {
            parsed.ignore("NetworkPolicy", version)
        }
        Some("NetworkPolicy") => {
            objects::check_version(&mut reader, version, "networking.k8s.io/v1");
            parsed.objects.extend(policy::read(&mut reader, top).map(Object::NetworkPolicy));
        }
        Some("Namespace") => {
            objects::check_version(&mut reader, version, "v1");
            parsed.objects.extend(objects::namespace(&mut reader, top).map(Object::Namespace));
        }
        Some("Pod") => {
            objects::check_version(&mut reader, version, "v1");
            parsed.objects.extend(objects::pod(&mut reader, top).map(Object::Pod));
        }
        Some(other) => parsed.ignore(other, version),
    }
    parsed.faults.extend(reader.into_faults());
}

/// Whether a NetworkPolicy is of someone else's API, such as Calico's: a kind of its own.
fn names_another_api(version: Option<&str>) -> bool {
    let group = version.and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group.is_some_and(|group| group != "networking.k8s.io" && group != "extensions")
}

impl Parsed {
    fn ignore(&mut self, kind: &str, version: Option<&str>) {
        let name = match version {
            Some(version) => format!("{kind} ({version})"),
            None => kind.to_owned(),
        };
        if !self.ignored.contains(&name) {
            self.ignored.push(name);
        }
    }
}

#[cfg(test)]
mod tests;
