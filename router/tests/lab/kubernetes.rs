//! API mode: daemons that listen to a real kube-apiserver, which runs on host 1.
//!
//! The programs are what `scripts/kube-lab build` has left in its cache. Where they are absent, the test says by name
//! what it did not run. No kubelet is there: Nodes and Pods are written as one would write them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Background, Lab, PATIENCE, eventually};

/// The version that the lab builds.
const VERSION: &str = "v1.36.2";

/// How long the API server may take until it is ready; seconds on an idle machine.
const READY: Duration = Duration::from_secs(180);

const PORT: u16 = 6443;

type Step = fn(&mut Cluster);

/// What is looked at, in this order, on one cluster.
const STEPS: [(&str, Step); 4] = [
    ("two nodes without peers make one ring, and say so on their Nodes", one_ring),
    ("a policy of the API is enforced by labels of the API, which may change", policies),
    ("an API server that is away changes nothing, also over a restart", outage),
    ("a Node that is deleted while its daemon lives is a warning on both", deleted_node),
];

#[test]
fn daemons_that_listen_to_a_real_api_server() {
    let bin = cache();
    let missing: Vec<&str> = ["etcd", "kube-apiserver", "kubectl"]
        .into_iter()
        .filter(|program| !bin.join(program).exists())
        .collect();
    if !missing.is_empty() {
        for (name, _) in STEPS {
            println!(
                "not run: {name} (no {} in {}; scripts/kube-lab build makes them)",
                missing.join(", "),
                bin.display()
            );
        }
        return;
    }
    let mut cluster = Cluster::start(bin);
    for (name, step) in STEPS {
        println!("step: {name}");
        step(&mut cluster);
    }
}

fn one_ring(cluster: &mut Cluster) {
    for host in 1..=2 {
        cluster.node(host);
        cluster.launch(host);
    }
    cluster.lab.await_mesh(PATIENCE);
    for host in 1..=2 {
        eventually("the API is watched", PATIENCE, || {
            let status = cluster.lab.status(host)?;
            let watched = status["kubernetes"]["state"] == "watching";
            if watched && status["warnings"] == json!([]) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        let status = cluster.lab.status(host).expect("it answers");
        assert_eq!(status["kubernetes"]["node"], format!("n{host}"));
        let name = status["router"]["name"].clone();
        eventually("the Node's annotation and condition", PATIENCE, || {
            let node = cluster.get(&["node", &format!("n{host}")])?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let up = conditions
                .iter()
                .any(|c| c["type"] == "NetworkUnavailable" && c["status"] == "False");
            let says = node["metadata"]["annotations"]
                .as_object()
                .is_some_and(|all| all.values().any(|value| *value == name));
            if up && says { Ok(()) } else { Err(format!("{}", node["metadata"])) }
        });
    }
}

fn policies(cluster: &mut Cluster) {
    cluster.kube_pod("web", 1, "web");
    cluster.kube_pod("client", 2, "friend");
    let web = cluster.lab.pod(1, "web");
    cluster.lab.pod(2, "client");
    cluster.lab.await_ping(2, "client", &web);
    cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "friends", "namespace": "default" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "friend" } } }] }],
        },
    }));
    for host in 1..=2 {
        eventually("the policy", PATIENCE, || {
            let status = cluster.lab.status(host)?;
            if status["policy"]["policies"] == 1 { Ok(()) } else { Err(status.to_string()) }
        });
    }
    cluster.lab.await_ping(2, "client", &web);
    // The label changes on the other node, and counts here.
    cluster.kubectl(&["label", "pod", "client", "app=stranger", "--overwrite"]);
    cluster.await_silence(2, "client", &web);
    cluster.kubectl(&["label", "pod", "client", "app=friend", "--overwrite"]);
    cluster.lab.await_ping(2, "client", &web);
    // And is written by nobody else.
    let refused = cluster.lab.weft(1, &["policy", "delete", "default/friends"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("use `kubectl delete`"), "{}", refused.stderr);
    assert!(cluster.lab.weft(1, &["policy", "get"]).stdout.contains("default/friends"));
}

