//! Looking for a direct path to peers that are reached through others alone.
//!
//! What other nodes see as a peer's address, its *reflexive* address behind a NAT, is in their link records. In a
//! *round* both ends probe all such addresses of each other, one after the other. The probes of each end open its own
//! NAT for those of the other ("hole punching", RFC 8445 and RFC 5128, section 3.3): they must fall into one time, so the end that begins a round tells
//! the other, which joins in. A NAT that gives each destination another port hides the address that counts; the peer's
//! probe then shows it, if it arrives ([`super::roaming`]), which it does if the other end's NAT lets strangers in.
//!
//! Rounds without success come ever more rarely, so that what cannot be found costs nothing; a new address of the peer
//! begins anew.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use weft_crypto::PeerName;
use weft_gossip::Time;

use super::End;
use crate::daemon::engine::{Engine, Output};
use crate::daemon::links::LinkId;

/// How long a path is doubted before others are looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each address has its turn in a round. A NAT may let in what comes after the other end's first turn only.
const TURNS: usize = 2;

/// The pause after a first round, and the longest.
const REST: Duration = Duration::from_secs(15);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The least time between two rounds that a peer asks for.
const ASKED_REST: Duration = Duration::from_secs(5);

/// The search for one peer.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon::engine) struct Punch {
    /// The addresses that others tell of.
    known: BTreeSet<SocketAddr>,
    /// Turns to come in this round.
    left: usize,
    last: Option<SocketAddr>,
    rest: Duration,
    /// When this end begins a round by itself.
    next: Option<Time>,
    begun: Option<Time>,
}

impl Punch {
    /// Takes over what others tell. Answers whether anything is new.
    fn learn(&mut self, addresses: BTreeSet<SocketAddr>) -> bool {
        let new = addresses.difference(&self.known).next().is_some();
        self.known = addresses;
        new
    }

    fn begin(&mut self, now: Time) {
        self.left = TURNS * self.known.len();
        self.begun = Some(now);
        self.rest = (2 * self.rest).clamp(REST, LONGEST_REST);
        self.next = Some(now + self.rest);
    }

    /// The address whose turn it is.
    fn turn(&mut self) -> Option<SocketAddr> {
        self.left = self.left.checked_sub(1)?;
        let later = self.known.iter().find(|address| Some(**address) > self.last);
        self.last = later.or_else(|| self.known.first()).copied();
        self.last
    }
}

impl Engine {
    /// Goes on with all searches; called every second while a node has no direct path.
    pub(super) fn search(&mut self, now: Time) {
        let mut candidates = self.node.candidates();
        let us = self.settings.name;
        for (peer, link) in self.peers.iter_mut() {
            let found = link.near().is_some();
            if found || link.target.is_some() && !link.direct.is_doubted(PATIENCE, now) {
                link.punch = Punch::default();
                continue;
            }
            let end = if us < peer { End::Low } else { End::High };
            let mut addresses = candidates.remove(&peer).unwrap_or_default();
            // That one goes on being probed as it is.
            addresses.retain(|address| Some(*address) != link.target);
            let new = link.punch.learn(addresses);
            // One end begins, unless the other knows something new.
            let due = link.punch.next.is_none_or(|next| next <= now) && end == End::Low;
            if link.punch.left == 0 && !link.punch.known.is_empty() && (new || due) {
                link.punch.begin(now);
                self.outputs.push_back(Output::Punch { link: link.id });
            }
            if link.whereabouts.challenger.is_none()
                && let Some(address) = link.punch.turn()
            {
                link.challenge(address, false, end, now);
            }
        }
    }

    /// The peer at the other end of a link begins a round.
    pub(in crate::daemon) fn handle_punch(&mut self, link: LinkId, now: Time) {
        let Some(peer) = self.peers.of_link(link) else { return };
        self.join_round(peer, now);
        self.search(now);
        self.drive_paths(now);
        self.settle(now);
    }

    fn join_round(&mut self, peer: PeerName, now: Time) {
        let candidates = self.node.candidates().remove(&peer).unwrap_or_default();
        let Some(link) = self.peers.get_mut(peer) else { return };
        let rested = link.punch.begun.is_none_or(|begun| now.since(begun) >= ASKED_REST);
        if link.near().is_none() && link.punch.left == 0 && rested {
            link.punch.learn(candidates);
            link.punch.begin(now);
        }
    }
}
