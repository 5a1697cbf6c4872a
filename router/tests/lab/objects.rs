//! Policies without a Kubernetes API: written on one node, known on all, over restarts and partitions.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Lab, PATIENCE, eventually};

const MANIFESTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {team: a}}
---
apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web, namespace: prod, resourceVersion: '7'}
  spec: {podSelector: {matchLabels: {app: web}}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: db, namespace: prod}
  spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}
";

/// A policy whose selector says which edit it is.
fn edit(name: &str, edit: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: prod}}, \
         spec: {{podSelector: {{matchLabels: {{edit: {edit}}}}}}}}}"
    )
}

fn file(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.dir().join(name);
    std::fs::write(&path, text).expect("the lab's folder can be written");
    path
}

/// Applies a text on a host and answers what was printed.
#[track_caller]
fn apply(lab: &Lab, host: usize, text: &str) -> String {
    let path = file(lab, &format!("h{host}.yaml"), text);
    let outcome = lab.weft(host, &["policy", "apply", "-f", path.to_str().expect("UTF-8")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    outcome.stdout
}

/// Kind and name of all objects that a host knows, with the label that tells of the edit.
fn known(lab: &Lab, host: usize) -> Result<Vec<String>, String> {
    let list = lab.json(host, &["policy", "get", "-o", "json"])?;
    let items = list["items"].as_array().ok_or_else(|| format!("no list: {list}"))?;
    let text = |item: &Value| {
        let edit = &item["spec"]["podSelector"]["matchLabels"]["edit"];
        let edit = edit.as_str().map(|edit| format!("={edit}")).unwrap_or_default();
        format!("{}{edit}", item["metadata"]["name"].as_str().unwrap_or("?"))
    };
    Ok(items.iter().map(text).collect())
}

#[track_caller]
fn await_known(lab: &Lab, hosts: &[usize], expected: &[&str]) {
    for host in hosts {
        eventually(&format!("{expected:?} on h{host}"), PATIENCE, || {
            let known = known(lab, *host)?;
            if known == expected { Ok(()) } else { Err(format!("{known:?}")) }
        });
    }
}

#[test]
fn what_is_applied_on_one_node_is_known_and_deleted_on_all() {
    let lab = Lab::mesh("objects");
    let printed = apply(&lab, 1, MANIFESTS);
    assert!(
        printed.starts_with("Namespace prod created\nNetworkPolicy prod/web created\n"),
        "{printed}"
    );
    assert!(printed.contains("saved on this node"), "{printed}");
    await_known(&lab, &[1, 2, 3], &["prod", "db", "web"]);
    // Plain Kubernetes YAML comes back, which changes nothing where it is applied again.
    let yaml = lab.weft(3, &["policy", "get", "-o", "yaml"]);
    assert_eq!(yaml.code, 0, "{}", yaml.stderr);
    assert!(!yaml.stdout.contains("resourceVersion"), "{}", yaml.stdout);
    let again = apply(&lab, 3, &yaml.stdout);
    assert_eq!(again.matches("unchanged").count(), 3, "{again}");
    assert!(!again.contains("saved"), "{again}");
    let one = lab.json(2, &["policy", "get", "prod/web", "-o", "json"]).expect("it is known");
    assert_eq!(one["spec"]["podSelector"]["matchLabels"]["app"], "web");
    let table = lab.weft(2, &["policy", "get"]);
    assert!(table.stdout.contains("NetworkPolicy prod/web ingress of app=web"), "{}", table.stdout);
    assert!(table.stdout.contains("(h1)"), "{}", table.stdout);

    let deleted = lab.weft(2, &["policy", "delete", "prod/web"]);
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    await_known(&lab, &[1, 2, 3], &["prod", "db"]);
    let twice = lab.weft(2, &["policy", "delete", "prod/db", "prod/web"]);
    assert_eq!(twice.code, 1, "{}", twice.stdout);
    assert!(twice.stderr.contains("no NetworkPolicy prod/web"), "{}", twice.stderr);

    // All restart; the first, which wrote it all, comes back last.
    for host in [1, 2, 3] {
        lab.ok(["kill", &host.to_string()]);
    }
    lab.launch(3, &[]);
    await_known(&lab, &[3], &["prod", "db"]);
    lab.launch(2, &["h3"]);
    lab.launch(1, &["h3"]);
    lab.await_mesh(2 * PATIENCE);
    await_known(&lab, &[1, 2, 3], &["prod", "db"]);
    for host in 1..=3 {
        let status = lab.status(host).expect("the daemon answers");
        assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    }
}

/// Manifests that the Kubernetes API would refuse: the spec, the field, and what is wrong with it.
const REFUSED: [(&str, &str, &str); 6] = [
    (
        "{podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]}",
        "spec.ingress[0].ports[0].endPort",
        "must not be less than port, 90",
    ),
    (
        "{podSelector: {}, ingress: [{}, {from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 11.0.0.0/16]}}]}]}",
        "spec.ingress[1].from[0].ipBlock.except[1]",
        "must be inside 10.0.0.0/8 and smaller",
    ),
    (
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
        "spec.ingress[0].from[0].ipBlock",
        "must not stand beside podSelector or namespaceSelector",
    ),
    (
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 'fd00::/129'}}]}]}",
        "spec.egress[0].to[0].ipBlock.cidr",
        "must be a network such as",
    ),
    ("{podSelector: {}, polcyTypes: [Egress]}", "spec.polcyTypes", "is not a known field"),
    (
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, exept: []}}]}]}",
        "spec.ingress[0].from[0].ipBlock.exept",
        "is not a known field",
    ),
];

