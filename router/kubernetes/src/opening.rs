//! Sees watches open. [`kube::runtime::watcher`] resumes a watch without a word; without this a watch that works again
//! would look broken until one of its objects changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::Instant;

/// The least time between two watches by one client. An API server, or a proxy, that accepts a watch and ends it at once
/// is not asked more often than this.
const PACE: Duration = Duration::from_secs(1);

/// The same client, and a counter of the watches that the API server has accepted from it.
pub(crate) fn observe(client: Client) -> (Client, watch::Receiver<u64>) {
    let (opened, seen) = watch::channel(0);
    let opened = Arc::new(opened);
    let last: Arc<Mutex<Option<Instant>>> = Arc::default();
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, opened, last) = (client.clone(), opened.clone(), last.clone());
        async move {
            if !is_watch(&request) {
                return client.send(request).await;
            }
            tokio::time::sleep_until(turn(&last)).await;
            let response = client.send(request).await?;
            if response.status().is_success() {
                opened.send_modify(|count| *count += 1);
            }
            Ok(response)
        }
    });
    (Client::new(service, namespace), seen)
}

/// When the next watch may start.
fn turn(last: &Mutex<Option<Instant>>) -> Instant {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let turn = last.map_or(now, |before| now.max(before + PACE));
    *last = Some(turn);
    turn
}

fn is_watch<B>(request: &http::Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|parameter| parameter == "watch=true")
}
