//! Words to the fake API server ([`crate::fake`]): refusals in an order that a real one does not give.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Identity, Mailbox, event, run};
use crate::fake::{Answer, Fake, refusal};
use crate::node::{Condition, OwnNode};
use crate::words::Note;
use crate::{Event, ObjectId, PEER_ANNOTATION, Resource, Word};

struct Talk {
    fake: Fake,
    mailbox: Arc<Mailbox>,
    own: watch::Sender<Option<OwnNode>>,
    heard: mpsc::Receiver<Event>,
}

fn talk() -> Talk {
    let (fake, mailbox) = (Fake::default(), Arc::<Mailbox>::default());
    let (own, seen) = watch::channel(None);
    let (events, heard) = mpsc::channel(64);
    let identity = Identity { node: "node-1".to_owned(), peer: "full-name".to_owned() };
    tokio::spawn(run(identity, fake.dial(), mailbox.clone(), seen, events));
    Talk { fake, mailbox, own, heard }
}

fn present(up: bool, message: &str) -> Word {
    Word::Present { up, message: message.to_owned() }
}

fn accepted() -> Answer {
    Answer::Whole(
        200,
        json!({ "kind": "Node", "apiVersion": "v1", "metadata": { "name": "node-1" } }).to_string(),
    )
}

fn seen(status: &str, reason: &str, message: &str) -> Option<OwnNode> {
    let condition = Condition {
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    Some(OwnNode { peer: Some("full-name".to_owned()), condition: Some(condition) })
}

/// Until nothing moves any more.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn presence_is_a_patch_of_the_status_alone() {
    let talk = talk();
    talk.fake.script("nodes", [accepted()]);
    talk.mailbox.put(present(true, "ready"));
    settle().await;
    let asked = talk.fake.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].method, "PATCH");
    assert!(asked[0].target.contains("/api/v1/nodes/node-1/status?"), "{}", asked[0].target);
    assert_eq!(
        asked[0].body["metadata"],
        json!({ "annotations": { PEER_ANNOTATION: "full-name" } })
    );
    let conditions = asked[0].body["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0]["type"], "NetworkUnavailable");
    assert_eq!(conditions[0]["status"], "False");
    assert_eq!(conditions[0]["reason"], "WeftIsUp");
    assert!(conditions[0]["lastTransitionTime"].is_string());
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_presence_is_said_once_it_can_be() {
    let mut talk = talk();
    talk.fake.script("nodes", [Answer::Refused, Answer::Refused, accepted()]);
    talk.mailbox.put(present(true, "first"));
    let Some(Event::Unsaid(Some(why))) = talk.heard.recv().await else { panic!("not told") };
    assert!(why.contains("nothing listens"), "{why}");
    talk.mailbox.put(present(false, "second"));
    talk.mailbox.put(present(true, "third"));
    assert_eq!(talk.heard.recv().await, Some(Event::Unsaid(None)));
    settle().await;
    let asked = talk.fake.asked();
    let said: Vec<&str> = asked
        .iter()
        .map(|asked| asked.body["status"]["conditions"][0]["message"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["first", "third", "third"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_changes_is_said_again_but_not_in_a_race() {
    let talk = talk();
    talk.fake.script("nodes", vec![accepted(); 100]);
    talk.mailbox.put(present(true, "ready"));
    settle().await;
    talk.own.send_replace(seen("False", "WeftIsUp", "ready"));
    settle().await;
    assert_eq!(talk.fake.asked().len(), 1, "what is as it should be is left alone");
    // Somebody who insists: at each look it is different again.
    for _ in 0..100 {
        talk.own.send_replace(seen("True", "NoRouteCreated", "x"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        talk.own.send_replace(seen("False", "WeftIsUp", "ready"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        talk.own.send_replace(seen("True", "NoRouteCreated", "y"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let count = talk.fake.asked().len();
    assert!((3..=8).contains(&count), "{count} patches in 30 s");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_told_of() {
    let mut talk = talk();
    talk.mailbox.put(present(true, "ready"));
    let Some(Event::Unsaid(Some(why))) = talk.heard.recv().await else { panic!("not told") };
    assert!(why.starts_with("the API server does not answer in time"), "{why}");
}

fn note(name: &str) -> Note {
    Note {
        resource: Resource::NetworkPolicies,
        id: ObjectId { namespace: "shop".to_owned(), name: name.to_owned() },
        uid: None,
        reason: "PolicyNotEnforced",
        message: "x".repeat(5000),
    }
}

fn say(talk: &Talk, name: &str) {
    let Note { resource, id, uid, reason, message } = note(name);
    talk.mailbox.put(Word::Note { resource, id, uid, reason, message });
}

#[tokio::test(start_paused = true)]
async fn notes_that_are_vain_are_dropped_and_others_wait() {
    let mut talk = talk();
    let terminating = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "events \"a\" is forbidden: unable to create new content in namespace shop because it is being terminated",
        "details": { "causes": [{ "reason": "NamespaceTerminating", "message": "namespace shop is being terminated", "field": "metadata.namespace" }] } });
    talk.fake.script("events", [
        Answer::Whole(403, terminating.to_string()),
        refusal(409, "AlreadyExists", "exists"),
        refusal(403, "Forbidden", "events is forbidden: User \"weft\" cannot create resource \"events\" in API group \"\" in the namespace \"shop\""),
        accepted(),
    ]);
    for name in ["terminating", "exists", "waits"] {
        say(&talk, name);
    }
    let why = Some(Event::Unsaid(Some(
        "the user weft may not create events: grant it, deploy/kubernetes/weft.yaml has the rule"
            .to_owned(),
    )));
    assert_eq!(talk.heard.recv().await, why);
    assert_eq!(talk.heard.recv().await, Some(Event::Unsaid(None)));
    say(&talk, "waits");
    settle().await;
    let about: Vec<String> = talk
        .fake
        .asked()
        .iter()
        .map(|asked| asked.body["involvedObject"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(about, ["terminating", "exists", "waits", "waits"]);
}

#[test]
fn events_have_valid_names_and_the_same_one_on_every_node() {
    let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
    let one = event(&note("p"), "node-1", now);
    assert_eq!(one["metadata"]["name"], event(&note("p"), "node-2", now)["metadata"]["name"]);
    assert_eq!(one["message"].as_str().unwrap().len(), 1024);
    let mut other = note("p");
    other.message.push('y');
    assert_ne!(one["metadata"]["name"], event(&other, "node-1", now)["metadata"]["name"]);
    let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
    let name = event(&note(&long), "node-1", now)["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(
        name.len() <= 253 && name.starts_with(&"a".repeat(229)) && !name.contains(".."),
        "{name}"
    );
}
