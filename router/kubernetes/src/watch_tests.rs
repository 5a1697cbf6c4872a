//! The watch against the fake API server ([`crate::fake`]): what a real one does not do when asked. Time is tokio's,
//! which stands still while anything runs.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::Receiver;

use crate::fake::{Answer, Fake, bookmark, line, list, policy, refusal, status, watch};
use crate::{Event, ObjectId, Resource};

const POLICIES: Resource = Resource::NetworkPolicies;

/// The next events, in a few letters each.
async fn hear(heard: &mut Receiver<Event>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(600), heard.recv()).await;
        let Ok(Some(event)) = next else { panic!("nothing more after {words:?}") };
        words.push(match event {
            Event::Listed(_, objects) => {
                let names: Vec<String> = objects.into_iter().map(|object| object.id.name).collect();
                format!("listed {}", names.join(" "))
            }
            Event::Applied(_, object) => format!("applied {}", object.id.name),
            Event::Deleted(_, ObjectId { name, .. }) => format!("deleted {name}"),
            Event::Watching(_) => "watching".to_owned(),
            Event::Failing { answered, why, .. } => format!("failing {answered} {why}"),
            Event::Nodes(nodes) => {
                let nodes: Vec<String> = nodes
                    .into_iter()
                    .map(|node| format!("{}={:?}", node.name, node.addresses))
                    .collect();
                format!("nodes {}", nodes.join(" "))
            }
            Event::Unsaid(why) => format!("unsaid {why:?}"),
        });
    }
    words
}

fn silence() -> Answer {
    Answer::LinesThenSilence(Vec::new())
}

