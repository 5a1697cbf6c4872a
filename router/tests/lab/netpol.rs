//! The NetworkPolicy tests of Kubernetes between the Pods of two nodes, by TCP, UDP and SCTP.
//!
//! The recorded tests lie outside the project (`WEFT_CONFORMANCE_DIR`, else `../shared/conformance`);
//! where they are absent none is run, and the test says so. Pods are made once; each test applies its
//! policies by `weft policy apply`, on either node in turn, and takes them away again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, binaries, eventually};
use crate::probe::{self, Family, Host, Kind, Prober};

/// Of 711 recorded ones, those that are not about a Pod and itself: no kernel asks a policy there.
const CELLS: usize = 506;

type Labels = BTreeMap<String, String>;

#[test]
fn upstream_tests_hold_between_pods_of_two_nodes() {
    let Some(file) = recorded() else { return };
    let mut cluster = Cluster::up(&file);
    let tests = file["tests"].as_array().expect("tests");
    let mut cells = 0;
    for test in tests {
        cells += cluster.run(test);
    }
    println!("upstream-netpol.json: {} tests, {cells} cells agree", tests.len());
    assert_eq!((tests.len(), cells), (48, CELLS));
}

fn recorded() -> Option<Value> {
    let directory = std::env::var_os("WEFT_CONFORMANCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let path = directory.join("upstream-netpol.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("recorded tests are JSON")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!(
                "{} is absent: {CELLS} cells were not checked; set WEFT_CONFORMANCE_DIR",
                path.display()
            );
            None
        }
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}

struct Pod {
    host: usize,
    prober: Prober,
}

/// Nine Pods in three namespaces, on two nodes.
struct Cluster {
    pods: BTreeMap<String, Pod>,
    /// The address that the recorded policies have for a Pod.
    recorded: BTreeMap<String, String>,
    hosts: Vec<Host>,
    /// The last source port that was used.
    port: u16,
    /// How many files were applied.
    applied: usize,
    // The last one: what holds its namespaces goes first.
    lab: Lab,
}

impl Cluster {
    fn up(file: &Value) -> Self {
        let lab = Lab::up("netpol", 2);
        lab.launch(1, &["--ipalloc-init", "founder"]);
        lab.launch(2, &["h1"]);
        lab.await_mesh(PATIENCE);
        let hosts = [1, 2].map(|host| Host::new(&lab.namespace(host))).into();
        let ips = file["ips"].as_object().expect("addresses of Pods");
        let recorded =
            ips.iter().map(|(name, ip)| (name.clone(), ip.as_str().expect("an address").into()));
        let recorded = recorded.collect();
        let mut cluster =
            Self { pods: BTreeMap::new(), recorded, hosts, port: 20_000, applied: 0, lab };
        for (index, name) in ips.keys().enumerate() {
            let host = 1 + index % 2;
            let namespace = cluster.namespace(host, name);
            cluster.lab.ok(["exec", &host.to_string(), "ip", "netns", "add", &namespace]);
            let address = cluster.attach(host, name, &own_labels(name));
            let pod = Pod { host, prober: Prober::new(&namespace, vec![address]) };
            cluster.pods.insert(name.clone(), pod);
        }
        for name in ["x", "y", "z"] {
            cluster.apply(&namespace(name, [("ns".into(), name.into())].into()));
        }
        cluster
    }

    fn namespace(&self, host: usize, pod: &str) -> String {
        self.lab.pod_namespace(host, &pod.replace('/', ""))
    }

