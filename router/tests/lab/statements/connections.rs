//! Statements about connections: answers, errors, nodes, neighbours, and changes of labels.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use weft_netio::netns::Netns;

use super::cluster::{Cluster, PODS, X, Y};
use super::{BOTH, IN, OPEN};
use crate::harness::{PATIENCE, eventually};
use crate::probe::{Attempt, Family, Kind};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const CLOSED: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

#[test]
fn answers_and_errors_pass_and_echoes_are_of_no_port() {
    let mut cluster = Cluster::up("answers");
    // Nobody may come to x, and y may go nowhere.
    let closed = [
        (X, "{podSelector: {}}".to_owned()),
        (Y, "{podSelector: {}, policyTypes: [Egress]}".to_owned()),
    ];
    cluster.set_policies(&closed);
    for family in FAMILIES {
        // C1: what x asks, y answers.
        for kind in [Kind::Tcp, Kind::Udp] {
            let expected = ["-X..", "X-..", "XX-X", "XXX-"];
            cluster.await_matrix("answers", kind, 80, family, &expected);
        }
        // An error about what was allowed, from the other node and from the same.
        for to in [2, 3] {
            eventually("an error that came back", PATIENCE, || refused(&cluster, 0, to, family));
        }
        // R14: an echo asks like anything else, and its answer is one.
        assert!(ping(&cluster, 0, 2, family), "{family:?}");
        assert!(!ping(&cluster, 2, 0, family), "{family:?}");
        await_echo_dropped(&cluster, 2, "y/a", "x/a");
    }
    // It has no port that a rule could name.
    cluster.set_policies(&[(Y, "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}".to_owned())]);
    for family in FAMILIES {
        assert!(!ping(&cluster, 0, 3, family), "{family:?}");
    }
    await_echo_dropped(&cluster, 1, "x/a", "y/b");
    let from_x =
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}";
    cluster.set_policies(&[(Y, from_x.to_owned())]);
    for family in FAMILIES {
        assert!(ping(&cluster, 0, 3, family) && !ping(&cluster, 2, 3, family), "{family:?}");
    }
}

