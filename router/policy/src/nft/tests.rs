//! The shape of rulesets: what is shared, what a change costs, what is written.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{Cluster, IpBlock, Object, Peer, Pod, Rule, parse};

/// Pods web-0, web-1 and db of namespace x with both families, and a policy for each kind of them.
fn example() -> Cluster {
    let mut cluster = Cluster::default();
    for (index, (name, app)) in
        [("web-0", "web"), ("web-1", "web"), ("db", "db")].into_iter().enumerate()
    {
        add_pod(&mut cluster, name, app, index + 1);
    }
    for (name, spec) in [
        (
            "db",
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: \
             {app: web}}}], ports: [{port: 5432}]}]}",
        ),
        (
            "web",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: \
             [{podSelector: {matchLabels: {app: db}}}], ports: [{port: pg}]}]}",
        ),
    ] {
        add_policy(&mut cluster, name, spec);
    }
    cluster
}

fn add_pod(cluster: &mut Cluster, name: &str, app: &str, last: usize) {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{namespace: x, name: {name}, labels: {{app: \
         {app}}}}}, spec: {{containers: [{{ports: [{{name: pg, containerPort: 5432}}]}}]}}, \
         status: {{podIPs: [{{ip: 10.0.0.{last}}}, {{ip: 'fd00::{last}'}}]}}}}"
    );
    cluster.add(parse("test", &text).unwrap().objects).unwrap();
}

fn add_policy(cluster: &mut Cluster, name: &str, spec: &str) {
    let text = format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: x, name: \
         {name}}}, spec: {spec}}}"
    );
    let objects = parse("test", &text).unwrap().objects;
    assert!(matches!(objects[..], [Object::NetworkPolicy(_)]));
    cluster.add(objects).unwrap();
}

fn compile(cluster: &Cluster) -> Ruleset {
    Ruleset::compile(cluster, "weft", |_| true)
}

/// The commands from one cluster to another, without their contents.
fn change(before: &Cluster, after: &Cluster) -> Vec<&'static str> {
    let commands = compile(after).transaction_from(Some(&compile(before))).commands;
    let name = |command: &Command| match command {
        Command::Reset => "reset",
        Command::AddSet(..) => "add set",
        Command::AddElements(..) => "add elements",
        Command::DeleteElements(..) => "delete elements",
        Command::DeleteSet(..) => "delete set",
        Command::AddMap(..) => "add map",
        Command::AddMembers(..) => "add members",
        Command::DeleteMembers(..) => "delete members",
        Command::AddChain(..) => "add chain",
        Command::FlushChain(..) => "flush chain",
        Command::AddLine(..) => "add line",
        Command::DeleteChain(..) => "delete chain",
    };
    commands.iter().map(name).collect()
}

#[test]
fn without_policies_nobody_is_in_a_map() {
    let mut cluster = example();
    Arc::make_mut(&mut cluster.policies).clear();
    let ruleset = compile(&cluster);
    assert_eq!(ruleset.chains.keys().collect::<Vec<_>>(), ["forward"]);
    // Those of whom is isolated.
    assert_eq!(ruleset.sets.keys().collect::<Vec<_>>(), ["isolated4", "isolated6"]);
    assert!(ruleset.sets.values().all(|set| set.elements.is_empty()));
    assert!(ruleset.maps.values().all(|map| map.elements.is_empty()));
    assert_eq!(ruleset.maps.len(), 4);
}

#[test]
fn pods_with_equal_policies_share_a_chain() {
    let ruleset = compile(&example());
    // forward, the egress of both web Pods, the ingress of db.
    assert_eq!(ruleset.chains.len(), 3);
    let egress = &ruleset.maps["egress4"].elements;
    assert_eq!(egress.len(), 2);
    assert_eq!(egress.values().collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(ruleset.maps["ingress6"].elements.len(), 1);
}

#[test]
fn only_the_nodes_own_pods_are_members() {
    let is_db = |pod: &Pod| pod.name == "db";
    let ruleset = Ruleset::compile(&example(), "weft", is_db);
    assert_eq!(ruleset.maps["egress4"].elements.len(), 0);
    assert_eq!(ruleset.maps["ingress4"].elements.len(), 1);
    // Its peers are all there.
    let sets = ruleset.sets.iter().filter(|(name, _)| name.starts_with("pods4"));
    let addresses = sets.map(|(_, set)| match &set.elements {
        Elements::Addresses(addresses) => addresses.len(),
        Elements::Prefixes(_) | Elements::Ports(_) => 0,
    });
    assert_eq!(addresses.collect::<Vec<_>>(), [2]);
}

#[test]
fn equal_selectors_of_a_namespace_share_a_set_and_unused_sets_are_not_made() {
    let mut cluster = example();
    let before = compile(&cluster).sets.len();
    // Of each family: whom is isolated, the addresses of web, the ports named pg of db.
    assert_eq!(before, 6);
    let spec = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
    add_policy(&mut cluster, "more", spec);
    assert_eq!(compile(&cluster).sets.len(), before);
    let named = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: \
                 10.0.0.0/8}}], ports: [{port: pg}]}]}";
    add_policy(&mut cluster, "named", named);
    assert_eq!(compile(&cluster).sets.len(), before);
}

