//! Four Pods in two namespaces on two nodes, with both families, and the hosts themselves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, binaries, eventually};
use crate::probe::{self, Attempt, Family, Host, Kind, Prober};

/// The namespaces. Each has the label `ns`.
pub(super) const X: &str = "x";
pub(super) const Y: &str = "y";

/// Namespace, name and host of the Pods, so that each is beside one of the other namespace. Each has the
/// label `pod`, and the ports `web` (80, TCP; at x/b 81) and `dns` (81, UDP).
pub(super) const PODS: [(&str, &str, usize); 4] =
    [(X, "a", 1), (X, "b", 2), (Y, "a", 2), (Y, "b", 1)];

const RANGES: [&str; 2] = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];

/// The Pods with their sockets, and behind them the hosts.
pub(super) struct Cluster {
    probers: Vec<Prober>,
    hosts: Vec<Host>,
    /// The last source port that was used.
    port: u16,
    /// The policies that are applied.
    policies: BTreeSet<String>,
    // The last one: what holds its namespaces goes first.
    pub(super) lab: Lab,
}

impl Cluster {
    /// Where a host stands among those that are asked; the Pods are 0 to 3, as in [`PODS`].
    pub(super) const fn host(host: usize) -> usize {
        PODS.len() + host - 1
    }

    pub(super) fn up(name: &str) -> Self {
        let lab = Lab::up(name, 2);
        lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
        lab.launch(2, &[&RANGES[..], &["h1"]].concat());
        lab.await_mesh(PATIENCE);
        let hosts = [1, 2].map(|host| Host::new(&lab.namespace(host))).into();
        let mut cluster =
            Self { probers: Vec::new(), hosts, port: 20_000, policies: BTreeSet::new(), lab };
        for (namespace, name, host) in PODS {
            let netns = cluster.netns(namespace, name, host);
            cluster.lab.ok(["exec", &host.to_string(), "ip", "netns", "add", &netns]);
            let addresses = cluster.attach(namespace, name, host, &[]);
            cluster.probers.push(Prober::new(&netns, addresses));
        }
        for host in [1, 2] {
            let printed = cluster.weft(host, &["expose"], "");
            let addresses = addresses(&printed);
            cluster.probers.push(Prober::new(&cluster.lab.namespace(host), addresses));
        }
        cluster.label_namespace(X, &[]);
        cluster.label_namespace(Y, &[]);
        cluster
    }

    /// Attaches a Pod whose namespace is there; answers its addresses.
    pub(super) fn attach(
        &self,
        namespace: &str,
        name: &str,
        host: usize,
        labels: &[&str],
    ) -> Vec<IpAddr> {
        let netns = format!("/run/netns/{}", self.netns(namespace, name, host));
        let web = if (namespace, name) == (X, "b") { 81 } else { 80 };
        let (web, own) = (format!("web={web}/tcp"), format!("pod={name}"));
        let mut arguments = vec![
            "attach",
            "--netns",
            &netns,
            "--namespace",
            namespace,
            "--pod",
            name,
            "--label",
            &own,
        ];
        arguments.extend(["--port", &web, "--port", "dns=81/udp"]);
        arguments.extend(labels.iter().flat_map(|label| ["--label", label]));
        addresses(&self.weft(host, &arguments, ""))
    }

    /// The name of a Pod's network namespace.
    pub(super) fn netns(&self, namespace: &str, name: &str, host: usize) -> String {
        self.lab.pod_namespace(host, &format!("{namespace}{name}"))
    }

    /// Gives a Pod, by its place, more labels than its own: it is made anew, in the namespace that it had.
    pub(super) fn relabel(&mut self, pod: usize, labels: &[&str]) {
        let (namespace, name, host) = PODS[pod];
        let netns = format!("/run/netns/{}", self.netns(namespace, name, host));
        self.weft(host, &["detach", "--netns", &netns], "");
        self.probers[pod].addresses = self.attach(namespace, name, host, labels);
    }

