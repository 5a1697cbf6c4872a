//! What answers as an API server would where a real one cannot be brought to it: versions that expire at will, garbage,
//! silence, streams that break. Each resource has a script of answers; where that ends, requests are never answered.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::access::Dial;
use crate::{Event, Resource};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// No connection.
    Refused,
    /// A status and a whole body.
    Whole(u16, String),
    /// `200` and these lines, and then the end in good order.
    Lines(Vec<String>),
    /// The same, and then nothing, for ever.
    LinesThenSilence(Vec<String>),
    /// The same, and then a connection that breaks.
    LinesThenBreak(Vec<String>),
}

/// A request as it came: method, path with query, body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Value,
    pub(crate) at: tokio::time::Instant,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    scripts: BTreeMap<String, VecDeque<Answer>>,
    asked: Vec<Asked>,
}

impl Fake {
    /// Answers requests whose path holds `/plural` so, one after the other, after those that wait.
    pub(crate) fn script(&self, plural: &str, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().scripts.entry(plural.to_owned()).or_default().extend(answers);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(crate) fn dial(&self) -> Dial {
        let fake = self.clone();
        Arc::new(move || {
            let fake = fake.clone();
            Ok(Client::new(
                tower::service_fn(move |request| fake.clone().answer(request)),
                "default",
            ))
        })
    }

    async fn answer(
        self,
        request: http::Request<Body>,
    ) -> io::Result<http::Response<UnsyncBoxBody<Bytes, io::Error>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let asked = Asked {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            at: tokio::time::Instant::now(),
        };
        let next = {
            let mut state = self.state.lock().unwrap();
            let path = head.uri.path().to_owned();
            let script =
                state.scripts.iter_mut().find(|(plural, _)| path.contains(&format!("/{plural}")));
            let next = script.and_then(|(_, answers)| answers.pop_front());
            state.asked.push(asked);
            next
        };
        let Some(next) = next else { return std::future::pending().await };
        let (status, lines, then) = match next {
            Answer::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Answer::Whole(status, body) => (status, vec![body], stream::empty().boxed()),
            Answer::Lines(lines) => (200, lines, stream::empty().boxed()),
            Answer::LinesThenSilence(lines) => (200, lines, stream::pending().boxed()),
            Answer::LinesThenBreak(lines) => {
                let broken = io::Error::from(io::ErrorKind::ConnectionReset);
                (200, lines, stream::iter([Err(broken)]).boxed())
            }
        };
        let frames = stream::iter(lines).map(|line| Ok(format!("{line}\n"))).chain(then);
        let frames = frames.map(|line: io::Result<String>| Ok(Frame::data(Bytes::from(line?))));
        let body = http_body_util::StreamBody::new(frames).boxed_unsync();
        Ok(http::Response::builder().status(status).body(body).unwrap())
    }
}

/// A list at a version.
pub(crate) fn list(version: &str, items: &[Value]) -> Answer {
    Answer::Whole(200, json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": items }).to_string())
}

/// A refusal in the API server's form.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Whole(code, status(code, reason, message).to_string())
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message })
}

/// One line of a watch.
pub(crate) fn line(kind: &str, object: Value) -> String {
    json!({ "type": kind, "object": object }).to_string()
}

pub(crate) fn bookmark(version: &str) -> String {
    line(
        "BOOKMARK",
        json!({ "kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": { "resourceVersion": version } }),
    )
}

pub(crate) fn policy(name: &str, version: &str) -> Value {
    json!({ "kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "spec": { "podSelector": {} },
        "metadata": { "namespace": "shop", "name": name, "uid": name, "resourceVersion": version } })
}

/// The watch of one resource on `node-1`, from the fake.
pub(crate) fn watch(fake: &Fake, resource: Resource) -> mpsc::Receiver<Event> {
    let (events, heard) = mpsc::channel(64);
    let (own, _) = watch::channel(None);
    tokio::spawn(crate::watch::run(resource, "node-1".to_owned(), fake.dial(), events, own));
    heard
}
