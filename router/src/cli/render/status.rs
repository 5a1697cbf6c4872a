//! The overview.

use std::fmt::Display;

use weft_api::status::{ConnectionCounts, Kubernetes, KubernetesState, ObservedAddress, Status};

use super::removals::sentence;
use super::{clean, name};

/// The column of the colon, as in Weave Net.
const KEY_WIDTH: usize = 15;

/// `weft status`: a block for each service, then what an operator should look at.
pub(in crate::cli) fn status(status: &Status) -> String {
    let (router, ipam) = (&status.router, &status.ipam);
    let mut blocks = vec![
        vec![
            line("Version", clean(&status.version)),
            line("Ready", if status.ready { "yes" } else { "no" }),
        ],
        vec![
            line("Service", "router"),
            line("Protocol", "weft/1"),
            line("Name", name(&router.name, &router.nickname)),
            line("Port", router.port),
            line("Encryption", encryption(&router.cipher)),
            line("PeerDiscovery", if router.discovery { "enabled" } else { "disabled" }),
            line("Targets", router.targets.len()),
            line("Connections", connections(&router.connections)),
            line("Peers", peers(router.peers, router.mesh_established)),
            line("MTU", mtu(router.mtu)),
            line("Seen at", observed(&router.observed_addresses)),
            line("Offload", known(&router.offload)),
            line("Scheduling", known(&router.scheduling)),
            line("Workers", workers(router.workers)),
        ],
        vec![
            line("Service", "ipam"),
            line("Status", clean(&ipam.state)),
            line("Range", clean(&ipam.ranges.join(", "))),
            line("Owned", ipam.owned),
            line("Active", ipam.active),
        ],
    ];
    // Those that are over are worth a word where nobody named the node.
    let removals = ipam.removals.iter().filter(|removal| !removal.complete || removal.forced);
    let removals = removals.map(|removal| line("Removal", sentence(removal)));
    if let Some(block) = blocks.last_mut() {
        block.extend(removals);
    }
    blocks.extend(status.kubernetes.as_ref().map(kubernetes));
    if !status.warnings.is_empty() {
        blocks.push(status.warnings.iter().map(|text| line("Warning", clean(text))).collect());
    }
    blocks.iter().map(|block| block.concat()).collect::<Vec<_>>().join("\n")
}

fn kubernetes(kubernetes: &Kubernetes) -> Vec<String> {
    let state = match kubernetes.state {
        KubernetesState::Watching => "watching",
        KubernetesState::Away => "away",
        KubernetesState::Failing => "failing",
    };
    let mut block = vec![
        line("Service", "kubernetes"),
        line("Node", clean(&kubernetes.node)),
        line("Status", format!("{state} since {}", clean(&kubernetes.since))),
    ];
    block.extend(kubernetes.detail.as_ref().map(|detail| line("Detail", clean(detail))));
    block
}

fn line(key: &str, value: impl Display) -> String {
    format!("{key:>KEY_WIDTH$}: {value}\n")
}

