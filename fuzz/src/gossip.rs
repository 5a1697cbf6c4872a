//! The gossip node, fed by a member that may be hostile, and by a disk that may be broken.

use std::sync::Arc;
use std::time::Duration;

use weft_crypto::Identity;
use weft_gossip::ipam::{Init, Request};
use weft_gossip::{Config, Key, Kind, LinkState, Node, Saved, Time, fuzzing};

const US: [u8; 32] = [1; 32];
const THEM: [u8; 32] = [2; 32];

fn config() -> Config {
    Config {
        nickname: "us".into(),
        version: "0".into(),
        boot_id: 1,
        port: 6783,
        ranges: ["10.32.0.0/24", "fd00::/120"]
            .iter()
            .filter_map(|range| range.parse().ok())
            .collect(),
        init: Init::Founder,
        targets: 0,
        cool_down: Duration::from_secs(30),
    }
}

fn new(restored: Option<&Saved>) -> Option<Node> {
    let identity = Arc::new(Identity::from_seed(US));
    Node::new(config(), identity, [3; 32], restored, Time::from_start(Duration::ZERO)).ok()
}

/// A node that has founded the ring, has a Pod, and is connected with [`THEM`].
fn node() -> Option<Node> {
    let mut node = new(None)?;
    let them = Identity::from_seed(THEM).name();
    let now = Time::from_start(Duration::ZERO);
    node.handle_connected(them, ([192, 0, 2, 2], 6783).into(), true, now);
    node.handle_link_state(them, LinkState::Direct(0), now);
    node.allocate("pod", Request::default(), now + Duration::from_secs(30), now);
    drain(&mut node, now);
    Some(node)
}

/// Does what a shell does, for a disk that never fails.
fn drain(node: &mut Node, now: Time) {
    while let Some(persist) = node.poll_persist() {
        node.persisted(persist.token, now);
    }
    while node.poll_transmit().is_some() {}
    while node.poll_event().is_some() {}
}

/// After whatever came, the node still does its own work, and its own space is its own.
fn goes_on(node: &mut Node) {
    for second in [1, 5, 60, 3600] {
        let now = Time::from_start(Duration::from_secs(second));
        node.handle_timeout(now);
        drain(node, now);
    }
    let held: usize = node.allocations().map(|(_, addresses)| addresses.len()).sum();
    assert_eq!(held, 2, "a Pod's addresses went away by what another said");
    // Readable whatever was heard.
    let _ = (node.members(), node.candidates(), node.routes(), node.removals());
}

/// Bytes as a message.
pub(crate) fn message(data: &[u8]) {
    let Some(mut node) = node() else { return };
    let them = Identity::from_seed(THEM).name();
    let now = Time::from_start(Duration::from_secs(1));
    // An error is an answer.
    let _ = node.handle_message(them, data, now);
    drain(&mut node, now);
    goes_on(&mut node);
}

/// Bytes as the contents of records that a member really signed: a byte for the kind, the value behind it; `0xff 0xff`
/// ends a value.
pub(crate) fn record(data: &[u8]) {
    let Some(mut node) = node() else { return };
    let them = Identity::from_seed(THEM);
    let now = Time::from_start(Duration::from_secs(1));
    let mut rest = data;
    for version in 1..=16 {
        let Some((kind, behind)) = rest.split_first() else { break };
        let end = behind.windows(2).position(|pair| pair == [0xff, 0xff]);
        let value = behind.get(..end.unwrap_or(behind.len())).unwrap_or_default();
        rest = end.and_then(|end| behind.get(end + 2..)).unwrap_or_default();
        let key = Key::of(Kind(u16::from(*kind % 12)));
        let bytes = fuzzing::push(&them, key, version, Some(value.to_vec()));
        let _ = node.handle_message(them.name(), &bytes, now);
        drain(&mut node, now);
    }
    // A member may have removed us, rightly signed: then our Pod's addresses are void.
    if node.removed_by().is_none() {
        goes_on(&mut node);
    }
}

/// Bytes as the snapshot of a restarted node, and as a change behind a sound one: refused, or a node
/// that goes on.
pub(crate) fn restore(data: &[u8]) {
    let alone = Saved { snapshot: data.to_vec(), appended: Vec::new() };
    let behind =
        new(None).map(|node| Saved { snapshot: node.snapshot(), appended: vec![data.to_vec()] });
    for saved in behind.into_iter().chain([alone]) {
        let Some(mut node) = new(Some(&saved)) else { continue };
        let now = Time::from_start(Duration::from_secs(1));
        node.handle_timeout(now);
        drain(&mut node, now);
        let _ = (node.members(), node.candidates(), node.routes(), node.removals());
    }
}
