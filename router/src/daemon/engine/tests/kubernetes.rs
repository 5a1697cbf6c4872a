//! API mode without an API server: what is heard goes in, what follows comes out.

mod admission;
mod policies;
mod removal;
mod ring;
mod watches;

use serde_json::{Value, json};
use weft_api::attach::{AttachRequest, Attachment};
use weft_api::error::ErrorBody;
use weft_kubernetes::{Event, NodeInfo, Object, ObjectId, Resource, Word};
use weft_policy::Pod;

use super::*;
use crate::daemon::policy::PolicyState;

/// The Node of each test's own node.
const OWN: &str = "n1";

/// A founder in API mode.
fn founder_in_api_mode(restored: Restored) -> Engine {
    in_api_mode(1, Init::Founder, restored)
}

fn in_api_mode(n: u8, init: Init, restored: Restored) -> Engine {
    let mut engine = engine_with(n, init, restored, |settings| {
        settings.launch_peers = BTreeSet::new();
        settings.kubernetes = Some(KubernetesSettings { node: format!("n{n}"), service: None });
    });
    engine.set_clock(1_786_042_538_000, at(0));
    engine
}

fn hear(engine: &mut Engine, event: Event, now: Time) {
    engine.handle_kubernetes([event], now);
}

fn node(n: u8, peer: Option<u8>) -> NodeInfo {
    NodeInfo {
        name: format!("n{n}"),
        uid: format!("uid-{n}"),
        addresses: vec![format!("10.0.0.{n}").parse().unwrap()],
        peer: peer.map(|peer| identity(peer).name().to_string()),
    }
}

fn id(namespace: &str, name: &str) -> ObjectId {
    ObjectId { namespace: namespace.into(), name: name.into() }
}

fn namespace(name: &str, labels: Value) -> Object {
    let value = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": labels, "uid": name, "resourceVersion": "7" },
    });
    Object { id: id("", name), uid: name.into(), value }
}

fn policy(name: &str, spec: Value) -> Object {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec,
        "metadata": {
            "name": name, "namespace": "prod", "uid": name, "managedFields": [{}],
            "creationTimestamp": "2026-08-06T18:55:38Z",
        },
    });
    Object { id: id("prod", name), uid: name.into(), value }
}

/// A Pod of the namespace `prod`, whose uid is its name and a number.
fn pod(name: &str, uid: u8, labels: Value, phase: &str) -> Object {
    let uid = format!("{name}-{uid}");
    let port = |name: &str, number: u16| json!({ "name": name, "containerPort": number });
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "prod", "uid": uid, "labels": labels },
        "spec": {
            "nodeName": OWN,
            "containers": [{ "name": "c", "ports": [port("web", 80)] }],
            "initContainers": [
                { "name": "once", "ports": [port("gone", 1)] },
                { "name": "sidecar", "restartPolicy": "Always", "ports": [port("side", 81)] },
            ],
        },
        "status": { "phase": phase },
    });
    Object { id: id("prod", name), uid, value }
}

/// The first lists of all that an ADD waits for.
fn hear_lists(engine: &mut Engine, policies: Vec<Object>, pods: Vec<Object>) {
    let namespaces = vec![namespace("prod", json!({ "stage": "production" }))];
    for (resource, objects) in [
        (Resource::Namespaces, namespaces),
        (Resource::NetworkPolicies, policies),
        (Resource::Pods, pods),
    ] {
        hear(engine, Event::Listed(resource, objects), at(1));
    }
}

fn away(resource: Resource) -> Event {
    Event::Failing { resource, why: "no route to 10.0.0.9".into(), answered: false }
}

fn refused(resource: Resource) -> Event {
    let why = format!("the service account may not list {}", resource.as_str());
    Event::Failing { resource, why, answered: true }
}

fn ask(container: &str, name: &str, uid: Option<&str>) -> AttachRequest {
    AttachRequest {
        namespace: Some("prod".into()),
        pod: Some(name.into()),
        uid: uid.map(str::to_owned),
        labels: BTreeMap::from([("from".to_owned(), "runtime".to_owned())]),
        ..request(container)
    }
}

/// What came out: calls that were answered, words that were said, and the last that the enforcer was told.
#[derive(Debug, Default)]
struct Outcome {
    answers: BTreeMap<CallId, Result<Attachment, ErrorBody>>,
    words: Vec<Word>,
    state: Option<PolicyState>,
}

impl Outcome {
    fn answer(&self, call: CallId) -> &Result<Attachment, ErrorBody> {
        self.answers.get(&call).unwrap_or_else(|| panic!("call {call} is not answered: {self:?}"))
    }

    fn refusal(&self, call: CallId) -> &str {
        match self.answer(call) {
            Err(body) => &body.message,
            Ok(attachment) => panic!("it is not refused: {attachment:?}"),
        }
    }

    fn policies(&self) -> Vec<&str> {
        let state = self.state.as_ref().expect("something is to be enforced");
        state.cluster.policies.keys().map(|(_, name)| name.as_str()).collect()
    }

    fn pod(&self, name: &str) -> &Pod {
        let state = self.state.as_ref().expect("something is to be enforced");
        state.cluster.pods.iter().find(|pod| pod.name == name).expect("the Pod is known")
    }
}

fn outcome(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, now: Time) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Save { kind, token, what } => {
                disk.entry(kind).or_default().write(what);
                engine.handle_saved(kind, token, now);
            }
            Output::Policy { token, state } => {
                outcome.state = Some((*state).clone());
                engine.handle_policy(enforced(token), now);
            }
            Output::Host { token, .. } => engine.handle_host(token, Ok(()), now),
            Output::Kubernetes(word) => outcome.words.push(word),
            Output::Reply { call, result: Ok(Reply::Attach(reply)) } => {
                outcome.answers.insert(call, Ok(reply.attachment));
            }
            Output::Reply { call, result: Err(body) } => {
                outcome.answers.insert(call, Err(body));
            }
            _ => {}
        }
    }
    outcome
}

/// Lets time pass: all that is due until then happens.
fn pass(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>, until: Time) -> Outcome {
    let mut all = Outcome::default();
    loop {
        let next = engine.poll_timeout().filter(|due| *due <= until).unwrap_or(until);
        engine.handle_timeout(next);
        let more = outcome(engine, disk, next);
        all.answers.extend(more.answers);
        all.words.extend(more.words);
        all.state = more.state.or(all.state);
        if next == until {
            return all;
        }
    }
}

fn warnings(engine: &Engine, now: Time) -> Vec<String> {
    engine.status(now).warnings
}

/// The one warning that has these words.
fn warning(engine: &Engine, words: &str, now: Time) -> String {
    let all = warnings(engine, now);
    let found: Vec<_> = all.iter().filter(|text| text.contains(words)).collect();
    assert_eq!(found.len(), 1, "{words}: {all:?}");
    found[0].clone()
}

#[test]
fn outside_of_api_mode_nothing_is_heard() {
    let mut engine = founder(1, Restored::default());
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    hear(&mut engine, Event::Nodes(vec![node(2, None)]), at(1));
    assert_eq!(engine.status(at(1)).router.targets, ["h9:6783"]);
    assert_eq!(engine.status(at(1)).kubernetes, None);
    engine.attach(1, request("c1"), at(1));
    assert!(outcome(&mut engine, &mut disk, at(1)).answer(1).is_ok());
    assert!(!disk.contains_key(&Kind::Kubernetes));
}
