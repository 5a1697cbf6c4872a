//! The engine without a network: what it asks for, and in which order.

mod expose;
mod fence;
mod kubernetes;
mod objects;
mod paths;
mod removal;
mod roaming;
mod saving;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weft_api::attach::AttachmentQuery;
use weft_gossip::Endpoint;
use weft_gossip::ipam::Init;

use super::*;
use crate::daemon::links::close_code;
use crate::daemon::policy::{PolicyEvent, Standing};

fn enforced(token: u64) -> PolicyEvent {
    PolicyEvent::Done { token, result: Ok(Standing::default()) }
}

fn identity(n: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed([n; 32]))
}

fn at(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

/// An engine that has founded the ring, its first snapshot saved.
fn founder(n: u8, restored: Restored) -> Engine {
    engine(n, Init::Founder, restored)
}

fn engine(n: u8, init: Init, restored: Restored) -> Engine {
    engine_with(n, init, restored, |_| ())
}

/// The same with other settings.
fn engine_with(
    n: u8,
    init: Init,
    restored: Restored,
    change: impl FnOnce(&mut Settings),
) -> Engine {
    let mut settings = Settings {
        name: identity(n).name(),
        nickname: format!("h{n}"),
        port: 6783,
        ranges: vec!["10.32.0.0/12".parse().unwrap()],
        bridge: "weft".to_owned(),
        bridge_mac: Mac::new([0x0a, 0x59, 0, 0, 0, n]),
        mtu: 1395,
        discovery: true,
        conn_limit: 2,
        cipher: "chacha20-poly1305".to_owned(),
        tunnel: Tunnel::Auto,
        offload: String::new(),
        scheduling: String::new(),
        workers: 1,
        launch_peers: BTreeSet::from(["h9:6783".to_owned()]),
        warnings: Vec::new(),
        kubernetes: None,
    };
    change(&mut settings);
    let gossip = weft_gossip::Config {
        nickname: settings.nickname.clone(),
        version: "0.1.0".to_owned(),
        boot_id: 1,
        port: 6783,
        ranges: settings.ranges.clone(),
        init,
        targets: 1,
        cool_down: Duration::from_secs(30),
    };
    Engine::new(settings, gossip, identity(n), [n; 32], restored, at(0)).unwrap()
}

/// Carries out everything but the network, and answers what is left. Writes go to `disk`.
fn drain(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, now: Time) -> Vec<Output> {
    let mut left = Vec::new();
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Save { kind, token, what } => {
                disk.entry(kind).or_default().write(what);
                engine.handle_saved(kind, token, now);
            }
            Output::Host { token, .. } => engine.handle_host(token, Ok(()), now),
            Output::CutOff { token, .. } => engine.handle_cut_off(token, Ok(()), now),
            Output::Policy { token, .. } => engine.handle_policy(enforced(token), now),
            other => left.push(other),
        }
    }
    left
}

fn restored(disk: &BTreeMap<Kind, Saved>) -> Restored {
    let of = |kind| disk.get(&kind).cloned();
    Restored {
        gossip: of(Kind::Gossip),
        attachments: read_attachments(&of(Kind::Attachments).unwrap_or_default()).unwrap(),
        targets: of(Kind::Targets).map(|saved| serde_json::from_slice(&saved.snapshot).unwrap()),
        peers: of(Kind::Peers)
            .map(|saved| serde_json::from_slice(&saved.snapshot).unwrap())
            .unwrap_or_default(),
        heard: of(Kind::Heard).map(|saved| saved.snapshot),
        kubernetes: of(Kind::Kubernetes)
            .map(|saved| serde_json::from_slice(&saved.snapshot).unwrap()),
        ..Restored::default()
    }
}

fn request(container: &str) -> weft_api::attach::AttachRequest {
    weft_api::attach::AttachRequest {
        container: container.to_owned(),
        ifname: "eth0".to_owned(),
        ..Default::default()
    }
}

fn query(container: &str) -> AttachmentQuery {
    AttachmentQuery { container: Some(container.to_owned()), ..Default::default() }
}

