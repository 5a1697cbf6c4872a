//! The threads that write, so that a sync never holds up the event loop.
//!
//! One appends to the journal. Whatever was asked for while it synced goes into the next frame, so a
//! hundred requests at once cost a few syncs. The other one replaces whole files, checkpoints among
//! them, so that nothing in the journal waits for those.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tracing::{error, warn};
use weft_gossip::Written;

use super::journal::{Journal, write_checkpoint};
use super::{Kind, Store, StoreError, envelope, frame};

/// How long a write that failed waits before it is tried again: the disk may be full.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes of a frame's body from which on what is asked for waits for the next one. A plain choice: a
/// sync of so much takes no longer than an empty one.
const MAX_BODY: usize = 256 << 10;

/// Writes that are on disk: all of a kind up to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct Saved {
    /// The kind.
    pub(in crate::daemon) kind: Kind,
    /// The token of the last of them.
    pub(in crate::daemon) token: u64,
}

/// What became of writes.
#[derive(Debug)]
pub(in crate::daemon) enum Outcome {
    /// They are on disk, in one piece.
    Saved(Vec<Saved>),
    /// One failed. It is tried again until it succeeds.
    Failed {
        /// Its kind. All that is in the journal fails together.
        kind: Kind,
        /// Why.
        error: StoreError,
    },
}

/// Something to write.
#[derive(Debug)]
pub(in crate::daemon) struct Write {
    /// What it is about.
    pub(in crate::daemon) kind: Kind,
    /// What the [`Saved`] will carry.
    pub(in crate::daemon) token: u64,
    /// The content.
    pub(in crate::daemon) what: Written,
}

enum ForJournal {
    Append(Vec<Write>),
    Checkpoint(Vec<(Kind, Vec<u8>)>),
}

enum ForFiles {
    Replace { kind: Kind, token: u64, bytes: Vec<u8> },
    Checkpoint { generation: u64, all: Vec<(Kind, Vec<u8>)> },
}

type Done = Arc<dyn Fn(Outcome) + Send + Sync>;

/// Writes what is asked for: of the journal's kinds in the order asked for, what was asked for at once
/// in one piece.
///
/// Of several waiting writes of a kind that has a file of its own only the newest is carried out, since
/// each holds the whole; all of them are reported as saved after it.
#[derive(Debug)]
pub(in crate::daemon) struct Writer {
    journal: mpsc::Sender<ForJournal>,
    files: mpsc::Sender<ForFiles>,
    threads: [thread::JoinHandle<()>; 2],
}

impl Writer {
    /// Starts the threads. `done` is called on them after each write.
    pub(in crate::daemon) fn start(
        store: &Store,
        journal: Journal,
        done: impl Fn(Outcome) + Send + Sync + 'static,
    ) -> Self {
        let done: Done = Arc::new(done);
        let (for_journal, from_journal) = mpsc::channel();
        let (for_files, from_files) = mpsc::channel();
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.into()).spawn(run);
            started.expect("invariant: a thread can be started at launch")
        };
        let dir = store.dir().to_path_buf();
        let checkpoints = for_files.clone();
        let for_both = done.clone();
        let threads = [
            start(
                "weft-journal",
                Box::new(move || {
                    Appender {
                        journal,
                        checkpoints,
                        done: for_both,
                        body: Vec::new(),
                        asked: Vec::new(),
                    }
                    .run(&from_journal);
                }),
            ),
            start("weft-files", Box::new(move || replace_files(&dir, &from_files, &done))),
        ];
        Self { journal: for_journal, files: for_files, threads }
    }

    /// Asks for writes. They are on disk once `done` has been called with their tokens; those of the
    /// journal either all or none of them.
    pub(in crate::daemon) fn save(&self, writes: Vec<Write>) {
        let (journal, files): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| write.kind.in_journal());
        let mut gone = false;
        if !journal.is_empty() {
            gone |= self.journal.send(ForJournal::Append(journal)).is_err();
        }
        for Write { kind, token, what } in files {
            let (Written::Snapshot(bytes) | Written::Append(bytes)) = what;
            gone |= self.files.send(ForFiles::Replace { kind, token, bytes }).is_err();
        }
        if gone {
            error!("the store's thread is gone, nothing is saved");
        }
    }

    /// Begins a new journal behind a checkpoint. `all` is what was written of each kind so far, and is
    /// asked for after all of that.
    pub(in crate::daemon) fn checkpoint(&self, all: Vec<(Kind, Vec<u8>)>) {
        if self.journal.send(ForJournal::Checkpoint(all)).is_err() {
            error!("the store's thread is gone, nothing is saved");
        }
    }

    /// Waits until all that was asked for is done, or cannot be.
    pub(in crate::daemon) fn finish(self) {
        drop((self.journal, self.files));
        for thread in self.threads {
            if thread.join().is_err() {
                error!("one of the store's threads panicked");
            }
        }
    }
}

