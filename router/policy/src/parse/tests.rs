//! What is read, what is refused, and that nothing refused is left open.

use super::*;
use crate::{Cluster, Direction, IpBlock, NetworkPolicy, Peer, Pod, PortMatch, Protocol, Rule};

/// A policy with this spec.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    )
}

/// The policy of that spec, which must be sound.
fn sound(spec: &str) -> NetworkPolicy {
    let (policy, faults) = read_policy(&policy(spec));
    assert_eq!(faults, [""; 0], "{spec}");
    policy
}

/// The one policy of a text, and its faults without the file and the object.
fn read_policy(text: &str) -> (NetworkPolicy, Vec<String>) {
    let parsed = parse("f", text).unwrap();
    let [Object::NetworkPolicy(policy)] = &parsed.objects[..] else { panic!("{parsed:?}") };
    let faults = parsed.faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message));
    (policy.clone(), faults.collect())
}

fn pods_of(text: &str) -> Vec<Pod> {
    let parsed = parse("f", text).unwrap();
    assert_eq!(parsed.faults, [], "{text}");
    let pod = |object| match object {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    };
    parsed.objects.into_iter().map(pod).collect()
}

#[test]
fn one_document_several_and_lists_in_yaml_and_json() {
    let pod = |name: &str| {
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\"}}}}")
    };
    let (a, b) = (pod("a"), pod("b"));
    let bare = "{\"metadata\":{\"name\":\"a\"}},{\"metadata\":{\"name\":\"b\"}}";
    let texts = [
        format!("{a}{b}"),
        format!("{a}\n\n{b}\n"),
        format!("{a}\n---\n{b}"),
        format!("---\n# nothing\n---\n{a}\n---\n---\n{b}\n...\n"),
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{a},{b}]}}"),
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"PodList\",\"items\":[{bare}]}}"),
        format!("apiVersion: v1\nkind: List\nitems:\n- {a}\n- {b}\n"),
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n---\nkind: Pod\napiVersion: v1\nmetadata:\n  name: b\n".into(),
        format!("\u{feff}{a}\n---\n{b}"),
    ];
    for text in texts {
        let names: Vec<_> = pods_of(&text).iter().map(Pod::full_name).collect();
        assert_eq!(names, ["default/a", "default/b"], "{text}");
    }
    assert_eq!(parse("f", "").unwrap(), Parsed::default());
    assert_eq!(parse("f", "# nothing\n").unwrap(), Parsed::default());
}

#[test]
fn words_that_were_booleans_once_are_strings() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: n, namespace: y, labels: {a: no}}}";
    let pods = pods_of(text);
    assert_eq!(pods[0].full_name(), "y/n");
    assert_eq!(pods[0].labels["a"], "no");
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: n, labels: {a: true}}}";
    let fault = parse("f", text).unwrap().faults[0].to_string();
    assert_eq!(fault, "f: Pod default/n: metadata.labels[a]: must be a string: put it in quotes");
}

#[test]
fn what_is_no_yaml_is_an_error_in_one_line() {
    for text in ["a: [", "{\"kind\": ", "a: b: c", "\t- x: {", "a: 1\na: 2\n", "&a [*a, *b]"] {
        let error = parse("dir/f.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with("dir/f.yaml: ") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn many_documents_are_read_and_a_bomb_is_not() {
    let pod = |index| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p{index}}}}}\n---\n");
    let text: String = (0..2_000).map(pod).collect();
    assert_eq!(pods_of(&text).len(), 2_000);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(parse("f", &bomb).is_err());
    assert!(parse("f", &"[".repeat(100_000)).is_err());
    assert!(parse("f", &"{\"a\":".repeat(100_000)).is_err());
}

#[test]
fn a_pod_is_read_as_far_as_it_matters() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web, empty: ''}, annotations: {a: b}}
spec:
  nodeName: n1
  hostNetwork: true
  containers:
  - {name: c, image: i, ports: [{containerPort: 80, name: http}, {containerPort: 9}]}
  - {name: d, image: i, ports: [{containerPort: 53, name: dns, protocol: UDP}]}
  initContainers:
  - {name: once, ports: [{containerPort: 1, name: once}]}
  - {name: stays, restartPolicy: Always, ports: [{containerPort: 2, name: stays}]}
  unknown: {a: 1}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
