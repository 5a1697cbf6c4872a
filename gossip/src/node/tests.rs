//! Nodes seen from outside, with honest and with hostile neighbours.

mod objects;
mod removal;
mod rings;

use std::time::Duration;

use super::*;
use crate::{
    RecordError, Written, codec,
    ipam::Init,
    limits::{MAX_MESSAGE, MAX_STAGED, MESSAGE_BUDGET, VERSION_BLOCK},
    membership::NodeInfo,
    message::{Delta, Digest, Message, Push, Span},
    record::{Key, Kind, SignedRecord},
};

/// Nodes with perfect disks and a perfect network.
struct Cluster {
    now: Time,
    nodes: Vec<Node>,
    disks: Vec<Saved>,
    events: Vec<Vec<Event>>,
    /// Bytes of the longest message so far.
    longest: usize,
}

impl Cluster {
    fn new(count: u8) -> Self {
        let nodes: Vec<_> = (1..=count).map(|n| start(n, Init::Observer, None)).collect();
        Self {
            now: Time::START,
            events: vec![Vec::new(); nodes.len()],
            disks: vec![Saved::default(); nodes.len()],
            nodes,
            longest: 0,
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let (name_a, name_b) = (self.nodes[a].name, self.nodes[b].name);
        self.nodes[a].handle_connected(name_b, address(b), true, self.now);
        self.nodes[b].handle_connected(name_a, address(a), false, self.now);
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        let (name_a, name_b) = (self.nodes[a].name, self.nodes[b].name);
        self.nodes[a].handle_disconnected(name_b, self.now);
        self.nodes[b].handle_disconnected(name_a, self.now);
    }

    /// Delivers until all is silent.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut silent = true;
            for at in 0..self.nodes.len() {
                while let Some(persist) = self.nodes[at].poll_persist() {
                    self.disks[at].write(persist.what);
                    self.nodes[at].persisted(persist.token, self.now);
                }
                while let Some(transmit) = self.nodes[at].poll_transmit() {
                    silent = false;
                    self.longest = self.longest.max(transmit.bytes.len());
                    let from = self.nodes[at].name;
                    let to = self.nodes.iter_mut().find(|node| node.name == transmit.to).unwrap();
                    to.handle_message(from, &transmit.bytes, self.now).unwrap();
                    to.check_invariants();
                }
                while let Some(event) = self.nodes[at].poll_event() {
                    self.events[at].push(event);
                }
            }
            if silent {
                return;
            }
        }
        panic!("the nodes never fall silent");
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let next = self.nodes.iter().filter_map(Node::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                if node.poll_timeout().is_some_and(|at| at <= self.now) {
                    node.handle_timeout(self.now);
                }
            }
        }
        self.now = until;
    }

    fn agree(&self) -> bool {
        self.nodes.windows(2).all(|pair| pair[0].fingerprints() == pair[1].fingerprints())
    }
}

