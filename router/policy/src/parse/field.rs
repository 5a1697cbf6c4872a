//! Fields of an object, each with its path, read with a list of what is wrong.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Fault, Severity};

/// Collects the faults of one object.
pub(super) struct Reader {
    source: String,
    object: String,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(source: &str, object: &str) -> Self {
        Self { source: source.to_owned(), object: object.to_owned(), faults: Vec::new() }
    }

    /// Gives the object the name that faults call it by, also those found before.
    pub(super) fn name(&mut self, object: String) {
        for fault in &mut self.faults {
            fault.object.clone_from(&object);
        }
        self.object = object;
    }

    pub(super) fn invalid(&mut self, field: &str, message: impl Into<String>) {
        self.push(Severity::Invalid, field, message.into());
    }

    pub(super) fn unknown(&mut self, field: &str, message: impl Into<String>) {
        self.push(Severity::Unknown, field, message.into());
    }

    fn push(&mut self, severity: Severity, field: &str, message: String) {
        self.faults.push(Fault {
            severity,
            source: self.source.clone(),
            object: self.object.clone(),
            field: field.to_owned(),
            message,
        });
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many faults there are: what is read without adding one is sound.
    pub(super) fn count(&self) -> usize {
        self.faults.len()
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// The fields of one JSON object. A field that is null is absent, as in Kubernetes.
pub(super) struct Fields<'v> {
    path: String,
    map: Option<&'v Map<String, Value>>,
    known: BTreeSet<&'static str>,
}

impl<'v> Fields<'v> {
    /// The fields of `value`, which stands at `path`.
    pub(super) fn new(reader: &mut Reader, value: &'v Value, path: &str) -> Self {
        let map = value.as_object();
        if map.is_none() {
            reader.invalid(path, "must be an object");
        }
        Self { path: path.to_owned(), map, known: BTreeSet::new() }
    }

    /// Whether it is an object at all; a fault has been reported otherwise.
    pub(super) fn is_object(&self) -> bool {
        self.map.is_some()
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The path of the object itself.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Declares fields that may be there and do not matter.
    pub(super) fn allow(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.insert(key);
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, reader: &mut Reader, key: &'static str) -> Option<&'v str> {
        let value = self.value(key)?;
        let text = value.as_str();
        if text.is_none() {
            reader.invalid(&self.at(key), not_a_string(value));
        }
        text
    }

    pub(super) fn boolean(&mut self, reader: &mut Reader, key: &'static str) -> Option<bool> {
        let value = self.value(key)?.as_bool();
        if value.is_none() {
            reader.invalid(&self.at(key), "must be true or false");
        }
        value
    }

    /// The elements of a list, each with its path; none if it is absent.
    pub(super) fn list(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
    ) -> Vec<(&'v Value, String)> {
        let path = self.at(key);
        match self.value(key).map(Value::as_array) {
            Some(Some(list)) => {
                list.iter().enumerate().map(|(i, value)| (value, format!("{path}[{i}]"))).collect()
            }
            Some(None) => {
                reader.invalid(&path, "must be a list");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    pub(super) fn object(&mut self, reader: &mut Reader, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        Some(Fields::new(reader, value, &self.at(key)))
    }

    /// A map of texts, in the order of its keys.
    pub(super) fn texts(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
    ) -> Vec<(&'v str, &'v str)> {
        let path = self.at(key);
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(map) = value.as_object() else {
            reader.invalid(&path, "must be an object");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(map.len());
        for (name, value) in map {
            match value.as_str() {
                Some(text) => texts.push((name.as_str(), text)),
                None => reader.invalid(&format!("{path}[{name}]"), not_a_string(value)),
            }
        }
        texts
    }

    /// Reports the fields that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader) {
        for key in self.map.into_iter().flatten().map(|(key, _)| key) {
            if !self.known.contains(key.as_str()) {
                reader.unknown(&self.at(key), "is not a known field");
            }
        }
    }
}

/// What people get wrong in YAML is a value that needs quotes.
fn not_a_string(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) | Value::Number(_) => "must be a string: put it in quotes",
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => "must be a string",
    }
}
