//! Nodes that are gone from the API, and whose daemons are to leave the ring for that.
//!
//! Each daemon says its name on its Node. A peer that a Node named and none names any more, because the Node
//! was deleted or is another machine's by now, is a *former* peer. It is removed by the rules of the ring, as by
//! `weft rmpeer`, when all of this holds:
//!
//! - the Nodes are listed by a watch that works, and this node's own is among them: an API server that lost its
//!   state, or one of another cluster, removes nobody;
//! - nobody here has reached the peer for [`UNREACHABLE`]: a Node that was deleted by mistake while its daemon lives is
//!   a warning;
//! - this node reaches at least half of the peers that Nodes name: else it may be itself that is cut off.
//!
//! Members take turns in the order of their names, so that mostly one acts. That several do is safe.
//! Which peers were named is kept on disk: a Node that goes while this daemon is down is noticed later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{info, warn};
use weft_crypto::PeerName;
use weft_gossip::Time;
use weft_kubernetes::Resource;

use super::Kubernetes;
use crate::daemon::engine::Engine;

/// How long a former peer must have been out of reach. A daemon that is replaced, or a path that is lost, is back
/// earlier; addresses of a node that is gone are not needed that soon.
const UNREACHABLE: Duration = Duration::from_secs(60);

/// How long each member waits for the one before it, and how many take turns; the others act with the last.
const TURN: Duration = Duration::from_secs(10);
const TURNS: u32 = 6;

/// How often it is looked whether former peers can be reached, while there are any.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a former peer that no record tells of is remembered: it never had addresses, or has left.
const FORGET: Duration = Duration::from_secs(3600);

/// Peers that are remembered. Beyond that new ones are not: whoever may write Nodes could make up any number.
const MAX_PEERS: usize = 16_384;

/// The peers that Nodes named.
#[derive(Debug, Default)]
pub(super) struct Former {
    peers: BTreeMap<PeerName, Seen>,
    /// When the next look is due, while there are former peers.
    look_at: Option<Time>,
}

#[derive(Debug)]
struct Seen {
    /// The Node that named it last.
    node: String,
    /// Set once no Node names it.
    former: Option<Gone>,
}

#[derive(Debug, Default)]
struct Gone {
    /// Since when nobody here has reached it, as far as that was looked at while the Nodes were known.
    unreachable_since: Option<Time>,
    reachable: bool,
    /// Why it cannot be removed.
    refused: Option<String>,
}

impl Former {
    pub(super) fn restored(saved: &BTreeMap<String, String>) -> Self {
        // A name that does not parse was not written by us; the others are still of use.
        let peers = saved.iter().filter_map(|(name, node)| {
            Some((name.parse().ok()?, Seen { node: node.clone(), former: None }))
        });
        Self { peers: peers.collect(), look_at: None }
    }

    pub(super) fn saved(&self) -> BTreeMap<String, String> {
        self.peers.iter().map(|(name, seen)| (name.to_string(), seen.node.clone())).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.look_at
    }

    /// Notes the peers that Nodes name; answers whether that is news for the disk.
    fn named(&mut self, named: &BTreeMap<PeerName, String>) -> bool {
        let mut news = false;
        let mut room = MAX_PEERS.saturating_sub(self.peers.len());
        for (peer, node) in named {
            match self.peers.get_mut(peer) {
                Some(seen) => {
                    news |= seen.node != *node;
                    seen.node.clone_from(node);
                    seen.former = None;
                }
                None if room > 0 => {
                    room -= 1;
                    self.peers.insert(*peer, Seen { node: node.clone(), former: None });
                    news = true;
                }
                None => {}
            }
        }
        news
    }

    /// No list that could be believed says who is there.
    fn suspend(&mut self) {
        self.peers.values_mut().for_each(|seen| seen.former = None);
        self.look_at = None;
    }
}

impl Kubernetes {
    /// What an operator should know of former peers. `title` gives a peer's name for people.
    pub(super) fn former_warnings(
        &self,
        title: &dyn Fn(PeerName) -> String,
    ) -> impl Iterator<Item = String> {
        self.former.peers.iter().filter_map(move |(peer, Seen { node, former })| {
            let Gone { reachable, refused, unreachable_since } = former.as_ref()?;
            let (title, short) = (title(*peer), peer.short());
            Some(match refused {
                Some(why) => format!("the Node {node} is gone, and {title} cannot be removed: {why}"),
                None if *reachable => format!(
                    "the Node {node} is gone from the Kubernetes API, and yet {title} lives: restart the \
                     kubelet there, so that it registers again, or run `weft rmpeer {short}`"
                ),
                None => {
                    unreachable_since.as_ref()?;
                    format!(
                        "the Node {node} is gone from the Kubernetes API: {title} is removed from the ring \
                         once it has been out of reach for {} s",
                        UNREACHABLE.as_secs()
                    )
                }
            })
        })
    }
}

