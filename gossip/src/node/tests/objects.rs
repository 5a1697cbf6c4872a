//! Objects and Pods as they travel between nodes, and what hostile ones do.

use super::*;
use crate::{
    ObjectError, ObjectKey, PodChange, PodInfo, PodPort, Stamp, WriteId, limits::MAX_POD,
    objects::ObjectValue,
};

/// The time of day of these tests at [`Time::START`].
const WALL: u64 = 1_800_000_000_000;

fn key(name: &str) -> ObjectKey {
    ObjectKey { kind: "NetworkPolicy".into(), namespace: "default".into(), name: name.into() }
}

fn write(node: &mut Node, name: &str, body: Option<&str>, now: Time) -> WriteId {
    let body = body.map(|body| body.as_bytes().to_vec());
    node.write_objects(vec![(key(name), body)], now).unwrap()
}

fn body(node: &Node, name: &str, now: Time) -> Option<String> {
    let view = node.object(&key(name), now)?;
    Some(String::from_utf8(view.body.to_vec()).unwrap())
}

/// Nodes in a row that know the time of day.
fn row(count: u8) -> Cluster {
    let mut cluster = Cluster::new(count);
    for node in &mut cluster.nodes {
        node.set_clock(WALL, cluster.now);
    }
    for at in 1..cluster.nodes.len() {
        cluster.connect(at - 1, at);
    }
    cluster.pass(Duration::from_secs(1));
    cluster
}

impl Cluster {
    fn bodies(&self, name: &str) -> Vec<Option<String>> {
        self.nodes.iter().map(|node| body(node, name, self.now)).collect()
    }

    /// Every node must answer the same.
    fn everyone(&self, name: &str, expected: Option<&str>) {
        let expected = vec![expected.map(str::to_owned); self.nodes.len()];
        assert_eq!(self.bodies(name), expected);
    }
}

fn drain(node: &mut Node) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(persist) = node.poll_persist() {
        node.persisted(persist.token, Time::START);
    }
    while let Some(event) = node.poll_event() {
        events.push(event);
    }
    events
}

#[test]
fn what_one_node_writes_all_have_and_another_may_delete() {
    let mut cluster = row(3);
    let id = write(&mut cluster.nodes[0], "web", Some("1"), cluster.now);
    cluster.pass(Duration::from_secs(1));
    cluster.everyone("web", Some("1"));
    assert!(cluster.events[0].contains(&Event::ObjectsWritten(id)));
    assert!(cluster.events[2].contains(&Event::ObjectsChanged));
    write(&mut cluster.nodes[1], "web", None, cluster.now);
    cluster.pass(Duration::from_secs(1));
    cluster.everyone("web", None);
    assert!(cluster.agree());
    assert_eq!(cluster.nodes[2].objects(cluster.now).count(), 0);
}