    /// Says what a namespace's labels are, beside `ns`.
    pub(super) fn label_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let mut all = json!({ "ns": name });
        for (key, value) in labels {
            all[key] = (*value).into();
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}});
        self.weft(1, &["policy", "apply", "-f", "-"], &object.to_string());
    }

    /// A spec with addresses in the places that stand for them.
    pub(super) fn filled(&self, spec: &str, family: Family) -> String {
        let (all, one) = match family {
            Family::V4 => ("10.32.0.0/12", "32"),
            Family::V6 => ("fd00:77::/48", "128"),
        };
        let mut text = spec.replace("{all}", all).replace("{one}", one);
        for (place, (namespace, name, _)) in PODS.iter().enumerate() {
            let address = self.probers[place].address(family).to_string();
            text = text.replace(&format!("{{{namespace}/{name}}}"), &address);
        }
        text
    }

    /// Has these policies, each a namespace and a spec, and no others in force on both nodes.
    pub(super) fn set_policies(&mut self, policies: &[(&str, String)]) {
        let before = std::mem::take(&mut self.policies);
        if !before.is_empty() {
            let names = before.iter().map(String::as_str);
            let arguments: Vec<_> = ["policy", "delete"].into_iter().chain(names).collect();
            self.weft(2, &arguments, "");
            probe::await_policies(0, |host, arguments| self.json(host, arguments));
        }
        let mut documents = String::new();
        for (index, (namespace, spec)) in policies.iter().enumerate() {
            documents.push_str(&format!(
                "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{index}, namespace: {namespace}}}, spec: {spec}}}\n"
            ));
            self.policies.insert(format!("{namespace}/p{index}"));
        }
        if !policies.is_empty() {
            self.weft(1, &["policy", "apply", "-f", "-"], &documents);
            probe::await_policies(policies.len(), |host, arguments| self.json(host, arguments));
        }
    }

    /// Waits until the Pods reach each other as expected.
    #[track_caller]
    pub(super) fn await_matrix(
        &mut self,
        what: &str,
        kind: Kind,
        port: u16,
        family: Family,
        expected: &[&str; 4],
    ) {
        let pods: Vec<_> = self.probers.iter().take(PODS.len()).collect();
        eventually(what, PATIENCE, || {
            let got = probe::matrix(&self.hosts, &pods, kind, port, family, &mut self.port);
            if got == expected { Ok(()) } else { Err(format!("{got:?} is not {expected:?}")) }
        });
    }

    /// Whether each of these may speak to the other.
    pub(super) fn ask(&mut self, attempts: &[Attempt]) -> Vec<bool> {
        let probers: Vec<_> = self.probers.iter().collect();
        probe::ask(&self.hosts, &probers, attempts, &mut self.port)
    }

    /// An address of a Pod or a host.
    pub(super) fn address(&self, place: usize, family: Family) -> IpAddr {
        self.probers[place].address(family)
    }

    /// Runs the command line on a host; it must succeed.
    #[track_caller]
    pub(super) fn weft(&self, host: usize, arguments: &[&str], input: &str) -> String {
        let mut weft = Command::new(binaries().join("weft"));
        weft.args(arguments).env("WEFT_SOCKET", self.lab.host_dir(host).join("weft.sock"));
        self.hosts[host - 1].run(weft, input)
    }

    pub(super) fn json(&self, host: usize, arguments: &[&str]) -> Value {
        let printed = self.weft(host, &[arguments, &["--json"]].concat(), "");
        serde_json::from_str(&printed).expect("weft prints JSON")
    }
}

/// Addresses with their lengths, one a line.
fn addresses(printed: &str) -> Vec<IpAddr> {
    let addresses = printed.lines().map(|line| line.split('/').next().unwrap_or_default().parse());
    addresses.collect::<Result<_, _>>().expect("addresses")
}
