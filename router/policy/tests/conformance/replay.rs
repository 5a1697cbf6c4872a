//! The recorded tests, replayed against something that decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use weft_policy::nft::{Fate, Packet, PacketState, Payload, Ruleset};
use weft_policy::{
    Cell, Cluster, Connection, Endpoint, Family, NamedPort, Namespace, Namespaces, Object, Pod,
    Protocol, Traffic, parse_value,
};

use super::data::{
    Cyclonus, CyclonusAction, CyclonusStep, Upstream, UpstreamCheck, UpstreamStep, UpstreamTest,
};

/// Decides for a source and a destination, as indices of the cluster's Pods.
pub(crate) type Decide<'a> = Box<dyn Fn(usize, usize, Protocol, u16) -> Cell + 'a>;

/// The evaluator as the one that decides.
pub(crate) fn evaluator(cluster: &Cluster) -> Decide<'_> {
    Box::new(|source, destination, protocol, port| {
        let end = |index: usize| Endpoint::Pod(&cluster.pods[index]);
        let traffic = Traffic::Port(protocol, port);
        let connection = Connection::new(end(source), end(destination), Family::V4, traffic);
        Cell::from(&cluster.evaluate(&connection))
    })
}

/// The compiled ruleset as the one that decides: that of a node on which all Pods are.
pub(crate) fn ruleset(cluster: &Cluster) -> Decide<'_> {
    let both = Ruleset::compile(cluster, "weft", |_| true);
    // A packet that egress drops is not asked at ingress. With one direction's maps empty, the other
    // answers alone.
    let [egress, ingress] = ["ingress", "egress"].map(|other| {
        let mut ruleset = both.clone();
        for (_, map) in ruleset.maps.iter_mut().filter(|(name, _)| name.starts_with(other)) {
            map.elements.clear();
        }
        ruleset
    });
    Box::new(move |source, destination, protocol, port| {
        let packet = Packet {
            from: "weft".into(),
            to: "weft".into(),
            state: PacketState::New,
            source: cluster.pods[source].addresses[0],
            destination: cluster.pods[destination].addresses[0],
            payload: Payload::Port(protocol, port),
        };
        let [both, egress, ingress] =
            [&both, &egress, &ingress].map(|ruleset| ruleset.run(&packet) == Fate::Passed);
        assert_eq!(both, egress && ingress);
        match (egress, ingress) {
            (true, true) => Cell::Allowed,
            (true, false) => Cell::Ingress,
            (false, true) => Cell::Egress,
            (false, false) => Cell::Both,
        }
    })
}

/// Replays all tests of Kubernetes; answers how many cells agreed.
///
/// # Panics
/// A cell differs.
pub(crate) fn upstream(file: &Upstream, decider: &dyn Fn(&Cluster) -> Decide<'_>) -> usize {
    file.tests.iter().map(|test| upstream_test(file, test, decider)).sum()
}

fn upstream_test(
    file: &Upstream,
    test: &UpstreamTest,
    decider: &dyn Fn(&Cluster) -> Decide<'_>,
) -> usize {
    let mut cluster = Cluster::default();
    let protocols: Vec<_> = test.model.protocols.iter().map(|name| protocol(name)).collect();
    for name in &test.model.pods {
        let label = name.split_once('/').unwrap().1;
        let labels = [("pod".to_owned(), label.to_owned())].into();
        cluster.pods.push(pod(name, file.ips[name], labels, &test.model.ports, &protocols));
    }
    for pod in &cluster.pods {
        let labels = [("ns".to_owned(), pod.namespace.clone())].into();
        let namespace = Namespace::new(&pod.namespace, labels);
        Arc::make_mut(&mut cluster.namespaces).insert(pod.namespace.clone(), namespace);
    }
    let mut cells = 0;
    for step in &test.steps {
        change(&mut cluster, step);
        if let Some(check) = &step.check {
            cells += upstream_check(&test.name, &cluster, check, &*decider(&cluster));
        }
    }
    cells
}

fn change(cluster: &mut Cluster, step: &UpstreamStep) {
    for policy in step.create_policy.iter().chain(&step.update_policy) {
        put_policy(cluster, policy);
    }
    if step.delete_all_policies == Some(true) {
        Arc::make_mut(&mut cluster.policies).clear();
    }
    if let Some(add) = &step.add_pod_labels {
        let index = index_of(cluster, &add.pod);
        cluster.pods[index].labels.extend(add.labels.clone());
    }
    if let Some(set) = &step.set_ns_label {
        let namespace = Arc::make_mut(&mut cluster.namespaces).get_mut(&set.namespace).unwrap();
        namespace.labels.insert(set.key.clone(), set.value.clone());
    }
}

