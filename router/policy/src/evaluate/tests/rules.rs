//! R1 to R16.

use std::sync::Arc;

use super::*;

/// The table of ingress rules for all Pods of namespace x.
fn ingress(rules: &str, port: &str) -> Vec<String> {
    table(&with(&[&format!("{{podSelector: {{}}, ingress: [{rules}]}}")]), port)
}

/// The table of egress rules for all Pods of namespace x.
fn egress(rules: &str, port: &str) -> Vec<String> {
    let spec = format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}");
    table(&with(&[&spec]), port)
}

/// Labels as keys and values.
type Pairs = &'static [(&'static str, &'static str)];

const CLOSED: [&str; 4] = ["II..", "II..", "II..", "II.."];

#[test]
fn r1_any_peer_and_any_port_and_an_empty_list_is_any() {
    let rule = "{from: [{podSelector: {matchLabels: {pod: a}}}, {podSelector: {matchLabels: \
                {pod: none}}}], ports: [{port: 80}, {port: 81}]}";
    for port in ["80/tcp", "81/tcp"] {
        assert_eq!(ingress(rule, port), ["....", "II..", "II..", "II.."]);
    }
    assert_eq!(ingress(rule, "82/tcp"), CLOSED);
    for rule in ["{}", "{from: []}", "{ports: []}", "{from: [], ports: []}", "{from: null}"] {
        assert_eq!(ingress(rule, "80/tcp"), OPEN, "{rule}");
        assert_eq!(ingress(rule, "9/sctp"), OPEN, "{rule}");
    }
    let cluster = with(&["{podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]}"]);
    assert!(http(&cluster, outside("192.0.2.1"), Endpoint::Pod(pod(&cluster, "x/a"))));
}

#[test]
fn r2_a_pod_selector_alone_is_of_the_policys_namespace() {
    let rule = "{from: [{podSelector: {matchLabels: {pod: b}}}]}";
    assert_eq!(ingress(rule, "80/tcp"), ["II..", "....", "II..", "II.."]);
    let rule = "{to: [{podSelector: {matchLabels: {pod: b}}}]}";
    assert_eq!(egress(rule, "80/tcp"), ["E.EE", "E.EE", "....", "...."]);
}

#[test]
fn r3_a_namespace_selector_alone_is_all_pods_of_those_namespaces() {
    let rule = "{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}";
    assert_eq!(ingress(rule, "80/tcp"), ["II..", "II..", "....", "...."]);
    assert_eq!(ingress("{from: [{namespaceSelector: {}}]}", "80/tcp"), OPEN);
}

#[test]
fn r4_selectors_of_one_peer_must_both_hold_of_two_peers_one() {
    let both = "{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: \
                {pod: a}}}]}";
    assert_eq!(ingress(both, "80/tcp"), ["II..", "II..", "....", "II.."]);
    let either = "{from: [{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: \
                  {matchLabels: {pod: a}}}]}";
    assert_eq!(ingress(either, "80/tcp"), ["....", "II..", "....", "...."]);
}

#[test]
fn r5_all_namespaces_are_all_pods_and_no_addresses_outside() {
    let cluster = with(&["{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"]);
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
    assert!(!http(&cluster, outside("192.0.2.1"), Endpoint::Pod(pod(&cluster, "x/a"))));
}

#[test]
fn r6_a_block_holds_for_addresses_of_pods_too_and_its_holes_for_itself_alone() {
    let block = "{ipBlock: {cidr: 10.0.0.0/29, except: [10.0.0.2/32, 10.0.0.4/31]}}";
    let from = format!("{{from: [{block}]}}");
    assert_eq!(ingress(&from, "80/tcp"), ["....", "II..", "....", "II.."]);
    let to = format!("{{to: [{block}]}}");
    assert_eq!(egress(&to, "80/tcp"), [".E.E", ".E.E", "....", "...."]);
    let again = format!("{{from: [{block}, {{podSelector: {{matchLabels: {{pod: b}}}}}}]}}");
    assert_eq!(ingress(&again, "80/tcp"), ["....", "....", "....", "II.."]);
    let cluster = with(&[&format!("{{podSelector: {{}}, ingress: [{from}]}}")]);
    let a = Endpoint::Pod(pod(&cluster, "x/a"));
    for (address, allowed) in
        [("10.0.0.6", true), ("10.0.0.7", true), ("10.0.0.5", false), ("10.0.0.8", false)]
    {
        assert_eq!(http(&cluster, outside(address), a), allowed, "{address}");
    }
}