impl Engine {
    /// The Nodes were listed anew.
    pub(super) fn review_former(&mut self, now: Time) {
        let own = self.settings.name;
        let Some(kubernetes) = &mut self.kubernetes else { return };
        if kubernetes.own_node().is_none() {
            kubernetes.former.suspend();
            return;
        }
        let mut named: BTreeMap<PeerName, String> =
            kubernetes.named_peers().map(|(peer, node)| (peer, node.to_owned())).collect();
        // A former life of this node, by whose name its Node is still known, is no longer there for sure;
        // it is remembered, and former at once.
        let before = kubernetes.own_node().and_then(|node| node.peer.as_ref()?.parse().ok());
        if let Some(before) = before.filter(|before: &PeerName| *before != own) {
            named.insert(before, kubernetes.settings.node.clone());
        }
        let news = kubernetes.former.named(&named);
        if let Some(before) = before {
            named.remove(&before);
        }
        for (peer, seen) in &mut kubernetes.former.peers {
            if *peer != own && !named.contains_key(peer) {
                seen.former.get_or_insert_default();
            }
        }
        let any = kubernetes.former.peers.values().any(|seen| seen.former.is_some());
        kubernetes.former.look_at = any.then_some(kubernetes.former.look_at.unwrap_or(now));
        if news {
            kubernetes.save_later(now);
        }
    }

    /// Looks at the former peers, where that is due, and removes those whose time has come.
    pub(super) fn look_at_former(&mut self, now: Time) {
        let due =
            |kubernetes: &&mut Kubernetes| kubernetes.former.look_at.is_some_and(|at| at <= now);
        let Some(kubernetes) = self.kubernetes.as_mut().filter(due) else { return };
        kubernetes.former.look_at = Some(now + LOOK_EVERY);
        let believed = kubernetes.watches.works(Resource::Nodes);
        let members = self.node.members();
        let reachable: BTreeSet<PeerName> =
            members.iter().filter(|member| member.reachable).map(|member| member.name).collect();
        let removed: BTreeSet<PeerName> =
            self.node.removals().into_iter().map(|removal| removal.name).collect();
        let known = self.known_nodes();
        let turn = TURN * self.rank().min(TURNS);
        let central = self.reaches_half(&reachable);
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let (mut due, mut over) = (Vec::new(), Vec::new());
        for (peer, seen) in &mut kubernetes.former.peers {
            let Some(gone) = &mut seen.former else { continue };
            gone.reachable = reachable.contains(peer);
            if removed.contains(peer) || self.node.ipam().has_left(*peer) {
                over.push(*peer);
            } else if gone.reachable || !believed || !central {
                gone.unreachable_since = None;
            } else {
                let away = now.since(*gone.unreachable_since.get_or_insert(now));
                if !known.contains(peer) {
                    // Nobody has told of it yet, or there is nothing to tell.
                    over.extend((away >= FORGET).then_some(*peer));
                } else if away >= UNREACHABLE + turn {
                    due.push(*peer);
                }
            }
        }
        for peer in &over {
            kubernetes.former.peers.remove(peer);
        }
        if !over.is_empty() {
            kubernetes.save_later(now);
        }
        if kubernetes.former.peers.values().all(|seen| seen.former.is_none()) {
            kubernetes.former.look_at = None;
        }
        for peer in due {
            self.remove_former(peer, now);
        }
    }

    /// Whether this node reaches at least half of the peers that other Nodes name.
    fn reaches_half(&self, reachable: &BTreeSet<PeerName>) -> bool {
        let Some(kubernetes) = &self.kubernetes else { return false };
        let named: BTreeSet<PeerName> = kubernetes.named_peers().map(|(peer, _)| peer).collect();
        named.intersection(reachable).count() * 2 >= named.len()
    }

    fn remove_former(&mut self, peer: PeerName, now: Time) {
        let result = self.node.remove(peer, false, self.seconds_of_day, now);
        let title = self.title(peer);
        let seen = self.kubernetes.as_mut().and_then(|k| k.former.peers.get_mut(&peer));
        let Some(Seen { node, former: Some(gone) }) = seen else { return };
        match result {
            Ok(()) => {
                info!(
                    peer = title,
                    node, "removing from the ring a node that is gone from Kubernetes"
                );
                gone.refused = None;
            }
            Err(error) => {
                let why = error.to_string();
                if gone.refused.as_ref() != Some(&why) {
                    warn!(
                        peer = title,
                        node, why, "cannot remove a node that is gone from Kubernetes"
                    );
                }
                gone.refused = Some(why);
            }
        }
    }
}
