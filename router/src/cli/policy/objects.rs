//! `weft policy apply`, `get` and `delete`: policies and namespaces that the nodes share.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weft_api::path;
use weft_api::policy::{
    ApplyRequest, ChangeReply, DeleteRequest, ObjectName, Outcome, StoredObject,
};
use weft_cni_shim::client::Client;
use weft_policy::{Manifest, Object, manifests};

use super::{contents, shown};
use crate::cli::args::{DeletePolicyArgs, FilesArgs, GetPolicyArgs, ObjectFormat};
use crate::cli::{Failure, block_on, output, render};

/// How long writing may take: a disk that is busy, and as much as one node may hold.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes the objects of some files, all or none.
pub(in crate::cli) fn apply(client: &Client, args: &FilesArgs) -> Result<(), Failure> {
    let objects = read(&args.files)?.into_iter().map(|(_, value)| value).collect();
    let request = ApplyRequest { objects };
    let reply: ChangeReply =
        block_on(async { Ok(client.post(path::OBJECTS, &request, WRITE_TIMEOUT).await?) })?;
    let written = reply.objects.iter().any(|object| object.outcome != Outcome::Unchanged);
    tell(&reply, written)
}

/// Deletes objects by name, or those of some files.
pub(in crate::cli) fn delete(client: &Client, args: &DeletePolicyArgs) -> Result<(), Failure> {
    let mut objects: Vec<ObjectName> = args.names.clone();
    if !args.files.is_empty() {
        objects.extend(read(&args.files)?.into_iter().map(|(name, _)| name));
    }
    let request = DeleteRequest { objects };
    let reply: ChangeReply =
        block_on(async { Ok(client.post(path::DELETE_OBJECTS, &request, WRITE_TIMEOUT).await?) })?;
    tell(&reply, true)
}

/// Prints what became of each object, and where it stands now.
fn tell(reply: &ChangeReply, written: bool) -> Result<(), Failure> {
    let mut text = String::new();
    for changed in &reply.objects {
        let outcome = match changed.outcome {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
        };
        text.push_str(&format!("{} {outcome}\n", titled(&changed.object)));
    }
    if written {
        text.push_str(
            "saved on this node; the other nodes learn of it as soon as they are reached\n",
        );
    }
    Ok(output::print(&text)?)
}

/// Prints the objects that this node knows, or those that are named.
pub(in crate::cli) fn get(client: &Client, args: &GetPolicyArgs) -> Result<(), Failure> {
    let mut objects: Vec<StoredObject> = block_on(async { Ok(client.get(path::OBJECTS).await?) })?;
    objects.sort_by(|a, b| a.id.cmp(&b.id));
    if !args.names.is_empty() {
        let known = |name: &&ObjectName| !objects.iter().any(|object| object.id == **name);
        let missing: Vec<_> = args.names.iter().filter(known).map(titled).collect();
        if !missing.is_empty() {
            return Err(Failure::Failed(format!(
                "there is no {}: `weft policy get` lists what there is",
                missing.join(", no ")
            )));
        }
        objects.retain(|object| args.names.contains(&object.id));
    }
    match args.output {
        ObjectFormat::Table => output::print(&render::objects(&objects))?,
        ObjectFormat::Yaml => output::print(&yaml(&objects)?)?,
        ObjectFormat::Json => output::print_json(&document(objects, args.names.len()))?,
    }
    Ok(())
}

/// One object as it is where one was named; else a list, as kubectl has it.
fn document(objects: Vec<StoredObject>, named: usize) -> Value {
    let mut items: Vec<Value> = objects.into_iter().map(|object| object.object).collect();
    match items.pop() {
        Some(only) if named == 1 && items.is_empty() => only,
        last => {
            items.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "items": items })
        }
    }
}