#[test]
fn a_chain_learns_of_all_members_and_where_to_dial_them() {
    let mut cluster = Cluster::new(3);
    cluster.connect(0, 1);
    cluster.connect(1, 2);
    cluster.pass(Duration::from_secs(1));
    assert!(cluster.agree());
    for (at, node) in cluster.nodes.iter().enumerate() {
        let members = node.members();
        assert_eq!(members.len(), 3, "h{at}");
        assert!(members.iter().all(|member| member.reachable), "h{at}: {members:?}");
        assert!(members.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(cluster.events[at].contains(&Event::MembersChanged));
    }
    let (first, last) = (&cluster.nodes[0], &cluster.nodes[2]);
    assert_eq!(first.candidates()[&last.name], BTreeSet::from([address(2)]));
    assert_eq!(first.nickname(last.name), Some("h3"));
    assert!(!first.candidates().contains_key(&first.name));

    cluster.disconnect(1, 2);
    cluster.pass(Duration::from_secs(1));
    let unreachable: Vec<_> =
        cluster.nodes[0].members().into_iter().filter(|member| !member.reachable).collect();
    assert_eq!(unreachable.len(), 1);
    assert_eq!(unreachable[0].nickname, "h3");
}

#[test]
fn nodes_that_agree_exchange_only_summaries() {
    let mut cluster = Cluster::new(2);
    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(5));
    let merged = |cluster: &Cluster| -> u64 {
        cluster.nodes.iter().map(|node| node.stats.records_merged + node.stats.records_stale).sum()
    };
    let bytes =
        |cluster: &Cluster| -> u64 { cluster.nodes.iter().map(|node| node.stats.bytes_sent).sum() };
    let (merged_before, bytes_before) = (merged(&cluster), bytes(&cluster));
    cluster.pass(Duration::from_secs(60));
    assert_eq!(merged(&cluster), merged_before);
    // About 30 rounds of each, of at most 290 bytes of summary and 70 of answer.
    assert!(bytes(&cluster) - bytes_before < 2 * 42 * 360, "{}", bytes(&cluster) - bytes_before);
    assert!(cluster.nodes.iter().all(|node| node.stats.rounds_equal > 20));
}

#[test]
fn what_was_missed_is_repaired_within_the_budget_of_a_message() {
    let mut cluster = Cluster::new(2);
    // Far more than one message holds, of an origin that is not connected itself.
    let author = identity(9);
    cluster.connect(0, 1);
    cluster.settle();
    let name_0 = cluster.nodes[0].name;
    cluster.disconnect(0, 1);
    let helper = cluster.nodes[1].name;
    cluster.nodes[0].handle_connected(helper, address(1), false, cluster.now);
    for kind in 0..20_u16 {
        let key = Key::of(Kind(1000 + kind));
        let record = Record::sign(&author, key, u64::from(kind) + 1, Some(vec![7; 20_000]));
        push(&mut cluster.nodes[0], helper, &[&record], cluster.now).unwrap();
    }
    while cluster.nodes[0].poll_transmit().is_some() {}
    cluster.nodes[0].handle_disconnected(helper, cluster.now);
    cluster.connect(1, 0);
    cluster.pass(Duration::from_secs(1));
    assert!(cluster.agree());
    assert!(cluster.nodes[1].store.origin(author.name()).is_some());
    assert_eq!(cluster.nodes[1].store.origin(author.name()).unwrap().watermark(), 20);
    assert!(cluster.longest <= MAX_MESSAGE && cluster.longest > MESSAGE_BUDGET / 2);
    assert_ne!(name_0, helper);
}

#[test]
fn a_record_that_somebody_hid_is_found() {
    let mut cluster = Cluster::new(2);
    let author = identity(9);
    let hidden = Record::sign(&author, Key::of(Kind(1001)), 1, Some(vec![1]));
    let shown = Record::sign(&author, Key::of(Kind(1002)), 2, Some(vec![2]));
    let liar = cluster.nodes[1].name;
    let now = cluster.now;
    // One node was told of both, the other only of the second, as if that were all.
    cluster.nodes[0].handle_connected(liar, address(1), false, now);
    push(&mut cluster.nodes[0], liar, &[&hidden, &shown], now).unwrap();
    cluster.nodes[0].handle_disconnected(liar, now);
    let other = cluster.nodes[0].name;
    cluster.nodes[1].handle_connected(other, address(0), false, now);
    let span = span(&author, 0, &[&shown]);
    deliver(&mut cluster.nodes[1], other, Message::Delta(span), now).unwrap();
    cluster.nodes[1].handle_disconnected(other, now);
    let watermark = |node: &Node| node.store.origin(author.name()).unwrap().watermark();
    assert_eq!(cluster.nodes.iter().map(watermark).collect::<Vec<_>>(), [2, 2]);
    for node in &mut cluster.nodes {
        while node.poll_transmit().is_some() {}
    }

    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(1));
    assert!(cluster.nodes[1].store.get(author.name(), hidden.key()).is_some());
    assert!(cluster.agree());
    assert!(cluster.nodes.iter().any(|node| node.stats.repairs > 0));
}