#[test]
fn a_line_that_an_earlier_policy_has_is_left_out() {
    let mut cluster = example();
    let spec = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], \
                ports: [{port: 5432}]}]}";
    add_policy(&mut cluster, "same", spec);
    let ruleset = compile(&cluster);
    let chain = &ruleset.maps["ingress4"].elements[&"10.0.0.3".parse().unwrap()];
    let comments: Vec<_> = ruleset.chains[chain].iter().map(|line| line.comment.as_str()).collect();
    assert_eq!(comments, ["x/db ingress[0]", "x/db ingress[0]", "isolated ingress"]);
}

#[test]
fn a_pod_that_comes_costs_elements_alone() {
    let before = example();
    let mut after = before.clone();
    add_pod(&mut after, "web-2", "web", 9);
    // It is a peer, and isolated itself.
    let elements = ["add elements"; 4];
    let members = ["add members"; 2];
    assert_eq!(change(&before, &after), [&elements[..], &members].concat());
    let gone = [&["delete elements"; 4][..], &["delete members"; 2]].concat();
    assert_eq!(change(&after, &before), gone);
    assert_eq!(change(&before, &before), [""; 0]);
    // One that no policy is about costs nothing.
    let mut after = before.clone();
    add_pod(&mut after, "other", "other", 9);
    assert_eq!(change(&before, &after), [""; 0]);
}

#[test]
fn only_where_something_may_be_denied_is_a_tightening() {
    let nowhere = || Tightening::At(BTreeSet::new());
    let at = |last: usize| {
        let addresses = [format!("10.0.0.{last}"), format!("fd00::{last}")];
        Tightening::At(addresses.iter().map(|address| address.parse().unwrap()).collect())
    };
    let between = |before: &Cluster, after: &Cluster| {
        let local = |pod: &Pod| pod.name != "elsewhere";
        let [before, after] = [before, after]
            .map(|cluster| Ruleset::compile(cluster, "weft", local).with_drop_log(1));
        after.tightening(&before, &after.transaction_from(Some(&before)))
    };
    let before = example();
    assert_eq!(between(&before, &before), nowhere());

    let mut elsewhere = before.clone();
    add_pod(&mut elsewhere, "elsewhere", "web", 9);
    assert_eq!(between(&before, &elsewhere), nowhere(), "a peer that comes");
    assert_eq!(between(&elsewhere, &before), at(9), "a peer that goes");

    let mut here = before.clone();
    add_pod(&mut here, "web-2", "web", 4);
    assert_eq!(between(&before, &here), at(4), "an isolated Pod that comes");

    let mut wider = before.clone();
    let db =
        Arc::make_mut(&mut wider.policies).get_mut(&("x".to_owned(), "db".to_owned())).unwrap();
    let rules = Arc::make_mut(db).ingress.as_mut().unwrap();
    rules.push(Rule {
        peers: vec![Peer::Block(IpBlock { cidr: "10.9.0.0/16".parse().unwrap(), except: vec![] })],
        ports: Vec::new(),
        usable: true,
    });
    assert_eq!(between(&before, &wider), nowhere(), "a rule that comes");
    assert_eq!(between(&wider, &before), Tightening::Anywhere, "a rule that goes");

    let mut fewer = before.clone();
    Arc::make_mut(&mut fewer.policies).remove(&("x".to_owned(), "db".to_owned()));
    assert_eq!(between(&before, &fewer), nowhere(), "a policy that goes");
    assert_eq!(between(&fewer, &before), at(3), "a policy that comes");
    assert_eq!(between(&Cluster::default(), &before), {
        let addresses = before.pods.iter().flat_map(|pod| pod.addresses.clone());
        Tightening::At(addresses.collect())
    });
}