#[test]
fn r7_a_block_holds_for_its_own_family_whatever_its_length_and_host_bits() {
    let allowed = |cidr: &str, family| {
        let peer = format!("{{ipBlock: {{cidr: '{cidr}'}}}}");
        let cluster = with(&[&format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}")]);
        let ends = [pod(&cluster, "y/a"), pod(&cluster, "x/a")].map(Endpoint::Pod);
        cluster.evaluate(&Connection::new(ends[0], ends[1], family, HTTP)).is_allowed()
    };
    for (cidr, v4, v6) in [
        ("0.0.0.0/0", true, false),
        ("::/0", false, true),
        ("10.0.0.3/32", true, false),
        ("fd00::3/128", false, true),
        ("10.0.0.99/24", true, false),
        ("10.0.0.2/32", false, false),
    ] {
        assert_eq!((allowed(cidr, Family::V4), allowed(cidr, Family::V6)), (v4, v6), "{cidr}");
    }
}

#[test]
fn r8_a_port_is_tcp_unless_said_otherwise_and_a_protocol_alone_is_all_its_ports() {
    for (port, allowed) in
        [("80/tcp", true), ("81/tcp", false), ("80/udp", false), ("80/sctp", false)]
    {
        assert_eq!(ingress("{ports: [{port: 80}]}", port) == OPEN, allowed, "{port}");
    }
    for (port, allowed) in [("80/udp", true), ("1/udp", true), ("80/tcp", false)] {
        assert_eq!(ingress("{ports: [{protocol: UDP}]}", port) == OPEN, allowed, "{port}");
    }
    assert_eq!(ingress("{ports: [{}]}", "9/tcp"), OPEN);
}

#[test]
fn r9_a_range_has_both_its_ends() {
    for (port, allowed) in [(79, false), (80, true), (85, true), (90, true), (91, false)] {
        let rows = ingress("{ports: [{port: 80, endPort: 90}]}", &format!("{port}/tcp"));
        assert_eq!(rows == OPEN, allowed, "{port}");
    }
    assert_eq!(ingress("{ports: [{port: 80, endPort: 80}]}", "80/tcp"), OPEN);
    assert_eq!(ingress("{ports: [{port: 1, endPort: 65535}]}", "65535/tcp"), OPEN);
}

#[test]
fn r10_a_name_is_looked_up_at_the_destination_with_its_protocol() {
    let mut cluster = with(&["{podSelector: {}, ingress: [{ports: [{port: web}]}]}"]);
    assert_eq!(table(&cluster, "80/tcp"), OPEN);
    assert_eq!(table(&cluster, "53/tcp"), CLOSED);
    // The same name, another number.
    cluster.pods[1].ports[0].number = 8080;
    assert_eq!(table(&cluster, "80/tcp"), [".I..", ".I..", ".I..", ".I.."]);
    assert_eq!(table(&cluster, "8080/tcp"), ["I...", "I...", "I...", "I..."]);
    // A name of another protocol is another name.
    assert_eq!(ingress("{ports: [{port: dns}]}", "53/tcp"), CLOSED);
    assert_eq!(ingress("{ports: [{port: dns, protocol: UDP}]}", "53/udp"), OPEN);
    // In egress it is the peer's, any Pod's where no peer is named, and never an address's.
    let spec = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}";
    let mut cluster = with(&[spec]);
    cluster.pods[3].ports.clear();
    assert_eq!(table(&cluster, "80/tcp"), ["...E", "...E", "....", "...."]);
    assert!(!http(&cluster, Endpoint::Pod(pod(&cluster, "x/a")), outside("192.0.2.1")));
}

#[test]
fn r11_a_name_at_a_block_of_addresses_is_nobodys() {
    let rule = "{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: web}]}";
    assert_eq!(egress(rule, "80/tcp"), ["EEEE", "EEEE", "....", "...."]);
    // At ingress the destination is the selected Pod, which has names.
    let rule = "{from: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [{port: web}]}";
    assert_eq!(ingress(rule, "80/tcp"), ["....", "II..", "II..", "II.."]);
}

