//! Says what is to be said: the annotation and the condition of this node's Node, and Events on objects.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::instrument::WithSubscriber as _;

use crate::access::Dial;
use crate::backoff::Backoff;
use crate::node::{CONDITION, Condition, OwnNode, PEER_ANNOTATION};
use crate::objects::api_resource;
use crate::trouble;
use crate::words::{Note, Present, Words};
use crate::{Event, Resource, Word};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The least time between two words of the same content. Another controller that sets the same condition is answered, but
/// not in a race; and a watch that is a little behind what was just said settles meanwhile.
const AGAIN: Duration = Duration::from_secs(5);

/// Who writes, as managed fields and Events name it.
const COMPONENT: &str = "weft";

/// How long an Event's text may be: the limit of `events.k8s.io`.
const MAX_MESSAGE: usize = 1024;

/// Where words are put, and taken from.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    words: Mutex<Words>,
    filled: Notify,
}

impl Mailbox {
    pub(crate) fn put(&self, word: Word) {
        self.with(|words| words.put(word));
        self.filled.notify_one();
    }

    /// Nothing that can panic runs under the lock.
    fn with<T>(&self, act: impl FnOnce(&mut Words) -> T) -> T {
        act(&mut self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until nobody listens to `events` any more.
pub(crate) async fn run(
    identity: Identity,
    dial: Dial,
    mailbox: Arc<Mailbox>,
    mut own: watch::Receiver<Option<OwnNode>>,
    events: mpsc::Sender<Event>,
) {
    let mut speaker = Speaker { identity, dial, client: None, said: None };
    let mut backoff = Backoff::new();
    let mut unsaid = None;
    loop {
        let seen = own.borrow_and_update().clone();
        let result = speaker.say_all(&mailbox, seen.as_ref()).await;
        let (trouble, wait) = match result {
            Ok(wait) => {
                backoff.reset();
                (None, wait)
            }
            Err(why) => {
                // By a new client, so that renewed credentials are read.
                speaker.client = None;
                (Some(why), Some(backoff.next()))
            }
        };
        let failed = trouble.is_some();
        if trouble != unsaid {
            match &trouble {
                Some(why) => tracing::warn!(why, "the API server cannot be told"),
                None => tracing::info!("the API server is told all again"),
            }
            unsaid.clone_from(&trouble);
            if events.send(Event::Unsaid(trouble)).await.is_err() {
                return;
            }
        }
        let pause = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        // After a failure the wait counts, whatever else there is to say.
        tokio::select! {
            () = events.closed() => return,
            () = pause => {}
            () = mailbox.filled.notified(), if !failed => {}
            Ok(()) = own.changed(), if !failed => {}
        }
    }
}

/// On whose behalf is spoken.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: String,
    pub(crate) peer: String,
}

struct Speaker {
    identity: Identity,
    dial: Dial,
    client: Option<Client>,
    /// The last word of presence that was accepted, and when.
    said: Option<(Present, Instant)>,
}

impl Speaker {
    /// All that waits. `Ok`: after what time to look again, if so; `Err`: what is in the way.
    async fn say_all(
        &mut self,
        mailbox: &Mailbox,
        seen: Option<&OwnNode>,
    ) -> Result<Option<Duration>, String> {
        // One does not wait for the other: a right may be missing for one of them.
        let again = self.say_present(mailbox, seen).await;
        let noted = self.say_notes(mailbox).await;
        let again = again?;
        noted.map(|()| again)
    }

    async fn say_present(
        &mut self,
        mailbox: &Mailbox,
        seen: Option<&OwnNode>,
    ) -> Result<Option<Duration>, String> {
        let Some(present) = mailbox.with(|words| words.present.clone()) else { return Ok(None) };
        let due = self.due(&present, seen);
        if due != Some(Duration::ZERO) {
            return Ok(due);
        }
        self.patch(&present, seen).await.map(|()| None)
    }

    async fn say_notes(&mut self, mailbox: &Mailbox) -> Result<(), String> {
        while let Some(note) = mailbox.with(|words| words.note().cloned()) {
            if let Err(why) = self.note(&note).await {
                mailbox.with(|words| words.postpone(&note));
                return Err(why);
            }
            mailbox.with(|words| words.done(&note));
        }
        Ok(())
    }

    /// In what time `present` is to be said, if it is.
    fn due(&self, present: &Present, seen: Option<&OwnNode>) -> Option<Duration> {
        match &self.said {
            Some((said, at)) if said == present => {
                // Where the watch of Nodes does not work, nothing is known of others' changes.
                let differs = seen.is_some_and(|seen| *seen != self.wanted(present));
                differs.then(|| (*at + AGAIN).saturating_duration_since(Instant::now()))
            }
            _ => Some(Duration::ZERO),
        }
    }

    fn wanted(&self, present: &Present) -> OwnNode {
        let (status, reason) =
            if present.up { ("False", "WeftIsUp") } else { ("True", "WeftIsNotReady") };
        OwnNode {
            peer: Some(self.identity.peer.clone()),
            condition: Some(Condition {
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: present.message.clone(),
            }),
        }
    }

    async fn patch(&mut self, present: &Present, seen: Option<&OwnNode>) -> Result<(), String> {
        let wanted = self.wanted(present);
        let kind = api_resource(Resource::Nodes);
        let api: Api<DynamicObject> = Api::all_with(self.client()?, &kind);
        let patch = Patch::Strategic(present_patch(&wanted, seen, Timestamp::now()));
        let parameters =
            PatchParams { field_manager: Some(COMPONENT.to_owned()), ..PatchParams::default() };
        let node = self.identity.node.clone();
        let request = api.patch_status(&node, &parameters, &patch);
        match answer(request).await {
            Answer::Done => {
                self.said = Some((present.clone(), Instant::now()));
                Ok(())
            }
            Answer::Silence => Err(trouble::silent()),
            Answer::Refused(kube::Error::Api(status)) if status.code == 404 => Err(format!(
                "there is no Node {node}: restart its kubelet, which makes one, or correct the name that this node is configured with"
            )),
            Answer::Refused(error) => Err(trouble::of_request(&error, "patch", "nodes/status").why),
        }
    }

    /// `Ok` also where it can never be said.
    async fn note(&mut self, note: &Note) -> Result<(), String> {
        let kind = ApiResource::erase::<core::Event>(&());
        let event = event(note, &self.identity.node, Timestamp::now());
        let event: DynamicObject = match serde_json::from_value(event) {
            Ok(event) => event,
            Err(error) => return Err(format!("an Event cannot be written: {error}")),
        };
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client()?, &namespace, &kind);
        match answer(api.create(&PostParams::default(), &event)).await {
            Answer::Done => Ok(()),
            Answer::Silence => Err(trouble::silent()),
            Answer::Refused(kube::Error::Api(status)) if is_vain(&status) => {
                tracing::debug!(object = note.id.name, why = status.message, "an Event is dropped");
                Ok(())
            }
            Answer::Refused(error) => Err(trouble::of_request(&error, "create", "events").why),
        }
    }

    fn client(&mut self) -> Result<Client, String> {
        if self.client.is_none() {
            self.client = Some((self.dial)().map_err(|error| error.to_string())?);
        }
        self.client.clone().ok_or_else(trouble::silent)
    }
}

/// Whether an Event was said by another node already, or can never be: its namespace goes or is gone, or it is malformed.
fn is_vain(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
    terminating || matches!(status.code, 400 | 404 | 409 | 413 | 422)
}

enum Answer {
    Done,
    Refused(kube::Error),
    Silence,
}

async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Answer {
    match tokio::time::timeout(ANSWER, request.with_subscriber(tracing::Dispatch::none())).await {
        Ok(Ok(_)) => Answer::Done,
        Ok(Err(error)) => Answer::Refused(error),
        Err(_) => Answer::Silence,
    }
}

/// Lists merge by the type of the condition: no other one is touched.
fn present_patch(wanted: &OwnNode, seen: Option<&OwnNode>, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = wanted.condition.clone().unwrap_or_default();
    let before = seen.and_then(|seen| seen.condition.as_ref());
    let mut patch = json!({
        "metadata": { "annotations": { PEER_ANNOTATION: wanted.peer } },
        "status": { "conditions": [{
            "type": CONDITION,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": now,
        }] },
    });
    // The time since which it is so: left alone where it is so already.
    if before.is_none_or(|before| before.status != condition.status) {
        patch["status"]["conditions"][0]["lastTransitionTime"] = json!(now);
    }
    patch
}

/// The name is made of what is said: of a thousand nodes that have the same to say of a policy, one does.
fn event(note: &Note, node: &str, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kind = api_resource(note.resource);
    let uid = note.uid.as_deref().unwrap_or_default();
    let digest = fnv(&[
        kind.kind.as_str(),
        &note.id.namespace,
        &note.id.name,
        uid,
        note.reason,
        &note.message,
    ]);
    // With the digest it stays below 253 characters; where it is cut, it ends as a name may.
    let stem: String = note.id.name.chars().take(230).collect();
    let stem = stem.trim_end_matches(['.', '-']);
    // Events on what has no namespace live in this one.
    let namespace = if note.id.namespace.is_empty() { "default" } else { &note.id.namespace };
    let mut regarding =
        json!({ "apiVersion": kind.api_version, "kind": kind.kind, "name": note.id.name });
    if !note.id.namespace.is_empty() {
        regarding["namespace"] = json!(note.id.namespace);
    }
    if let Some(uid) = &note.uid {
        regarding["uid"] = json!(uid);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{stem}.{digest:016x}"), "namespace": namespace },
        "involvedObject": regarding,
        "type": "Warning",
        "reason": note.reason,
        "message": note.message.chars().take(MAX_MESSAGE).collect::<String>(),
        "source": { "component": COMPONENT, "host": node },
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

/// FNV-1a: the same on every node, whatever it was built with. Not for security: who may create Events may anyhow.
fn fnv(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "speak_tests.rs"]
mod tests;
