//! Etcd and kube-apiserver on loopback.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use weft_kubernetes::{Access, Event, Kubernetes, Settings};

/// The version that the lab builds.
const VERSION: &str = "v1.36.2";

/// How long the API server may take until it is ready; seconds on an idle machine.
const READY: Duration = Duration::from_secs(180);

/// The account that the manifest makes for Weft.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:kube-system:weft";

/// The programs.
pub(crate) struct Programs {
    etcd: PathBuf,
    apiserver: PathBuf,
}

/// Where they are looked for.
pub(crate) fn cache() -> PathBuf {
    let cache = std::env::var_os("WEFT_KUBE_CACHE").map(PathBuf::from);
    let home = || {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache")
        })
        .join("weft-kube")
    };
    cache.unwrap_or_else(home).join(VERSION).join("bin")
}

/// Both, where they have been built.
pub(crate) fn programs() -> Option<Programs> {
    let programs =
        Programs { etcd: cache().join("etcd"), apiserver: cache().join("kube-apiserver") };
    (programs.etcd.exists() && programs.apiserver.exists()).then_some(programs)
}

/// A process that ends with this.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The two, and who may talk to them.
pub(crate) struct Cluster {
    programs: Programs,
    apiserver: Option<Process>,
    _etcd: Process,
    etcd_url: String,
    pub(crate) port: u16,
    /// Of an administrator.
    pub(crate) admin: Client,
    /// Goes last: what is in it is in use until then.
    dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(programs: Programs, runtime: &tokio::runtime::Runtime) -> Self {
        let dir = tempfile::Builder::new().prefix("weft-apiserver").tempdir().unwrap();
        credentials(dir.path());
        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new(&programs.etcd);
        command.arg("-data-dir").arg(dir.path().join("etcd")).args(["-listen", &etcd_url]);
        let etcd = Process::start(&mut command, &dir.path().join("etcd.log"));
        let port = free_port();
        for user in ["admin", "weft", "stranger"] {
            kubeconfig(dir.path(), port, user);
        }
        let admin = runtime.block_on(async { client(&dir.path().join("admin.kubeconfig")) });
        let mut cluster =
            Self { programs, apiserver: None, _etcd: etcd, etcd_url, port, admin, dir };
        runtime.block_on(cluster.start_apiserver());
        runtime.block_on(cluster.prepare());
        cluster
    }