fn link(id: u64, peer: u8, dialled: bool, boot_id: u64, dial_number: u64) -> LinkInfo {
    let address = "192.0.2.1:6783".parse().unwrap();
    let peer = identity(peer).name();
    LinkInfo {
        id,
        peer,
        address,
        dialled: dialled.then_some(Endpoint::Address(address, peer)),
        boot_id,
        dial_number,
        suite: weft_crypto::Suite::ChaCha20Poly1305,
        carries_packets: true,
    }
}

fn closes(outputs: &[Output]) -> Vec<u64> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Close { link, .. } => Some(*link),
            _ => None,
        })
        .collect()
}

#[test]
fn attach_twice_answers_the_same_and_detach_frees_once() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    let mut ips = Vec::new();
    for call in 0..2 {
        engine.attach(call, request("c1"), at(1));
        for output in drain(&mut engine, &mut disk, at(1)) {
            if let Output::Reply { result: Ok(Reply::Attach(reply)), .. } = output {
                ips.push(reply.attachment.ips);
            }
        }
    }
    assert_eq!(ips.len(), 2);
    assert_eq!(ips[0], ips[1]);
    let mut detached = Vec::new();
    for call in 2..4 {
        engine.detach(call, &query("c1"), at(2));
        for output in drain(&mut engine, &mut disk, at(2)) {
            if let Output::Reply { result: Ok(Reply::Detach(reply)), .. } = output {
                detached.push(reply.detached.len());
            }
        }
    }
    assert_eq!(detached, [1, 0]);
}

#[test]
fn restart_keeps_addresses_and_frees_what_was_never_handed_out() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.attach(1, request("kept"), at(1));
    drain(&mut engine, &mut disk, at(1));
    let before = engine.select(&query("kept"));
    let attachments = disk[&Kind::Attachments].clone();
    // A disk that has the address and not the attachment.
    engine.attach(2, request("lost"), at(2));
    drain(&mut engine, &mut disk, at(2));
    disk.insert(Kind::Attachments, attachments);

    let mut engine = founder(1, restored(&disk));
    drain(&mut engine, &mut disk, at(0));
    assert_eq!(engine.select(&query("kept")), before);
    assert!(engine.select(&query("lost")).is_empty());
    assert_eq!(engine.status(at(0)).ipam.active, 1);
}

#[test]
fn targets_survive_a_restart_with_the_same_command_line_only() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.connect(1, BTreeSet::from(["h8:6783".to_owned()]), false, at(1));
    drain(&mut engine, &mut disk, at(1));
    let engine = founder(1, restored(&disk));
    assert_eq!(engine.status(at(0)).router.targets, ["h8:6783", "h9:6783"]);

    let mut saved: SavedTargets = serde_json::from_slice(&disk[&Kind::Targets].snapshot).unwrap();
    saved.launch = BTreeSet::from(["elsewhere:6783".to_owned()]);
    let snapshot = serde_json::to_vec(&saved).unwrap();
    disk.insert(Kind::Targets, Saved { snapshot, appended: Vec::new() });
    let engine = founder(1, restored(&disk));
    assert_eq!(engine.status(at(0)).router.targets, ["h9:6783"]);
}

