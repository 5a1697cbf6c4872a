//! S1 to S9.

use super::*;

#[test]
fn s1_without_a_policy_everything_is_allowed() {
    let cluster = base();
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
    assert!(http(&cluster, outside("192.0.2.1"), Endpoint::Pod(pod(&cluster, "x/a"))));
    assert!(http(&cluster, Endpoint::Pod(pod(&cluster, "x/a")), outside("192.0.2.1")));
}

#[test]
fn s2_only_policies_of_its_own_namespace_isolate_a_pod_and_each_direction_by_itself() {
    let ingress = with(&["{podSelector: {matchLabels: {pod: a}}}"]);
    assert_eq!(table(&ingress, "80/tcp"), ["I...", "I...", "I...", "I..."]);
    let egress = with(&["{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}"]);
    assert_eq!(table(&egress, "80/tcp"), ["EEEE", "....", "....", "...."]);
}

#[test]
fn s3_an_empty_selector_and_none_select_all_pods_of_the_namespace() {
    for spec in ["{podSelector: {}}", "{policyTypes: [Ingress]}"] {
        assert_eq!(table(&with(&[spec]), "80/tcp"), ["II..", "II..", "II..", "II.."], "{spec}");
    }
}

#[test]
fn s4_an_egress_section_without_rules_and_without_types_is_ingress_only() {
    let cluster = with(&["{podSelector: {}, egress: []}"]);
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "II..", "II.."]);
    let cluster = with(&["{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}"]);
    assert_eq!(table(&cluster, "80/tcp"), ["IIEE", "IIEE", "II..", "II.."]);
}

#[test]
fn s5_egress_without_rules_denies_egress_and_leaves_ingress() {
    let cluster = with(&["{podSelector: {}, policyTypes: [Egress]}"]);
    assert_eq!(table(&cluster, "80/tcp"), ["EEEE", "EEEE", "....", "...."]);
}

#[test]
fn s6_no_ingress_rule_denies_all_and_an_empty_one_allows_all() {
    for spec in ["{podSelector: {}, policyTypes: [Ingress]}", "{podSelector: {}, ingress: []}"] {
        assert_eq!(table(&with(&[spec]), "80/tcp"), ["II..", "II..", "II..", "II.."], "{spec}");
    }
    assert_eq!(table(&with(&["{podSelector: {}, ingress: [{}]}"]), "80/tcp"), OPEN);
}

#[test]
fn s7_policies_add_up_whatever_their_order() {
    let closed = "{podSelector: {}}";
    let from_a = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}";
    let from_y = "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: \
                  {matchLabels: {ns: y}}}]}]}";
    let expected = ["....", "II..", "I...", "I..."];
    for order in [[closed, from_a, from_y], [from_y, closed, from_a], [from_a, from_y, closed]] {
        assert_eq!(table(&with(&order), "80/tcp"), expected);
    }
}

#[test]
fn s8_both_ends_must_agree() {
    let mut cluster = with(&["{podSelector: {}, policyTypes: [Egress]}"]);
    put(&mut cluster, "y", "closed", "{podSelector: {}}");
    assert_eq!(table(&cluster, "80/tcp"), ["EEXX", "EEXX", "..II", "..II"]);
    let to_y = "{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}], \
                policyTypes: [Egress]}";
    put(&mut cluster, "x", "to-y", to_y);
    assert_eq!(table(&cluster, "80/tcp"), ["EEII", "EEII", "..II", "..II"]);
    let from_x =
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}";
    put(&mut cluster, "y", "from-x", from_x);
    assert_eq!(table(&cluster, "80/tcp"), ["EE..", "EE..", "..II", "..II"]);
}

#[test]
fn s9_a_rule_that_cannot_be_used_isolates_and_allows_nothing() {
    let isolated = ["II..", "II..", "II..", "II.."];
    for rule in [
        "{ports: [{port: nosuch}]}",
        "{ports: [{port: 80, protocol: ICMP}]}",
        "{ports: [{endPort: 90}]}",
        "{from: [{}]}",
        "{from: [{ipBlock: {cidr: nonsense}}]}",
        "{from: [{podSelector: {}, unheardOf: {}}]}",
        "null",
    ] {
        let spec = format!("{{podSelector: {{}}, ingress: [{rule}]}}");
        assert_eq!(table(&with(&[&spec]), "80/tcp"), isolated, "{rule}");
    }
    let unclear = "{podSelector: {matchExpressions: [{key: a, operator: Near}]}, ingress: [{}]}";
    assert_eq!(table(&with(&[unclear]), "80/tcp"), ["XXEE", "XXEE", "II..", "II.."]);
    let sctp = with(&["{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}"]);
    assert_eq!(table(&sctp, "80/tcp"), isolated);
}
