//! The administrator's tier before NetworkPolicy, the baseline after it.

use super::*;

/// A policy for the ingress of all Pods of namespace x, from Pods labelled `a`.
fn tier(name: &str, priority: u32, action: TierAction) -> TierPolicy {
    let namespaces = Selector { labels: labels(&[("ns", "x")]), ..Default::default() };
    let from_a = Selector { labels: labels(&[("pod", "a")]), ..Default::default() };
    let peers = vec![Peer::Pods { namespaces: None, pods: from_a }];
    let matching = Rule { peers, ports: Vec::new(), usable: true };
    TierPolicy {
        name: name.to_owned(),
        priority,
        namespaces,
        pods: Selector::default(),
        ingress: vec![TierRule { action, matching }],
        egress: Vec::new(),
    }
}

const CLOSED: &str = "{podSelector: {}}";
const FROM_B: &str =
    "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}";

#[test]
fn the_admin_tier_decides_first() {
    let mut cluster = with(&[CLOSED]);
    cluster.admin = vec![tier("t", 1, TierAction::Accept)];
    assert_eq!(table(&cluster, "80/tcp"), ["....", "II..", "....", "II.."]);
    let mut cluster = with(&["{podSelector: {}, ingress: [{}]}"]);
    cluster.admin = vec![tier("t", 1, TierAction::Deny)];
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "....", "II..", "...."]);
}

#[test]
fn what_it_passes_is_asked_of_the_next() {
    let mut cluster = with(&[FROM_B]);
    cluster.admin = vec![tier("first", 1, TierAction::Pass), tier("second", 2, TierAction::Accept)];
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "....", "II..", "II.."]);
    cluster.admin.reverse();
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "....", "II..", "II.."]);
}

#[test]
fn the_baseline_speaks_where_no_policy_isolates() {
    let mut cluster = base();
    cluster.baseline = vec![tier("t", 0, TierAction::Deny)];
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "....", "II..", "...."]);
    put(&mut cluster, "x", "open", "{podSelector: {}, ingress: [{}]}");
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
    let mut cluster = with(&[CLOSED]);
    cluster.baseline = vec![tier("t", 0, TierAction::Accept)];
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "II..", "II.."]);
}

#[test]
fn a_rule_that_cannot_be_used_denies_if_it_denies() {
    let closed = ["II..", "II..", "II..", "II.."];
    for (action, policies, expected) in [
        (TierAction::Deny, &[][..], closed),
        (TierAction::Accept, &[], OPEN),
        (TierAction::Pass, &[], OPEN),
        (TierAction::Accept, &[CLOSED], closed),
    ] {
        let mut cluster = with(policies);
        cluster.admin = vec![tier("t", 0, action)];
        cluster.admin[0].ingress[0].matching.usable = false;
        assert_eq!(table(&cluster, "80/tcp"), expected, "{action:?}");
    }
}
