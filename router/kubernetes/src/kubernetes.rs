//! The door: starts the watches and takes the words.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::access::{self, Dial};
use crate::speak::{self, Identity, Mailbox};
use crate::{Event, Resource, Settings, StartError, Word};

/// The API server, watched and spoken to by tasks of their own. They end with this, or with the receiver of the events.
#[derive(Debug)]
pub struct Kubernetes {
    mailbox: Arc<Mailbox>,
    /// Ended when dropped.
    _tasks: JoinSet<()>,
}

impl Kubernetes {
    /// Starts the watches on the current tokio runtime, which needs timers and I/O. Events go to `events`; where it is
    /// full, the watches wait. Returns at once, whether or not the API server can be reached. Reads the files that
    /// `settings` name, and runs the command that a kubeconfig may name for credentials.
    ///
    /// # Errors
    ///
    /// For what cannot come right by waiting; nothing has been started then.
    pub fn start(settings: Settings, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        let dial = access::dial(&settings);
        // What is made here is thrown away: whether it can be made is what counts.
        dial()?;
        Ok(Self::run(settings, dial, events))
    }

    fn run(settings: Settings, dial: Dial, events: mpsc::Sender<Event>) -> Self {
        let Settings { node, peer, .. } = settings;
        let mailbox = Arc::new(Mailbox::default());
        let (own, seen) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for resource in Resource::ALL {
            let watch = crate::watch::run(
                resource,
                node.clone(),
                dial.clone(),
                events.clone(),
                own.clone(),
            );
            tasks.spawn(watch);
        }
        let identity = Identity { node, peer };
        tasks.spawn(speak::run(identity, dial, mailbox.clone(), seen, events));
        Self { mailbox, _tasks: tasks }
    }

    /// Says it as soon as that is possible. Never blocks. The newest word of each kind counts (of [`Word::Note`], of each
    /// object and reason); of notes that wait, 256 are kept.
    pub fn say(&self, word: Word) {
        self.mailbox.put(word);
    }
}
