//! Peers whose address changes, and peers that nobody can reach without finding out where they are.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::paths::{ALL, Mesh, Wire, home};
use super::*;
use crate::daemon::links::virtual_address;

fn target(mesh: &Mesh, from: usize, to: usize) -> Option<SocketAddr> {
    mesh.engines[from].peers.link_to(mesh.name(to)).unwrap().target
}

#[test]
fn a_peer_that_moves_is_followed_and_the_others_are_told() {
    let mut mesh = Mesh::new(3, Tunnel::Udp);
    mesh.pass(ALL, Duration::from_secs(5));
    let new: SocketAddr = "198.51.100.9:40000".parse().unwrap();
    mesh.homes[1] = new;
    let begun = mesh.now;
    mesh.until(ALL, "direct paths to the new address", |mesh| {
        [0, 2].iter().all(|from| target(mesh, *from, 1) == Some(new) && mesh.is_direct(*from, 1))
    });
    let took = mesh.now.since(begun);
    assert!(took < Duration::from_secs(4), "{took:?}");
    mesh.pass(ALL, Duration::from_secs(2));
    let name = mesh.name(1);
    assert_eq!(mesh.engines[0].node.candidates()[&name], BTreeSet::from([new]));
    // Under traffic the first packet shows it.
    let newer: SocketAddr = "198.51.100.9:40001".parse().unwrap();
    mesh.homes[1] = newer;
    let begun = mesh.now;
    mesh.engines[0].handle_heard(name, newer, begun);
    mesh.until(ALL, "the newer address", |mesh| target(mesh, 0, 1) == Some(newer));
    let took = mesh.now.since(begun);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn who_forwards_packets_from_elsewhere_moves_nobody() {
    let mut mesh = Mesh::new(2, Tunnel::Udp);
    mesh.pass(ALL, Duration::from_secs(5));
    let (peer, attacker) = (mesh.name(1), "203.0.113.66:6783".parse().unwrap());
    for _ in 0..100 {
        let now = mesh.now;
        mesh.engines[0].handle_heard(peer, attacker, now);
        mesh.pass(ALL, Duration::from_millis(100));
        assert_eq!(target(&mesh, 0, 1), Some(home(1)));
        assert!(mesh.is_direct(0, 1));
    }
    // Ten seconds, from ever other addresses: one is asked at a time.
    let before = mesh.probes;
    for n in 0..1_000_u16 {
        let now = mesh.now;
        mesh.engines[0].handle_heard(peer, SocketAddr::from(([203, 0, 113, 7], n)), now);
        mesh.pass(ALL, Duration::from_millis(10));
    }
    assert!(mesh.is_direct(0, 1) && target(&mesh, 0, 1) == Some(home(1)));
    let probes = mesh.probes - before;
    assert!(probes < 150, "{probes} probes");
}

#[test]
fn a_challenger_that_forwards_both_ways_waits_for_as_long_as_the_target_answers() {
    let mut mesh = Mesh::new(2, Tunnel::Udp);
    mesh.pass(ALL, Duration::from_secs(5));
    let (peer, attacker) = (mesh.name(1), "203.0.113.66:6783".parse().unwrap());
    let now = mesh.now;
    mesh.engines[0].handle_heard(peer, attacker, now);
    for output in drain(&mut mesh.engines[0], &mut BTreeMap::new(), now) {
        if let Output::Probe { token, .. } = output {
            // All are answered, those to the attacker too.
            mesh.engines[0].handle_answer(peer, token, now);
        }
    }
    assert_eq!(target(&mesh, 0, 1), Some(home(1)));
    mesh.pass(ALL, Duration::from_secs(10));
    assert_eq!(target(&mesh, 0, 1), Some(home(1)));
    assert!(mesh.is_direct(0, 1));
}

/// The first and the second node have their link through the third.
fn apart() -> Mesh {
    Mesh::linked(3, Tunnel::Udp, |from, to| match (from, to) {
        (0 | 1, 0 | 1) => virtual_address(&identity(u8::try_from(to + 1).unwrap()).name()),
        _ => home(to),
    })
}

#[test]
fn two_nodes_behind_nats_open_them_for_each_other() {
    let mut mesh = apart();
    for place in [0, 1] {
        mesh.sent[place] = Some(BTreeSet::from([home(2)]));
    }
    let took = mesh.until(ALL, "direct path", |mesh| mesh.is_direct(0, 1) && mesh.is_direct(1, 0));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(target(&mesh, 0, 1), Some(home(1)));
    // A NAT forgets; the peer is found where it is by then.
    let new: SocketAddr = "198.51.100.9:40000".parse().unwrap();
    mesh.homes[1] = new;
    mesh.sent[1] = Some(BTreeSet::new());
    mesh.until(ALL, "the new address", |mesh| {
        target(mesh, 0, 1) == Some(new) && mesh.is_direct(0, 1) && mesh.is_direct(1, 0)
    });
}

#[test]
fn one_whose_address_nobody_knows_is_answered_where_it_is_heard() {
    let mut mesh = apart();
    // Behind a NAT that has another port for the third node than for the first, which lets everybody in.
    mesh.pass(ALL, Duration::ZERO);
    mesh.homes[1] = "198.51.100.9:40000".parse().unwrap();
    let took = mesh.until(ALL, "direct path", |mesh| mesh.is_direct(0, 1) && mesh.is_direct(1, 0));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(target(&mesh, 0, 1), Some(mesh.homes[1]));
}

#[test]
fn what_cannot_be_found_is_looked_for_ever_more_rarely() {
    let never = Wire { data: |a, b| !matches!((a, b), (0, 1) | (1, 0)), ..ALL };
    let mut mesh = apart();
    let between = |mesh: &mut Mesh, minutes: u64| {
        let before = mesh.probes;
        mesh.pass(never, Duration::from_secs(60 * minutes));
        mesh.probes - before
    };
    let first = between(&mut mesh, 5);
    let later = between(&mut mesh, 20);
    assert!(first > 20, "{first}");
    assert!(!mesh.is_direct(0, 1));
    // The paths to the third node alone ask about once in two seconds each.
    assert!(later < 20 * 60 * 2, "{first}, then {later}");
}
