//! Small clusters in which much coincides: few labels, few addresses, few ports.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use weft_policy::{
    Cluster, Expression, IpBlock, Labels, NamedPort, Namespace, NetworkPolicy, Object, Operator,
    Peer, Pod, PortMatch, Protocol, Rule, RulePort, Selector, TierAction, TierPolicy, TierRule,
    Traffic,
};

pub(crate) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const KEYS: [&str; 2] = ["k", "l"];
const VALUES: [&str; 2] = ["a", "b"];
const PORT_NAMES: [&str; 2] = ["web", "dns"];

/// A cluster of up to eight Pods on two nodes.
pub(crate) fn arbitrary_cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec(labels(), NAMESPACES.len());
    let policies = vec(policy(), 0..6);
    let (admin, baseline) = (vec(tier_policy(), 0..3), vec(tier_policy(), 0..3));
    (namespaces, vec(pod(), 1..8), policies, admin, baseline).prop_map(
        |(namespaces, pods, policies, admin, baseline)| {
            let mut cluster = Cluster::default();
            for (name, labels) in NAMESPACES.into_iter().zip(namespaces) {
                cluster.add([Object::Namespace(Namespace::new(name, labels))]).unwrap();
            }
            for (index, mut pod) in pods.into_iter().enumerate() {
                pod.name = format!("p{index}");
                for address in &mut pod.addresses {
                    *address = match address {
                        std::net::IpAddr::V4(_) => format!("10.0.0.{index}").parse().unwrap(),
                        std::net::IpAddr::V6(_) => format!("fd00::{index}").parse().unwrap(),
                    };
                }
                cluster.add([Object::Pod(pod)]).unwrap();
            }
            for (index, mut policy) in policies.into_iter().enumerate() {
                policy.name = format!("p{index}");
                cluster.add([Object::NetworkPolicy(policy)]).unwrap();
            }
            let named = |(index, mut policy): (usize, TierPolicy)| {
                policy.name = format!("t{index}");
                policy
            };
            cluster.admin = admin.into_iter().enumerate().map(named).collect();
            cluster.baseline = baseline.into_iter().enumerate().map(named).collect();
            cluster
        },
    )
}

/// What a connection may carry; mostly ports that some rule names.
pub(crate) fn arbitrary_traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        6 => (protocol(), port_number()).prop_map(|(protocol, port)| Traffic::Port(protocol, port)),
        1 => Just(Traffic::Portless),
        1 => Just(Traffic::Neighbour),
    ]
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    btree_map(select(&KEYS[..]), select(&VALUES[..]), 0..=2).prop_map(|labels| {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let operators = [Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist];
    let expression = (select(&KEYS[..]), select(operators.to_vec()), select(&VALUES[..])).prop_map(
        |(key, operator, value)| Expression {
            key: key.to_owned(),
            operator,
            values: [value.to_owned()].into(),
        },
    );
    (prop_oneof![2 => Just(Labels::new()), 1 => labels()], vec(expression, 0..2))
        .prop_map(|(labels, expressions)| Selector { labels, expressions })
}

pub(crate) fn pod() -> impl Strategy<Value = Pod> {
    let addresses = prop_oneof![
        Just(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]),
        Just(vec!["10.0.0.1".parse().unwrap()]),
        Just(vec!["fd00::1".parse().unwrap()]),
        Just(vec![]),
    ];
    let port = (select(&PORT_NAMES[..]), protocol(), port_number())
        .prop_map(|(name, protocol, number)| NamedPort { name: name.to_owned(), protocol, number });
    (
        (select(&NAMESPACES[..]), labels(), addresses, vec(port, 0..3)),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.1), select(vec!["n0", "n1"])),
    )
        .prop_map(|((namespace, labels, addresses, ports), (host_network, finished, node))| {
            Pod {
                namespace: namespace.to_owned(),
                name: String::new(),
                labels,
                addresses,
                ports,
                host_network,
                finished,
                node: Some(node.to_owned()),
            }
        })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(Protocol::ALL.to_vec())
}

fn port_number() -> impl Strategy<Value = u16> {
    select(vec![1, 53, 79, 80, 81, 8080, 65535])
}

fn block() -> impl Strategy<Value = IpBlock> {
    let v4 =
        (0u8..16, 28u8..=32, vec((0u8..16, 29u8..=32), 0..3)).prop_map(|(last, length, holes)| {
            let network = |last: u8, length: u8| {
                format!("10.0.0.{last}/{length}").parse::<ipnet::IpNet>().unwrap().trunc()
            };
            let except = holes.into_iter().map(|(last, length)| network(last, length)).collect();
            IpBlock { cidr: network(last, length), except }
        });
    let v6 = (0u8..16, 124u8..=128).prop_map(|(last, length)| {
        let cidr = format!("fd00::{last:x}/{length}").parse::<ipnet::IpNet>().unwrap().trunc();
        IpBlock { cidr, except: Vec::new() }
    });
    let all = select(vec!["0.0.0.0/0", "::/0", "10.0.0.0/24", "fd00::/16"])
        .prop_map(|cidr| IpBlock { cidr: cidr.parse().unwrap(), except: Vec::new() });
    prop_oneof![v4, v6, all]
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let peer = prop_oneof![
        2 => (option::of(selector()), selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        1 => block().prop_map(Peer::Block),
    ];
    let range = (port_number(), port_number())
        .prop_map(|(one, other)| PortMatch::Range(one.min(other), one.max(other)));
    let port = prop_oneof![
        1 => Just(PortMatch::Any),
        2 => port_number().prop_map(|port| PortMatch::Range(port, port)),
        1 => range,
        2 => select(&PORT_NAMES[..]).prop_map(|name| PortMatch::Named(name.to_owned())),
    ];
    let port = (protocol(), port).prop_map(|(protocol, port)| RulePort { protocol, port });
    (vec(peer, 0..3), vec(port, 0..3), prop::bool::weighted(0.9))
        .prop_map(|(peers, ports, usable)| Rule { peers, ports, usable })
}

pub(crate) fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || option::of(vec(rule(), 0..3));
    (select(&NAMESPACES[..]), selector(), rules(), rules()).prop_map(
        |(namespace, subjects, ingress, egress)| NetworkPolicy {
            namespace: namespace.to_owned(),
            name: String::new(),
            subjects,
            ingress,
            egress,
        },
    )
}

pub(crate) fn tier_rule() -> impl Strategy<Value = TierRule> {
    let actions = vec![TierAction::Accept, TierAction::Deny, TierAction::Pass];
    (select(actions), rule()).prop_map(|(action, matching)| TierRule { action, matching })
}

pub(crate) fn tier_policy() -> impl Strategy<Value = TierPolicy> {
    let rules = || vec(tier_rule(), 0..2);
    (0u32..3, selector(), selector(), rules(), rules()).prop_map(
        |(priority, namespaces, pods, ingress, egress)| TierPolicy {
            name: String::new(),
            priority,
            namespaces,
            pods,
            ingress,
            egress,
        },
    )
}