#[test]
fn of_edits_on_both_sides_of_a_partition_the_later_one_wins() {
    let mut cluster = row(3);
    write(&mut cluster.nodes[0], "web", Some("old"), cluster.now);
    write(&mut cluster.nodes[0], "db", Some("old"), cluster.now);
    cluster.pass(Duration::from_secs(1));
    cluster.disconnect(1, 2);
    write(&mut cluster.nodes[2], "web", Some("early"), cluster.now);
    write(&mut cluster.nodes[0], "db", None, cluster.now);
    cluster.pass(Duration::from_secs(1));
    write(&mut cluster.nodes[0], "web", Some("late"), cluster.now);
    write(&mut cluster.nodes[2], "db", Some("back"), cluster.now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(body(&cluster.nodes[2], "web", cluster.now).as_deref(), Some("early"));
    cluster.connect(1, 2);
    cluster.pass(Duration::from_secs(1));
    cluster.everyone("web", Some("late"));
    cluster.everyone("db", Some("back"));
    assert!(cluster.agree());
}

#[test]
fn an_object_counts_and_leaves_once_it_is_on_disk() {
    let mut node = start(1, Init::Observer, None);
    node.set_clock(WALL, Time::START);
    drain(&mut node);
    let peer = identity(2).name();
    node.handle_connected(peer, address(1), true, Time::START);
    while node.poll_transmit().is_some() {}
    let id = write(&mut node, "web", Some("1"), Time::START);
    assert_eq!(body(&node, "web", Time::START), None);
    assert_eq!(node.poll_transmit(), None);
    assert!(
        std::iter::from_fn(|| node.poll_event()).all(|event| event != Event::ObjectsWritten(id))
    );
    // A second write meanwhile follows the first one.
    write(&mut node, "web", Some("2"), Time::START);
    let events = drain(&mut node);
    assert!(events.contains(&Event::ObjectsWritten(id)));
    let view = node.object(&key("web"), Time::START).unwrap();
    assert_eq!((&*view.body, view.stamp), (&b"2"[..], Stamp { millis: WALL, counter: 1 }));
    assert!(node.poll_transmit().is_some());
    node.check_invariants();
}

#[test]
fn a_node_that_starts_alone_knows_what_it_and_others_wrote() {
    let mut cluster = row(2);
    let now = cluster.now;
    for node in &mut cluster.nodes {
        let name = node.config.nickname.clone();
        write(node, &name, Some("x"), now);
    }
    while let Some(persist) = cluster.nodes[1].poll_persist() {
        cluster.nodes[1].persisted(persist.token, now);
        cluster.disks[1].write(persist.what);
    }
    let saved = cluster.disks[1].clone();
    assert_eq!(cluster.nodes[1].poll_heard(), None);
    cluster.pass(Duration::from_secs(3));
    let heard = cluster.nodes[1].poll_heard().expect("it heard of an object");
    assert_eq!(cluster.nodes[1].poll_heard(), None, "nothing is new");

    let mut again = start(2, Init::Observer, Some(&saved));
    again.set_clock(WALL, Time::START);
    assert_eq!(body(&again, "h2", Time::START).as_deref(), Some("x"));
    assert_eq!(body(&again, "h1", Time::START), None);
    again.recall(&heard, Time::START).unwrap();
    assert_eq!(body(&again, "h1", Time::START).as_deref(), Some("x"));
    assert!(again.recall(&heard[1..], Time::START).is_err());
    again.check_invariants();
    // Its next write follows what it knows, and its slots are not mixed up.
    write(&mut again, "h1", None, Time::START);
    write(&mut again, "new", Some("y"), Time::START);
    drain(&mut again);
    let names: Vec<_> = again.objects(Time::START).map(|view| view.key.name).collect();
    assert_eq!(names, ["h2", "new"]);
}

#[test]
fn what_a_writer_that_is_gone_wrote_stays_with_those_who_heard_it() {
    let mut cluster = row(3);
    write(&mut cluster.nodes[0], "web", Some("1"), cluster.now);
    cluster.pass(Duration::from_secs(3));
    let heard = cluster.nodes[1].poll_heard().unwrap();
    // All stop. The writer never comes back, and one of the others has lost what it heard.
    let mut again = Cluster::new(3);
    again.nodes[1].recall(&heard, again.now).unwrap();
    again.connect(1, 2);
    again.pass(Duration::from_secs(5));
    assert_eq!(body(&again.nodes[2], "web", again.now).as_deref(), Some("1"));
    // Anyone may delete it.
    write(&mut again.nodes[2], "web", None, again.now);
    again.pass(Duration::from_secs(1));
    assert_eq!(body(&again.nodes[1], "web", again.now), None);
}

#[test]
fn objects_that_the_disk_forgot_are_taken_back_from_others() {
    let mut cluster = row(2);
    let (now, name) = (cluster.now, cluster.nodes[0].name);
    write(&mut cluster.nodes[0], "kept", Some("1"), now);
    while let Some(persist) = cluster.nodes[0].poll_persist() {
        cluster.nodes[0].persisted(persist.token, now);
        cluster.disks[0].write(persist.what);
    }
    let old = cluster.disks[0].clone();
    for (name, body) in [("web", Some("1")), ("kept", Some("2")), ("gone", None)] {
        write(&mut cluster.nodes[0], name, body, now);
    }
    cluster.pass(Duration::from_secs(1));
    cluster.disconnect(0, 1);
    // An old copy of the disk is put back, and the node writes before it meets anyone.
    cluster.nodes[0] = start(1, Init::Observer, Some(&old));
    cluster.nodes[0].set_clock(WALL + 5000, cluster.now);
    write(&mut cluster.nodes[0], "fresh", Some("1"), cluster.now);
    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.nodes[0].name, name);
    for (name, body) in
        [("web", Some("1")), ("kept", Some("2")), ("gone", None), ("fresh", Some("1"))]
    {
        cluster.everyone(name, body);
    }
    assert!(cluster.agree());
}

