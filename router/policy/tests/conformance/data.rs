//! The files, as their README describes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// `upstream-netpol.json`.
#[derive(Deserialize)]
pub(crate) struct Upstream {
    pub(crate) ips: BTreeMap<String, IpAddr>,
    pub(crate) tests: Vec<UpstreamTest>,
}

/// One e2e test.
#[derive(Deserialize)]
pub(crate) struct UpstreamTest {
    pub(crate) name: String,
    pub(crate) model: UpstreamModel,
    pub(crate) steps: Vec<UpstreamStep>,
}

/// The Pods of a test and what they serve.
#[derive(Deserialize)]
pub(crate) struct UpstreamModel {
    pub(crate) pods: Vec<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) protocols: Vec<String>,
}

/// What a test does: at most one change, then at most one check.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpstreamStep {
    #[serde(rename = "By")]
    _by: Option<Value>,
    pub(crate) create_policy: Option<Value>,
    pub(crate) update_policy: Option<Value>,
    pub(crate) delete_all_policies: Option<bool>,
    pub(crate) add_pod_labels: Option<AddPodLabels>,
    pub(crate) set_ns_label: Option<SetNsLabel>,
    pub(crate) check: Option<UpstreamCheck>,
}

/// Labels that a Pod gets beside those it has.
#[derive(Deserialize)]
pub(crate) struct AddPodLabels {
    pub(crate) pod: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A label that a namespace gets.
#[derive(Deserialize)]
pub(crate) struct SetNsLabel {
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// What a test expects.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpstreamCheck {
    pub(crate) protocol: String,
    pub(crate) port: u16,
    pub(crate) pods: Vec<String>,
    pub(crate) expected: Vec<String>,
}

/// `cyclonus.json`.
#[derive(Deserialize)]
pub(crate) struct Cyclonus {
    pub(crate) cases: Vec<CyclonusCase>,
}

/// A generated case.
#[derive(Deserialize)]
pub(crate) struct CyclonusCase {
    pub(crate) id: u32,
    pub(crate) description: String,
    pub(crate) steps: Vec<CyclonusStep>,
}

/// What is done, what is there then, and what is expected of it.
#[derive(Deserialize)]
pub(crate) struct CyclonusStep {
    pub(crate) actions: Option<Vec<CyclonusAction>>,
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) pods: Vec<CyclonusPod>,
    pub(crate) policies_in_force: usize,
    pub(crate) expected: BTreeMap<String, Vec<String>>,
}

/// A change. Those of Pods and namespaces need no replay: each step says what is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CyclonusAction {
    CreatePolicy(Value),
    UpdatePolicy(Value),
    DeletePolicy(CyclonusName),
    #[serde(untagged)]
    Other(#[allow(dead_code, reason = "not replayed")] Value),
}

/// The name of a policy.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CyclonusName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A Pod.
#[derive(Deserialize)]
pub(crate) struct CyclonusPod {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The Kubernetes e2e tests, if they are there.
pub(crate) fn upstream() -> Option<Upstream> {
    load("upstream-netpol.json")
}

/// The cases of Cyclonus, if they are there.
pub(crate) fn cyclonus() -> Option<Cyclonus> {
    load("cyclonus.json")
}

fn load<T: DeserializeOwned>(name: &str) -> Option<T> {
    let path = directory().join(name);
    match fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!(
                "{} is absent: none of its cells was checked; set WEFT_CONFORMANCE_DIR",
                path.display()
            );
            None
        }
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}

fn directory() -> PathBuf {
    match std::env::var_os("WEFT_CONFORMANCE_DIR") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
    }
}