fn watches(fake: &Fake) -> Vec<String> {
    fake.asked()
        .into_iter()
        .map(|asked| asked.target)
        .filter(|target| target.contains("watch=true"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_was_without_a_word() {
    let fake = Fake::default();
    let changes = vec![line("ADDED", policy("b", "7")), bookmark("9")];
    fake.script("networkpolicies", [list("5", &[policy("a", "3")]), Answer::Lines(changes)]);
    let more = vec![line("DELETED", policy("a", "11"))];
    fake.script("networkpolicies", [Answer::LinesThenBreak(more), silence()]);
    fake.script(
        "networkpolicies",
        [Answer::LinesThenSilence(vec![line("MODIFIED", policy("b", "12"))])],
    );
    let mut heard = watch(&fake, POLICIES);
    assert_eq!(
        hear(&mut heard, 5).await,
        ["listed a", "watching", "applied b", "deleted a", "applied b"]
    );
    let versions: Vec<bool> = watches(&fake)
        .iter()
        .zip(["=5", "=9", "=11", "=11"])
        .map(|(target, version)| target.contains(&format!("resourceVersion{version}")))
        .collect();
    assert_eq!(versions, [true; 4], "{:?}", watches(&fake));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_means_a_new_list_whichever_way_it_is_said() {
    let fake = Fake::default();
    let gone = line("ERROR", status(410, "Expired", "too old resource version: 5 (8)"));
    fake.script("networkpolicies", [list("5", &[policy("a", "3")]), Answer::Lines(vec![gone])]);
    fake.script(
        "networkpolicies",
        [list("9", &[policy("b", "8")]), refusal(410, "Expired", "too old resource version")],
    );
    fake.script("networkpolicies", [list("12", &[policy("c", "10")]), silence()]);
    let mut heard = watch(&fake, POLICIES);
    assert_eq!(hear(&mut heard, 4).await, ["listed a", "watching", "listed b", "listed c"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_read_means_a_new_list() {
    let fake = Fake::default();
    let garbage = vec![
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":7}}".to_owned(),
        line("ADDED", policy("z", "8")),
    ];
    fake.script("networkpolicies", [list("5", &[]), Answer::Lines(garbage)]);
    fake.script("networkpolicies", [list("9", &[policy("b", "6")]), silence()]);
    let mut heard = watch(&fake, POLICIES);
    let words = hear(&mut heard, 5).await;
    assert!(
        words[2].starts_with(
            "failing true what answers for networkpolicies is not what an API server sends"
        ),
        "{words:?}"
    );
    assert_eq!(
        [&words[0], &words[1], &words[3], &words[4]],
        ["listed ", "watching", "listed b", "watching"]
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_instead_of_a_list_is_said_once_and_tried_again() {
    let fake = Fake::default();
    let garbage = Answer::Whole(200, "<html>welcome</html>".to_owned());
    fake.script("networkpolicies", vec![garbage; 5]);
    fake.script("networkpolicies", [list("1", &[]), silence()]);
    let mut heard = watch(&fake, POLICIES);
    let words = hear(&mut heard, 3).await;
    assert!(words[0].starts_with("failing true what answers"), "{words:?}");
    assert_eq!(words[1..], ["listed ", "watching"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_said_when_the_next_attempt_fails_too() {
    let fake = Fake::default();
    fake.script("networkpolicies", [list("5", &[]), Answer::LinesThenBreak(Vec::new())]);
    fake.script("networkpolicies", vec![Answer::Refused; 8]);
    fake.script(
        "networkpolicies",
        [Answer::LinesThenSilence(vec![line("ADDED", policy("b", "7"))])],
    );
    let mut heard = watch(&fake, POLICIES);
    let words = hear(&mut heard, 5).await;
    assert_eq!(
        words,
        [
            "listed ",
            "watching",
            "failing false the API server is down: nothing listens at its address",
            "watching",
            "applied b"
        ]
    );
    let asked = fake.asked();
    let longest = asked.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
    assert!(longest <= Duration::from_secs(5), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_said_when_their_words_change() {
    let fake = Fake::default();
    let forbidden = refusal(
        403,
        "Forbidden",
        "networkpolicies.networking.k8s.io is forbidden: User \"system:serviceaccount:kube-system:weft\" cannot list resource \"networkpolicies\" in API group \"networking.k8s.io\" at the cluster scope",
    );
    fake.script("networkpolicies", vec![forbidden; 3]);
    fake.script("networkpolicies", vec![refusal(401, "Unauthorized", "Unauthorized"); 3]);
    fake.script(
        "networkpolicies",
        vec![refusal(503, "ServiceUnavailable", "apiserver is shutting down"); 2],
    );
    fake.script("networkpolicies", [list("1", &[]), silence()]);
    let mut heard = watch(&fake, POLICIES);
    assert_eq!(
        hear(&mut heard, 5).await,
        [
            "failing true the service account system:serviceaccount:kube-system:weft may not list networkpolicies: grant it, deploy/kubernetes/weft.yaml has the rule",
            "failing true the API server does not know who asks (Unauthorized): renew the token or the certificate of the service account or of the kubeconfig",
            "failing false the API server cannot list networkpolicies at present (503: apiserver is shutting down): see to it and its store",
            "listed ",
            "watching",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_which_nothing_comes_is_replaced_within_a_minute() {
    let fake = Fake::default();
    fake.script("networkpolicies", [list("5", &[]), silence(), silence(), silence()]);
    let mut heard = watch(&fake, POLICIES);
    assert_eq!(hear(&mut heard, 2).await, ["listed ", "watching"]);
    tokio::time::sleep(Duration::from_secs(180)).await;
    let times: Vec<_> = fake.asked().into_iter().skip(1).map(|asked| asked.at).collect();
    assert!(times.len() >= 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= Duration::from_secs(60)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_not_started_without_pause() {
    let fake = Fake::default();
    fake.script("networkpolicies", [list("5", &[])]);
    fake.script("networkpolicies", vec![Answer::Lines(Vec::new()); 1000]);
    let _heard = watch(&fake, POLICIES);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let count = watches(&fake).len();
    assert!((30..=61).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_loses_nothing_and_a_closed_one_ends_the_watch() {
    let fake = Fake::default();
    let many: Vec<String> =
        (0..500).map(|i| line("ADDED", policy(&format!("p{i}"), &format!("{}", 6 + i)))).collect();
    fake.script("networkpolicies", [list("5", &[]), Answer::LinesThenSilence(many)]);
    let (events, mut heard) = tokio::sync::mpsc::channel(1);
    let (own, _) = tokio::sync::watch::channel(None);
    let task =
        tokio::spawn(crate::watch::run(POLICIES, "node-1".to_owned(), fake.dial(), events, own));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let words = hear(&mut heard, 502).await;
    let expected: Vec<String> = (0..500).map(|i| format!("applied p{i}")).collect();
    assert_eq!(words[2..], expected);
    drop(heard);
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nodes_are_told_when_something_told_of_them_changes() {
    let fake = Fake::default();
    let node = |name: &str, version: &str, address: &str| {
        json!({ "kind": "Node", "apiVersion": "v1", "metadata": { "name": name, "uid": name, "resourceVersion": version },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }], "conditions": [{ "type": "Ready", "lastHeartbeatTime": version }] } })
    };
    let changes = vec![
        line("MODIFIED", node("node-1", "6", "192.0.2.1")),
        line("MODIFIED", node("node-1", "7", "192.0.2.9")),
        line("MODIFIED", node("node-1", "8", "192.0.2.9")),
        line("DELETED", node("node-2", "9", "192.0.2.2")),
    ];
    fake.script(
        "nodes",
        [
            list("5", &[node("node-1", "1", "192.0.2.1"), node("node-2", "2", "192.0.2.2")]),
            Answer::LinesThenSilence(changes),
        ],
    );
    let mut heard = watch(&fake, Resource::Nodes);
    assert_eq!(
        hear(&mut heard, 4).await,
        [
            "nodes node-1=[192.0.2.1] node-2=[192.0.2.2]",
            "watching",
            "nodes node-1=[192.0.2.9] node-2=[192.0.2.2]",
            "nodes node-1=[192.0.2.9]"
        ]
    );
}