/// A record of an object as node 9 writes it.
fn object(version: u64, slot: u16, name: &str, stamp: Stamp, body: &[u8]) -> Record {
    let value = ObjectValue { key: key(name), stamp, body: Some(body.to_vec()) };
    let key = Key::numbered(Kind::OBJECT, slot);
    Record::sign(&identity(9), key, version, Some(codec::encode(&value)))
}

#[test]
fn bad_objects_are_kept_out_and_named() {
    let (mut node, peer) = connected();
    node.set_clock(WALL, Time::START);
    let at = |millis| Stamp { millis, counter: 0 };
    let long = object(1, 0, "long", at(1), &[b'x'; crate::limits::MAX_OBJECT + 1]);
    let control = object(2, 1, "a\u{7}", at(1), b"x");
    let garbage =
        Record::sign(&identity(9), Key::numbered(Kind::OBJECT, 2), 3, Some(vec![1, 2, 3]));
    let unnumbered = Record::sign(&identity(9), Key::of(Kind::OBJECT), 4, Some(vec![1]));
    let pod = PodInfo { name: "x".repeat(4000), ..PodInfo::default() };
    let pod = Record::sign(&identity(9), Key::numbered(Kind::POD, 0), 5, Some(codec::encode(&pod)));
    let huge =
        Record::sign(&identity(9), Key::numbered(Kind::POD, 1), 6, Some(vec![1; MAX_POD + 1]));
    push(&mut node, peer, &[&long, &control, &garbage, &unnumbered, &pod, &huge], Time::START)
        .unwrap();
    assert_eq!(node.objects(Time::START).count() + node.pods().count(), 0);
    assert_eq!(node.stats.records_quarantined, 6);
    assert_eq!(node.warnings().len(), 6, "{:?}", node.warnings());
    node.check_invariants();
    // Bad content in a slot that held a good object takes that away, as its writer may.
    push(&mut node, peer, &[&object(7, 3, "web", at(5), b"1")], Time::START).unwrap();
    assert_eq!(body(&node, "web", Time::START).as_deref(), Some("1"));
    let garbage = Record::sign(&identity(9), Key::numbered(Kind::OBJECT, 3), 8, Some(vec![9]));
    push(&mut node, peer, &[&garbage], Time::START).unwrap();
    assert_eq!(body(&node, "web", Time::START), None);
}

#[test]
fn stamps_of_the_future_are_said_and_do_not_stick() {
    let (mut node, peer) = connected();
    node.set_clock(WALL, Time::START);
    let hour = 60 * 60 * 1000;
    write(&mut node, "web", Some("1"), Time::START);
    drain(&mut node);
    assert_eq!(node.clock_warnings(Time::START), Vec::<String>::new());
    let stamp = Stamp { millis: WALL + 3 * hour, counter: 0 };
    push(&mut node, peer, &[&object(1, 0, "web", stamp, b"2")], Time::START).unwrap();
    assert_eq!(body(&node, "web", Time::START).as_deref(), Some("2"));
    let [warning] = &node.clock_warnings(Time::START)[..] else { panic!("one clock is wrong") };
    assert!(warning.contains("NetworkPolicy default/web was written on"), "{warning}");
    assert!(warning.contains("3 h in the future"), "{warning}");
    write(&mut node, "web", Some("3"), Time::START);
    drain(&mut node);
    assert_eq!(body(&node, "web", Time::START).as_deref(), Some("3"));

    // Two days ahead: set aside, until its time comes.
    let stamp = Stamp { millis: WALL + 48 * hour, counter: 0 };
    push(&mut node, peer, &[&object(2, 0, "web", stamp, b"4")], Time::START).unwrap();
    assert_eq!(body(&node, "web", Time::START).as_deref(), Some("3"));
    assert!(node.clock_warnings(Time::START)[0].contains("counts until then"));
    let day = Duration::from_secs(24 * 60 * 60);
    let due = node.shared.believe_at.expect("the stamp comes into its own");
    assert_eq!(due.since_start(), day);
    while node.poll_event().is_some() {}
    node.handle_timeout(Time::START + day);
    assert!(std::iter::from_fn(|| node.poll_event()).any(|event| event == Event::ObjectsChanged));
    assert_eq!(body(&node, "web", Time::START + day).as_deref(), Some("4"));
}