/// Where others see this node, the most of them first.
fn observed(addresses: &[ObservedAddress]) -> String {
    let mut addresses: Vec<_> = addresses.iter().collect();
    addresses.sort_by(|a, b| b.peers.cmp(&a.peers).then_with(|| a.address.cmp(&b.address)));
    match addresses.as_slice() {
        [] => "unknown".to_owned(),
        [first] => clean(&first.address),
        all => {
            let each = all.iter().map(|a| format!("{} (by {})", clean(&a.address), a.peers));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The suite; there is no way to have none, only not to know it yet.
fn workers(each_way: usize) -> String {
    match each_way {
        0 => "unknown".to_owned(),
        _ => format!("{each_way} each way"),
    }
}

fn encryption(cipher: &str) -> String {
    if cipher.is_empty() { "enabled".to_owned() } else { clean(cipher) }
}

fn known(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { clean(text) }
}

fn mtu(mtu: u32) -> String {
    if mtu == 0 { "unknown".to_owned() } else { mtu.to_string() }
}

fn connections(counts: &ConnectionCounts) -> String {
    let states = [
        (counts.established, "established"),
        (counts.pending, "pending"),
        (counts.retrying, "retrying"),
        (counts.failed, "failed"),
        (counts.connecting, "connecting"),
    ];
    let total: usize = states.iter().map(|(count, _)| count).sum();
    let parts: Vec<_> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    if parts.is_empty() { total.to_string() } else { format!("{total} ({})", parts.join(", ")) }
}

fn peers(peers: usize, established: usize) -> String {
    match established {
        0 => peers.to_string(),
        count => format!("{peers} (with {count} established connections)"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example::H1;
    use super::*;
    use weft_api::status::{Ipam, Policy, Router};

    /// A node of three, of whose connections one failed.
    pub(in crate::cli::render) fn example() -> Status {
        Status {
            version: "0.1.0".into(),
            ready: true,
            router: Router {
                name: H1.into(),
                nickname: "h1".into(),
                port: 6783,
                discovery: true,
                targets: vec!["10.99.0.2".into(), "10.99.0.4".into()],
                peers: 3,
                connections: ConnectionCounts { established: 2, failed: 1, ..Default::default() },
                mesh_established: 6,
                cipher: "chacha20-poly1305".into(),
                mtu: 1404,
                observed_addresses: vec![
                    ObservedAddress { address: "10.99.0.1:6783".into(), peers: 1 },
                    ObservedAddress { address: "198.51.100.7:40001".into(), peers: 2 },
                ],
                offload: "tap +csum +tso +uso, udp +gso +gro".into(),
                scheduling: "real-time".into(),
                workers: 2,
            },
            ipam: Ipam {
                state: "ready".into(),
                ranges: vec!["10.32.0.0/12".into(), "fd00:77::/48".into()],
                owned: 349_526,
                active: 2,
                removals: Vec::new(),
            },
            policy: Policy::default(),
            kubernetes: None,
            warnings: Vec::new(),
        }
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "        Version: 0.1.0
          Ready: yes

        Service: router
       Protocol: weft/1
           Name: a1b2c3d4e5(h1)
           Port: 6783
     Encryption: chacha20-poly1305
  PeerDiscovery: enabled
        Targets: 2
    Connections: 3 (2 established, 1 failed)
          Peers: 3 (with 6 established connections)
            MTU: 1404
        Seen at: 198.51.100.7:40001 (by 2), 10.99.0.1:6783 (by 1)
        Offload: tap +csum +tso +uso, udp +gso +gro
     Scheduling: real-time
        Workers: 2 each way

        Service: ipam
         Status: ready
          Range: 10.32.0.0/12, fd00:77::/48
          Owned: 349526
         Active: 2
";

    #[test]
    fn a_node_at_work() {
        assert_eq!(status(&example()), EXAMPLE);
        assert!(EXAMPLE.lines().all(|line| line.is_empty() || line.find(':') == Some(15)));
    }

    #[test]
    fn a_node_that_is_alone_and_worried() {
        let mut data = example();
        data.ready = false;
        data.router.discovery = false;
        data.router.targets.clear();
        data.router.connections = ConnectionCounts::default();
        data.router.peers = 1;
        data.router.mesh_established = 0;
        data.router.cipher.clear();
        data.router.mtu = 0;
        data.router.observed_addresses.clear();
        data.router.offload.clear();
        data.router.scheduling.clear();
        data.router.workers = 0;
        data.ipam = Ipam {
            state: "awaiting consensus (quorum: 2, known: 1)".into(),
            ranges: vec!["10.32.0.0/12".into()],
            owned: 0,
            active: 0,
            removals: vec![super::super::removals::tests::pending()],
        };
        data.warnings = vec!["10.99.0.7:6783: wrong secret".into(), "clock\nskew".into()];
        let expected = "        Version: 0.1.0
          Ready: no

        Service: router
       Protocol: weft/1
           Name: a1b2c3d4e5(h1)
           Port: 6783
     Encryption: enabled
  PeerDiscovery: disabled
        Targets: 0
    Connections: 0
          Peers: 1
            MTU: unknown
        Seen at: unknown
        Offload: unknown
     Scheduling: unknown
        Workers: unknown

        Service: ipam
         Status: awaiting consensus (quorum: 2, known: 1)
          Range: 10.32.0.0/12
          Owned: 0
         Active: 0
        Removal: c1b2c3d4e5(h3) to be removed on a1b2c3d4e5(h1) at 2026-08-06 18:55:38 UTC, waits for b1b2c3d4e5(h2)

        Warning: 10.99.0.7:6783: wrong secret
        Warning: clock\\nskew
";
        assert_eq!(status(&data), expected);
    }

    #[test]
    fn a_node_that_does_not_hear_the_api() {
        let mut data = example();
        data.kubernetes = Some(Kubernetes {
            node: "n1".into(),
            state: KubernetesState::Away,
            since: "2026-08-06 18:55:38 UTC".into(),
            detail: Some("nodes, pods: no\nanswer".into()),
        });
        let block = "
        Service: kubernetes
           Node: n1
         Status: away since 2026-08-06 18:55:38 UTC
         Detail: nodes, pods: no\\nanswer
";
        assert_eq!(status(&data), format!("{EXAMPLE}{block}"));
    }

    #[test]
    fn connections_are_counted_in_the_order_of_weave() {
        let all =
            ConnectionCounts { established: 1, pending: 2, retrying: 3, failed: 4, connecting: 5 };
        assert_eq!(
            connections(&all),
            "15 (1 established, 2 pending, 3 retrying, 4 failed, 5 connecting)"
        );
    }
}