fn outage(cluster: &mut Cluster) {
    cluster.kube_pod("later", 2, "stranger");
    let web = address(cluster, 1, "web");
    eventually("the Pod in the API, on its node", PATIENCE, || {
        let metric = cluster.lab.metric(2, "weft_kubernetes_watching");
        if metric == Some(4.0) { Ok(()) } else { Err(format!("{metric:?}")) }
    });
    cluster.server = None;
    for host in 1..=2 {
        eventually("an API server that is away", PATIENCE, || {
            let status = cluster.lab.status(host)?;
            let away = status["kubernetes"]["state"] == "away";
            if away { Ok(()) } else { Err(status["kubernetes"].to_string()) }
        });
    }
    cluster.lab.await_ping(2, "client", &web);
    cluster.lab.ok(["kill", "2"]);
    cluster.launch(2);
    // What was known before the restart counts: of the policy, and of the Pod that is new.
    cluster.lab.await_ping(2, "client", &web);
    cluster.lab.pod(2, "later");
    assert_eq!(cluster.lab.status(2).expect("it answers")["policy"]["policies"], 1);
    cluster.await_silence(2, "later", &web);
    cluster.serve();
    for host in 1..=2 {
        eventually("an API server that is heard again", PATIENCE, || {
            let status = cluster.lab.status(host)?;
            let heard = status["kubernetes"]["state"] == "watching";
            if heard { Ok(()) } else { Err(status["kubernetes"].to_string()) }
        });
    }
    cluster.kubectl(&["label", "pod", "later", "app=friend", "--overwrite"]);
    cluster.lab.await_ping(2, "later", &web);
}

fn deleted_node(cluster: &mut Cluster) {
    cluster.kubectl(&["delete", "node", "n2"]);
    for (host, words) in [
        (1, "the Node n2 is gone from the Kubernetes API, and yet"),
        (2, "this node has no Node n2 in the Kubernetes API"),
    ] {
        eventually(words, PATIENCE, || {
            let warnings = cluster.lab.status(host)?["warnings"].to_string();
            if warnings.contains(words) { Ok(()) } else { Err(warnings) }
        });
    }
    assert_eq!(cluster.lab.status(1).expect("it answers")["ipam"]["removals"], json!([]));
    cluster.node(2);
    for host in 1..=2 {
        eventually("no warning", PATIENCE, || {
            let warnings = cluster.lab.status(host)?["warnings"].clone();
            if warnings == json!([]) { Ok(()) } else { Err(warnings.to_string()) }
        });
    }
}

/// The address of a Pod that stands.
fn address(cluster: &Cluster, host: usize, pod: &str) -> String {
    let rows = cluster.lab.ps(host).expect("it answers");
    let row = rows.as_array().into_iter().flatten().find(|row| row["pod"] == pod);
    let network = row.and_then(|row| row["ips"][0].as_str()).expect("the Pod stands");
    network.split('/').next().unwrap_or_default().to_owned()
}

/// Where the programs are looked for.
fn cache() -> PathBuf {
    let named = std::env::var_os("WEFT_KUBE_CACHE").map(PathBuf::from);
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    named.unwrap_or_else(|| base.join("weft-kube")).join(VERSION).join("bin")
}

/// Two hosts, and an API server on the first one. What is declared first goes first.
struct Cluster {
    server: Option<Background>,
    _etcd: Background,
    bin: PathBuf,
    dir: PathBuf,
    /// The address of the first host on the underlay.
    address: String,
    lab: Lab,
}

impl Cluster {
    fn start(bin: PathBuf) -> Self {
        let lab = Lab::up("kube", 2);
        let dir = lab.dir().join("kube");
        fs::create_dir_all(&dir).expect("the lab's folder can be written");
        let address = underlay(&lab, 1);
        credentials(&lab, &dir, &address);
        let etcd = bin.join("etcd").display().to_string();
        let data = dir.join("etcd").display().to_string();
        let etcd = lab.spawn(1, &[&etcd, "-data-dir", &data, "-listen", "http://127.0.0.1:2379"]);
        let mut cluster = Self { server: None, _etcd: etcd, bin, dir, address, lab };
        cluster.serve();
        cluster
    }

