//! What policies cost: making a ruleset and having the kernel take it, and opening connections.
//!
//! `cargo bench -p weft-policy --bench policy -- COMMAND`:
//!
//! - `rulesets`: prints JSON, for each number of Pods and policies what the ruleset is and what making it,
//!   loading it and changing it takes. Uses `nft` in the network namespace that it is run in, and leaves a
//!   table there: `unshare -n` makes one that goes with it.
//! - `serve ADDRESS`: takes connections until it is ended.
//! - `connect ADDRESS SECONDS`: opens connections there, one after the other; prints how many a second.
//!
//! `scripts/bench policy` makes a table of it.

// A benchmark reads the clock, and fails where it cannot go on.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use weft_policy::nft::{Elements, Ruleset, Transaction};
use weft_policy::{Cluster, PortMatch, parse};

const PODS: [usize; 3] = [100, 1_000, 10_000];
const POLICIES: [usize; 3] = [10, 100, 1_000];

/// Pods of one namespace, and of the node whose ruleset it is; as many as Kubernetes gives a node.
const OF_NAMESPACE: usize = 100;
const LOCAL: usize = 100;

/// How often each figure is taken; the median counts.
const TIMES: usize = 7;

fn main() {
    // Cargo adds an argument of its own.
    let given: Vec<String> = std::env::args().skip(1).filter(|given| given != "--bench").collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["rulesets"] => rulesets(),
        ["serve", address] => serve(address.parse().expect("ADDRESS:PORT")),
        ["connect", address, seconds] => {
            let seconds = Duration::from_secs(seconds.parse().expect("a number of seconds"));
            println!("{:.0}", connect(address.parse().expect("ADDRESS:PORT"), seconds));
        }
        _ => {
            eprintln!("usage: policy rulesets | serve ADDRESS | connect ADDRESS SECONDS");
            std::process::exit(2);
        }
    }
}

fn rulesets() {
    let sizes =
        PODS.iter().flat_map(|pods| POLICIES.iter().map(move |policies| (*pods, *policies)));
    let rows: Vec<_> = sizes.map(|(pods, policies)| ruleset(pods, policies)).collect();
    println!("{}", json!(rows));
}

fn ruleset(pods: usize, policies: usize) -> serde_json::Value {
    let cluster = cluster(pods, policies);
    let compile = |cluster: &Cluster| {
        Ruleset::compile(cluster, "weft", |pod| pod.node.as_deref() == Some("here"))
    };
    let ruleset = compile(&cluster);
    let whole = ruleset.transaction_from(None).to_json().to_string();
    // Another port in a policy of a Pod of this node.
    let mut changed = cluster.clone();
    let policy = Arc::make_mut(&mut changed.policies).values_mut().next().unwrap();
    for rule in Arc::make_mut(policy).ingress.iter_mut().flatten() {
        for port in &mut rule.ports {
            port.port = PortMatch::Range(7, 7);
        }
    }
    let after = compile(&changed);
    let there = after.transaction_from(Some(&ruleset)).to_json().to_string();
    let back = ruleset.transaction_from(Some(&after)).to_json().to_string();

    let compile_ms = median(|| drop(compile(&cluster)));
    let text_ms = median(|| drop(ruleset.transaction_from(None).to_json().to_string()));
    let load_ms = median(|| nft(&whole));
    let difference_ms = median(|| {
        let transaction: Transaction = after.transaction_from(Some(&ruleset));
        drop(transaction.to_json().to_string());
    });
    let mut forth = true;
    let change_ms = median(|| {
        nft(if forth { &there } else { &back });
        forth = !forth;
    });
    let elements = ruleset.sets.values().map(|set| match &set.elements {
        Elements::Addresses(addresses) => addresses.len(),
        Elements::Prefixes(prefixes) => prefixes.len(),
        Elements::Ports(ports) => ports.len(),
    });
    let members = ruleset.maps.values().map(|map| map.elements.len());
    json!({
        "pods": pods, "policies": policies, "chains": ruleset.chains.len(), "sets": ruleset.sets.len(),
        "elements": elements.chain(members).sum::<usize>(), "bytes": whole.len(),
        "compile_ms": compile_ms, "text_ms": text_ms, "load_ms": load_ms,
        "difference_ms": difference_ms, "change_ms": change_ms,
    })
}

/// Pods of both families, the first of each namespace on this node until it has enough of them, and
/// policies of each namespace in turn, each with selectors, a named port, a range and a block with a hole.
fn cluster(pods: usize, policies: usize) -> Cluster {
    let namespaces = pods.div_ceil(OF_NAMESPACE);
    let mut text = String::new();
    for namespace in 0..namespaces {
        text.push_str(&format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: n{namespace}, labels: {{tier: t{}}}}}}}\n",
            namespace % 7
        ));
    }
    for pod in 0..pods {
        let (high, low) = (pod / 250, pod % 250 + 1);
        let node = if pod < LOCAL { "here" } else { "there" };
        text.push_str(&format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{pod}, namespace: n{}, labels: {{app: a{}}}}}, \
             spec: {{nodeName: {node}, containers: [{{ports: [{{name: web, containerPort: 8080}}]}}]}}, \
             status: {{podIPs: [{{ip: 10.32.{high}.{low}}}, {{ip: 'fd00::{high:x}:{low:x}'}}]}}}}\n",
            pod % namespaces,
            pod / namespaces % 10
        ));
    }
    for policy in 0..policies {
        let third = policy % 256;
        text.push_str(&format!(
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{policy}, namespace: n{}}}, \
             spec: {{podSelector: {{matchLabels: {{app: a{}}}}}, policyTypes: [Ingress, Egress], \
             ingress: [{{from: [{{podSelector: {{matchLabels: {{app: a{}}}}}}}], ports: [{{port: web}}, {{port: 9000, endPort: 9100}}]}}, \
             {{from: [{{ipBlock: {{cidr: 192.168.{third}.0/24, except: [192.168.{third}.7/32]}}}}]}}], \
             egress: [{{to: [{{namespaceSelector: {{matchLabels: {{tier: t{}}}}}}}]}}]}}}}\n",
            policy % namespaces,
            policy / namespaces % 10,
            (policy / namespaces + 1) % 10,
            policy % 7
        ));
    }
    let parsed = parse("bench", &text).expect("manifests");
    assert_eq!(parsed.faults, []);
    let mut cluster = Cluster::default();
    cluster.add(parsed.objects).expect("each once");
    cluster
}

fn median(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}

fn nft(commands: &str) {
    let mut child = Command::new("nft")
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft is installed: apt-get install nftables");
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft refuses it: root, and a namespace of its own?");
}

fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).expect("an address of this namespace");
    loop {
        drop(listener.accept());
    }
}

/// Opens and ends connections, which leave nothing behind that the next would have to wait for.
fn connect(address: SocketAddr, time: Duration) -> f64 {
    let begun = Instant::now();
    let mut opened = 0_u32;
    while begun.elapsed() < time {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.connect(&address.into()).expect("somebody serves");
        opened += 1;
    }
    f64::from(opened) / begun.elapsed().as_secs_f64()
}