    /// Makes a Pod known; answers its address.
    fn attach(&self, host: usize, pod: &str, labels: &Labels) -> std::net::IpAddr {
        let netns = format!("/run/netns/{}", self.namespace(host, pod));
        let (namespace, name) = pod.split_once('/').expect("a namespace and a name");
        let mut arguments = ["attach", "--netns", &netns, "--namespace", namespace, "--pod", name]
            .map(String::from)
            .to_vec();
        for (key, value) in labels {
            arguments.extend(["--label".into(), format!("{key}={value}")]);
        }
        for port in probe::PORTS {
            for protocol in ["tcp", "udp", "sctp"] {
                let port = format!("serve-{port}-{protocol}={port}/{protocol}");
                arguments.extend(["--port".into(), port]);
            }
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let printed = self.weft(host, &arguments, "");
        let address = printed.trim().split('/').next().expect("an address");
        address.parse().expect("an address")
    }

    /// Gives a Pod other labels: it is made anew, in the namespace that it had.
    fn relabel(&mut self, pod: &str, labels: &Labels) {
        let host = self.pods[pod].host;
        let netns = format!("/run/netns/{}", self.namespace(host, pod));
        self.weft(host, &["detach", "--netns", &netns], "");
        let address = self.attach(host, pod, labels);
        self.pods.get_mut(pod).expect("it is there").prober.addresses = vec![address];
    }

    fn apply(&mut self, object: &Value) {
        self.applied += 1;
        self.weft(1 + self.applied % 2, &["policy", "apply", "-f", "-"], &object.to_string());
    }

    #[track_caller]
    fn weft(&self, host: usize, arguments: &[&str], input: &str) -> String {
        let mut weft = Command::new(binaries().join("weft"));
        weft.args(arguments).env("WEFT_SOCKET", self.lab.host_dir(host).join("weft.sock"));
        self.hosts[host - 1].run(weft, input)
    }

    fn json(&self, host: usize, arguments: &[&str]) -> Value {
        let printed = self.weft(host, &[arguments, &["--json"]].concat(), "");
        serde_json::from_str(&printed).expect("weft prints JSON")
    }

    /// Runs one recorded test; answers how many cells agreed.
    fn run(&mut self, test: &Value) -> usize {
        let name = test["name"].as_str().expect("a name");
        let mut policies: BTreeMap<String, String> = BTreeMap::new();
        let (mut relabelled, mut namespaces) = (Vec::new(), Vec::new());
        let mut cells = 0;
        for step in test["steps"].as_array().expect("steps") {
            for key in ["CreatePolicy", "UpdatePolicy"] {
                let Some(policy) = step.get(key) else { continue };
                let policy = self.translated(policy);
                let name = |key: &str| policy["metadata"][key].as_str().expect("a name");
                let name = format!("{}/{}", name("namespace"), name("name"));
                self.apply(&policy);
                policies.insert(name, policy.to_string());
            }
            if step.get("DeleteAllPolicies").is_some() {
                self.delete(std::mem::take(&mut policies).keys());
            }
            if let Some(add) = step.get("AddPodLabels") {
                let pod = add["pod"].as_str().expect("a Pod").to_owned();
                let mut labels = own_labels(&pod);
                labels.extend(self::labels(&add["labels"]));
                self.relabel(&pod, &labels);
                relabelled.push(pod);
            }
            if let Some(set) = step.get("SetNsLabel") {
                let text = |key: &str| set[key].as_str().expect("text").to_owned();
                let name = text("namespace");
                let labels = [("ns".into(), name.clone()), (text("key"), text("value"))];
                self.apply(&namespace(&name, labels.into()));
                namespaces.push(name);
            }
            if let Some(check) = step.get("Check") {
                probe::await_policies(policies.len(), |host, arguments| self.json(host, arguments));
                cells += self.check(name, check);
            }
        }
        self.delete(policies.keys());
        for pod in relabelled {
            self.relabel(&pod, &own_labels(&pod));
        }
        for name in namespaces {
            self.apply(&namespace(&name, [("ns".into(), name.clone())].into()));
        }
        probe::await_policies(0, |host, arguments| self.json(host, arguments));
        cells
    }

    fn delete<'a>(&self, names: impl Iterator<Item = &'a String>) {
        let names: Vec<_> = names.map(String::as_str).collect();
        if !names.is_empty() {
            self.weft(1, &[&["policy", "delete"], &names[..]].concat(), "");
        }
    }

    /// A recorded policy with the kind that the recording leaves out in places, and the Pods'
    /// addresses of here.
    fn translated(&self, policy: &Value) -> Value {
        let mut text = policy.to_string();
        for (name, recorded) in &self.recorded {
            let here = self.pods[name].prober.address(Family::V4);
            text = text.replace(&format!("\"{recorded}/32\""), &format!("\"{here}/32\""));
        }
        let mut policy: Value = serde_json::from_str(&text).expect("still JSON");
        policy["kind"] = "NetworkPolicy".into();
        policy["apiVersion"] = "networking.k8s.io/v1".into();
        policy
    }

    /// Compares all pairs with what is recorded; answers how many cells agreed.
    fn check(&mut self, test: &str, check: &Value) -> usize {
        let kind = match check["Protocol"].as_str() {
            Some("TCP") => Kind::Tcp,
            Some("UDP") => Kind::Udp,
            Some("SCTP") => Kind::Sctp,
            other => panic!("{test}: protocol {other:?}"),
        };
        let port = check["Port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        let rows = |key: &str| -> Vec<String> {
            serde_json::from_value(check[key].clone()).expect("a list of texts")
        };
        let pods: Vec<_> = rows("Pods").iter().map(|name| &self.pods[name].prober).collect();
        let mut expected = rows("Expected");
        for (index, row) in expected.iter_mut().enumerate() {
            row.replace_range(index..=index, "-");
        }
        // Labels reach the other node in a moment.
        eventually(test, PATIENCE, || {
            let got = probe::matrix(&self.hosts, &pods, kind, port, Family::V4, &mut self.port);
            if got == expected { Ok(()) } else { Err(format!("{got:?} is not {expected:?}")) }
        });
        pods.len() * (pods.len() - 1)
    }
}

fn own_labels(pod: &str) -> Labels {
    let (_, name) = pod.split_once('/').expect("a namespace and a name");
    [("pod".to_owned(), name.to_owned())].into()
}

fn labels(value: &Value) -> Labels {
    serde_json::from_value(value.clone()).expect("labels")
}

fn namespace(name: &str, labels: Labels) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}