#[test]
fn r12_the_port_is_that_of_the_pod() {
    // The question is asked after a Service's translation: what was sent to port 8080 of a Service
    // and has become port 80 is not allowed by a rule that names 8080.
    assert_eq!(ingress("{ports: [{port: 8080}]}", "80/tcp"), CLOSED);
}

#[test]
fn r13_a_protocol_allows_no_other() {
    for allowed in ["TCP", "UDP", "SCTP"] {
        for asked in ["tcp", "udp", "sctp"] {
            let rule = format!("{{ports: [{{port: 80, protocol: {allowed}}}]}}");
            let open = ingress(&rule, &format!("80/{asked}")) == OPEN;
            assert_eq!(open, allowed.eq_ignore_ascii_case(asked), "{allowed} {asked}");
        }
    }
}

#[test]
fn r14_what_has_no_ports_passes_where_a_rule_names_none() {
    let echo = |cluster: &Cluster, from: &str| {
        let ends = [pod(cluster, from), pod(cluster, "x/a")].map(Endpoint::Pod);
        let ping = Connection::new(ends[0], ends[1], Family::V4, Traffic::Portless);
        cluster.evaluate(&ping).is_allowed()
    };
    let rule = "from: [{podSelector: {matchLabels: {pod: b}}}]";
    let ports = format!("{{podSelector: {{}}, ingress: [{{{rule}, ports: [{{port: 80}}]}}]}}");
    assert!(!echo(&with(&[&ports]), "x/b"));
    let without = with(&[&format!("{{podSelector: {{}}, ingress: [{{{rule}}}]}}")]);
    assert!(echo(&without, "x/b") && !echo(&without, "y/b"));
    assert!(!echo(&with(&["{podSelector: {}}"]), "x/b"));
    assert!(echo(&base(), "x/b"));
}

#[test]
fn r15_selectors() {
    let matches = |selector: &str, pairs: &[(&str, &str)]| {
        let mut cluster = with(&[&format!("{{podSelector: {selector}}}")]);
        cluster.pods[0].labels = labels(pairs);
        !http(&cluster, outside("192.0.2.1"), Endpoint::Pod(pod(&cluster, "x/a")))
    };
    let key = |operator: &str| format!("{{matchExpressions: [{{key: k, operator: {operator}}}]}}");
    let selectors = [
        key("In, values: [v, w]"),
        key("NotIn, values: [v, w]"),
        key("Exists"),
        key("DoesNotExist"),
    ];
    let truth: [(Pairs, [bool; 4]); 5] = [
        (&[], [false, true, false, true]),
        (&[("k", "v")], [true, false, true, false]),
        (&[("k", "w"), ("l", "x")], [true, false, true, false]),
        (&[("k", "")], [false, true, true, false]),
        (&[("l", "v")], [false, true, false, true]),
    ];
    for (labels, expected) in truth {
        assert_eq!(selectors.each_ref().map(|text| matches(text, labels)), expected, "{labels:?}");
    }
    let all = "{matchLabels: {k: v}, matchExpressions: [{key: l, operator: Exists}, {key: m, \
               operator: DoesNotExist}]}";
    assert!(matches(all, &[("k", "v"), ("l", "")]));
    assert!(!matches(all, &[("k", "w"), ("l", "")]));
    assert!(!matches(all, &[("k", "v")]));
    assert!(!matches(all, &[("k", "v"), ("l", ""), ("m", "")]));
    assert!(matches("{}", &[]) && matches("{}", &[("k", "v")]));
}

#[test]
fn r16_every_namespace_has_the_label_of_its_name() {
    let rule = "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}";
    let mut cluster = with(&[&format!("{{podSelector: {{}}, ingress: [{rule}]}}")]);
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "....", "...."]);
    // Also one of which no manifest tells.
    Arc::make_mut(&mut cluster.namespaces).clear();
    assert_eq!(table(&cluster, "80/tcp"), ["II..", "II..", "....", "...."]);
    // And it cannot be claimed by another.
    let claims = Namespace::new("z", labels(&[("kubernetes.io/metadata.name", "y")]));
    assert_eq!(claims.labels["kubernetes.io/metadata.name"], "z");
}
