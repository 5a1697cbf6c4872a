//! `weft rmpeer`: whom a name means, and when the call is answered.

use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::peers::{RemoveReply, RemoveRequest};

use super::*;

fn remove(engine: &mut Engine, names: &[String], force: bool) {
    let request = RemoveRequest { peers: names.to_vec(), force };
    engine.remove(7, &request, 1_786_042_538, at(2));
}

/// The answer to the only call under way.
fn answer(outputs: Vec<Output>) -> Result<RemoveReply, ErrorBody> {
    let mut answers = outputs.into_iter().filter_map(|output| match output {
        Output::Reply { call: 7, result: Ok(Reply::Removed(reply)) } => Some(Ok(reply)),
        Output::Reply { call: 7, result: Err(body) } => Some(Err(body)),
        _ => None,
    });
    let answer = answers.next().expect("there is an answer");
    assert!(answers.next().is_none(), "one answer to one call");
    answer
}

#[test]
fn a_removal_is_answered_once_it_is_on_disk_and_repeating_it_changes_nothing() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(1));
    drain(&mut engine, &mut disk, at(1));
    let gone = identity(2).name();

    remove(&mut engine, &[gone.short()], false);
    let mut saves = Vec::new();
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Save { kind: Kind::Gossip, token, .. } => saves.push(token),
            Output::Reply { call, .. } => panic!("call {call} is answered before the disk has it"),
            _ => {}
        }
    }
    engine.handle_saved(Kind::Gossip, *saves.last().expect("it is written"), at(2));
    let first = answer(drain(&mut engine, &mut disk, at(2))).unwrap();
    assert_eq!(first.removals.len(), 1);
    let removal = &first.removals[0];
    assert_eq!(removal.node.peer, gone.to_string());
    assert_eq!(removal.by.peer, identity(1).name().to_string());
    assert!(removal.at == 1_786_042_538 && removal.complete && !removal.forced, "{removal:?}");

    remove(&mut engine, &[gone.to_string()], true);
    assert_eq!(answer(drain(&mut engine, &mut disk, at(3))).unwrap(), first);
    assert_eq!(engine.status(at(3)).ipam.removals, first.removals);
}

#[test]
fn a_name_that_means_no_other_node_is_an_error_and_nothing_changes() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.handle_admitted(&link(1, 2, false, 5, 1), at(1));
    drain(&mut engine, &mut disk, at(1));
    let (own, known) = (identity(1).name(), identity(2).name());
    for (names, code, words) in [
        (vec!["nobody".to_owned()], ErrorCode::NotFound, "no node is known as \"nobody\""),
        (vec![known.short(), "x\u{7}".to_owned()], ErrorCode::NotFound, "known as \"x\\u{7}\""),
        (vec!["h1".to_owned()], ErrorCode::Invalid, "(h1) is this node itself"),
        (vec![own.to_string()], ErrorCode::Invalid, "weft reset"),
        (Vec::new(), ErrorCode::Invalid, "name the nodes"),
    ] {
        remove(&mut engine, &names, false);
        let error = answer(drain(&mut engine, &mut disk, at(2))).unwrap_err();
        assert_eq!(error.code, code, "{names:?}");
        assert!(error.message.contains(words), "{}", error.message);
        assert!(engine.status(at(2)).ipam.removals.is_empty());
    }
}
