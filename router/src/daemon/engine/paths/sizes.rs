//! What the paths' MTUs mean for packets to each peer.

use std::net::SocketAddr;

use tracing::{debug, info};
use weft_crypto::PeerName;
use weft_dataplane::{Path, datagram_len, pod_mtu_within, relayed_within};
use weft_gossip::Time;

use super::PathMtu;
use super::monitor::LONGEST_WAIT;
use crate::daemon::engine::peers::PeerLink;
use crate::daemon::engine::{Engine, Output};

/// The shortest datagrams that QUIC insists on (RFC 9000 section 14), which must pass whatever the Pods' MTU is.
const QUIC_LEAST: usize = 1200;

/// The longest datagram whose way is looked after, bytes, where Pods have this MTU.
pub(in crate::daemon::engine) fn longest(pod_mtu: u32) -> usize {
    datagram_len(pod_mtu).max(QUIC_LEAST)
}

/// How long packets to a peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct Limit {
    /// The longest datagram, bytes of UDP payload.
    pub(in crate::daemon) bytes: usize,
    /// Whether that is what the path takes, as far as is known; if not, it is being looked for.
    pub(in crate::daemon) known: bool,
}

impl Limit {
    /// Full packets fit.
    const NONE: Self = Self { bytes: usize::MAX, known: true };
}

impl Engine {
    /// How long packets to a peer may be.
    pub(in crate::daemon) fn limit_to(&self, link: &PeerLink) -> Limit {
        match link.path() {
            Some(Path::Direct(_)) => narrow(link).unwrap_or(Limit::NONE),
            // The others look after the rest of the way.
            Some(Path::Relay(route)) => {
                let first = self.peers.link_to(route.first).filter(|first| !first.in_tunnel());
                let limit = first.and_then(narrow);
                limit.map_or(Limit::NONE, |Limit { bytes, known }| Limit {
                    bytes: relayed_within(bytes, route.then.len()),
                    known,
                })
            }
            // QUIC looks after its own.
            Some(Path::Tunnel) | None => Limit::NONE,
        }
    }

    /// The largest packet of a Pod that goes to a peer in one datagram, or as many as any relayed one.
    pub(in crate::daemon::engine) fn mtu_to(&self, link: &PeerLink) -> u32 {
        self.settings.mtu.min(pod_mtu_within(self.limit_to(link).bytes))
    }

    /// Asks for the MTU of direct paths that are alive.
    pub(super) fn drive_sizes(&mut self, now: Time) {
        let mut changed = Vec::new();
        for (peer, link) in self.peers.iter_mut() {
            let Some(address) = link.target.filter(|_| link.direct.is_alive()) else { continue };
            if link.sized != Some(address) {
                reset(link, self.settings.mtu, now);
                link.sized = Some(address);
            }
            if link.mtu.handle_timeout(link.direct.heard(), now) {
                changed.push(peer);
            }
            let wait = link.direct.quality().wait(LONGEST_WAIT);
            if let Some(question) = link.mtu.poll_question(self.next_probe, wait, now) {
                self.next_probe += 1;
                let (token, len) = (question.token, question.len);
                self.outputs.push_back(Output::ProbeSize { peer, address, token, len });
            }
        }
        for peer in changed {
            self.size_changed(peer);
        }
    }

    /// A question for the MTU may have been answered.
    pub(super) fn handle_size_answer(&mut self, peer: PeerName, token: u64, now: Time) {
        let link = self.peers.get_mut(peer);
        if link.is_some_and(|link| link.mtu.handle_answer(token, now)) {
            self.size_changed(peer);
        }
    }

    fn size_changed(&mut self, peer: PeerName) {
        self.tables_changed = true;
        let Some(link) = self.peers.link_to(peer) else { return };
        let (peer, mtu) = (self.title(peer), pod_mtu_within(link.mtu.limit()));
        if link.mtu.is_known() {
            info!(peer, mtu, "the path takes Pods' packets up to this MTU");
        } else {
            debug!(peer, mtu, "the path takes Pods' packets up to this MTU at least");
        }
    }
}

/// The limit of a link's direct path, where that is less than full packets need.
fn narrow(link: &PeerLink) -> Option<Limit> {
    let narrow = link.direct.is_alive() && link.mtu.is_narrow();
    narrow.then(|| Limit { bytes: link.mtu.limit(), known: link.mtu.is_known() })
}

/// Nothing is known of a path that has come up, or has gone.
pub(super) fn reset(link: &mut PeerLink, pod_mtu: u32, now: Time) {
    link.mtu = PathMtu::new(longest(pod_mtu), now);
    link.sized = None::<SocketAddr>;
}
