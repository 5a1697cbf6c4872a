//! Where the packets of each session came from last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weft_crypto::{Opener, ReceiverIndex};

use crate::Tables;

/// What all receiving workers together heard. Looked at only where a packet comes from elsewhere than the one before.
#[derive(Default, Debug)]
pub(super) struct Heard {
    /// Grows with each change.
    changes: AtomicU64,
    sessions: Mutex<BTreeMap<u32, (Weak<Opener>, SocketAddr)>>,
}

impl Heard {
    /// Takes note of where a packet came from. Returns whether the session's packet before came from elsewhere, or this
    /// is its first; and the number of changes so far.
    fn moved(
        &self,
        receiver: ReceiverIndex,
        opener: &Weak<Opener>,
        from: SocketAddr,
    ) -> (bool, u64) {
        // Nothing that holds it can panic half-way.
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions
            .get(&receiver.0)
            .is_some_and(|(known, last)| known.ptr_eq(opener) && *last == from);
        if !known {
            sessions.retain(|_, (opener, _)| opener.strong_count() > 0);
            sessions.insert(receiver.0, (opener.clone(), from));
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        (!known, self.changes.load(Ordering::Relaxed))
    }
}

/// What one receiving worker remembers of it, in the order of [`Tables::sessions`].
#[derive(Default)]
pub(super) struct Listener {
    /// The snapshot that `entries` follow; 0 before the first.
    generation: u64,
    entries: Vec<Entry>,
}

/// What is kept of one session.
struct Entry {
    receiver: ReceiverIndex,
    /// Tells the session from another with the same index. It does not keep the key alive, but it keeps its
    /// place in memory from being used again, so that equal places mean the same key.
    opener: Weak<Opener>,
    /// Where the last packet here came from, and the changes by then: without another, it is still the last.
    last: Option<(SocketAddr, u64)>,
}

impl Listener {
    /// Follows a change of tables: what is known of sessions that stay is kept.
    pub(super) fn follow(&mut self, tables: &Tables) {
        if self.generation == tables.generation() {
            return;
        }
        let mut old = std::mem::take(&mut self.entries).into_iter().peekable();
        for session in tables.sessions() {
            let (receiver, opener) = (session.rx.receiver, &session.rx.opener);
            // Both lists are sorted by index.
            while old.next_if(|entry| entry.receiver.0 < receiver.0).is_some() {}
            let same = |entry: &Entry| {
                entry.receiver.0 == receiver.0 && entry.opener.as_ptr() == Arc::as_ptr(opener)
            };
            self.entries.push(old.next_if(same).unwrap_or_else(|| Entry {
                receiver,
                opener: Arc::downgrade(opener),
                last: None,
            }));
        }
        self.generation = tables.generation();
    }

    /// Takes note of where an authentic packet came from, in the session at this place of the snapshot that was followed
    /// last. Returns whether the one before, at whichever worker, came from elsewhere, or this is the first.
    pub(super) fn moved(&mut self, heard: &Heard, place: usize, from: SocketAddr) -> bool {
        let Some(entry) = self.entries.get_mut(place) else { return false };
        if entry.last == Some((from, heard.changes.load(Ordering::Relaxed))) {
            return false;
        }
        let (moved, changes) = heard.moved(entry.receiver, &entry.opener, from);
        entry.last = Some((from, changes));
        moved
    }
}