#[test]
fn a_span_with_a_gap_is_taken_and_proves_nothing() {
    let (mut node, peer) = connected();
    let author = identity(9);
    let late = Record::sign(&author, Key::of(Kind(1001)), 7, Some(vec![7]));
    deliver(&mut node, peer, Message::Delta(span(&author, 5, &[&late])), Time::START).unwrap();
    let origin = node.store.origin(author.name()).unwrap();
    assert_eq!((origin.newest(), origin.watermark()), (7, 0));
}

#[test]
fn forged_and_damaged_records_are_refused_and_the_others_kept() {
    let (mut node, peer) = connected();
    let author = identity(9);
    let good = Record::sign(&author, Key::of(Kind(1001)), 1, Some(vec![1]));
    let other = Record::sign(&author, Key::of(Kind(1002)), 2, Some(vec![2]));
    // The signature of another record of the same origin.
    let forged = SignedRecord { body: other.signed().body.clone(), ..good.signed().clone() };
    let push = Push { records: vec![forged, good.signed().clone()] };
    let result = deliver(&mut node, peer, Message::Push(push), Time::START);
    assert_eq!(result, Err(MessageError::Record(RecordError::Signature(author.name()))));
    assert!(node.store.get(author.name(), good.key()).is_some());
    assert!(node.store.get(author.name(), other.key()).is_none());
    // A member cannot speak for another: what it signs is of its own origin, or of none.
    let mut stolen = Record::sign(&identity(8), Key::of(Kind(1003)), 1, None).signed().clone();
    let at = 1..33;
    stolen.body[at].copy_from_slice(author.name().as_bytes());
    let push = Push { records: vec![stolen] };
    let result = deliver(&mut node, peer, Message::Push(push), Time::START);
    assert_eq!(result, Err(MessageError::Record(RecordError::Signature(author.name()))));
    assert_eq!(node.stats.records_refused, 2);
    node.check_invariants();
}

#[test]
fn bad_messages_are_counted_and_change_nothing() {
    let (mut node, peer) = connected();
    let stranger = identity(77).name();
    let before = node.fingerprints();
    let message = Message::Digest(Digest::equal()).encode();
    let cases: [(PeerName, Vec<u8>, MessageError); 3] = [
        (stranger, message, MessageError::NotConnected(stranger)),
        (peer, vec![1; MAX_MESSAGE + 1], MessageError::TooLong(MAX_MESSAGE + 1)),
        (peer, vec![], MessageError::Malformed(crate::DecodeError::Empty)),
    ];
    for (from, bytes, error) in cases {
        assert_eq!(node.handle_message(from, &bytes, Time::START), Err(error));
    }
    assert_eq!(node.stats.messages_refused, 3);
    assert_eq!(node.handle_message(peer, &[1, 200, 5, 5], Time::START), Ok(()));
    assert_eq!(node.stats.messages_unknown, 1);
    assert_eq!(node.fingerprints(), before);
}

#[test]
fn bad_content_is_quarantined_until_it_is_good_again() {
    let mut cluster = Cluster::new(2);
    cluster.connect(0, 1);
    cluster.settle();
    let author = identity(9);
    let peer = cluster.nodes[1].name;
    let info =
        NodeInfo { nickname: "evil\u{1b}[2J".into(), version: String::new(), boot_id: 1, port: 1 };
    for (version, kind, value) in [
        (1, Kind::NODE, codec::encode(&info)),
        (2, Kind::LINKS, vec![1, 2, 3]),
        (3, Kind::SPACE, vec![]),
    ] {
        let record = Record::sign(&author, Key::of(kind), version, Some(value));
        push(&mut cluster.nodes[0], peer, &[&record], cluster.now).unwrap();
    }
    cluster.pass(Duration::from_secs(5));
    for node in &cluster.nodes {
        assert_eq!(node.stats.records_quarantined, 3);
        assert_eq!(node.warnings().len(), 3, "{:?}", node.warnings());
        assert_eq!(node.nickname(author.name()), None);
        assert_eq!(node.store.origin(author.name()).unwrap().records().count(), 3);
    }
    let info = NodeInfo { nickname: "good".into(), ..info };
    let record = Record::sign(&author, Key::of(Kind::NODE), 4, Some(codec::encode(&info)));
    push(&mut cluster.nodes[0], peer, &[&record], cluster.now).unwrap();
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.nodes[1].nickname(author.name()), Some("good"));
    assert_eq!(cluster.nodes[1].warnings().len(), 2);
}

