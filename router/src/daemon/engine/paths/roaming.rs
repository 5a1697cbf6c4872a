//! Addresses that change under a running session: a peer that moves, a NAT that forgets, a hole that was punched.
//!
//! Where a peer is known to be is `PeerLink::target`, and nothing but proof moves it: another address, the
//! *challenger*, is probed first, with probes that the peer alone can answer, and takes over if it is answered while the
//! target is not. So whoever forwards a packet of the peer from elsewhere gains a few probes and nothing more (RFC
//! 9000, section 9.3.1, has the same fear): while the target answers, it stays. Replays never come this far.
//!
//! A challenger comes from a packet of the peer, heard from there ([`Engine::handle_heard`]), or from what others
//! tell ([`super::punch`]). There is one at a time, and it has [`PROBATION`] to answer.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::info;
use weft_crypto::PeerName;
use weft_dataplane::Path;
use weft_gossip::Time;

use super::monitor::Change;
use super::{End, Monitor, interval};
use crate::daemon::engine::peers::PeerLink;
use crate::daemon::engine::{Engine, Output};

/// How long an address has to answer. Longer than the verdict on the target takes, which is awaited.
const PROBATION: Duration = Duration::from_secs(3);

/// How long an address is not listened to after the target has outlived it: a peer with two addresses may send from
/// one and be reached at the other.
const IGNORED: Duration = Duration::from_secs(60);

/// An address on probation.
#[derive(Debug, Clone)]
pub(in crate::daemon::engine) struct Challenger {
    pub(super) address: SocketAddr,
    monitor: Monitor,
    until: Time,
    /// Whether the peer's packets came from there; what others tell gives way to that.
    heard: bool,
}

/// What is known of a peer's whereabouts besides its target.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon::engine) struct Whereabouts {
    pub(super) challenger: Option<Challenger>,
    ignored: Option<(SocketAddr, Time)>,
}

impl Whereabouts {
    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let challenger = self.challenger.as_ref()?;
        Some(challenger.until.min(challenger.monitor.poll_timeout()))
    }

    fn ignores(&self, address: SocketAddr, now: Time) -> bool {
        self.ignored.is_some_and(|(other, until)| other == address && until > now)
    }
}

impl PeerLink {
    /// Puts an address on probation.
    pub(super) fn challenge(&mut self, address: SocketAddr, heard: bool, end: End, now: Time) {
        let monitor = Monitor::new(end, interval(address), now);
        let until = now + PROBATION;
        self.whereabouts.challenger = Some(Challenger { address, monitor, until, heard });
    }

    /// The challenger has answered, and nothing else does.
    fn has_proof(&self) -> bool {
        let challenger = self.whereabouts.challenger.as_ref();
        !self.direct.is_alive() && challenger.is_some_and(|c| c.monitor.is_alive())
    }
}

impl Engine {
    /// An authentic packet of `peer` came straight from `from`, and the one before it did not. Others may have
    /// forwarded it: this is a reason to ask there, and no more.
    pub(in crate::daemon) fn handle_heard(&mut self, peer: PeerName, from: SocketAddr, now: Time) {
        let end = self.end(peer);
        let Some(link) = self.peers.get_mut(peer) else { return };
        let standing = link.whereabouts.challenger.as_ref();
        if link.target == Some(from)
            || standing.is_some_and(|standing| standing.heard || standing.address == from)
            || link.whereabouts.ignores(from, now)
        {
            return;
        }
        link.challenge(from, true, end, now);
        // If the peer has moved, the sooner that is known the better.
        link.direct.handle_doubt(now);
        self.drive_paths(now);
        self.settle(now);
    }

    /// A probe came from `from`. Answers whether that is the path in use, for which it is a sign of life.
    pub(super) fn asked_from(
        &mut self,
        peer: PeerName,
        from: SocketAddr,
        urgent: bool,
        now: Time,
    ) -> bool {
        self.handle_heard(peer, from, now);
        let Some(link) = self.peers.get_mut(peer) else { return false };
        match &mut link.whereabouts.challenger {
            Some(challenger) if challenger.address == from && link.target != Some(from) => {
                challenger.monitor.handle_question(urgent, now);
                false
            }
            _ => true,
        }
    }

    /// Probes the challengers and ends their probation where it is over.
    pub(super) fn drive_challengers(&mut self, now: Time) {
        let mut proven = Vec::new();
        for (peer, link) in self.peers.iter_mut() {
            let Some(challenger) = &mut link.whereabouts.challenger else { continue };
            // What becomes of it is asked when it matters.
            let _ = challenger.monitor.handle_timeout(now);
            while let Some(question) = challenger.monitor.poll_question(self.next_probe, now) {
                self.next_probe += 1;
                self.outputs.push_back(Output::Probe {
                    peer,
                    path: Path::Direct(challenger.address),
                    token: question.token,
                    urgent: question.urgent,
                });
            }
            if challenger.until > now {
                continue;
            }
            let (address, heard) = (challenger.address, challenger.heard);
            if link.has_proof() {
                proven.push(peer);
                continue;
            }
            link.whereabouts.challenger = None;
            if heard && link.direct.is_alive() {
                link.whereabouts.ignored = Some((address, now + IGNORED));
            }
        }
        for peer in proven {
            self.follow(peer, now);
        }
    }

    /// A probe was answered that may have been a challenger's. Answers whether the peer was found there.
    pub(super) fn challenger_answered(&mut self, peer: PeerName, token: u64, now: Time) -> bool {
        let challenger =
            self.peers.get_mut(peer).and_then(|link| link.whereabouts.challenger.as_mut());
        challenger.and_then(|challenger| challenger.monitor.handle_answer(token, now))
            == Some(Change::Up)
            && self.follow(peer, now)
    }

    /// Takes the challenger's address for the peer's, if that is proven and no other answers.
    pub(super) fn follow(&mut self, peer: PeerName, now: Time) -> bool {
        let Some(link) = self.peers.get_mut(peer).filter(|link| link.has_proof()) else {
            return false;
        };
        let Some(Challenger { address, monitor, .. }) = link.whereabouts.challenger.take() else {
            return false;
        };
        let before = link.target.replace(address);
        link.direct = monitor;
        let title = self.title(peer);
        match before {
            Some(before) => info!(peer = title, %before, %address, "the peer has moved"),
            None => info!(peer = title, %address, "a direct path was found"),
        }
        // The others may find it there too.
        self.node.handle_address(peer, address, now);
        self.direct_changed(peer, Change::Up, now);
        true
    }
}