";
    let pods = pods_of(text);
    let pod = &pods[0];
    assert_eq!(pod.full_name(), "shop/web-0");
    assert_eq!(pod.labels.len(), 2);
    assert_eq!(pod.node.as_deref(), Some("n1"));
    assert!(pod.host_network && !pod.finished);
    assert_eq!(
        pod.addresses,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
    );
    assert_eq!(pod.numbers("http", Protocol::Tcp).collect::<Vec<_>>(), [80]);
    assert_eq!(pod.numbers("dns", Protocol::Udp).collect::<Vec<_>>(), [53]);
    assert_eq!(pod.numbers("dns", Protocol::Tcp).count(), 0);
    assert_eq!(pod.numbers("stays", Protocol::Tcp).count(), 1);
    assert_eq!(pod.numbers("once", Protocol::Tcp).count(), 0);
    for (phase, finished) in [("Pending", false), ("Succeeded", true), ("Failed", true)] {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, status: {{phase: {phase}}}}}"
        );
        assert_eq!(pods_of(&pod)[0].finished, finished);
    }
}

#[test]
fn a_policy_is_read_in_full() {
    let policy = sound(
        "
  podSelector:
    matchLabels: {app: web}
    matchExpressions: [{key: tier, operator: NotIn, values: [a, b]}]
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {}}, {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]
    ports: [{port: 80}, {port: http, protocol: UDP}, {protocol: SCTP}, {port: 1, endPort: 65535}]
  - {}
  egress:
  - to: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 10.2.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8'}}]
",
    );
    assert_eq!(policy.subjects.expressions.len(), 1);
    let ingress = policy.ingress.unwrap();
    assert_eq!(ingress[1], Rule { peers: vec![], ports: vec![], usable: true });
    let ports: Vec<_> =
        ingress[0].ports.iter().map(|port| (port.protocol, port.port.clone())).collect();
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, PortMatch::Range(80, 80)),
            (Protocol::Udp, PortMatch::Named("http".into())),
            (Protocol::Sctp, PortMatch::Any),
            (Protocol::Tcp, PortMatch::Range(1, 65535)),
        ]
    );
    assert!(matches!(&ingress[0].peers[0], Peer::Pods { namespaces: None, .. }));
    assert!(matches!(&ingress[0].peers[1], Peer::Pods { namespaces: Some(_), .. }));
    let block = IpBlock {
        cidr: "10.0.0.0/8".parse().unwrap(),
        except: vec!["10.1.0.0/16".parse().unwrap(), "10.2.0.0/16".parse().unwrap()],
    };
    assert_eq!(policy.egress.unwrap()[0].peers[0], Peer::Block(block));
}