/// A document for each object, as `apply` reads them.
fn yaml(objects: &[StoredObject]) -> Result<String, Failure> {
    let mut text = String::new();
    for object in objects {
        let document = serde_saphyr::to_string(&object.object)
            .map_err(|error| Failure::Failed(format!("cannot write YAML: {error}")))?;
        let separator = if text.is_empty() { "" } else { "---\n" };
        text.push_str(separator);
        text.push_str(document.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn titled(name: &ObjectName) -> String {
    match &name.namespace {
        Some(namespace) => format!("{} {namespace}/{}", name.kind, name.name),
        None => format!("{} {}", name.kind, name.name),
    }
}

/// The objects of all files, if every one of them is as the API wants it under strict validation.
fn read(files: &[String]) -> Result<Vec<(ObjectName, Value)>, Failure> {
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let source = shown(file);
        let read = contents(file)
            .and_then(|text| manifests(source, &text).map_err(|error| error.to_string()));
        let found = match read {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if found.is_empty() {
            problems.push(format!("{source}: there is no object in it"));
        }
        for manifest in found {
            match accept(source, manifest) {
                Ok((name, _)) if !seen.insert(name.clone()) => {
                    problems.push(format!(
                        "{source}: {}: is given twice: remove one of them",
                        titled(&name)
                    ));
                }
                Ok(object) => objects.push(object),
                Err(found) => problems.extend(found),
            }
        }
    }
    if problems.is_empty() { Ok(objects) } else { Err(Failure::Failed(problems.join("\n"))) }
}

/// One object, or all that is wrong with it.
fn accept(source: &str, manifest: Manifest) -> Result<(ObjectName, Value), Vec<String>> {
    let parsed = manifest.parsed;
    if !parsed.faults.is_empty() {
        return Err(parsed.faults.iter().map(ToString::to_string).collect());
    }
    let name = match parsed.objects.into_iter().next() {
        Some(Object::NetworkPolicy(policy)) => {
            ObjectName { kind: POLICY.into(), namespace: Some(policy.namespace), name: policy.name }
        }
        Some(Object::Namespace(namespace)) => {
            ObjectName { kind: NAMESPACE.into(), namespace: None, name: namespace.name }
        }
        Some(Object::Pod(pod)) => {
            return Err(vec![format!(
                "{source}: Pod {}: cannot be applied, NetworkPolicy and Namespace can: \
                 `weft attach` and the CNI plugin tell of Pods",
                pod.full_name()
            )]);
        }
        None => {
            let kind = parsed.ignored.first().map_or("object", String::as_str);
            return Err(vec![format!(
                "{source}: {}: cannot be applied, NetworkPolicy (networking.k8s.io/v1) and \
                 Namespace can: remove it from the file",
                kind.escape_debug()
            )]);
        }
    };
    Ok((name, manifest.value))
}

const POLICY: &str = "NetworkPolicy";
const NAMESPACE: &str = "Namespace";

/// `NS/NAME` is a policy, `NAME` a Namespace.
pub(in crate::cli) fn object_name(text: &str) -> Result<ObjectName, String> {
    let (kind, namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (POLICY, Some(namespace), name),
        None => (NAMESPACE, None, text),
    };
    if name.is_empty() || name.contains('/') || namespace == Some("") {
        return Err("must be NAMESPACE/NAME for a policy, or NAME for a Namespace".to_owned());
    }
    Ok(ObjectName {
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(object: Value) -> StoredObject {
        let id = object_name("default/web").unwrap();
        let (writer, nickname) = (String::new(), String::new());
        StoredObject { id, written_ms: 0, writer, nickname, object }
    }

    #[test]
    fn names_are_policies_with_a_slash_and_namespaces_without() {
        let policy = object_name("prod/web").unwrap();
        assert_eq!(titled(&policy), "NetworkPolicy prod/web");
        assert_eq!(titled(&object_name("prod").unwrap()), "Namespace prod");
        for bad in ["", "/", "a/", "/b", "a/b/c"] {
            assert!(object_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_as_yaml_reads_back_the_same() {
        let tricky = [
            "y", "no", "true", "80", "1e3", "~", "null", "a: b", "- x", "#", "", "a\nb\n", "ü",
            "0x1f",
        ];
        let annotations: serde_json::Map<String, Value> = tricky
            .iter()
            .enumerate()
            .map(|(n, text)| (format!("k{n}"), Value::String((*text).to_owned())))
            .collect();
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": "web", "namespace": "default", "annotations": annotations,
                          "labels": { "y": "no", "n": "1" } },
            "spec": { "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
                { "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }],
                  "ports": [{ "port": 80, "endPort": 90 }, { "port": "http", "protocol": "UDP" }] },
                {} ] },
        });
        let text = yaml(&[stored(object.clone()), stored(object.clone())]).unwrap();
        let read = manifests("out", &text).unwrap();
        assert_eq!(read.len(), 2, "{text}");
        for manifest in read {
            assert_eq!(manifest.value, object, "{text}");
            assert_eq!(manifest.parsed.faults, []);
        }
    }

    #[test]
    fn json_is_the_object_where_one_was_named_and_a_list_else() {
        let object = stored(json!({ "kind": "NetworkPolicy" }));
        assert_eq!(document(vec![object.clone()], 1), object.object);
        let list = document(vec![object.clone()], 0);
        assert_eq!(list, json!({ "apiVersion": "v1", "kind": "List", "items": [object.object] }));
        assert_eq!(document(vec![], 0)["items"], json!([]));
    }

    #[test]
    fn everything_wrong_in_all_files_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web}, spec: {podSelector: {}";
        let one = file(
            "one",
            &format!(
                "{policy}, polcyTypes: [Ingress]}}}}\n---\n{{kind: Pod, apiVersion: v1, metadata: {{name: p}}}}"
            ),
        );
        let two = file(
            "two",
            &format!("{policy}}}}}\n---\n{policy}}}}}\n---\n{{kind: ConfigMap, apiVersion: v1}}"),
        );
        let empty = file("three", "# nothing\n");
        let Err(Failure::Failed(text)) = read(&[one, two, empty, "/nowhere".into()]) else {
            panic!("there is much wrong")
        };
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        for (line, part) in lines.iter().zip([
            "/one: NetworkPolicy default/web: spec.polcyTypes: is not a known field",
            "/one: Pod default/p: cannot be applied",
            "/two: NetworkPolicy default/web: is given twice",
            "/two: ConfigMap (v1): cannot be applied",
            "/three: there is no object in it",
            "cannot read /nowhere",
        ]) {
            assert!(line.contains(part), "{line}");
        }
    }
}
