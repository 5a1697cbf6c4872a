//! What goes to the disk at once, and what happens when that is full.

use weft_api::error::{ErrorBody, ErrorCode};
use weft_gossip::Written;

use super::*;

type Writes = Vec<(Kind, u64, Written)>;
type Answers = Vec<(CallId, Result<Reply, ErrorBody>)>;

/// What comes out while the disk answers nothing: the writes, and the answers to calls.
fn poll(engine: &mut Engine, now: Time) -> (Writes, Answers) {
    let (mut writes, mut replies) = (Vec::new(), Vec::new());
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Save { kind, token, what } => writes.push((kind, token, what)),
            Output::Policy { token, .. } => engine.handle_policy(enforced(token), now),
            Output::Reply { call, result } => replies.push((call, result)),
            _ => {}
        }
    }
    (writes, replies)
}

fn finish(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, writes: Writes, now: Time) {
    let mut tokens = BTreeMap::new();
    for (kind, token, what) in writes {
        disk.entry(kind).or_default().write(what);
        tokens.insert(kind, token);
    }
    for (kind, token) in tokens {
        engine.handle_saved(kind, token, now);
    }
}

#[test]
fn an_address_and_its_attachment_are_written_at_once_and_answered_after_both() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    engine.attach(7, request("c1"), at(1));
    let (writes, replies) = poll(&mut engine, at(1));
    let kinds: Vec<Kind> = writes.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [Kind::Gossip, Kind::Attachments]);
    assert!(writes.iter().all(|(_, _, what)| matches!(what, Written::Append(_))));
    assert!(replies.is_empty() && engine.select(&query("c1")).is_empty(), "nothing is promised");
    engine.handle_saved(Kind::Gossip, writes[0].1, at(1));
    let (more, replies) = poll(&mut engine, at(1));
    assert!(more.is_empty() && replies.is_empty(), "{more:?} {replies:?}");
    engine.handle_saved(Kind::Attachments, writes[1].1, at(1));
    let (_, replies) = poll(&mut engine, at(1));
    let [(7, Ok(Reply::Attach(reply)))] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(reply.attachment.mac, "0a:58:0a:20:00:01");
    assert_eq!(reply.attachment.ips[0].to_string(), "10.32.0.1/12");
    assert_eq!(engine.select(&query("c1")).len(), 1);
}

#[test]
fn a_request_that_is_detached_before_the_disk_has_it_leaves_nothing() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    engine.attach(1, request("c1"), at(1));
    let (first, _) = poll(&mut engine, at(1));
    engine.detach(2, &query("c1"), at(1));
    let (second, replies) = poll(&mut engine, at(1));
    assert!(matches!(&replies[..], [(1, Err(_))]), "{replies:?}");
    finish(&mut engine, &mut disk, first, at(1));
    finish(&mut engine, &mut disk, second, at(1));
    let (_, replies) = poll(&mut engine, at(1));
    assert!(matches!(&replies[..], [(2, Ok(Reply::Detach(_)))]), "{replies:?}");
    let engine = founder(1, restored(&disk));
    assert!(engine.select(&query("c1")).is_empty());
    assert_eq!(engine.status(at(0)).ipam.active, 0);
}

#[test]
fn a_full_disk_refuses_addresses_and_loses_nothing() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut disk, at(0));
    for pod in ["old", "older"] {
        engine.attach(1, request(pod), at(1));
        drain(&mut engine, &mut disk, at(1));
    }
    engine.attach(2, request("new"), at(2));
    let (mut waiting, _) = poll(&mut engine, at(2));
    engine.handle_save_failed(Kind::Gossip, "no space left", at(3));
    let (more, replies) = poll(&mut engine, at(3));
    waiting.extend(more);
    let [(2, Err(refused))] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(refused.code, ErrorCode::NotReady);
    assert!(refused.message.contains("no space left"), "{}", refused.message);
    assert!(!engine.ready(at(5)));
    assert!(engine.status(at(3)).warnings.contains(&refused.message));

    // Those who come later are refused at once; those who have an address keep it, or give it back.
    engine.attach(3, request("newer"), at(3));
    engine.attach(4, request("old"), at(3));
    engine.detach(5, &query("older"), at(3));
    let (more, replies) = poll(&mut engine, at(3));
    waiting.extend(more);
    assert!(matches!(&replies[..], [(3, Err(_)), (4, Ok(Reply::Attach(_)))]), "{replies:?}");
    engine.handle_save_failed(Kind::Gossip, "no space left", at(4));
    let (more, replies) = poll(&mut engine, at(4));
    waiting.extend(more);
    assert!(matches!(&replies[..], [(5, Ok(Reply::Detach(_)))]), "{replies:?}");

    let before = founder(1, restored(&disk));
    assert_eq!((before.select(&query("old")).len(), before.status(at(0)).ipam.active), (1, 2));
    finish(&mut engine, &mut disk, waiting, at(5));
    assert!(engine.ready(at(5)) && engine.status(at(5)).warnings.is_empty());
    engine.attach(6, request("newer"), at(6));
    let answers = drain(&mut engine, &mut disk, at(6));
    assert!(matches!(&answers[..], [Output::Reply { call: 6, result: Ok(_) }]), "{answers:?}");
    let after = founder(1, restored(&disk));
    for pod in ["old", "older", "new", "newer"] {
        assert_eq!(after.select(&query(pod)), engine.select(&query(pod)), "{pod}");
    }
    assert_eq!(after.status(at(0)).ipam.active, 2);
}

#[test]
fn a_long_journal_is_replaced_by_a_checkpoint_that_says_the_same() {
    let mut engine = founder(1, Restored::default());
    let mut disk: BTreeMap<Kind, Saved> = BTreeMap::new();
    let mut checkpoints = 0;
    for round in 0..3000_u64 {
        let pod = format!("c{}", round % 100);
        engine.attach(1, request(&pod), at(round));
        drain_with(&mut engine, &mut disk, &mut checkpoints, at(round));
        if round % 3 == 0 {
            engine.detach(1, &query(&pod), at(round));
            drain_with(&mut engine, &mut disk, &mut checkpoints, at(round));
        }
    }
    assert!((1..10).contains(&checkpoints), "{checkpoints}");
    let again = founder(1, restored(&disk));
    assert_eq!(
        again.select(&AttachmentQuery::default()),
        engine.select(&AttachmentQuery::default())
    );
    assert_eq!(again.status(at(0)).ipam.active, engine.status(at(0)).ipam.active);
}

fn drain_with(
    engine: &mut Engine,
    disk: &mut BTreeMap<Kind, Saved>,
    checkpoints: &mut usize,
    now: Time,
) {
    for output in drain(engine, disk, now) {
        if let Output::Checkpoint(all) = output {
            *checkpoints += 1;
            for (kind, bytes) in all {
                disk.entry(kind).or_default().write(Written::Snapshot(bytes));
            }
        }
    }
}