#[test]
fn what_the_api_refuses_is_a_fault_that_names_the_field_and_opens_nothing() {
    // What stands in a rule, and the fault, after `spec.ingress[0].`.
    let in_a_rule = [
        ("ports: [{endPort: 80}]", "ports[0].endPort: needs port"),
        ("ports: [{port: http, endPort: 80}]", "ports[0].endPort: needs a port that is a number"),
        ("ports: [{port: 80, endPort: 79}]", "ports[0].endPort: must not be less than port, 80"),
        (
            "ports: [{port: 80, endPort: 65536}]",
            "ports[0].endPort: must be a number from 1 to 65535",
        ),
        (
            "ports: [{port: 0}]",
            "ports[0].port: must be a number from 1 to 65535, or the name of a port",
        ),
        (
            "ports: [{port: 1.5}]",
            "ports[0].port: must be a number from 1 to 65535, or the name of a port",
        ),
        (
            "ports: [{port: -1}]",
            "ports[0].port: must be a number from 1 to 65535, or the name of a port",
        ),
        (
            "ports: [{port: '80'}]",
            "ports[0].port: is no name of a port: 1 to 15 of a-z, 0-9 and single -, a letter among \
             them, a letter or digit first and last",
        ),
        ("ports: [{port: 80, protocol: ICMP}]", "ports[0].protocol: must be TCP, UDP or SCTP"),
        ("ports: [{port: 80, protocol: tcp}]", "ports[0].protocol: must be TCP, UDP or SCTP"),
        ("ports: {}", "ports: must be a list"),
        ("ports: [80]", "ports[0]: must be an object"),
        ("from: [{}]", "from[0]: must have podSelector, namespaceSelector or ipBlock"),
        ("from: [null]", "from[0]: must be an object"),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]",
            "from[0].ipBlock: must not stand beside podSelector or namespaceSelector",
        ),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]",
            "from[0].ipBlock: must not stand beside podSelector or namespaceSelector",
        ),
        ("from: [{ipBlock: {}}]", "from[0].ipBlock.cidr: is missing"),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0}}]",
            "from[0].ipBlock.cidr: must be a network such as 10.0.0.0/8 or 2001:db8::/32",
        ),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]",
            "from[0].ipBlock.except[0]: must be inside 10.0.0.0/8 and smaller",
        ),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]",
            "from[0].ipBlock.except[0]: must be inside 10.0.0.0/8 and smaller",
        ),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]",
            "from[0].ipBlock.except[0]: must be inside 10.0.0.0/8 and smaller",
        ),
        (
            "from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]",
            "from[0].podSelector.matchExpressions[0].values: must not be empty with In and NotIn",
        ),
        (
            "from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]",
            "from[0].podSelector.matchExpressions[0].values: must be empty with Exists and DoesNotExist",
        ),
        (
            "from: [{podSelector: {matchExpressions: [{key: a, operator: Gt, values: [b]}]}}]",
            "from[0].podSelector.matchExpressions[0].operator: must be In, NotIn, Exists or DoesNotExist",
        ),
        (
            "from: [{namespaceSelector: {matchLabels: {a: true}}}]",
            "from[0].namespaceSelector.matchLabels[a]: must be a string: put it in quotes",
        ),
        ("to: [{podSelector: {}}]", "to: is not a known field"),
        (
            "from: [{podSelector: {}, serviceSelector: {}}]",
            "from[0].serviceSelector: is not a known field",
        ),
    ];
    for (rule, fault) in in_a_rule {
        let spec =
            format!("{{podSelector: {{}}, ingress: [{{{rule}}}, {{ports: [{{port: 1}}]}}]}}");
        let (policy, faults) = read_policy(&policy(&spec));
        assert_eq!(faults, [format!("spec.ingress[0].{fault}")], "{rule}");
        let usable: Vec<_> = policy.ingress.unwrap().iter().map(|rule| rule.usable).collect();
        assert_eq!(usable, [false, true], "{rule}");
    }
}

#[test]
fn a_policy_whose_subjects_or_types_are_unclear_isolates_its_namespace_and_allows_nothing() {
    let cases = [
        (
            "podSelector: {matchLabels: {'a b': c}}",
            "spec.podSelector.matchLabels[a b]: is no key of a label: 1 to 63 of a-z, A-Z, 0-9, -, _ \
             and ., a letter or digit first and last, optionally after a DNS name and a slash",
        ),
        ("podSelector: {matchLabel: {a: b}}", "spec.podSelector.matchLabel: is not a known field"),
        ("policyTypes: [Ingres]", "spec.policyTypes[0]: must be Ingress or Egress"),
        ("policyTypes: Ingress", "spec.policyTypes: must be a list"),
    ];
    for (field, fault) in cases {
        let (policy, faults) =
            read_policy(&policy(&format!("{{{field}, ingress: [{{}}], egress: [{{}}]}}")));
        assert_eq!(faults, [fault]);
        assert_eq!(policy.subjects, crate::Selector::default());
        assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])));
    }
}

