//! Connections to a Service, whose address and port a node translates before policies are asked.

use std::net::{IpAddr, SocketAddr};

use super::cluster::{Cluster, PODS, X, Y};
use crate::probe::{Attempt, Family, Kind};

/// The Service's addresses and port, which are no Pod's. Behind it is port 80 of x/b.
const ADDRESSES: [(Family, &str); 2] = [(Family::V4, "10.96.0.10"), (Family::V6, "fd00:96::10")];
const PORT: u16 = 8000;
const BACKEND: usize = 1;

/// Who asks: of another node and namespace x, of the same node, of another node and namespace y.
const CLIENTS: [usize; 3] = [0, 2, 3];

#[test]
fn policies_see_the_pods_behind_a_service_and_their_ports() {
    let mut cluster = Cluster::up("services");
    translate(&cluster);
    for (family, service) in ADDRESSES {
        for kind in [Kind::Tcp, Kind::Udp] {
            let service: IpAddr = service.parse().expect("an address");
            let length = if service.is_ipv4() { 32 } else { 128 };
            let protocol = if kind == Kind::Tcp { "TCP" } else { "UDP" };
            let from_a = |port: u16| {
                format!(
                    "{{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: a}}}}}}], \
                     ports: [{{port: {port}, protocol: {protocol}}}]}}]}}"
                )
            };
            let to = |peer: &str, port: u16| {
                format!(
                    "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{peer}], \
                     ports: [{{port: {port}, protocol: {protocol}}}]}}]}}"
                )
            };
            let block = format!("{{ipBlock: {{cidr: '{service}/{length}'}}}}");
            let of_x = "{namespaceSelector: {matchLabels: {ns: x}}}";
            for (what, namespace, spec, expected) in [
                ("open", Y, "{podSelector: {}, ingress: [{}]}".to_owned(), [true; 3]),
                // Who asks is seen at the other node, not the node that translates.
                ("ingress on the Pod's port", X, from_a(80), [true, false, false]),
                ("ingress on the Service's port", X, from_a(PORT), [false; 3]),
                ("egress to the Pod's port", Y, to(of_x, 80), [true; 3]),
                ("egress to the Service's port", Y, to(of_x, PORT), [true, false, false]),
                ("egress to the Service's address", Y, to(&block, 80), [true, false, false]),
            ] {
                cluster.set_policies(&[(namespace, spec)]);
                let arrives = cluster.address(BACKEND, family);
                let target = SocketAddr::new(service, PORT);
                let attempts = CLIENTS.map(|from| Attempt { from, target, arrives, kind });
                assert_eq!(cluster.ask(&attempts), expected, "{what}, {kind:?}, {family:?}");
            }
        }
    }
}

/// Has both nodes translate the Service's address, as kube-proxy does, and the Pods send what is not
/// theirs to their node.
fn translate(cluster: &Cluster) {
    let mut rules =
        "table inet service { chain to { type nat hook prerouting priority dstnat;".to_owned();
    for (family, service) in ADDRESSES {
        let backend = SocketAddr::new(cluster.address(BACKEND, family), 80);
        let ip = if backend.is_ipv4() { "ip" } else { "ip6" };
        for protocol in ["tcp", "udp"] {
            rules.push_str(&format!(
                "{ip} daddr {service} {protocol} dport {PORT} dnat {ip} to {backend};"
            ));
        }
    }
    rules.push_str("}; }");
    for host in [1, 2] {
        cluster.lab.ok(["exec", &host.to_string(), "nft", &rules]);
    }
    for client in CLIENTS {
        let (namespace, name, host) = PODS[client];
        let netns = cluster.netns(namespace, name, host);
        for (family, _) in ADDRESSES {
            let node = cluster.address(Cluster::host(host), family).to_string();
            let number = host.to_string();
            cluster
                .lab
                .ok(["exec", &number, "ip", "-n", &netns, "route", "add", "default", "via", &node]);
        }
    }
}