#[test]
fn nothing_that_depends_on_the_disk_leaves_before_it_is_there() {
    let mut node = start(1, Init::Founder, None);
    let peer = identity(2).name();
    node.handle_connected(peer, address(1), true, Time::START);
    let id = node.allocate("pod", Request::default(), Time::START, Time::START);
    let sent = |node: &mut Node| -> Vec<Kind> {
        let mut kinds = Vec::new();
        while let Some(transmit) = node.poll_transmit() {
            if let Ok(Message::Push(push)) = Message::decode(&transmit.bytes) {
                for signed in push.records {
                    kinds.push(Record::decode(signed).unwrap().key().kind);
                }
            }
        }
        kinds
    };
    let allocated = |node: &mut Node| {
        let mut found = false;
        while let Some(event) = node.poll_event() {
            found |= matches!(event, Event::Allocated { id: of, result: Ok(_) } if of == id);
        }
        found
    };
    assert_eq!(sent(&mut node), []);
    assert!(!allocated(&mut node));
    let persist = node.poll_persist().unwrap();
    assert_eq!(node.poll_persist(), None);
    assert_eq!(sent(&mut node), []);
    assert!(!allocated(&mut node));
    node.persisted(persist.token + 5, Time::START);
    assert!(sent(&mut node).contains(&Kind::SPACE));
    assert!(allocated(&mut node));
    node.check_invariants();
}

#[test]
fn a_restart_keeps_addresses_and_never_repeats_a_version() {
    let mut node = start(1, Init::Founder, None);
    node.allocate("pod", Request::default(), Time::START, Time::START);
    let persist = node.poll_persist().unwrap();
    node.persisted(persist.token, Time::START);
    let mut disk = Saved::default();
    disk.write(persist.what);
    let held: Vec<_> = node.allocations().map(|(key, nets)| (key.to_owned(), nets)).collect();
    assert_eq!(held.len(), 1);
    let newest = node.store.origin(node.name).unwrap().newest();

    let mut again = start(1, Init::Founder, Some(&disk));
    let restored: Vec<_> = again.allocations().map(|(key, nets)| (key.to_owned(), nets)).collect();
    assert_eq!(restored, held);
    assert_eq!(again.routes(), node.routes());
    let persist = again.poll_persist().unwrap();
    again.persisted(persist.token, Time::START);
    let lowest = again.store.get(again.name, &Key::of(Kind::NODE)).unwrap().version();
    assert!(lowest > newest && lowest > VERSION_BLOCK);
    again.check_invariants();
}

#[test]
fn one_address_more_is_one_small_write_more() {
    let mut node = start(1, Init::Founder, None);
    let mut disk = Saved::default();
    let mut grown = Vec::new();
    for pod in 0..2000 {
        node.allocate(&format!("pod{pod:04}"), Request::default(), Time::START, Time::START);
        while let Some(persist) = node.poll_persist() {
            if let Written::Append(change) = &persist.what {
                grown.push(change.len());
            }
            disk.write(persist.what);
            node.persisted(persist.token, Time::START);
        }
    }
    // All but the few that tell others how much is free are as small as the first.
    let small = grown.iter().filter(|size| **size < 64).count();
    assert!(small > 1900 && grown.iter().all(|size| *size < 1024), "{grown:?}");
    let held = |node: &Node| node.allocations().map(|(k, v)| (k.to_owned(), v)).collect::<Vec<_>>();
    let all = Saved { snapshot: node.snapshot(), appended: Vec::new() };
    for saved in [disk, all] {
        let again = start(1, Init::Founder, Some(&saved));
        assert_eq!((held(&again), again.routes()), (held(&node), node.routes()));
    }
}

