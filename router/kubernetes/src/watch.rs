//! One watch: from the stream of one resource to [`Event`]s, for as long as anybody listens.

use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::instrument::WithSubscriber as _;

use crate::access::Dial;
use crate::backoff::Backoff;
use crate::node::{self, Nodes, OwnNode};
use crate::objects::objects;
use crate::opening::observe;
use crate::trouble::{self, Remedy, Trouble};
use crate::{Event, Object, Resource};

/// How long a watch has to work for its next failure to count as the first one.
const SETTLED: Duration = Duration::from_secs(10);

/// Nobody listens any more.
struct Closed;

/// Runs until nobody listens any more. `own` is told what this node's Node says, if this is the watch of Nodes.
pub(crate) async fn run(
    resource: Resource,
    node: String,
    dial: Dial,
    events: mpsc::Sender<Event>,
    own: watch::Sender<Option<OwnNode>>,
) {
    let mut watch = Watch {
        resource,
        node,
        events,
        own,
        listed: Vec::new(),
        listed_nodes: Nodes::default(),
        listed_own: None,
        nodes: Nodes::default(),
        health: Health::New,
        failures: 0,
        working_since: None,
        backoff: Backoff::new(),
    };
    while let Ok(()) = watch.session(&dial).await {}
}

struct Watch {
    resource: Resource,
    node: String,
    events: mpsc::Sender<Event>,
    own: watch::Sender<Option<OwnNode>>,
    /// What has come of a list that is not complete yet; of Nodes only what is told of them.
    listed: Vec<Object>,
    listed_nodes: Nodes,
    listed_own: Option<OwnNode>,
    nodes: Nodes,
    health: Health,
    /// In a row.
    failures: u32,
    working_since: Option<Instant>,
    backoff: Backoff,
}

/// What was last said of a watch.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    /// Nothing.
    New,
    Watching,
    Failing {
        why: String,
        answered: bool,
    },
}

impl Watch {
    /// Lists and watches with one client, until a failure after which that cannot go on.
    async fn session(&mut self, dial: &Dial) -> Result<(), Closed> {
        let (client, mut opened) = match dial() {
            Ok(client) => observe(client),
            Err(error) => {
                let why = error.to_string();
                let trouble = Trouble { why, answered: true, remedy: Remedy::Relist };
                return self.failed(trouble).await;
            }
        };
        let mut stream = objects(self.resource, client, &self.node);
        loop {
            // Kube logs each attempt at WARN or ERROR; here what changes is logged.
            let next = stream.next().with_subscriber(tracing::Dispatch::none());
            let item = tokio::select! {
                biased;
                () = self.events.closed() => return Err(Closed),
                Ok(()) = opened.changed() => {
                    self.working().await?;
                    continue;
                }
                item = next => item,
            };
            // It may have been accepted while the stream was polled.
            if opened.has_changed().unwrap_or(false) {
                opened.mark_unchanged();
                self.working().await?;
            }
            match item {
                Some(Ok(event)) => self.heard(event).await?,
                Some(Err(error)) => {
                    let trouble = trouble::of_watch(&error, self.resource.as_str());
                    let remedy = trouble.remedy;
                    self.failed(trouble).await?;
                    if remedy != Remedy::Resume {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    async fn heard(&mut self, event: watcher::Event<Object>) -> Result<(), Closed> {
        match event {
            watcher::Event::Init => self.forget_list(),
            watcher::Event::InitApply(object) => self.list(object),
            watcher::Event::InitDone => self.told_all().await?,
            watcher::Event::Apply(object) => self.told(object).await?,
            watcher::Event::Delete(object) => self.told_gone(object).await?,
        }
        Ok(())
    }

    fn forget_list(&mut self) {
        self.listed = Vec::new();
        self.listed_nodes = Nodes::default();
        self.listed_own = None;
    }

    fn list(&mut self, object: Object) {
        if self.resource != Resource::Nodes {
            self.listed.push(object);
            return;
        }
        if object.id.name == self.node {
            self.listed_own = Some(node::own(&object.value));
        }
        self.listed_nodes.apply(&object);
    }

    async fn told_all(&mut self) -> Result<(), Closed> {
        if self.resource != Resource::Nodes {
            let listed = std::mem::take(&mut self.listed);
            return self.send(Event::Listed(self.resource, listed)).await;
        }
        self.nodes = std::mem::take(&mut self.listed_nodes);
        let own = self.listed_own.take();
        self.told_own(own);
        self.send(Event::Nodes(self.nodes.all())).await
    }

    async fn told(&mut self, object: Object) -> Result<(), Closed> {
        if self.resource != Resource::Nodes {
            return self.send(Event::Applied(self.resource, object)).await;
        }
        if object.id.name == self.node {
            self.told_own(Some(node::own(&object.value)));
        }
        if self.nodes.apply(&object) {
            self.send(Event::Nodes(self.nodes.all())).await?;
        }
        Ok(())
    }

    async fn told_gone(&mut self, object: Object) -> Result<(), Closed> {
        if self.resource != Resource::Nodes {
            return self.send(Event::Deleted(self.resource, object.id)).await;
        }
        if object.id.name == self.node {
            self.told_own(None);
        }
        if self.nodes.remove(&object.id.name) {
            self.send(Event::Nodes(self.nodes.all())).await?;
        }
        Ok(())
    }

    fn told_own(&self, found: Option<OwnNode>) {
        self.own.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }

    /// The API server has accepted the watch.
    async fn working(&mut self) -> Result<(), Closed> {
        self.failures = 0;
        self.working_since.get_or_insert_with(Instant::now);
        if self.health != Health::Watching {
            self.health = Health::Watching;
            tracing::info!(resource = self.resource.as_str(), "the API server is watched");
            self.send(Event::Watching(self.resource)).await?;
        }
        Ok(())
    }

    /// Says so where it is worth saying, and waits before the next attempt.
    async fn failed(&mut self, trouble: Trouble) -> Result<(), Closed> {
        self.forget_list();
        self.failures += 1;
        if self.working_since.take().is_some_and(|since| since.elapsed() >= SETTLED) {
            self.backoff.reset();
        }
        let Trouble { why, answered, remedy } = trouble;
        // A connection that breaks is replaced by the next one: nothing is wrong unless that fails as well.
        let passing = self.health == Health::Watching && self.failures == 1 && !answered;
        if passing || remedy == Remedy::Expired {
            tracing::debug!(resource = self.resource.as_str(), why, "a watch is started again");
        } else {
            let health = Health::Failing { why: why.clone(), answered };
            if self.health != health {
                tracing::warn!(
                    resource = self.resource.as_str(),
                    why,
                    "a watch of the API server fails"
                );
                self.health = health;
                self.send(Event::Failing { resource: self.resource, why, answered }).await?;
            }
        }
        let wait = self.backoff.next();
        tokio::select! {
            () = self.events.closed() => Err(Closed),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
