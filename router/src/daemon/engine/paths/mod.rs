//! Paths: whether those to each peer work, and what is told of it.

mod class;
mod monitor;
mod quality;

use std::time::Duration;

use tracing::warn;
use weft_crypto::PeerName;
use weft_gossip::{LinkState, Time};

use monitor::Change;
pub(super) use monitor::{End, Monitor};

use super::{Engine, Output};

/// How long a class of round-trip times is told before another one may be.
const CLASS_HOLD: Duration = Duration::from_secs(10);

/// What the others were told of a link last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    state: LinkState,
    since: Time,
}

impl Told {
    pub(super) fn new(now: Time) -> Self {
        Self { state: LinkState::Pending, since: now }
    }

    /// What to tell now; `None` where it is the same as before, or nearly.
    fn renew(&mut self, path: &Monitor, now: Time) -> Option<LinkState> {
        let state = if path.is_alive() {
            let rtt = path.quality().rtt().unwrap_or_default();
            match self.state {
                LinkState::Direct(class) if now.since(self.since) < CLASS_HOLD => {
                    LinkState::Direct(class)
                }
                LinkState::Direct(class) => LinkState::Direct(class::renew(class, rtt)),
                LinkState::Pending | LinkState::Relayed | LinkState::Dead => {
                    LinkState::Direct(class::of(rtt))
                }
            }
        } else if path.dead_since().is_some() {
            LinkState::Dead
        } else {
            LinkState::Pending
        };
        (state != self.state).then(|| {
            *self = Self { state, since: now };
            state
        })
    }
}

impl Engine {
    /// When a path is to be probed or judged next.
    pub(super) fn next_path_timeout(&self) -> Option<Time> {
        self.peers.iter().map(|(_, link)| link.direct.poll_timeout()).min()
    }

    /// Judges all paths and sends the probes that are due.
    pub(super) fn drive_paths(&mut self, now: Time) {
        let mut changes = Vec::new();
        for (peer, link) in self.peers.iter_mut() {
            changes.extend(link.direct.handle_timeout(now).map(|change| (peer, change)));
            while let Some(question) = link.direct.poll_question(self.next_probe, now) {
                self.next_probe += 1;
                self.outputs.push_back(Output::Probe {
                    peer,
                    path: link.address,
                    token: question.token,
                    urgent: question.urgent,
                });
            }
        }
        for (peer, change) in changes {
            self.path_changed(peer, change, now);
        }
    }

    /// A probe of that token was answered, in a session of `peer`: nobody answers for another.
    pub(in crate::daemon) fn handle_answer(&mut self, peer: PeerName, token: u64, now: Time) {
        let Some(link) = self.peers.get_mut(peer) else { return };
        match link.direct.handle_answer(token, now) {
            Some(change) => self.path_changed(peer, change, now),
            None => self.tell(peer, now),
        }
        self.settle(now);
    }

    /// The peer asked by a probe, and the data plane has answered it.
    pub(in crate::daemon) fn handle_question(&mut self, peer: PeerName, urgent: bool, now: Time) {
        if let Some(link) = self.peers.get_mut(peer) {
            link.direct.handle_question(urgent, now);
            self.drive_paths(now);
        }
    }

    fn path_changed(&mut self, peer: PeerName, change: Change, now: Time) {
        match change {
            Change::Up => {
                self.rejoin.found(peer);
                self.log_peer(peer, "data path established");
            }
            Change::Down => {
                let peer = self.title(peer);
                warn!(peer, "the direct path is dead: probes get no answer");
            }
        }
        self.tables_changed = true;
        self.tell(peer, now);
    }

    /// Tells the others how packets get to a peer, where that has changed.
    fn tell(&mut self, peer: PeerName, now: Time) {
        let Some(link) = self.peers.get_mut(peer) else { return };
        if let Some(state) = link.told.renew(&link.direct, now) {
            self.node.handle_link_state(peer, state, now);
        }
    }
}