#[test]
fn what_waits_for_a_stuck_disk_stays_small() {
    let (mut node, peer) = connected();
    let mut now = Time::START;
    for round in 0..5000_u32 {
        now += Duration::from_secs(1);
        node.handle_address(peer, address(round as usize % 2), now);
        node.handle_timeout(now);
        while node.poll_transmit().is_some() {}
    }
    assert!(node.own_queue() <= MAX_STAGED + 1, "{}", node.own_queue());
    while let Some(persist) = node.poll_persist() {
        node.persisted(persist.token, now);
    }
    assert_eq!(node.own_queue(), 0);
    assert!(node.store.get(node.name, &Key::of(Kind::LINKS)).is_some());
}

#[test]
fn links_change_a_thousand_times_with_few_writes() {
    let mut node = start(1, Init::Founder, None);
    let peer = identity(2).name();
    let mut now = Time::START;
    let mut writes = 0;
    for round in 0..1000_u32 {
        if round % 2 == 0 {
            node.handle_connected(peer, address(1), true, now);
        } else {
            node.handle_disconnected(peer, now);
        }
        now += Duration::from_millis(100);
        node.handle_timeout(now);
        while let Some(persist) = node.poll_persist() {
            writes += 1;
            node.persisted(persist.token, now);
        }
        while node.poll_transmit().is_some() {}
    }
    assert!(node.store.origin(node.name).unwrap().newest() > 900);
    assert!(writes < 10, "{writes} writes");
}

#[test]
fn snapshots_of_others_and_damaged_ones_are_refused() {
    let mut node = start(1, Init::Founder, None);
    let mut disk = Saved::default();
    disk.write(node.poll_persist().unwrap().what);
    node.allocate("pod", Request::default(), Time::START, Time::START);
    disk.write(node.poll_persist().unwrap().what);
    let change = disk.appended[0].clone();
    let bytes = disk.snapshot.clone();
    let load = |n: u8, saved: Saved| {
        Node::new(config(n, Init::Founder), identity(n), [0; 32], Some(&saved), Time::START).err()
    };
    let restore =
        |n: u8, bytes: &[u8]| load(n, Saved { snapshot: bytes.to_vec(), appended: Vec::new() });
    let append = |bytes: &[u8]| {
        load(1, Saved { snapshot: disk.snapshot.clone(), appended: vec![bytes.to_vec()] })
    };
    assert!(append(&change).is_none());
    assert!(matches!(append(&change[..change.len() / 2]), Some(RestoreError::Snapshot(_))));
    for at in 0..change.len() {
        let mut damaged = change.clone();
        damaged[at] ^= 0x55;
        let _ = append(&damaged);
        let _ = append(&change[..at]);
    }
    assert!(restore(1, &bytes).is_none());
    assert!(matches!(restore(2, &bytes), Some(RestoreError::OtherIdentity { .. })));
    assert!(matches!(restore(1, &bytes[..bytes.len() / 2]), Some(RestoreError::Snapshot(_))));
    assert!(matches!(restore(1, &[]), Some(RestoreError::Snapshot(_))));
    // Every cut and every changed byte is an error or harmless, and never a panic.
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let _ = restore(1, &damaged);
        let _ = restore(1, &bytes[..at]);
    }
}