/// Feeds two links to one peer and says which id is left.
fn kept(us: u8, first: &LinkInfo, second: &LinkInfo) -> u64 {
    let mut disk = BTreeMap::new();
    let mut engine = founder(us, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    assert_eq!(engine.handle_admitted(first, at(1)), Verdict::Accept);
    let verdict = engine.handle_admitted(second, at(1));
    let closed = closes(&drain(&mut engine, &mut disk, at(1)));
    match verdict {
        Verdict::Accept => assert_eq!(closed, [first.id]),
        Verdict::Decline(code) => {
            assert_eq!(code, close_code::DUPLICATE);
            assert!(closed.is_empty());
        }
    }
    let ids: Vec<u64> = engine.links().map(|(_, link)| link.id).collect();
    assert_eq!(ids.len(), 1);
    ids[0]
}

#[test]
fn both_ends_keep_the_same_of_two_connections() {
    let (a, b) = (1, 2);
    let lower_is_a = identity(a).name() < identity(b).name();
    // Connection 1 was dialled by a, connection 2 by b; each end may see them in either order.
    let at_a = [link(1, b, true, 5, 1), link(2, b, false, 5, 1)];
    let at_b = [link(1, a, false, 6, 1), link(2, a, true, 6, 1)];
    let expected = if lower_is_a { 1 } else { 2 };
    assert_eq!(kept(a, &at_a[0], &at_a[1]), expected);
    assert_eq!(kept(a, &at_a[1], &at_a[0]), expected);
    assert_eq!(kept(b, &at_b[0], &at_b[1]), expected);
    assert_eq!(kept(b, &at_b[1], &at_b[0]), expected);

    // Both dialled by a: the later dial, at both ends, in either order.
    let at_a = [link(1, b, true, 5, 3), link(2, b, true, 5, 4)];
    let at_b = [link(1, a, false, 6, 3), link(2, a, false, 6, 4)];
    for (us, pair) in [(a, &at_a), (b, &at_b)] {
        assert_eq!(kept(us, &pair[0], &pair[1]), 2);
        assert_eq!(kept(us, &pair[1], &pair[0]), 2);
    }
}

#[test]
fn restarted_peer_is_heard_at_once() {
    assert_eq!(kept(1, &link(1, 2, true, 5, 9), &link(2, 2, false, 77, 1)), 2);
    assert_eq!(kept(2, &link(1, 1, false, 5, 9), &link(2, 1, false, 77, 1)), 2);
}

#[test]
fn connection_limit_declines_strangers_not_known_peers() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    assert_eq!(engine.handle_admitted(&link(1, 2, false, 5, 1), at(1)), Verdict::Accept);
    assert_eq!(engine.handle_admitted(&link(2, 3, false, 5, 1), at(1)), Verdict::Accept);
    let refused = engine.handle_admitted(&link(3, 4, false, 5, 1), at(1));
    assert_eq!(refused, Verdict::Decline(close_code::LIMIT));
    assert_eq!(engine.handle_admitted(&link(4, 3, false, 6, 1), at(1)), Verdict::Accept);
}

#[test]
fn data_path_is_probed_until_it_is_confirmed() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(1));
    assert_eq!(probes(&drain(&mut engine, &mut disk, at(1))).len(), 1);
    engine.handle_timeout(at(2));
    let token = probes(&drain(&mut engine, &mut disk, at(2)))[0];
    assert_eq!(engine.status(at(2)).router.connections.pending, 1);
    engine.handle_answer(identity(3).name(), token, at(2));
    assert_eq!(engine.status(at(2)).router.connections.established, 0);
    engine.handle_answer(identity(2).name(), token, at(2));
    assert_eq!(engine.status(at(2)).router.connections.established, 1);
    engine.handle_timeout(at(3));
    assert!(probes(&drain(&mut engine, &mut disk, at(3))).is_empty());
}

/// The tokens of the probes that are to be sent.
fn probes(outputs: &[Output]) -> Vec<u64> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Probe { token, .. } => Some(*token),
            _ => None,
        })
        .collect()
}

/// Answers the first probe of a peer's new link.
fn confirm(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, peer: u8, now: Time) {
    let token = probes(&drain(engine, disk, now))[0];
    engine.handle_answer(identity(peer).name(), token, now);
}