#[test]
fn what_is_refused_changes_nothing_here_or_in_the_kernel() {
    let lab = Lab::up("refused", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.pod(1, "a");
    let sound = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: sound}, \
                 spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}";
    apply(&lab, 1, sound);
    eventually("an isolated Pod", PATIENCE, || {
        let policy = lab.status(1)?["policy"].clone();
        if policy["isolated_pods"] == 1 { Ok(()) } else { Err(policy.to_string()) }
    });
    // With the handle of each rule, which is another for one that was made anew, and the elements of
    // sets; without counters.
    let state = || {
        let rules = lab.exec(1, &["nft", "-s", "-a", "list", "ruleset"]).stdout;
        assert!(rules.contains("default/sound ingress[0]"), "{rules}");
        (rules, lab.json(1, &["policy", "get", "-o", "json"]).expect("it answers"))
    };
    let before = state();
    for (spec, field, wrong) in REFUSED {
        // Beside it, what alone would be taken: a namespace, and a change of what is in force.
        let text = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: other}}}}\n---\n{}\n---\n\
             {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: x, namespace: prod}}, spec: {spec}}}",
            sound.replace("port: 80", "port: 81")
        );
        let path = file(&lab, "bad.yaml", &text);
        let refused = lab.weft(1, &["policy", "apply", "-f", path.to_str().expect("UTF-8")]);
        assert_eq!(refused.code, 1, "{spec}: {}", refused.stdout);
        assert_eq!(refused.stdout, "", "{spec}");
        let culprit = format!("/bad.yaml: NetworkPolicy prod/x: {field}: {wrong}");
        assert!(refused.stderr.contains(&culprit), "{spec}: {}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        assert_eq!(state(), before, "{spec}");
    }
    // The same without what was wrong is taken: it was that, and nothing else.
    apply(&lab, 1, &sound.replace("port: 80", "port: 81"));
    assert_ne!(state().1, before.1);
    eventually("other rules", PATIENCE, || {
        let (rules, _) = state();
        if rules == before.0 { Err("they are the same".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn of_edits_on_both_sides_of_a_partition_the_later_one_wins() {
    let lab = Lab::mesh("edits");
    apply(&lab, 1, &format!("{}\n---\n{}", edit("a", "first"), edit("b", "first")));
    await_known(&lab, &[1, 2, 3], &["a=first", "b=first"]);
    lab.ok(["partition", "1,2", "3"]);
    apply(&lab, 3, &edit("a", "early"));
    apply(&lab, 1, &edit("b", "early"));
    // The clocks are one clock here, so what is written later has the later stamp.
    apply(&lab, 1, &edit("a", "late"));
    let deleted = lab.weft(3, &["policy", "delete", "prod/b"]);
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    await_known(&lab, &[2], &["a=late", "b=early"]);
    await_known(&lab, &[3], &["a=early"]);
    lab.ok(["heal"]);
    await_known(&lab, &[1, 2, 3], &["a=late"]);
}
