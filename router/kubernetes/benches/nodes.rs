//! What Nodes cost the API server, by how they are watched: whole, or their metadata alone.
//!
//! A real API server (as in `tests/apiserver.rs`), 100 Nodes of the size that kubelets make them, 100 watches of each kind, and
//! what a kubelet writes every five minutes. `cargo bench -p weft-kubernetes --bench nodes --profile dev` will do: what is
//! measured is the API server's processor time, and bytes.
#![allow(clippy::unwrap_used, reason = "a harness: what is malformed must fail")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/apiserver/cluster.rs"]
mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::Cluster;
use futures_util::AsyncBufReadExt as _;
use serde_json::{Value, json};

const NODES: usize = 100;
const WATCHES: usize = 100;
/// How often each Node is written to.
const ROUNDS: usize = 3;

const WHOLE: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn main() {
    let Some(programs) = cluster::programs() else {
        println!(
            "not run: no kube-apiserver and etcd in {}; scripts/kube-lab build makes them",
            cluster::cache().display()
        );
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let cluster = Cluster::start(programs, &runtime);
    runtime.block_on(async {
        for number in 0..NODES {
            cluster.create(node(number)).await;
        }
        beat(&cluster).await;
        let alone = beats(&cluster).await;
        println!("{NODES} nodes, {WATCHES} watches, {} writes", NODES * ROUNDS);
        println!("| watched | list, bytes a node | change, bytes a watch | change, processor time a watch |");
        println!("|---|---|---|---|");
        for (name, accept, list) in [("whole", WHOLE, WHOLE), ("metadata", METADATA, METADATA_LIST)] {
            let listed = cluster.admin.request_text(get("/api/v1/nodes", list)).await.unwrap();
            let version = serde_json::from_str::<Value>(&listed).unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            let (bytes, lines) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
            let mut watches = tokio::task::JoinSet::new();
            for _ in 0..WATCHES {
                let path = format!("/api/v1/nodes?watch=true&resourceVersion={version}");
                let (stream, bytes, lines) = (cluster.admin.request_stream(get(&path, accept)).await.unwrap(), bytes.clone(), lines.clone());
                watches.spawn(async move {
                    let mut stream = std::pin::pin!(stream);
                    let mut line = Vec::new();
                    while stream.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                        bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
                        lines.fetch_add(1, Ordering::Relaxed);
                        line.clear();
                    }
                });
            }
            let before = cluster.processor_time();
            for _ in 0..ROUNDS {
                beat(&cluster).await;
            }
            let expected = (NODES * ROUNDS * WATCHES) as u64;
            let deadline = Instant::now() + Duration::from_secs(120);
            while lines.load(Ordering::Relaxed) < expected {
                assert!(Instant::now() < deadline, "{} of {expected} changes", lines.load(Ordering::Relaxed));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let spent = (cluster.processor_time() - before).saturating_sub(alone);
            let each = |total: u128| total / u128::from(expected);
            println!(
                "| {name} | {} | {} | {} µs |",
                listed.len() / NODES,
                each(bytes.load(Ordering::Relaxed).into()),
                each(spent.as_micros())
            );
        }
    });
}

fn get(path: &str, accept: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).header("accept", accept).body(Vec::new()).unwrap()
}

/// What the writes cost when nobody watches.
async fn beats(cluster: &Cluster) -> Duration {
    let before = cluster.processor_time();
    for _ in 0..ROUNDS {
        beat(cluster).await;
    }
    cluster.processor_time() - before
}

/// What every kubelet writes every five minutes.
async fn beat(cluster: &Cluster) {
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for number in 0..NODES {
        let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|kind| json!({ "type": kind, "status": "False", "lastHeartbeatTime": now }))
            .collect();
        // Within one second the time alone would be no change.
        let patch = json!({ "metadata": { "annotations": { "test/beat": format!("{:?}", Instant::now()) } }, "status": { "conditions": conditions } });
        cluster.strategic_status(&node(number), patch).await;
    }
}

/// As a kubelet makes it: 50 images with a tag and a digest each, and the labels and annotations of a common cluster.
fn node(number: usize) -> Value {
    let images: Vec<Value> = (0..50)
        .map(|image| {
            let name = format!("registry.example.com/team-{}/service-with-a-name-{image}", image % 7);
            json!({ "names": [format!("{name}@sha256:{image:064x}"), format!("{name}:v1.{image}.3")], "sizeBytes": 52_428_800 + image })
        })
        .collect();
    let amounts = json!({ "cpu": "16", "memory": "65843096Ki", "pods": "110", "ephemeral-storage": "101430960Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0" });
    let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status, "reason": format!("KubeletHas{kind}"), "message": "kubelet has sufficient of what this is about", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let name = format!("node-{number:03}.region-1.example.com");
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name, "node.kubernetes.io/instance-type": "m6i.4xlarge", "topology.kubernetes.io/region": "region-1",
                "topology.kubernetes.io/zone": "region-1b", "failure-domain.beta.kubernetes.io/zone": "region-1b", "pool": "workers",
            },
            "annotations": { "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true", "weft.network/peer": "3f786850e387550fdab836ed7e6dc881de23001b" },
        },
        "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"], "providerID": "example:///region-1b/i-0123456789abcdef0" },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": format!("10.0.{}.{}", number / 250, number % 250) }, { "type": "Hostname", "address": name }],
            "capacity": amounts, "allocatable": amounts,
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("PIDPressure", "False"), condition("Ready", "True"), condition("NetworkUnavailable", "False")],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "images": images,
            "nodeInfo": {
                "architecture": "amd64", "bootID": "6a2d0d4e-6a0c-4f2f-9c5b-1f7ac3a0a9a1", "containerRuntimeVersion": "containerd://1.6.20", "kernelVersion": "6.18.0-1-amd64",
                "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": "ec2b8b1c2a0f4a8d9d6a7d0c1b2e3f40", "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12 (bookworm)", "systemUUID": "ec2b8b1c-2a0f-4a8d-9d6a-7d0c1b2e3f40",
            },
        },
    })
}
