//! Where the packets of each session came from last.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use weft_crypto::{Opener, ReceiverIndex};

use crate::Tables;

/// What a receiving worker keeps of each session, in the order of [`Tables::sessions`]. All that comes straight from
/// the underlay in one session comes to one worker.
#[derive(Default)]
pub(super) struct Heard {
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
    from: Option<SocketAddr>,
}

impl Heard {
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
                from: None,
            }));
        }
        self.generation = tables.generation();
    }

    /// Takes note of where an authentic packet came from, in the session at this place of the snapshot that was followed
    /// last. Returns whether the one before came from elsewhere, or this is the first.
    pub(super) fn moved(&mut self, place: usize, from: SocketAddr) -> bool {
        let entry = self.entries.get_mut(place);
        entry.is_some_and(|entry| entry.from.replace(from) != Some(from))
    }
}