    pub(crate) fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    pub(crate) async fn start_apiserver(&mut self) {
        let dir = self.dir.path();
        let pki = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new(&self.programs.apiserver);
        command
            .arg(format!("--etcd-servers={}", self.etcd_url))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.port))
            .args(["--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=RBAC"])
            .arg(format!("--token-auth-file={}", pki("tokens.csv")))
            .arg(format!("--tls-cert-file={}", pki("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", pki("apiserver.key")))
            .arg(format!("--cert-dir={}", pki("made")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", pki("accounts.key")))
            .arg(format!("--service-account-signing-key-file={}", pki("accounts.key")))
            // Pods are made without a controller that makes their accounts.
            .arg("--disable-admission-plugins=ServiceAccount");
        self.apiserver = Some(Process::start(&mut command, &dir.join("apiserver.log")));
        let deadline = Instant::now() + READY;
        let ready = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        while self.admin.request_text(ready()).await.is_err() {
            assert!(Instant::now() < deadline, "the API server is not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the API server has spent, by ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let pid = self.apiserver.as_ref().map_or(0, |process| process.0.id());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    /// The end of what the API server wrote.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("apiserver.log")).unwrap_or_default();
        log[log.len().saturating_sub(2000)..].to_owned()
    }

    /// What the manifest grants, by the documentation of the crate.
    async fn prepare(&self) {
        self.rights(&rules()).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "weft" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weft" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": "kube-system", "name": "weft" }],
        });
        self.create(binding).await;
    }

    /// Grants these and no others.
    pub(crate) async fn rights(&self, rules: &Value) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "weft" },
            "rules": rules,
        });
        let parameters = PatchParams::apply("test").force();
        self.api(&role).patch("weft", &parameters, &Patch::Apply(&role)).await.unwrap();
    }

    /// Until `user` is refused that: the API server learns of rules a little later than it takes them.
    pub(crate) async fn refused(&self, user: &str, path: &str) {
        let client = client(&self.dir.path().join(format!("{user}.kubeconfig")));
        let deadline = Instant::now() + READY;
        let request = || http::Request::get(path).body(Vec::new()).unwrap();
        while client.request_text(request()).await.is_ok() {
            assert!(Instant::now() < deadline, "{user} still reads {path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts Weft's side for `node`, as `user`.
    pub(crate) fn weft(
        &self,
        user: &str,
        node: &str,
    ) -> (Kubernetes, tokio::sync::mpsc::Receiver<Event>) {
        self.weft_by(None, user, node)
    }

    /// The same by another URL.
    pub(crate) fn weft_by(
        &self,
        server: Option<String>,
        user: &str,
        node: &str,
    ) -> (Kubernetes, tokio::sync::mpsc::Receiver<Event>) {
        // Some steps look at the API server while nobody reads; a full queue would hold up the watches.
        let (events, heard) = tokio::sync::mpsc::channel(1024);
        let access = Access::Kubeconfig(self.dir.path().join(format!("{user}.kubeconfig")));
        let peer = format!("peer-of-{node}");
        let settings = Settings { access, server, node: node.to_owned(), peer };
        (Kubernetes::start(settings, events).unwrap(), heard)
    }

    /// The API of what `object` is.
    pub(crate) fn api(&self, object: &Value) -> Api<DynamicObject> {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let kind = match kind.kind.as_str() {
            "NetworkPolicy" => ApiResource::from_gvk_with_plural(&kind, "networkpolicies"),
            _ => ApiResource::from_gvk(&kind),
        };
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &kind),
            None => Api::all_with(self.admin.clone(), &kind),
        }
    }

    pub(crate) async fn create(&self, object: Value) {
        let made: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        self.api(&object).create(&PostParams::default(), &made).await.unwrap();
    }

    pub(crate) async fn merge(&self, object: &Value, patch: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.api(object).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn strategic_status(&self, object: &Value, patch: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let api = self.api(object);
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    pub(crate) async fn get(&self, object: &Value) -> Value {
        let found =
            self.api(object).get(object["metadata"]["name"].as_str().unwrap()).await.unwrap();
        serde_json::to_value(found).unwrap()
    }

    pub(crate) async fn delete(&self, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let now = kube::api::DeleteParams::default().grace_period(0);
        self.api(object).delete(name, &now).await.unwrap();
    }
}

/// The rules of the crate's documentation.
pub(crate) fn rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["nodes", "namespaces", "pods"], "verbs": ["list", "watch"] },
        { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"] },
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
        { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
    ])
}

fn client(kubeconfig: &Path) -> Client {
    let config = Config::try_from(Kubeconfig::read_from(kubeconfig).unwrap()).unwrap();
    Client::try_from(config).unwrap()
}

/// As of this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn credentials(dir: &Path) {
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let path = |name: &str| dir.join(name).display().to_string();
    fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        .unwrap();
    let mut authority = vec!["req", "-x509", "-subj", "/CN=weft-test", "-days", "2"];
    authority.extend(ec);
    openssl(&authority, &["-keyout", &path("ca.key"), "-out", &path("ca.crt")]);
    let mut request = vec!["req", "-new", "-subj", "/CN=kube-apiserver"];
    request.extend(ec);
    openssl(&request, &["-keyout", &path("apiserver.key"), "-out", &path("apiserver.csr")]);
    openssl(
        &["x509", "-req", "-days", "2", "-CAcreateserial"],
        &[
            "-in",
            &path("apiserver.csr"),
            "-CA",
            &path("ca.crt"),
            "-CAkey",
            &path("ca.key"),
            "-extfile",
            &path("san"),
            "-out",
            &path("apiserver.crt"),
        ],
    );
    openssl(&["genrsa"], &["-out", &path("accounts.key"), "2048"]);
    let tokens = format!(
        "admin-token,admin,admin,system:masters\nweft-token,{ACCOUNT},weft,system:serviceaccounts\n"
    );
    fs::write(dir.join("tokens.csv"), tokens).unwrap();
}

fn openssl(arguments: &[&str], more: &[&str]) {
    let output = Command::new("openssl").args(arguments).args(more).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

/// The token comes from a file, as in a Pod.
fn kubeconfig(dir: &Path, port: u16, user: &str) {
    let token = dir.join(format!("{user}.token"));
    fs::write(&token, format!("{user}-token")).unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": dir.join("ca.crt"),
        } }],
        "users": [{ "name": "test", "user": { "tokenFile": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    fs::write(dir.join(format!("{user}.kubeconfig")), config.to_string()).unwrap();
}
