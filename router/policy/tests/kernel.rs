//! The kernel takes what is written for it: rulesets and transactions, in a network namespace of their
//! own that ends with the process. Needs root and nft.
#![allow(clippy::unwrap_used, reason = "a harness of tests: what is malformed must fail")]

#[allow(dead_code, reason = "what the other tests use of it")]
#[path = "random/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use weft_policy::Cluster;
use weft_policy::nft::Ruleset;

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
    let output = unshare.args(["-n", "sh", "-euc", script]).current_dir(directory).output();
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
    let directory = std::env::temp_dir().join(format!("weft-policy-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let removed = Removed(directory.clone());
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
            fs::write(directory.join(name), transaction.to_json().to_string()).unwrap();
        }
        let changed = "nft -j -f before; nft -j -f change; nft -j list ruleset";
        let changed = content(&in_namespace(&directory, changed));
        let loaded = "nft -c -j -f after; nft -j -f after; nft -j list ruleset";
        let loaded = content(&in_namespace(&directory, loaded));
        assert_eq!(changed, loaded, "pair {index}");
        let objects = after.sets.len() + after.maps.len() + after.chains.len();
        let rules = after.chains.values().filter(|lines| !lines.is_empty()).count();
        assert_eq!(loaded.len(), 1 + objects + rules, "pair {index}");
    }
    drop(removed);
}

/// Removes a directory, also when a test fails.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