#[test]
fn a_policy_that_changes_costs_its_class() {
    let before = example();
    let mut after = before.clone();
    let db =
        Arc::make_mut(&mut after.policies).get_mut(&("x".to_owned(), "db".to_owned())).unwrap();
    let db = Arc::make_mut(db);
    db.ingress.as_mut().unwrap()[0].ports.clear();
    assert_eq!(change(&before, &after), ["flush chain", "add line", "add line", "add line"]);
    Arc::make_mut(&mut after.policies).remove(&("x".to_owned(), "db".to_owned()));
    let expected = [
        "delete elements",
        "delete elements",
        "delete members",
        "delete members",
        "flush chain",
        "delete chain",
        "delete set",
        "delete set",
    ];
    assert_eq!(change(&before, &after), expected);
}

#[test]
fn an_address_that_becomes_another_pods_changes_its_class_at_once() {
    let mut after = example();
    after.pods.retain(|pod| pod.name != "db");
    add_pod(&mut after, "heir", "web", 3);
    let ruleset = compile(&after);
    let address = "10.0.0.3".parse().unwrap();
    assert!(!ruleset.maps["ingress4"].elements.contains_key(&address));
    assert!(ruleset.maps["egress4"].elements.contains_key(&address));
}

#[test]
fn a_passing_rule_leads_past_its_tier() {
    use crate::{Rule, Selector, TierAction, TierPolicy, TierRule};
    let mut cluster = example();
    let matching = Rule { peers: Vec::new(), ports: Vec::new(), usable: true };
    let rule = |action| TierRule { action, matching: matching.clone() };
    cluster.admin = vec![TierPolicy {
        name: "t".into(),
        priority: 0,
        namespaces: Selector::default(),
        pods: Selector::default(),
        ingress: vec![rule(TierAction::Pass), rule(TierAction::Deny)],
        egress: Vec::new(),
    }];
    let ruleset = compile(&cluster);
    let packet = |source: &str, destination: &str, port| Packet {
        from: "weft".into(),
        to: "weft".into(),
        state: PacketState::New,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        payload: Payload::Port(Protocol::Tcp, port),
    };
    assert_eq!(ruleset.run(&packet("10.0.0.1", "10.0.0.3", 5432)), Fate::Passed);
    assert_eq!(ruleset.run(&packet("10.0.0.1", "10.0.0.3", 5433)), Fate::Dropped);
    assert_eq!(ruleset.run(&packet("10.0.0.3", "10.0.0.2", 1)), Fate::Passed);
}

#[test]
fn what_is_none_of_the_bridges_business_passes() {
    let ruleset = compile(&example());
    let mut packet = Packet {
        from: "eth0".into(),
        to: "eth1".into(),
        state: PacketState::New,
        source: "192.0.2.1".parse().unwrap(),
        destination: "10.0.0.3".parse().unwrap(),
        payload: Payload::Icmp(8),
    };
    assert_eq!(ruleset.run(&packet), Fate::Passed);
    packet.to = "weft".into();
    assert_eq!(ruleset.run(&packet), Fate::Dropped);
    packet.state = PacketState::Related;
    assert_eq!(ruleset.run(&packet), Fate::Passed);
    // Related is more than errors: a helper's expectation is not let through.
    packet.payload = Payload::Port(Protocol::Tcp, 5432);
    assert_eq!(ruleset.run(&packet), Fate::Dropped);
}

#[test]
fn comments_fit_the_kernel() {
    let mut cluster = example();
    let policy =
        Arc::make_mut(&mut cluster.policies).remove(&("x".to_owned(), "db".to_owned())).unwrap();
    let name = "n".repeat(253);
    let long = crate::NetworkPolicy { name: name.clone(), ..(*policy).clone() };
    Arc::make_mut(&mut cluster.policies).insert(("x".to_owned(), name), long.into());
    let longest = compile(&cluster).chains.values().flatten().map(|line| line.comment.len()).max();
    assert_eq!(longest, Some(127));
}

#[test]
fn a_line_is_written_as_nft_reads_it() {
    let line = Line {
        matches: vec![
            Match::Address(End::Source, Family::V4, "pods4_1".into()),
            Match::Ports(Protocol::Tcp, vec![(80, 80), (90, 99)]),
        ],
        counted: true,
        action: Action::Return,
        comment: "x/db ingress[0]".into(),
    };
    let transaction = Transaction { commands: vec![Command::AddLine("in_1".into(), line)] };
    let saddr = json!({"payload": {"protocol": "ip", "field": "saddr"}});
    let dport = json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let ports = json!({"set": [80, {"range": [90, 99]}]});
    assert_eq!(
        transaction.to_json(),
        json!({"nftables": [{"add": {"rule": {
            "family": "inet", "table": "weft-policy", "chain": "in_1",
            "expr": [
                {"match": {"op": "==", "left": saddr, "right": "@pods4_1"}},
                {"match": {"op": "==", "left": dport, "right": ports}},
                {"counter": null},
                {"return": null},
            ],
            "comment": "x/db ingress[0]",
        }}}]})
    );
}