#[test]
fn space_that_the_disk_forgot_is_taken_back_from_others() {
    let mut cluster = Cluster::new(2);
    cluster.nodes[0] = start(1, Init::Founder, None);
    let first = cluster.nodes[0].poll_persist().unwrap();
    cluster.nodes[0].persisted(first.token, cluster.now);
    let mut old = Saved::default();
    old.write(first.what);
    // It gives half of its space away; then an old copy of the disk is put back.
    cluster.connect(0, 1);
    let deadline = cluster.now + Duration::from_secs(60);
    cluster.nodes[1].allocate("pod", Request::default(), deadline, cluster.now);
    cluster.pass(Duration::from_secs(10));
    assert!(cluster.nodes[1].allocations().next().is_some());
    let routes = cluster.nodes[1].routes();
    assert_eq!(cluster.nodes[0].routes(), routes);
    cluster.disconnect(0, 1);
    cluster.nodes[0] =
        Node::new(config(1, Init::Founder), identity(1), [9; 32], Some(&old), cluster.now).unwrap();
    assert_ne!(cluster.nodes[0].routes(), routes);
    // It makes newer versions of its records than others have, before it meets them.
    cluster.pass(Duration::from_secs(10));
    cluster.connect(0, 1);
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.nodes[0].routes(), routes);
    assert_eq!(cluster.nodes[1].routes(), routes);
    assert_eq!(cluster.nodes[0].stats.rollbacks, 1);
    assert_eq!(cluster.nodes[0].warnings().len(), 1);
    assert!(cluster.agree());
}

#[test]
fn remains_of_an_unknown_kind_are_cleared_away() {
    let mut node = start(1, Init::Observer, None);
    let persist = node.poll_persist().unwrap();
    node.persisted(persist.token, Time::START);
    let peer = identity(2).name();
    node.handle_connected(peer, address(1), true, Time::START);
    let key = Key::of(Kind(4000));
    let remains = Record::sign(&identity(1), key.clone(), 500, Some(vec![1]));
    push(&mut node, peer, &[&remains], Time::START).unwrap();
    while let Some(persist) = node.poll_persist() {
        node.persisted(persist.token, Time::START);
    }
    let tombstone = node.store.get(node.name, &key).unwrap();
    assert_eq!(tombstone.value(), None);
    assert!(tombstone.version() > 500);
    // It is not said twice.
    push(&mut node, peer, &[&remains], Time::START).unwrap();
    assert_eq!(node.own_queue(), 0);
}

fn start(n: u8, init: Init, restored: Option<&Saved>) -> Node {
    Node::new(config(n, init), identity(n), [n; 32], restored, Time::START).unwrap()
}

/// A node that is connected to a neighbour, and the neighbour.
fn connected() -> (Node, PeerName) {
    let mut node = start(1, Init::Observer, None);
    let peer = identity(2).name();
    node.handle_connected(peer, address(1), false, Time::START);
    (node, peer)
}

fn config(n: u8, init: Init) -> Config {
    Config {
        nickname: format!("h{n}"),
        version: "0.1.0".into(),
        boot_id: u64::from(n),
        port: 6783,
        ranges: vec!["10.32.0.0/16".parse().unwrap()],
        init,
        targets: 1,
        cool_down: Duration::from_secs(30),
    }
}

fn identity(n: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed([n; 32]))
}

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, u8::try_from(at).unwrap() + 1], 6783))
}

fn span(author: &Identity, from: u64, records: &[&Record]) -> Delta {
    let records = records.iter().map(|record| record.signed().clone()).collect();
    Delta { more: false, spans: vec![Span { origin: *author.name().as_bytes(), from, records }] }
}

fn push(
    node: &mut Node,
    from: PeerName,
    records: &[&Record],
    now: Time,
) -> Result<(), MessageError> {
    let records = records.iter().map(|record| record.signed().clone()).collect();
    deliver(node, from, Message::Push(Push { records }), now)
}

fn deliver(
    node: &mut Node,
    from: PeerName,
    message: Message,
    now: Time,
) -> Result<(), MessageError> {
    node.handle_message(from, &message.encode(), now)
}
