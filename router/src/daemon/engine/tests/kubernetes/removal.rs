//! Nodes that are gone from the API.

use super::*;

/// A founder that has heard of its own Node and of those of two peers, 2 and 3, and that reaches both.
fn start() -> (Engine, BTreeMap<Kind, Saved>) {
    let mut engine = founder_in_api_mode(Restored::default());
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    hear_lists(&mut engine, Vec::new(), Vec::new());
    hear(&mut engine, Event::Nodes(all()), at(1));
    for peer in [2, 3] {
        engine.handle_admitted(&link(u64::from(peer), peer, false, 5, 1), at(1));
        reach(&mut engine, &mut disk, peer);
    }
    (engine, disk)
}

fn all() -> Vec<NodeInfo> {
    vec![node(1, Some(1)), node(2, Some(2)), node(3, Some(3))]
}

/// A peer's own records come, so that it counts as reachable.
fn reach(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, peer: u8) {
    let mut other = super::super::engine(peer, Init::Auto, Restored::default());
    let mut others_disk = BTreeMap::new();
    other.handle_admitted(&link(1, 1, true, 5, 1), at(1));
    for round in 0..20 {
        let now = at(1) + Duration::from_millis(40) * round;
        engine.handle_timeout(now);
        other.handle_timeout(now);
        for output in drain(&mut other, &mut others_disk, now) {
            if let Output::Send { bytes, .. } = output {
                engine.handle_message(u64::from(peer), &bytes, now);
            }
        }
        for output in drain(engine, disk, now) {
            if let Output::Send { link, bytes } = output
                && link == u64::from(peer)
            {
                other.handle_message(1, &bytes, now);
            }
        }
    }
    assert!(reachable(engine).contains(&identity(peer).name()), "{peer} is reachable");
}

fn reachable(engine: &Engine) -> BTreeSet<PeerName> {
    let members = engine.node.members().into_iter().filter(|member| member.reachable);
    members.map(|member| member.name).collect()
}

fn removed(engine: &Engine) -> Vec<String> {
    engine.node.removals().into_iter().map(|removal| removal.name.to_string()).collect()
}

/// A long time after which each that may be removed is: turns included.
const LONG: u64 = 200;

fn lose(engine: &mut Engine, peer: u8) {
    engine.handle_closed(u64::from(peer), "gone", at(2));
}

#[test]
fn a_node_that_is_gone_and_out_of_reach_for_a_minute_leaves_the_ring() {
    let (mut engine, mut disk) = start();
    lose(&mut engine, 3);
    pass(&mut engine, &mut disk, at(LONG));
    assert!(removed(&engine).is_empty(), "its Node is there");
    hear(&mut engine, Event::Nodes(all()[..2].to_vec()), at(LONG));
    pass(&mut engine, &mut disk, at(LONG + 59));
    assert!(removed(&engine).is_empty());
    warning(&engine, "the Node n3 is gone from the Kubernetes API", at(LONG + 59));
    pass(&mut engine, &mut disk, at(LONG + 59 + LONG));
    assert_eq!(removed(&engine), [identity(3).name().to_string()]);
    let status = engine.status(at(2 * LONG));
    assert_eq!(status.ipam.removals[0].at, 1_786_042_538);
    pass(&mut engine, &mut disk, at(3 * LONG));
    assert_eq!(engine.poll_timeout().map(|due| due > at(3 * LONG)), Some(true));
    assert!(!warnings(&engine, at(3 * LONG)).iter().any(|text| text.contains("n3")));
}

#[test]
fn a_node_that_lives_is_named_and_stays() {
    let (mut engine, mut disk) = start();
    hear(&mut engine, Event::Nodes(all()[..2].to_vec()), at(3));
    pass_with_probes(&mut engine, &mut disk, LONG);
    assert!(removed(&engine).is_empty());
    let title = identity(3).name().short();
    let text = warning(&engine, "the Node n3 is gone from the Kubernetes API, and yet", at(LONG));
    assert!(text.contains("restart the kubelet there"), "{text}");
    assert!(text.ends_with(&format!("`weft rmpeer {title}`")), "{text}");
    // It registers again.
    hear(&mut engine, Event::Nodes(all()), at(LONG));
    pass_with_probes(&mut engine, &mut disk, LONG + 5);
    assert!(!warnings(&engine, at(LONG)).iter().any(|text| text.contains("n3")));
}

/// Lets time pass while all probes are answered.
fn pass_with_probes(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, until: u64) {
    while let Some(due) = engine.poll_timeout()
        && due <= at(until)
    {
        engine.handle_timeout(due);
        for output in drain(engine, disk, due) {
            if let Output::Probe { peer, token, .. } = output {
                engine.handle_answer(peer, token, due);
            }
        }
    }
}

#[test]
fn another_machine_under_the_name_of_a_node_replaces_the_former_one() {
    let (mut engine, mut disk) = start();
    lose(&mut engine, 3);
    let mut nodes = all();
    nodes[2].peer = Some(identity(4).name().to_string());
    hear(&mut engine, Event::Nodes(nodes), at(3));
    pass(&mut engine, &mut disk, at(LONG));
    assert_eq!(removed(&engine), [identity(3).name().to_string()]);
}

#[test]
fn nobody_is_removed_on_a_picture_that_is_not_whole() {
    let gone = || Event::Nodes(all()[..2].to_vec());
    let empty = || Event::Nodes(Vec::new());
    let without_own = || Event::Nodes(all()[1..2].to_vec());
    for (event, words) in [
        (empty(), "the Kubernetes API has no Nodes"),
        (without_own(), "this node has no Node n1 in the Kubernetes API"),
    ] {
        let (mut engine, mut disk) = start();
        lose(&mut engine, 3);
        hear(&mut engine, gone(), at(3));
        hear(&mut engine, event, at(4));
        pass(&mut engine, &mut disk, at(LONG));
        assert!(removed(&engine).is_empty(), "{words}");
        warning(&engine, words, at(LONG));
    }
    // A watch that does not work.
    let (mut engine, mut disk) = start();
    lose(&mut engine, 3);
    hear(&mut engine, gone(), at(3));
    hear(&mut engine, away(Resource::Nodes), at(4));
    pass(&mut engine, &mut disk, at(LONG));
    assert!(removed(&engine).is_empty());
    hear(&mut engine, Event::Watching(Resource::Nodes), at(LONG));
    pass(&mut engine, &mut disk, at(2 * LONG));
    assert_eq!(removed(&engine).len(), 1);
    // A node that is cut off itself.
    let (mut engine, mut disk) = start();
    lose(&mut engine, 3);
    lose(&mut engine, 2);
    hear(&mut engine, gone(), at(3));
    pass(&mut engine, &mut disk, at(LONG));
    assert!(removed(&engine).is_empty());
}

#[test]
fn a_node_that_goes_while_this_one_is_down_is_noticed() {
    let (mut engine, mut disk) = start();
    lose(&mut engine, 3);
    pass(&mut engine, &mut disk, at(10));
    let mut engine = founder_in_api_mode(restored(&disk));
    outcome(&mut engine, &mut disk, at(0));
    hear_lists(&mut engine, Vec::new(), Vec::new());
    hear(&mut engine, Event::Nodes(all()[..1].to_vec()), at(1));
    pass(&mut engine, &mut disk, at(LONG));
    // Neither ever had addresses: the ring has nothing to remove.
    assert!(removed(&engine).is_empty());
    for node in ["n2", "n3"] {
        let gone = format!("the Node {node} is gone from the Kubernetes API");
        assert!(warning(&engine, &gone, at(LONG)).contains("is removed from the ring once"));
    }
}