#[test]
fn drops_are_logged_before_they_are_dropped() {
    let ruleset = compile(&example()).with_drop_log(7);
    let mut drops = 0;
    for (name, lines) in &ruleset.chains {
        for pair in lines.windows(2) {
            if pair[1].action == Action::Drop {
                drops += 1;
                let Action::Log(7, word) = pair[0].action else { panic!("{pair:?}") };
                assert_eq!(pair[0].matches, pair[1].matches);
                assert_eq!(name == "forward", word == "midway", "{name}");
            }
        }
    }
    // Of either end and family what belongs to no connection; and one for each of two classes.
    assert_eq!(drops, 6);
    let isolating: Vec<_> = ruleset.isolating.values().flatten().collect();
    assert_eq!(isolating, ["x/db", "x/web"]);
}

#[test]
fn c5_what_is_open_goes_on_until_it_is_cut_and_is_judged_when_it_opens_again() {
    let mut cluster = example();
    let packet = |state| Packet {
        from: "weft".into(),
        to: "weft".into(),
        state,
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.3".parse().unwrap(),
        payload: Payload::Port(Protocol::Tcp, 5432),
    };
    let fates = |cluster: &Cluster| {
        let ruleset = compile(cluster);
        [PacketState::New, PacketState::Established].map(|state| ruleset.run(&packet(state)))
    };
    assert_eq!(fates(&cluster), [Fate::Passed, Fate::Passed]);
    let policy =
        Arc::make_mut(&mut cluster.policies).get_mut(&("x".to_owned(), "db".to_owned())).unwrap();
    let policy = Arc::make_mut(policy);
    policy.ingress = Some(Vec::new());
    assert_eq!(fates(&cluster), [Fate::Dropped, Fate::Passed]);
    // One that is cut has no state, and cannot be taken for an opening: that is told apart before any
    // Pod's class is asked, for whoever is isolated.
    let ruleset = compile(&cluster);
    let midway: Vec<_> = ruleset.chains["forward"]
        .iter()
        .filter(|line| line.matches.contains(&Match::Midway) && line.action == Action::Drop)
        .filter_map(|line| match &line.matches[..] {
            [Match::Midway, Match::Address(end, Family::V4, set)] => Some((*end, set.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(midway, [(End::Source, "isolated4"), (End::Destination, "isolated4")]);
    let Elements::Addresses(isolated) = &ruleset.sets["isolated4"].elements else {
        panic!("of addresses")
    };
    assert!(isolated.contains(&packet(PacketState::New).destination));
}

#[test]
fn c10_a_restart_replaces_all_at_once_and_a_known_ruleset_is_left_alone() {
    let ruleset = compile(&example());
    let commands = ruleset.transaction_from(None).commands;
    assert_eq!(commands.first(), Some(&Command::Reset));
    assert_eq!(commands.iter().filter(|command| **command == Command::Reset).count(), 1);
    let chains = commands.iter().filter(|command| matches!(command, Command::AddChain(_))).count();
    assert_eq!(chains, ruleset.chains.len());
    // One document, which `nft` carries out as one transaction.
    let document = ruleset.transaction_from(None).to_json();
    assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["nftables"]);
    assert!(ruleset.transaction_from(Some(&ruleset)).is_empty());
}

#[test]
fn c15_nodes_that_know_the_same_decide_the_same_whatever_they_heard_first() {
    let forwards = example();
    // Policies and namespaces have an order of their own; Pods have that in which they came.
    let mut backwards = forwards.clone();
    backwards.pods.reverse();
    assert_ne!(backwards.pods, forwards.pods);
    assert_eq!(compile(&forwards), compile(&backwards));
    // And what one learns late brings it to where the other is.
    let late =
        Arc::make_mut(&mut backwards.policies).remove(&("x".to_owned(), "web".to_owned())).unwrap();
    let before = compile(&backwards);
    assert_ne!(before, compile(&forwards));
    Arc::make_mut(&mut backwards.policies).insert(("x".to_owned(), "web".to_owned()), late);
    assert!(!compile(&forwards).transaction_from(Some(&before)).is_empty());
    assert_eq!(compile(&backwards), compile(&forwards));
}