#[test]
fn a_store_that_is_full_refuses_objects_at_once() {
    let mut node = start(1, Init::Observer, None);
    let body = vec![b'x'; 30_000];
    let write = |node: &mut Node, n: usize| {
        node.write_objects(vec![(key(&n.to_string()), Some(body.clone()))], Time::START)
    };
    let refused = (0..100).find_map(|n| write(&mut node, n).err());
    assert_eq!(refused, Some(ObjectError::NoRoom));
    drain(&mut node);
    assert_eq!(node.stats.records_no_room, 0);
    assert_eq!(node.objects(Time::START).count(), crate::limits::MAX_OBJECT_BYTES / 30_100);
}

fn pod(name: &str, address: IpAddr) -> PodInfo {
    let labels = [("app", name), ("pod-template-hash", "5d8c9f7b6d"), ("tier", "backend")];
    PodInfo {
        namespace: "default".into(),
        name: name.into(),
        labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        ports: vec![PodPort { name: "http".into(), protocol: 6, number: 8080 }],
        addresses: vec![address],
    }
}

#[test]
fn of_pods_only_what_changed_travels_and_only_own_addresses_count() {
    let mut cluster = Cluster::new(1);
    cluster.nodes.push(start(2, Init::Founder, None));
    cluster.events.push(Vec::new());
    cluster.disks.push(Saved::default());
    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(1));
    let now = cluster.now;
    let own = |n: u8| IpAddr::from([10, 32, 0, n]);
    assert_eq!(cluster.nodes[0].owner_of(own(7)), Some(cluster.nodes[1].name));
    let mut pods: BTreeMap<String, PodInfo> =
        (1..=100).map(|n| (format!("c{n}/eth0"), pod(&format!("web-{n}"), own(n)))).collect();
    assert_eq!(cluster.nodes[1].set_pods(pods.clone(), now), Vec::<String>::new());
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.nodes[0].pods().count(), 100);
    assert!(cluster.events[0].contains(&Event::PodsChanged));
    assert!(!cluster.events[1].contains(&Event::PodsChanged), "it knows its own");
    let bytes = cluster.nodes[0].store.bytes() / 100;
    assert!(bytes < 400, "{bytes} bytes a Pod: 10,000 of them must fit easily");

    // One comes, one goes, one changes: three records at most.
    let merged = cluster.nodes[0].stats.records_merged;
    pods.remove("c5/eth0");
    pods.insert("c101/eth0".into(), pod("web-101", own(101)));
    pods.get_mut("c6/eth0").unwrap().labels.clear();
    cluster.nodes[1].set_pods(pods.clone(), now);
    cluster.pass(Duration::from_secs(1));
    let names: BTreeSet<String> = cluster.nodes[0].pods().map(|(_, pod)| pod.name).collect();
    assert!(names.contains("web-101") && !names.contains("web-5"));
    assert_eq!(cluster.nodes[0].stats.records_merged - merged, 2, "the slot is used again");
    let records = cluster.nodes[0].store.origin(cluster.nodes[1].name).unwrap().records().count();
    pods.clear();
    cluster.nodes[1].set_pods(pods, now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.nodes[0].pods().count(), 0);
    let after = cluster.nodes[0].store.origin(cluster.nodes[1].name).unwrap().records().count();
    assert_eq!(after, records, "tombstones, in the same slots");

    // The first node owns nothing: whatever it says, the address stays the second one's.
    let claim = BTreeMap::from([("x".to_owned(), pod("admin", own(7)))]);
    cluster.nodes[0].set_pods(claim, now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.nodes[1].pods().count(), 0);
    // Nor is a host outside the mesh a Pod.
    let claim = BTreeMap::from([("x".to_owned(), pod("admin", [192, 0, 2, 1].into()))]);
    cluster.nodes[0].set_pods(claim, now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.nodes[1].pods().count(), 0);

    // After a start the Pods that were heard of are known before the ring is.
    cluster.nodes[1].set_pods(BTreeMap::from([("y".into(), pod("web", own(7)))]), now);
    cluster.pass(Duration::from_secs(1));
    while cluster.nodes[0].poll_heard().is_some() {}
    cluster.nodes[0].handle_stopping();
    let heard = cluster.nodes[0].poll_heard().expect("it heard of a Pod");
    let mut again = start(1, Init::Observer, None);
    again.recall(&heard, Time::START).unwrap();
    assert_eq!(again.pods().count(), 1);

    // What cannot be told of is answered.
    let long = PodInfo { name: "x".repeat(400), ..pod("p", own(9)) };
    let left_out = cluster.nodes[1].set_pods(BTreeMap::from([("long".into(), long)]), now);
    assert_eq!(left_out, ["long"]);
}