/// The thread of the journal.
struct Appender {
    journal: Journal,
    checkpoints: mpsc::Sender<ForFiles>,
    done: Done,
    /// What the next frame holds.
    body: Vec<u8>,
    /// What to report then.
    asked: Vec<Saved>,
}

impl Appender {
    fn run(mut self, queue: &mpsc::Receiver<ForJournal>) {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    ForJournal::Append(writes) => self.gather(writes),
                    ForJournal::Checkpoint(all) => {
                        // It holds what was gathered, so that has to be in the journal before.
                        self.append(queue);
                        if self.asked.is_empty() {
                            self.rotate(all);
                        }
                    }
                }
                if self.body.len() < MAX_BODY {
                    next = queue.try_recv().ok();
                }
            }
            self.append(queue);
        }
        // A frame of nothing: whatever is damaged before it, later on, is known to have been whole.
        if let Err(e) = self.journal.append(&[]) {
            warn!(error = %e, "the journal is not closed");
        }
    }

    fn gather(&mut self, writes: Vec<Write>) {
        for Write { kind, token, what } in writes {
            if frame::put_entry(&mut self.body, kind, &what).is_none() {
                error!(?kind, "a write is too long and is left out");
            }
            match self.asked.iter_mut().find(|saved| saved.kind == kind) {
                Some(saved) => saved.token = saved.token.max(token),
                None => self.asked.push(Saved { kind, token }),
            }
        }
    }

    /// Appends what was gathered, however often that has to be tried. Gives up when the daemon stops.
    fn append(&mut self, queue: &mpsc::Receiver<ForJournal>) {
        while !self.asked.is_empty() {
            match self.journal.append(&self.body) {
                Ok(()) => {
                    self.body.clear();
                    (self.done)(Outcome::Saved(std::mem::take(&mut self.asked)));
                }
                Err(error) => {
                    (self.done)(Outcome::Failed { kind: Kind::Gossip, error });
                    match queue.recv_timeout(RETRY) {
                        Ok(ForJournal::Append(writes)) => self.gather(writes),
                        // A full disk has no room for it. The next one holds all of it.
                        Ok(ForJournal::Checkpoint(_)) => {}
                        Err(mpsc::RecvTimeoutError::Timeout) => {}
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
        }
    }

    fn rotate(&mut self, all: Vec<(Kind, Vec<u8>)>) {
        match self.journal.rotate() {
            Ok(generation) => {
                // The other thread outlives this one.
                let _ = self.checkpoints.send(ForFiles::Checkpoint { generation, all });
            }
            Err(e) => warn!(error = %e, "the journal grows on"),
        }
    }
}

/// The thread of the whole files.
fn replace_files(dir: &Path, queue: &mpsc::Receiver<ForFiles>, done: &Done) {
    let mut waiting: Vec<(Kind, u64, Vec<u8>)> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            queue.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(RETRY)
        };
        let mut checkpoint = None;
        match next {
            Ok(first) => {
                for message in std::iter::once(first).chain(queue.try_iter()) {
                    match message {
                        ForFiles::Replace { kind, token, bytes } => {
                            waiting.push((kind, token, bytes))
                        }
                        // The newest one makes the others superfluous.
                        ForFiles::Checkpoint { generation, all } => {
                            checkpoint = Some((generation, all))
                        }
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        let kinds: BTreeSet<Kind> = waiting.iter().map(|(kind, ..)| *kind).collect();
        for kind in kinds {
            replace_newest(dir, kind, &mut waiting, done);
        }
        if let Some((generation, all)) = checkpoint
            && let Err(e) = write_checkpoint(dir, generation, &all)
        {
            // Nothing is lost: both journals stay, until a later one succeeds.
            warn!(error = %e, "no checkpoint, the journals stay");
        }
    }
}

/// Writes the newest of one kind; on success all of that kind are done with and reported.
fn replace_newest(dir: &Path, kind: Kind, waiting: &mut Vec<(Kind, u64, Vec<u8>)>, done: &Done) {
    let Some((_, token, bytes)) = waiting.iter().rev().find(|(other, ..)| *other == kind) else {
        return;
    };
    match envelope::write(dir, kind.file_name(), bytes) {
        Ok(()) => {
            done(Outcome::Saved(vec![Saved { kind, token: *token }]));
            waiting.retain(|(other, ..)| *other != kind);
        }
        Err(error) => done(Outcome::Failed { kind, error }),
    }
}
