//! Many nodes in one process, each with the watches and the words of a daemon of its own: what `scripts/bench herd`
//! puts before an API server.
//!
//!     herd KUBECONFIG NODES
//!
//! The nodes are `herd-0`, `herd-1` and so on; their Node objects must be there. Prints a line of JSON whenever the sums
//! have changed: how many watches work, of how many; and how many objects and Nodes have been heard of since the start.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use weft_kubernetes::{Access, Event, Kubernetes, Resource, Settings, Word};

/// As many as the daemon's own.
const EVENTS: usize = 1024;

/// The least time between two lines.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default, PartialEq, Clone)]
struct Sums {
    working: BTreeSet<(usize, Resource)>,
    applied: u64,
    nodes: u64,
    named: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kubeconfig, nodes] = arguments.as_slice() else {
        return Err("usage: herd KUBECONFIG NODES".into());
    };
    let nodes: usize = nodes.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(herd(kubeconfig.into(), nodes))
}

async fn herd(kubeconfig: PathBuf, nodes: usize) -> Result<(), Box<dyn Error>> {
    let (heard, mut hears) = mpsc::channel(EVENTS);
    let mut doors = Vec::new();
    for number in 0..nodes {
        let settings = Settings {
            access: Access::Kubeconfig(kubeconfig.clone()),
            server: None,
            node: format!("herd-{number}"),
            peer: format!("{number:064x}"),
        };
        let (events, mut own) = mpsc::channel(EVENTS);
        let door = Kubernetes::start(settings, events)?;
        door.say(Word::Present { up: true, message: "weft serves Pods".to_owned() });
        doors.push(door);
        let heard = heard.clone();
        tokio::spawn(async move {
            while let Some(event) = own.recv().await {
                if heard.send((number, event)).await.is_err() {
                    return;
                }
            }
        });
    }
    let (mut sums, mut printed) = (Sums::default(), None);
    let mut tick = tokio::time::interval(PAUSE);
    loop {
        tokio::select! {
            Some((number, event)) = hears.recv() => sums.take(number, event),
            _ = tick.tick() => {
                if printed.as_ref() != Some(&sums) {
                    println!(
                        "{{\"working\": {}, \"watches\": {}, \"applied\": {}, \"nodes\": {}, \"named\": {}}}",
                        sums.working.len(),
                        nodes * Resource::ALL.len(),
                        sums.applied,
                        sums.nodes,
                        sums.named
                    );
                    printed = Some(sums.clone());
                }
            }
        }
    }
}

impl Sums {
    fn take(&mut self, number: usize, event: Event) {
        match event {
            Event::Watching(resource) => {
                self.working.insert((number, resource));
            }
            Event::Failing { resource, .. } => {
                self.working.remove(&(number, resource));
            }
            Event::Applied(..) | Event::Deleted(..) => self.applied += 1,
            Event::Nodes(nodes) => {
                self.nodes += 1;
                // How far the last list is: all nodes have said who they are when it is as long as all are many.
                let named = nodes.iter().filter(|node| node.peer.is_some()).count();
                self.named = u64::try_from(named).unwrap_or(u64::MAX);
            }
            Event::Listed(..) | Event::Unsaid(_) => {}
        }
    }
}