#[test]
fn each_pod_of_another_node_that_changes_is_told_once_and_no_other() {
    let mut cluster = Cluster::new(1);
    cluster.nodes.push(start(2, Init::Founder, None));
    cluster.events.push(Vec::new());
    cluster.disks.push(Saved::default());
    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(1));
    let now = cluster.now;
    let other = cluster.nodes[1].name;
    let own = |n: u8| IpAddr::from([10, 32, 0, n]);
    let polled = |node: &mut Node| -> Vec<(u16, Option<PodInfo>)> {
        let changes: Vec<PodChange> = std::iter::from_fn(|| node.poll_pod()).collect();
        assert!(changes.iter().all(|change| change.node == other), "{changes:?}");
        changes.into_iter().map(|change| (change.slot, change.pod)).collect()
    };
    let mut pods: BTreeMap<String, PodInfo> =
        (0..20).map(|n| (format!("c{n:02}/eth0"), pod(&format!("web-{n}"), own(n)))).collect();
    cluster.nodes[1].set_pods(pods.clone(), now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(polled(&mut cluster.nodes[0]).len(), 20);
    assert_eq!(polled(&mut cluster.nodes[0]), []);
    assert_eq!(cluster.nodes[1].poll_pod(), None, "its own Pods it knows");

    // Labels of one change, and another goes.
    let relabelled = pods.get_mut("c06/eth0").unwrap();
    relabelled.labels.clear();
    let relabelled = relabelled.clone();
    pods.remove("c05/eth0");
    cluster.nodes[1].set_pods(pods.clone(), now);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(polled(&mut cluster.nodes[0]), [(5, None), (6, Some(relabelled))]);

    // It goes and comes before anybody asks.
    for pods in [BTreeMap::new(), pods.clone()] {
        cluster.nodes[1].set_pods(pods, now);
        cluster.pass(Duration::from_secs(1));
    }
    assert!(polled(&mut cluster.nodes[0]).len() >= 19, "each may have changed");

    // What a node that starts had heard counts until it knows whose addresses these are.
    let mut twofold = pod("far", own(3));
    twofold.addresses.push(own(4));
    cluster.nodes[1].set_pods(BTreeMap::from([("far".into(), twofold.clone())]), now);
    cluster.pass(Duration::from_secs(1));
    cluster.nodes[0].handle_stopping();
    let heard = cluster.nodes[0].poll_heard().expect("it heard of a Pod");
    let mut later = Cluster::new(1);
    later.nodes[0].recall(&heard, later.now).unwrap();
    let before = polled(&mut later.nodes[0]);
    assert_eq!(before, [(0, Some(twofold))]);
    later.nodes.push(start(3, Init::Founder, None));
    later.events.push(Vec::new());
    later.disks.push(Saved::default());
    later.connect(0, 1);
    later.pass(Duration::from_secs(1));
    assert_eq!(polled(&mut later.nodes[0]), [(0, None)], "all of the range is another's");
    assert!(later.events[0].contains(&Event::PodsChanged));
}