#[test]
fn a_silent_path_is_dead_in_status_and_in_what_others_are_told() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(1));
    confirm(&mut engine, &mut disk, 2, at(1));
    engine.take_tables_changed();
    let told = |engine: &Engine| {
        let us = engine.node.members().into_iter().find(|m| m.name == identity(1).name()).unwrap();
        (us.links[0].state, us.reachable)
    };
    assert_eq!(told(&engine).0, weft_gossip::LinkState::Direct(0));
    while let Some(due) = engine.poll_timeout()
        && due <= at(4)
    {
        engine.handle_timeout(due);
        drain(&mut engine, &mut disk, due);
    }
    let connection = engine.connections(&|_| None, at(4)).remove(0);
    assert_eq!(connection.state, weft_api::status::ConnectionState::Pending);
    assert!(connection.detail.unwrap().contains("the direct path is dead"));
    assert!(connection.loss_percent > Some(50));
    assert_eq!(told(&engine).0, weft_gossip::LinkState::Dead);
    assert!(engine.take_tables_changed());
}

#[test]
fn detach_answers_the_call_that_waits_for_an_address() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    engine.attach(1, request("c1"), at(1));
    // Not drained: the allocation is decided, the write is not done.
    engine.detach(2, &query("c1"), at(1));
    let mut answered = BTreeSet::new();
    for output in drain(&mut engine, &mut disk, at(1)) {
        if let Output::Reply { call, .. } = output {
            answered.insert(call);
        }
    }
    assert_eq!(answered, BTreeSet::from([1, 2]));
    assert!(engine.select(&query("c1")).is_empty());
    assert_eq!(engine.status(at(1)).ipam.active, 0);
}

#[test]
fn restarted_node_dials_the_peers_it_knew_until_it_is_back() {
    let mut disk = BTreeMap::new();
    let (peer, address) = (identity(2).name(), "192.0.2.7:6783".parse().unwrap());
    let saved = SavedPeers::from([(peer.to_string(), BTreeSet::from([address]))]);
    let mut engine = founder(1, Restored { peers: saved, ..Restored::default() });
    let mut dialled = Vec::new();
    for second in 0..10 {
        engine.handle_timeout(at(second));
        for output in drain(&mut engine, &mut disk, at(second)) {
            if let Output::Dial(endpoint) = output {
                dialled.push(endpoint);
            }
        }
    }
    assert!(dialled.contains(&Endpoint::Address(address, peer)), "{dialled:?}");
}

#[test]
fn another_node_at_an_old_address_is_kept_and_the_attempt_reported() {
    let mut disk = BTreeMap::new();
    let (gone, address) = (identity(2).name(), "192.0.2.1:6783".parse().unwrap());
    let saved = SavedPeers::from([(gone.to_string(), BTreeSet::from([address]))]);
    let mut engine = founder(1, Restored { peers: saved, ..Restored::default() });
    let mut now = 0;
    let dialled = loop {
        engine.handle_timeout(at(now));
        let outputs = drain(&mut engine, &mut disk, at(now));
        let dial = outputs.into_iter().find_map(|output| match output {
            Output::Dial(endpoint @ Endpoint::Address(..)) => Some(endpoint),
            _ => None,
        });
        match dial {
            Some(endpoint) => break endpoint,
            None if now < 10 => now += 1,
            None => panic!("the saved peer is never dialled"),
        }
    };
    let new = LinkInfo { dialled: Some(dialled), ..link(1, 3, true, 5, 1) };
    assert_eq!(engine.handle_admitted(&new, at(now)), Verdict::Accept);
    let connections = engine.connections(&|_| None, at(now));
    let attempt = connections.iter().find(|c| c.peer == Some(gone.to_string())).unwrap();
    assert_eq!(attempt.state, weft_api::status::ConnectionState::Failed);
}

#[test]
fn lost_peer_is_dialled_where_it_was() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(1));
    confirm(&mut engine, &mut disk, 2, at(1));
    engine.handle_closed(1, "timed out", at(2));
    let mut dialled = Vec::new();
    for second in 2..10 {
        engine.handle_timeout(at(second));
        for output in drain(&mut engine, &mut disk, at(second)) {
            if let Output::Dial(endpoint @ Endpoint::Address(..)) = output {
                dialled.push(endpoint);
            }
        }
    }
    let address = "192.0.2.1:6783".parse().unwrap();
    assert!(dialled.contains(&Endpoint::Address(address, identity(2).name())), "{dialled:?}");
}