#[test]
fn unknown_fields_are_faults_of_their_own_severity() {
    let text =
        policy("{podSelector: {}, ingres: []}").replace("namespace: x", "namespace: x, nam: y");
    let parsed = parse("f", &text).unwrap();
    let faults: Vec<_> = parsed.faults.iter().map(|f| (f.severity, f.to_string())).collect();
    assert_eq!(
        faults,
        [
            (Severity::Unknown, "f: NetworkPolicy x/p: metadata.nam: is not a known field".into()),
            (Severity::Unknown, "f: NetworkPolicy x/p: spec.ingres: is not a known field".into()),
        ]
    );
    assert_eq!(parsed.objects.len(), 1);
    let saved = policy("{podSelector: {}}\nstatus: {}")
        .replace("name: p", "name: p, creationTimestamp: null, uid: a");
    assert_eq!(read_policy(&saved).1, [""; 0]);
}

#[test]
fn objects_that_cannot_be_named_are_left_out() {
    let cases = [
        ("{apiVersion: v1}", "f: document 1: kind: is missing"),
        ("[]", "f: document 1: must be an object"),
        ("{apiVersion: v1, kind: 3}", "f: document 1: kind: must be a string: put it in quotes"),
        ("{apiVersion: v1, kind: Pod}", "f: document 1: metadata: is missing"),
        ("{apiVersion: v1, kind: Pod, metadata: {}}", "f: document 1: metadata.name: is missing"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: A}}",
            "f: Pod default/A: metadata.name: must be 1 to 253 of a-z, 0-9, - and ., a letter or \
             digit first and last in each part",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}",
            "f: Namespace a.b: metadata.name: must be 1 to 63 of a-z, 0-9 and -, a letter or digit \
             first and last",
        ),
        (
            "{apiVersion: v1, kind: List, items: [{kind: Pod, apiVersion: v1, metadata: {}}]}",
            "f: document 1, items[0]: metadata.name: is missing",
        ),
    ];
    for (text, fault) in cases {
        let parsed = parse("f", text).unwrap();
        assert_eq!(parsed.objects, [], "{text}");
        assert_eq!(parsed.faults.iter().map(Fault::to_string).collect::<Vec<_>>(), [fault]);
    }
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: \"a\\e[2J\"}}";
    let shown = parse("f", text).unwrap().faults[0].to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn versions() {
    let old = policy("{}").replace("networking.k8s.io/v1", "extensions/v1beta1");
    assert_eq!(read_policy(&old).1, ["apiVersion: must be networking.k8s.io/v1"]);
    let none = policy("{}").replace("apiVersion: networking.k8s.io/v1\n", "");
    let parsed = parse("f", &none).unwrap();
    assert_eq!(parsed.faults[0].severity, Severity::Unknown);
    assert_eq!(parsed.objects.len(), 1);
    let calico = policy("{}").replace("networking.k8s.io/v1", "projectcalico.org/v3");
    let others = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}";
    let parsed = parse("f", &format!("{calico}---\n{others}\n---\n{others}")).unwrap();
    assert_eq!(parsed.ignored, ["NetworkPolicy (projectcalico.org/v3)", "Deployment (apps/v1)"]);
    assert_eq!((parsed.objects.len(), parsed.faults.len()), (0, 0));
}

#[test]
fn s4_policy_types_have_a_default() {
    let directions = |spec: &str| {
        let policy = sound(spec);
        [Direction::Ingress, Direction::Egress].map(|way| policy.rules(way).is_some())
    };
    assert_eq!(directions("{podSelector: {}}"), [true, false]);
    assert_eq!(directions("{podSelector: {}, policyTypes: []}"), [true, false]);
    assert_eq!(directions("{podSelector: {}, egress: []}"), [true, false]);
    assert_eq!(directions("{podSelector: {}, egress: [{}]}"), [true, true]);
    assert_eq!(directions("{podSelector: {}, policyTypes: [Egress]}"), [false, true]);
    assert_eq!(
        directions("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}"),
        [true, false]
    );
    assert_eq!(directions("null"), [true, false]);
}

#[test]
fn an_object_given_twice_is_refused() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}}";
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    for (text, name) in
        [(pod, "Pod default/a"), (namespace, "Namespace a"), (&policy("{}"), "NetworkPolicy x/p")]
    {
        let objects = || parse("f", text).unwrap().objects;
        let mut cluster = Cluster::default();
        cluster.add(objects()).unwrap();
        let error = cluster.add(objects()).unwrap_err().to_string();
        assert_eq!(error, format!("{name} is given twice: remove one of them"));
    }
}
