//! The kernel takes what is written for it, rulesets and transactions, and does what the interpreter
//! says. All in namespaces that end with the process. Needs root, nft, ip and socat.
#![allow(clippy::unwrap_used, reason = "a harness of tests: what is malformed must fail")]

#[allow(dead_code, reason = "what the other tests use of it")]
#[path = "random/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use weft_policy::nft::{Fate, Packet, PacketState, Payload, Ruleset};
use weft_policy::{Cluster, Protocol, parse};

/// Pairs of clusters that are tried.
const PAIRS: usize = 12;

/// The same clusters in each run.
fn clusters(count: usize) -> Vec<Cluster> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut next = || cluster::arbitrary_cluster().new_tree(&mut runner).unwrap().current();
    (0..count).map(|_| next()).collect()
}

/// Runs a script of the shell in a directory and a new network namespace; answers what it prints.
///
/// # Panics
/// It fails.
fn in_namespace(directory: &Path, script: &str) -> String {
    let mut unshare = Command::new("unshare");
    let output = unshare.args(["-n", "-m", "sh", "-euc", script]).current_dir(directory).output();
    let output = output.expect("unshare must be there to run: see docs/testing.md");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A listing without what the kernel numbers and in an order that does not depend on history.
fn content(listing: &str) -> BTreeMap<String, Vec<Value>> {
    let listing: Value = serde_json::from_str(listing).unwrap();
    let mut content: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in listing["nftables"].as_array().unwrap() {
        let (kind, object) = object.as_object().unwrap().iter().next().unwrap();
        if kind == "metainfo" {
            continue;
        }
        let mut object = object.clone();
        let fields = object.as_object_mut().unwrap();
        fields.remove("handle");
        if let Some(Value::Array(elements)) = fields.get_mut("elem") {
            elements.sort_by_key(Value::to_string);
        }
        // The lines of a chain keep their order.
        let name = fields.get("chain").or(fields.get("name")).unwrap();
        content.entry(format!("{kind} {name}")).or_default().push(object);
    }
    content
}

#[test]
fn the_kernel_takes_rulesets_and_the_changes_between_them() {
    let directory = Removed::new("rulesets");
    let clusters = clusters(2 * PAIRS);
    for (index, pair) in clusters.chunks(2).enumerate() {
        let is_local = |pod: &weft_policy::Pod| pod.node.as_deref() == Some("n0");
        let [before, after] =
            [&pair[0], &pair[1]].map(|cluster| Ruleset::compile(cluster, "weft", is_local));
        for (name, transaction) in [
            ("before", before.transaction_from(None)),
            ("change", after.transaction_from(Some(&before))),
            ("after", after.transaction_from(None)),
        ] {
            fs::write(directory.0.join(name), transaction.to_json().to_string()).unwrap();
        }
        let changed = "nft -j -f before; nft -j -f change; nft -j list ruleset";
        let changed = content(&in_namespace(&directory.0, changed));
        let loaded = "nft -c -j -f after; nft -j -f after; nft -j list ruleset";
        let loaded = content(&in_namespace(&directory.0, loaded));
        assert_eq!(changed, loaded, "pair {index}");
        let objects = after.sets.len() + after.maps.len() + after.chains.len();
        let rules = after.chains.values().filter(|lines| !lines.is_empty()).count();
        assert_eq!(loaded.len(), 1 + objects + rules, "pair {index}");
    }
}

/// What decides in the kernel is what the interpreter says: TCP between two Pods, both ways, in both
/// families, by number, range and name, to and from blocks and selectors.
#[test]
fn the_kernel_does_what_the_interpreter_says() {
    let mut cluster = Cluster::default();
    cluster.add(parse("manifests", MANIFESTS).unwrap().objects).unwrap();
    let ruleset = Ruleset::compile(&cluster, "weft", |_| true);
    let (mut questions, mut expected) = (String::new(), Vec::new());
    for (client, from, to) in [
        ("a", "10.0.0.1", "10.0.0.2"),
        ("a", "fd00::1", "fd00::2"),
        ("b", "10.0.0.2", "10.0.0.1"),
        ("b", "fd00::2", "fd00::1"),
    ] {
        for port in [80, 443, 8080, 9000, 9001, 9002] {
            questions.push_str(&format!("{client} {to} {port}\n"));
            let [mut side, mut other] = ["weft".to_owned(), "uplink".to_owned()];
            if client == "b" {
                std::mem::swap(&mut side, &mut other);
            }
            let packet = Packet {
                from: side,
                to: other,
                state: PacketState::New,
                source: from.parse().unwrap(),
                destination: to.parse().unwrap(),
                payload: Payload::Port(Protocol::Tcp, port),
            };
            expected.push(match ruleset.run(&packet) {
                Fate::Passed => format!("{client} {to} {port} passed"),
                Fate::Dropped => format!("{client} {to} {port} dropped"),
            });
        }
    }
    let passed = expected.iter().filter(|line| line.ends_with("passed")).count();
    assert!((8..17).contains(&passed), "the policies say too little: {expected:?}");

    let directory = Removed::new("packets");
    let ruleset = ruleset.transaction_from(None).to_json().to_string();
    fs::write(directory.0.join("ruleset"), ruleset).unwrap();
    fs::write(directory.0.join("questions"), &questions).unwrap();
    let answers = in_namespace(&directory.0, include_str!("packets.sh"));
    let got = questions.lines().zip(answers.lines());
    let got: Vec<_> = got.map(|(question, answer)| format!("{question} {answer}")).collect();
    assert_eq!(got, expected);
}

/// Pod a on the node, Pod b elsewhere; both isolated both ways.
const MANIFESTS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
spec: {containers: [{ports: [{name: web, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
spec: {containers: [{ports: [{name: web, containerPort: 80}]}]}
status: {podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Ingress, Egress]
  ingress:
  - {from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.1/32]}}], ports: [{port: web}]}
  - {from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 9001, endPort: 9002}]}
  egress:
  - {to: [{podSelector: {}}], ports: [{port: web}]}
  - {ports: [{port: 9000, endPort: 9001}, {port: 443, protocol: UDP}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: b}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Ingress, Egress]
  ingress:
  - {from: [{ipBlock: {cidr: 'fd00::/64', except: ['fd00::2/128']}}]}
  - {from: [{namespaceSelector: {}}], ports: [{port: web}, {port: 9001}]}
  egress: [{}]
";

/// A directory that is removed in the end, also when a test fails.
struct Removed(PathBuf);

impl Removed {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("weft-{name}-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