fn upstream_check(
    test: &str,
    cluster: &Cluster,
    check: &UpstreamCheck,
    decide: &dyn Fn(usize, usize, Protocol, u16) -> Cell,
) -> usize {
    let protocol = protocol(&check.protocol);
    let pods: Vec<_> = check.pods.iter().map(|pod| index_of(cluster, pod)).collect();
    assert_eq!(check.expected.len(), pods.len(), "{test}");
    let mut cells = 0;
    for (&source, row) in pods.iter().zip(&check.expected) {
        assert_eq!(row.len(), pods.len(), "{test}");
        for (&destination, expected) in pods.iter().zip(row.chars()) {
            let cell = decide(source, destination, protocol, check.port);
            let got = if cell == Cell::Allowed { '.' } else { 'X' };
            let [from, to] = [source, destination].map(|pod| cluster.pods[pod].full_name());
            assert_eq!(got, expected, "{test}: {from} to {to} on {protocol}/{}", check.port);
            cells += 1;
        }
    }
    cells
}

/// Replays all cases of Cyclonus; answers how many cells agreed.
///
/// # Panics
/// A cell differs.
pub(crate) fn cyclonus(file: &Cyclonus, decider: &dyn Fn(&Cluster) -> Decide<'_>) -> usize {
    let mut cells = 0;
    for case in &file.cases {
        let mut cluster = Cluster::default();
        for step in &case.steps {
            let what = format!("case {} ({})", case.id, case.description);
            cells += cyclonus_step(&what, &mut cluster, step, decider);
        }
    }
    cells
}

fn cyclonus_step(
    what: &str,
    cluster: &mut Cluster,
    step: &CyclonusStep,
    decider: &dyn Fn(&Cluster) -> Decide<'_>,
) -> usize {
    for action in step.actions.iter().flatten() {
        match action {
            CyclonusAction::CreatePolicy(value) | CyclonusAction::UpdatePolicy(value) => {
                put_policy(cluster, value);
            }
            CyclonusAction::DeletePolicy(name) => {
                Arc::make_mut(&mut cluster.policies)
                    .remove(&(name.namespace.clone(), name.name.clone()))
                    .unwrap();
            }
            CyclonusAction::Other(_) => {}
        }
    }
    assert_eq!(cluster.policies.len(), step.policies_in_force, "{what}");
    let namespace = |(name, labels): (&String, &BTreeMap<_, _>)| {
        (name.clone(), Namespace { name: name.clone(), labels: labels.clone() })
    };
    let namespaces: Namespaces = step.namespaces.iter().map(namespace).collect();
    cluster.namespaces = Arc::new(namespaces);
    let served = |given: &super::data::CyclonusPod| {
        pod(&given.name, given.ip, given.labels.clone(), &[80, 81], &Protocol::ALL)
    };
    cluster.pods = step.pods.iter().map(served).collect();

    let decide = decider(cluster);
    let mut cells = 0;
    for (port, rows) in &step.expected {
        let (name, number) = port.split_once('/').unwrap();
        let (protocol, number) = (protocol(name), number.parse().unwrap());
        assert_eq!(rows.len(), cluster.pods.len());
        for (source, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), cluster.pods.len());
            for (destination, expected) in row.chars().enumerate() {
                assert_eq!(
                    decide(source, destination, protocol, number).symbol(),
                    expected,
                    "{what}: {} to {} on {port}",
                    cluster.pods[source].full_name(),
                    cluster.pods[destination].full_name(),
                );
                cells += 1;
            }
        }
    }
    cells
}

/// Creates or replaces a policy. The data leaves out what kind of object it is in places.
fn put_policy(cluster: &mut Cluster, value: &Value) {
    let mut value = value.clone();
    value["kind"] = "NetworkPolicy".into();
    value["apiVersion"] = "networking.k8s.io/v1".into();
    let parsed = parse_value("conformance", &value);
    assert_eq!(parsed.faults, []);
    let [Object::NetworkPolicy(policy)] = &parsed.objects[..] else { panic!("{parsed:?}") };
    let key = (policy.namespace.clone(), policy.name.clone());
    Arc::make_mut(&mut cluster.policies).insert(key, Arc::new(policy.clone()));
}

fn pod(
    name: &str,
    address: std::net::IpAddr,
    labels: BTreeMap<String, String>,
    ports: &[u16],
    protocols: &[Protocol],
) -> Pod {
    let (namespace, name) = name.split_once('/').unwrap();
    let served = ports.iter().flat_map(|&number| {
        protocols.iter().map(move |&protocol| NamedPort {
            name: format!("serve-{number}-{protocol}").to_lowercase(),
            protocol,
            number,
        })
    });
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels,
        addresses: vec![address],
        ports: served.collect(),
        ..Pod::default()
    }
}

fn index_of(cluster: &Cluster, name: &str) -> usize {
    cluster.pods.iter().position(|pod| pod.full_name() == name).unwrap()
}

fn protocol(name: &str) -> Protocol {
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == name).unwrap()
}
