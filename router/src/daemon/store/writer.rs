//! The thread that writes files, so that an fsync never holds up the event loop.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::error;

use super::{Kind, Store, StoreError, envelope};

/// How long a write that failed waits before it is tried again: the disk may be full.
const RETRY: Duration = Duration::from_secs(1);

/// A write that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct Saved {
    /// The file.
    pub(in crate::daemon) kind: Kind,
    /// The token that came with the write.
    pub(in crate::daemon) token: u64,
}

struct Write {
    kind: Kind,
    token: u64,
    bytes: Vec<u8>,
}

/// Writes files in the order asked for, each whole.
///
/// Of several waiting writes of one kind only the newest is carried out, since each holds the whole
/// state; all of them are reported as saved after it.
#[derive(Debug)]
pub(in crate::daemon) struct Writer {
    queue: mpsc::Sender<Write>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. `done` is called on it after each write, with the error where it failed.
    pub(in crate::daemon) fn start(
        store: &Store,
        done: impl Fn(Result<Saved, StoreError>) + Send + 'static,
    ) -> Self {
        let dir = store.dir().to_path_buf();
        let (queue, writes) = mpsc::channel::<Write>();
        let thread = thread::Builder::new()
            .name("weft-store".into())
            .spawn(move || drain(&dir, &writes, &done))
            .expect("invariant: a thread can be started at launch");
        Self { queue, thread }
    }

    /// Asks for a write. The content is on disk once `done` has been called with the token.
    pub(in crate::daemon) fn save(&self, kind: Kind, token: u64, bytes: Vec<u8>) {
        if self.queue.send(Write { kind, token, bytes }).is_err() {
            error!(file = kind.file_name(), "the store's thread is gone, nothing is saved");
        }
    }

    /// Waits until all that was asked for is done.
    pub(in crate::daemon) fn finish(self) {
        drop(self.queue);
        if self.thread.join().is_err() {
            error!("the store's thread panicked");
        }
    }
}

fn drain(dir: &Path, writes: &mpsc::Receiver<Write>, done: &impl Fn(Result<Saved, StoreError>)) {
    while let Ok(first) = writes.recv() {
        let mut waiting = vec![first];
        while !waiting.is_empty() {
            waiting.extend(writes.try_iter());
            for kind in Kind::ALL {
                save_newest(dir, kind, &mut waiting, done);
            }
            // Only what failed is left. It is tried again, with what has come meanwhile.
            if !waiting.is_empty() {
                match writes.recv_timeout(RETRY) {
                    Ok(write) => waiting.push(write),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }
}

/// Writes the newest of one kind; on success all of that kind are done with and reported.
fn save_newest(
    dir: &Path,
    kind: Kind,
    waiting: &mut Vec<Write>,
    done: &impl Fn(Result<Saved, StoreError>),
) {
    let Some(newest) = waiting.iter().rev().find(|write| write.kind == kind) else { return };
    match envelope::write(dir, kind.file_name(), &newest.bytes) {
        Ok(()) => waiting.retain(|write| {
            if write.kind == kind {
                done(Ok(Saved { kind, token: write.token }));
            }
            write.kind != kind
        }),
        Err(e) => done(Err(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_tokens_are_reported_and_the_newest_content_stands() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (sender, reports) = mpsc::channel();
        let writer = Writer::start(&store, move |saved| sender.send(saved.unwrap()).unwrap());
        for token in 0..20 {
            writer.save(Kind::Targets, token, vec![u8::try_from(token).unwrap()]);
        }
        writer.finish();
        let tokens: Vec<u64> = reports.iter().map(|saved| saved.token).collect();
        assert_eq!(tokens, (0..20).collect::<Vec<_>>());
        assert_eq!(store.load(Kind::Targets).unwrap().unwrap(), [19]);
    }
}
