//! C1 to C14, as far as an evaluator can show them.

use std::sync::Arc;

use super::*;

/// All Pods of namespace x closed in both directions.
const CLOSED: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

#[test]
fn c1_replies_and_errors_of_an_allowed_connection_pass() {
    let cluster = with(&[CLOSED]);
    let [a, b] = [pod(&cluster, "x/a"), pod(&cluster, "y/a")].map(Endpoint::Pod);
    for (source, destination) in [(a, b), (b, a)] {
        for traffic in [HTTP, Traffic::Portless] {
            let mut packet = Connection::new(source, destination, Family::V4, traffic);
            assert!(!cluster.evaluate(&packet).is_allowed());
            packet.state = FlowState::Established;
            assert!(cluster.evaluate(&packet).is_allowed());
        }
    }
}

#[test]
fn c2_a_pods_own_node_is_always_allowed_and_no_other() {
    let cluster = with(&[CLOSED]);
    let a = Endpoint::Pod(pod(&cluster, "x/a"));
    assert!(http(&cluster, Endpoint::OwnNode, a) && http(&cluster, a, Endpoint::OwnNode));
    assert!(!http(&cluster, outside("192.0.2.1"), a) && !http(&cluster, a, outside("192.0.2.1")));
}

#[test]
fn c3_a_pod_to_itself_has_its_policies_verdict() {
    assert_eq!(table(&with(&[CLOSED]), "80/tcp"), ["XXEE", "XXEE", "II..", "II.."]);
    let own = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: \
               {matchLabels: {pod: a}}}]}]}";
    assert_eq!(table(&with(&[own]), "80/tcp"), ["....", "I...", "I...", "I..."]);
}

#[test]
fn c4_a_pod_on_its_nodes_network_is_a_node() {
    let open_to_pods = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}";
    let mut cluster = with(&[open_to_pods]);
    cluster.pods[1].host_network = true;
    cluster.pods[1].node = Some("n1".into());
    // No policy isolates it, and it is no peer that a selector names.
    assert_eq!(table(&cluster, "80/tcp"), ["....", "I...", "....", "...."]);
    // A block names its address, which is the node's.
    let block = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.2/32}}]}]}";
    put(&mut cluster, "x", "block", block);
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
    // It is the own node of those that run there.
    let mut cluster = with(&[CLOSED]);
    cluster.pods[1].host_network = true;
    assert_eq!(table(&cluster, "80/tcp"), ["XEEE", "I...", "I...", "I..."]);
    cluster.pods[1].node = Some("n1".into());
    cluster.pods[0].node = Some("n1".into());
    assert_eq!(table(&cluster, "80/tcp"), ["X.EE", "....", "I...", "I..."]);
    // It names no ports.
    let named = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}";
    let mut cluster = with(&[named]);
    cluster.pods[3].host_network = true;
    assert_eq!(table(&cluster, "80/tcp"), ["...E", "...E", "....", "...."]);
}

#[test]
fn c6_a_pod_without_an_address_is_isolated_already() {
    let mut cluster = with(&[CLOSED]);
    cluster.pods[0].addresses.clear();
    assert_eq!(table(&cluster, "80/tcp"), ["XXEE", "XXEE", "II..", "II.."]);
}

#[test]
fn c7_a_pod_that_has_ended_is_nobody() {
    let from_pods = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}";
    let mut cluster = with(&[from_pods]);
    cluster.pods[2].finished = true;
    assert_eq!(table(&cluster, "80/tcp"), ["....", "....", "II..", "...."]);
    // Nor is it isolated: its address is another's to have.
    cluster.pods[0].finished = true;
    assert_eq!(table(&cluster, "80/tcp"), [".I..", "....", ".I..", "...."]);
}