#[test]
fn the_own_node_passes_other_nodes_do_not_and_neighbours_are_found() {
    let mut cluster = Cluster::up("nodes");
    let (a, b) = (0, 1);
    let [h1, h2] = [1, 2].map(Cluster::host);
    let asked = |cluster: &mut Cluster, pairs: &[(usize, usize)], family| {
        let attempt = |&(from, to): &(usize, usize)| {
            let arrives = cluster.address(to, family);
            Attempt { from, target: SocketAddr::new(arrives, 80), arrives, kind: Kind::Tcp }
        };
        let attempts: Vec<_> = pairs.iter().map(attempt).collect();
        cluster.ask(&attempts)
    };
    cluster.set_policies(&[(X, CLOSED.to_owned())]);
    // C14: who is asked for his MAC address by one that may not speak to him.
    for pod in [0, 3] {
        let (namespace, name, host) = PODS[pod];
        let netns = cluster.netns(namespace, name, host);
        cluster.lab.ok(["exec", &host.to_string(), "ip", "-n", &netns, "neigh", "flush", "all"]);
    }
    for family in FAMILIES {
        // A connection is denied only once its first packet is there, and so has found its neighbour.
        cluster.await_matrix("neighbours", Kind::Tcp, 80, family, &BOTH);
        // C2.
        let pairs =
            [(h1, a), (a, h1), (h2, b), (b, h2), (h2, a), (a, h2), (h1, b), (b, h1), (h1, h2)];
        let expected = [true, true, true, true, false, false, false, false, true];
        assert_eq!(asked(&mut cluster, &pairs, family), expected, "{family:?}");
    }
    for (statement, spec, expected) in [
        ("R1", "{podSelector: {}, ingress: [{}]}", [true, true]),
        ("R5", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", [true, false]),
    ] {
        cluster.set_policies(&[(X, spec.to_owned())]);
        for family in FAMILIES {
            let got = asked(&mut cluster, &[(2, a), (h2, a)], family);
            assert_eq!(got, expected, "{statement}, {family:?}");
        }
    }
    // R6: a block of addresses names a node.
    for family in FAMILIES {
        let node = cluster.address(h2, family);
        let cidr = format!("'{node}/{}'", if node.is_ipv4() { 32 } else { 128 });
        let spec =
            format!("{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}");
        cluster.set_policies(&[(X, spec)]);
        assert_eq!(asked(&mut cluster, &[(2, a), (h2, a)], family), [false, true], "{family:?}");
    }
}

#[test]
fn labels_of_pods_and_namespaces_count_as_they_are_now() {
    let mut cluster = Cluster::up("labels");
    let clients = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: t}}, \
                   podSelector: {matchLabels: {role: client}}}]}]}";
    cluster.set_policies(&[(X, clients.to_owned())]);
    let from_ya = ["-X..", "X-..", "..-.", "XX.-"];
    let check = |cluster: &mut Cluster, what: &str, expected: [&str; 4]| {
        for family in FAMILIES {
            cluster.await_matrix(what, Kind::Tcp, 80, family, &expected);
        }
    };
    check(&mut cluster, "nobody has the labels", IN);
    cluster.label_namespace(Y, &[("team", "t")]);
    cluster.relabel(2, &["role=client"]);
    check(&mut cluster, "a Pod and its namespace have them", from_ya);
    cluster.label_namespace(Y, &[]);
    check(&mut cluster, "the namespace no longer", IN);
    cluster.label_namespace(Y, &[("team", "t")]);
    check(&mut cluster, "again", from_ya);
    cluster.relabel(2, &[]);
    check(&mut cluster, "the Pod no longer", IN);
    // As the one that is selected.
    cluster.set_policies(&[(X, "{podSelector: {matchLabels: {role: server}}}".to_owned())]);
    check(&mut cluster, "nobody is selected", OPEN);
    cluster.relabel(0, &["role=server"]);
    check(&mut cluster, "one is", ["-...", "X-..", "X.-.", "X..-"]);
    cluster.relabel(0, &[]);
    check(&mut cluster, "none again", OPEN);
}

fn netns(cluster: &Cluster, pod: usize) -> String {
    let (namespace, name, host) = PODS[pod];
    cluster.netns(namespace, name, host)
}

/// Sends a datagram to a port that nobody serves, and looks whether that comes back as an error.
fn refused(cluster: &Cluster, from: usize, to: usize, family: Family) -> Result<(), String> {
    let namespace = Netns::open(&Path::new("/run/netns").join(netns(cluster, from)));
    let target = SocketAddr::new(cluster.address(to, family), 82);
    let any = SocketAddr::new(if target.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }, 0);
    let outcome = namespace.and_then(|namespace| {
        namespace.run(|| {
            let socket = UdpSocket::bind(any)?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
            socket.send(b"probe")?;
            socket.recv(&mut [0; 16])
        })
    });
    match outcome.expect("the namespace can be entered") {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn ping(cluster: &Cluster, from: usize, to: usize, family: Family) -> bool {
    let net = format!("--net=/run/netns/{}", netns(cluster, from));
    let address = cluster.address(to, family).to_string();
    let ping = ["nsenter", &net, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", &address];
    cluster.lab.exec(PODS[from].2, &ping).code == 0
}

/// Waits until an echo from one Pod to another are in a host's log of drops.
#[track_caller]
fn await_echo_dropped(cluster: &Cluster, host: usize, from: &str, to: &str) {
    eventually("a dropped echo", PATIENCE, || {
        let drops = cluster.json(host, &["policy", "drops"]);
        let found = drops.as_array().into_iter().flatten().any(|drop| {
            drop["source_pod"] == from
                && drop["destination_pod"] == to
                && drop["protocol"].as_str().is_some_and(|name| name.starts_with("ICMP"))
        });
        if found { Ok(()) } else { Err(drops.to_string()) }
    });
}
