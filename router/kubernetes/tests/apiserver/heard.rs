//! Waiting for what is heard.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use weft_kubernetes::{Event, Resource};

/// How long anything may take to be heard; seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The first event for which `wanted` says yes; all before it are printed with the failure if there is none.
pub(crate) async fn hear(
    heard: &mut Receiver<Event>,
    what: &str,
    wanted: impl Fn(&Event) -> bool,
) -> Event {
    let mut others = Vec::new();
    let search = async {
        loop {
            let event = heard.recv().await.unwrap_or_else(|| panic!("{what}: the events end"));
            if wanted(&event) {
                return event;
            }
            others.push(event);
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(event) => event,
        Err(_) => panic!("{what}: not heard; but: {others:#?}"),
    }
}

/// Until all four watches work; gives what came meanwhile.
pub(crate) async fn all_watching(heard: &mut Receiver<Event>) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in Resource::ALL {
        loop {
            let event = hear(heard, "all watches work", |_| true).await;
            let found = matches!(event, Event::Watching(_));
            events.push(event);
            if found {
                break;
            }
        }
    }
    events
}
