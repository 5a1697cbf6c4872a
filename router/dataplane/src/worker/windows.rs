//! The replay windows of the receiving worker.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use weft_crypto::{Opener, ReceiverIndex, ReplayWindow};

use crate::Tables;

/// What the receiving worker keeps of each session, in the order of [`Tables::sessions`].
#[derive(Default)]
pub(super) struct Windows {
    /// The snapshot that `entries` follow; 0 before the first.
    generation: u64,
    entries: Vec<Window>,
}

/// What is kept of one session.
pub(super) struct Window {
    receiver: ReceiverIndex,
    /// Tells the session from another with the same index. It does not keep the key alive, but it keeps its
    /// place in memory from being used again, so that equal places mean the same key.
    opener: Weak<Opener>,
    pub(super) replay: ReplayWindow,
    /// Where the last authentic packet came from.
    pub(super) heard_from: Option<SocketAddr>,
}

impl Windows {
    /// Follows a change of tables: sessions that stay keep their windows, all others are dropped.
    pub(super) fn follow(&mut self, tables: &Tables) {
        if self.generation == tables.generation() {
            return;
        }
        let mut old = std::mem::take(&mut self.entries).into_iter().peekable();
        for session in tables.sessions() {
            let (receiver, opener) = (session.rx.receiver, &session.rx.opener);
            // Both lists are sorted by index.
            while old.next_if(|window| window.receiver.0 < receiver.0).is_some() {}
            let same = |window: &Window| {
                window.receiver.0 == receiver.0 && window.opener.as_ptr() == Arc::as_ptr(opener)
            };
            self.entries.push(old.next_if(same).unwrap_or_else(|| Window {
                receiver,
                opener: Arc::downgrade(opener),
                replay: ReplayWindow::new(),
                heard_from: None,
            }));
        }
        self.generation = tables.generation();
    }

    /// The window of the session at this place of the snapshot that was followed last.
    pub(super) fn at(&mut self, place: usize) -> Option<&mut Window> {
        self.entries.get_mut(place)
    }
}