/// Where the endpoints that are dialled from one moment to another lead.
fn dials(engine: &mut Engine, from: u64, until: u64) -> Vec<Endpoint> {
    let mut dialled = Vec::new();
    for second in from..until {
        engine.handle_timeout(at(second));
        for output in drain(engine, &mut BTreeMap::new(), at(second)) {
            if let Output::Dial(endpoint) = output {
                dialled.push(endpoint);
            }
        }
    }
    dialled
}

#[test]
fn a_remembered_peer_is_dialled_though_another_was_found() {
    let address = |n: u8| SocketAddr::from(([192, 0, 2, n], 6783));
    let saved = [2, 3].map(|n| (identity(n).name().to_string(), BTreeSet::from([address(n)])));
    let restored = Restored { peers: SavedPeers::from(saved), ..Restored::default() };
    let mut engine = founder(1, restored);
    let wanted = Endpoint::Address(address(3), identity(3).name());
    assert!(dials(&mut engine, 0, 5).contains(&wanted));
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(5));
    confirm(&mut engine, &mut BTreeMap::new(), 2, at(5));
    let error =
        weft_gossip::DialError { text: "no answer".to_owned(), retry: weft_gossip::Retry::Backoff };
    engine.handle_dial_failed(&wanted, error, at(6));
    assert!(dials(&mut engine, 6, 20).contains(&wanted), "never again");
}

#[test]
fn a_dial_to_one_who_is_not_let_in_is_tried_again() {
    let mut engine = founder(1, Restored::default());
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(0));
    for _ in 0..100 {
        engine.handle_fault(1, Fault::Frame, "why", at(0));
    }
    engine.handle_closed(1, "it broke a frame", at(0));
    let dialled = dials(&mut engine, 0, 10);
    let again = Endpoint::Address(link(1, 2, true, 5, 2).address, identity(2).name());
    assert!(dialled.contains(&again), "{dialled:?}");
    let refused = engine.handle_admitted(&link(2, 2, true, 5, 2), at(10));
    assert_eq!(refused, Verdict::Decline(close_code::PROTOCOL));
    assert!(dials(&mut engine, 10, 120).contains(&again), "never again");
}

#[test]
fn a_pod_is_answered_once_its_port_is_closed_to_others() {
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut BTreeMap::new(), at(0));
    engine.attach(1, request("c1"), at(1));
    let mut orders = Vec::new();
    let mut replies = Vec::new();
    let mut collect = |engine: &mut Engine, replies: &mut Vec<_>| {
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Save { kind, token, .. } => engine.handle_saved(kind, token, at(1)),
                Output::Policy { token, state } => orders.push((token, state)),
                Output::Reply { result, .. } => replies.push(result),
                _ => {}
            }
        }
        orders.last().cloned().expect("there is a Pod to protect")
    };
    let (token, state) = collect(&mut engine, &mut replies);
    assert!(replies.is_empty(), "{replies:?}");
    let ports: Vec<_> = state.ports.values().collect();
    assert_eq!(ports[0].mac.to_string(), "0a:58:0a:20:00:01");
    assert_eq!(ports[0].addresses, BTreeSet::from(["10.32.0.1".parse().unwrap()]));
    assert_eq!(state.cluster.pods[0].full_name(), "default/c1");

    let result = Err("nft: no such file".to_owned());
    engine.handle_policy(PolicyEvent::Done { token, result }, at(1));
    collect(&mut engine, &mut replies);
    let [Err(body)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(body.message, "nft: no such file");
    assert!(!engine.ready(at(9)), "no Pod can be served");

    // The same order, tried again by the shell, stands; so does the Pod that is asked for again.
    engine.attach(2, request("c1"), at(2));
    collect(&mut engine, &mut replies);
    assert_eq!(replies.len(), 1);
    engine.handle_policy(enforced(token), at(2));
    assert!(engine.ready(at(9)));
    collect(&mut engine, &mut replies);
    assert!(matches!(replies[..], [_, Ok(Reply::Attach(_))]), "{replies:?}");
}