#[test]
fn c8_changes_of_labels_and_namespaces_change_the_verdict() {
    let from_b = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
                  t}}, podSelector: {matchLabels: {pod: b}}}]}]}";
    let mut cluster = with(&[from_b]);
    let closed = ["II..", "II..", "II..", "II.."];
    assert_eq!(table(&cluster, "80/tcp"), closed);
    let y = Arc::make_mut(&mut cluster.namespaces).get_mut("y").unwrap();
    y.labels.insert("team".into(), "t".into());
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "II..", "...."]);
    cluster.pods[2].labels = labels(&[("pod", "b")]);
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "....", "...."]);
    Arc::make_mut(&mut cluster.namespaces).remove("y");
    assert_eq!(table(&cluster, "80/tcp"), closed);
}

#[test]
fn c9_without_its_last_policy_a_pod_is_open_again() {
    let mut cluster = with(&[CLOSED, "{podSelector: {}}"]);
    Arc::make_mut(&mut cluster.policies).remove(&("x".to_owned(), "p0".to_owned()));
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "II..", "II.."]);
    Arc::make_mut(&mut cluster.policies).remove(&("x".to_owned(), "p1".to_owned()));
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
}

#[test]
fn c11_an_address_of_a_service_is_an_address_like_any_other() {
    // Selectors see Pods, which is what a Service's address has become when policy is asked.
    let to_pods =
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}";
    let cluster = with(&[to_pods]);
    let a = Endpoint::Pod(pod(&cluster, "x/a"));
    assert!(http(&cluster, a, Endpoint::Pod(pod(&cluster, "y/a"))));
    assert!(!http(&cluster, a, outside("10.96.0.10")));
}

#[test]
fn c12_a_denied_egress_denies_dns_too() {
    let spec = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}";
    assert_eq!(table(&with(&[spec]), "53/udp"), ["EEEE", "EEEE", "....", "...."]);
}

#[test]
fn c13_each_family_is_decided_by_itself() {
    let v6_only = with(&["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"]);
    let [a, b] = [pod(&v6_only, "x/a"), pod(&v6_only, "y/a")].map(Endpoint::Pod);
    let allowed =
        |source, family| v6_only.evaluate(&Connection::new(source, a, family, HTTP)).is_allowed();
    assert!(allowed(b, Family::V6) && !allowed(b, Family::V4));
    assert!(allowed(outside("2001:db8::1"), Family::V6));
    assert!(!allowed(outside("192.0.2.1"), Family::V4));
}

#[test]
fn c14_neighbour_discovery_always_passes() {
    let cluster = with(&[CLOSED]);
    let [a, b] = [pod(&cluster, "x/a"), pod(&cluster, "y/a")].map(Endpoint::Pod);
    for (source, destination) in [(a, b), (b, a)] {
        let packet = Connection::new(source, destination, Family::V6, Traffic::Neighbour);
        assert!(cluster.evaluate(&packet).is_allowed());
    }
}

#[test]
fn the_policy_and_the_rule_that_decided_are_named() {
    let cluster = with(&[
        "{podSelector: {}}",
        "{podSelector: {}, ingress: [{ports: [{port: 1}]}, {from: [{podSelector: {}}]}]}",
    ]);
    let [a, b] = [pod(&cluster, "x/a"), pod(&cluster, "y/a")].map(Endpoint::Pod);
    let json = |source, destination| {
        let verdict = cluster.evaluate(&Connection::new(source, destination, Family::V4, HTTP));
        serde_json::to_value(verdict).unwrap()
    };
    assert_eq!(
        json(a, a),
        serde_json::json!({
            "egress": {"allowed": true, "reason": "not-isolated"},
            "ingress": {
                "allowed": true, "reason": "rule", "tier": "namespace",
                "policy": {"namespace": "x", "name": "p1"}, "rule": 1,
            },
        })
    );
    assert_eq!(
        json(b, a)["ingress"],
        serde_json::json!({
            "allowed": false, "reason": "no-rule",
            "policies": [{"namespace": "x", "name": "p0"}, {"namespace": "x", "name": "p1"}],
        })
    );
    assert_eq!(json(Endpoint::OwnNode, a)["ingress"]["reason"], "own-node");
    assert_eq!(json(Endpoint::OwnNode, a)["egress"]["reason"], "not-a-pod");
}
