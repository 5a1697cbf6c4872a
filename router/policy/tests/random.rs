//! Random clusters, dual stack, with all tiers: the ruleset does what the evaluator says, and a
//! transaction turns one ruleset into another.
#![allow(clippy::unwrap_used, reason = "a harness of tests: what is malformed must fail")]

mod random {
    pub(crate) mod cluster;
    pub(crate) mod edit;
    pub(crate) mod table;
}

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use random::cluster::{arbitrary_cluster, arbitrary_traffic};
use random::edit::arbitrary_edit;
use random::table::Table;
use weft_policy::nft::{Fate, Packet, PacketState, Payload, Ruleset, Tightening};
use weft_policy::{Cluster, Connection, Endpoint, Family, FlowState, Pod, Traffic};

/// The bridge of the node.
const BRIDGE: &str = "weft";
/// The node whose Pods are local.
const NODE: &str = "n0";

fn is_local(pod: &Pod) -> bool {
    pod.node.as_deref() == Some(NODE)
}

/// Addresses that no Pod has, inside and outside of the blocks that policies name.
const STRANGERS: [&str; 4] = ["10.0.0.77", "192.0.2.1", "fd00::77", "2001:db8::1"];

/// All that may be at an end: Pods that run in networks of their own, by their address in a family, and
/// strangers.
fn ends(cluster: &Cluster, family: Family) -> Vec<(Endpoint<'_>, IpAddr)> {
    let pods =
        cluster.pods.iter().filter(|pod| pod.is_selectable()).flat_map(|pod| {
            pod.addresses.iter().map(move |&address| (Endpoint::Pod(pod), address))
        });
    let strangers = STRANGERS.iter().map(|text| {
        let address = text.parse().unwrap();
        (Endpoint::Address(address), address)
    });
    pods.chain(strangers).filter(|(_, address)| Family::of(*address) == family).collect()
}

/// What the node must do: ask each end that is a Pod of its own.
fn expected(cluster: &Cluster, connection: &Connection<'_>) -> Fate {
    let verdict = cluster.evaluate(connection);
    let here = |end| matches!(end, Endpoint::Pod(pod) if is_local(pod));
    let allowed = (!here(connection.source) || verdict.egress.allowed)
        && (!here(connection.destination) || verdict.ingress.allowed);
    if allowed { Fate::Passed } else { Fate::Dropped }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/random.txt",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_ruleset_does_what_the_evaluator_says(
        cluster in arbitrary_cluster(),
        traffics in prop::collection::vec(arbitrary_traffic(), 1..6),
    ) {
        let ruleset = Ruleset::compile(&cluster, BRIDGE, is_local);
        for family in [Family::V4, Family::V6] {
            let ends = ends(&cluster, family);
            for &(source, from) in &ends {
                for &(destination, to) in &ends {
                    for &traffic in &traffics {
                        check(&cluster, &ruleset, (source, from), (destination, to), family, traffic)?;
                    }
                }
            }
        }
    }

    #[test]
    fn a_transaction_turns_one_ruleset_into_another(
        before in arbitrary_cluster(),
        after in arbitrary_cluster(),
    ) {
        let [before, after] =
            [before, after].map(|cluster| Ruleset::compile(&cluster, BRIDGE, is_local));
        // What the kernel does not keep.
        let [before, after] =
            [before, after].map(|ruleset| Ruleset { isolating: BTreeMap::new(), ..ruleset });
        let mut table = Table::default();
        table.apply(&before.transaction_from(None));
        prop_assert_eq!(table.ruleset(), &before);
        table.apply(&after.transaction_from(Some(&before)));
        prop_assert_eq!(table.ruleset(), &after);
        prop_assert!(after.transaction_from(Some(&after)).is_empty());
        // From whatever there is, too.
        table.apply(&before.transaction_from(None));
        prop_assert_eq!(table.ruleset(), &before);
    }

    /// Connections that stand are looked at only where the judgement says so.
    #[test]
    fn nothing_is_denied_outside_of_what_is_judged_a_tightening(
        before in arbitrary_cluster(),
        edits in prop::collection::vec(arbitrary_edit(), 1..4),
        traffics in prop::collection::vec(arbitrary_traffic(), 1..6),
    ) {
        let mut after = before.clone();
        for edit in edits {
            edit.apply(&mut after);
        }
        let [old, new] = [&before, &after].map(|cluster| {
            Ruleset::compile(cluster, BRIDGE, is_local).with_drop_log(1)
        });
        let transaction = new.transaction_from(Some(&old));
        let Tightening::At(addresses) = new.tightening(&old, &transaction) else { return Ok(()) };
        for family in [Family::V4, Family::V6] {
            let ends = both_ends(&before, &after, family);
            for &(source, from) in &ends {
                for &(destination, to) in &ends {
                    if addresses.contains(&from) || addresses.contains(&to) {
                        continue;
                    }
                    for &traffic in &traffics {
                        let allowed = |cluster, at: usize| {
                            let asked = Connection::new(source[at], destination[at], family, traffic);
                            expected(cluster, &asked) == Fate::Passed
                        };
                        prop_assert!(
                            !allowed(&before, 0) || allowed(&after, 1),
                            "{} to {} {:?}, {:?}", from, to, traffic, transaction
                        );
                    }
                }
            }
        }
    }
}

/// All addresses at which something may be before or after a change, with what it is before and after.
fn both_ends<'a>(
    before: &'a Cluster,
    after: &'a Cluster,
    family: Family,
) -> Vec<([Endpoint<'a>; 2], IpAddr)> {
    let of_node = [before, after].into_iter().flat_map(|cluster| {
        let of_node = cluster.pods.iter().filter(|pod| !pod.is_selectable());
        of_node.flat_map(|pod| pod.addresses.iter().copied())
    });
    let of_node: BTreeSet<IpAddr> = of_node.collect();
    let [before, after] = [before, after].map(|cluster| -> BTreeMap<IpAddr, Endpoint<'a>> {
        ends(cluster, family).into_iter().map(|(end, address)| (address, end)).collect()
    });
    let addresses: BTreeSet<IpAddr> = before.keys().chain(after.keys()).copied().collect();
    let end = |ends: &BTreeMap<IpAddr, Endpoint<'a>>, address| {
        ends.get(&address).copied().unwrap_or(Endpoint::Address(address))
    };
    addresses
        .difference(&of_node)
        .map(|&address| ([end(&before, address), end(&after, address)], address))
        .collect()
}

fn check(
    cluster: &Cluster,
    ruleset: &Ruleset,
    (source, from): (Endpoint<'_>, IpAddr),
    (destination, to): (Endpoint<'_>, IpAddr),
    family: Family,
    traffic: Traffic,
) -> Result<(), TestCaseError> {
    let payload = match traffic {
        Traffic::Port(protocol, port) => Payload::Port(protocol, port),
        Traffic::Portless => Payload::Icmp(8),
        Traffic::Neighbour if family == Family::V6 => Payload::Icmp(135),
        // ARP is no IP packet: it never comes to the table.
        Traffic::Neighbour => return Ok(()),
    };
    for (state, flow) in
        [(PacketState::New, FlowState::New), (PacketState::Established, FlowState::Established)]
    {
        let mut connection = Connection::new(source, destination, family, traffic);
        connection.state = flow;
        let packet = Packet {
            from: BRIDGE.into(),
            to: BRIDGE.into(),
            state,
            source: from,
            destination: to,
            payload,
        };
        let got = ruleset.run(&packet);
        prop_assert_eq!(got, expected(cluster, &connection), "{:?}\n{:#?}", packet, ruleset);
    }
    Ok(())
}