    /// Starts the API server and waits until it is ready.
    fn serve(&mut self) {
        let pki = |name: &str| self.dir.join(name).display().to_string();
        let arguments = [
            self.bin.join("kube-apiserver").display().to_string(),
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--bind-address={}", self.address),
            format!("--secure-port={PORT}"),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", pki("tokens.csv")),
            format!("--tls-cert-file={}", pki("server.crt")),
            format!("--tls-private-key-file={}", pki("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", pki("accounts.key")),
            format!("--service-account-signing-key-file={}", pki("accounts.key")),
            // Pods are made without a controller that makes their accounts.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.server = Some(self.lab.spawn(1, &arguments));
        eventually("an API server that is ready", READY, || {
            self.try_kubectl(&["get", "--raw", "/readyz"]).map(drop)
        });
    }

    fn launch(&self, host: usize) {
        let kubeconfig = self.dir.join("kubeconfig").display().to_string();
        let node = format!("n{host}");
        self.lab.launch(host, &["--kubeconfig", &kubeconfig, "--kubernetes-node", &node]);
    }

    fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let kubectl = self.bin.join("kubectl").display().to_string();
        let kubeconfig = self.dir.join("kubeconfig").display().to_string();
        let command = [&[kubectl.as_str(), "--kubeconfig", &kubeconfig], arguments].concat();
        let outcome = self.lab.exec(1, &command);
        if outcome.code == 0 { Ok(outcome.stdout) } else { Err(outcome.stderr) }
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|why| panic!("kubectl {arguments:?}: {why}"))
    }

    fn get(&self, what: &[&str]) -> Result<Value, String> {
        let text = self.try_kubectl(&[&["get", "-o", "json"], what].concat())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn apply(&self, object: &Value) {
        let file = self.dir.join("object.json");
        fs::write(&file, object.to_string()).expect("the lab's folder can be written");
        self.kubectl(&["apply", "-f", &file.display().to_string()]);
    }

    /// A Node as a kubelet registers it.
    fn node(&self, host: usize) {
        let name = format!("n{host}");
        self.apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } }));
        let address = underlay(&self.lab, host);
        let addresses = json!([{ "type": "InternalIP", "address": address }]);
        let patch = json!({ "status": { "addresses": addresses } }).to_string();
        self.kubectl(&["patch", "node", &name, "--subresource", "status", "-p", &patch]);
    }

    /// A Pod as a scheduler leaves it.
    fn kube_pod(&self, name: &str, host: usize, app: &str) {
        let container = json!({ "name": "c", "image": "none" });
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": { "app": app } },
            "spec": {
                "nodeName": format!("n{host}"), "containers": [container],
                "tolerations": [{ "operator": "Exists" }],
            },
        }));
    }

    /// Waits until pings from a Pod are not answered.
    #[track_caller]
    fn await_silence(&self, host: usize, pod: &str, address: &str) {
        eventually("silence", PATIENCE, || {
            let ping = ["ping", "-n", "-c", "1", "-W", "1", address];
            let outcome = self.lab.podexec(host, pod, &ping);
            if outcome.code == 0 { Err(outcome.stdout) } else { Ok(()) }
        });
    }
}

/// A host's address on the underlay.
fn underlay(lab: &Lab, host: usize) -> String {
    let listing =
        lab.exec(host, &["ip", "-json", "-4", "address", "show", "scope", "global"]).stdout;
    let links: Value = serde_json::from_str(&listing).expect("ip prints JSON");
    links[0]["addr_info"][0]["local"].as_str().expect("it has an address").to_owned()
}

/// A server's certificate, the tokens, and a kubeconfig.
fn credentials(lab: &Lab, dir: &Path, address: &str) {
    let path = |name: &str| dir.join(name).display().to_string();
    let write = |name: &str, text: String| {
        fs::write(dir.join(name), text).expect("the lab's folder can be written");
    };
    let openssl = |arguments: &[&str]| {
        let outcome = lab.exec(1, &[&["openssl"], arguments].concat());
        assert_eq!(outcome.code, 0, "openssl {arguments:?}: {}", outcome.stderr);
    };
    let san = format!("subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n");
    write("san", san);
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca_key, ca) = (path("ca.key"), path("ca.crt"));
    let authority = ["req", "-x509", "-subj", "/CN=weft-test", "-days", "2"];
    openssl(&[&authority[..], &curve, &["-keyout", &ca_key, "-out", &ca]].concat());
    let (key, request) = (path("server.key"), path("server.csr"));
    let new = ["req", "-new", "-subj", "/CN=kube-apiserver"];
    openssl(&[&new[..], &curve, &["-keyout", &key, "-out", &request]].concat());
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-CAcreateserial",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-extfile",
        &path("san"),
        "-out",
        &path("server.crt"),
    ]);
    openssl(&["genrsa", "-out", &path("accounts.key"), "2048"]);
    write("tokens.csv", "test-token,admin,admin,system:masters\n".to_owned());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://{address}:{PORT}"), "certificate-authority": ca,
        } }],
        "users": [{ "name": "test", "user": { "token": "test-token" } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    write("kubeconfig", config.to_string());
}
