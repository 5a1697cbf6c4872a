//! The connection maker: whom to dial, and when to try again.
//!
//! Pure: the shell dials what [`Connector::poll_dial`] answers and reports how it went.

mod backoff;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use weft_crypto::PeerName;

use crate::{Time, connect::backoff::Backoff};

/// How long the node with the larger name waits before it dials a peer it learnt of by gossip: the
/// peer learns of it at the same moment, and two connections at once would be one too many.
const POLITENESS: Duration = Duration::from_millis(750);

/// Found targets are first dialled over a time that grows with their number, in a random order: all nodes of a
/// large cluster find the same ones at the same moment, and the first of them must not be dialled by
/// all. Beyond the longest time, gossip has found the others.
const SPREAD_EACH: Duration = Duration::from_millis(5);
const SPREAD_MAX: Duration = Duration::from_secs(5);

/// The settings of a [`Connector`].
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    /// This node.
    pub name: PeerName,
    /// Whether to dial peers that others report, not only the targets.
    pub discovery: bool,
    /// Connected peers beyond which no discovered peer and no found target is dialled; 0 sets no
    /// limit. Targets that an operator gave are always dialled.
    pub conn_limit: usize,
}

/// Something to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A target as the operator wrote it, `host:port`; the host may be a name to resolve.
    Target(String),
    /// An address at which others see this peer.
    Address(SocketAddr, PeerName),
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// For the operator.
    pub text: String,
    /// Whether and when trying again makes sense.
    pub retry: Retry,
}

/// Whether and when to dial again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With growing pauses: nobody answers, the name does not resolve.
    Backoff,
    /// With the longest pause: somebody must act first, the secret is wrong, say.
    Slow,
    /// Only after the targets were set anew: the endpoint is this node itself.
    Never,
}

/// Where an attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// It was handed to the shell, which has not reported yet.
    Connecting,
    /// It has not failed and waits for its turn.
    Retrying,
    /// It failed.
    Failed {
        /// When it is tried again; `None` is never.
        retry_at: Option<Time>,
    },
}

/// One endpoint that is not connected, for status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What is dialled.
    pub endpoint: Endpoint,
    /// Where it is.
    pub state: AttemptState,
    /// Why it failed last.
    pub error: Option<String>,
    /// Which peer is expected there: known for an address, and for a target that was connected
    /// before.
    pub peer: Option<PeerName>,
}

#[derive(Debug)]
struct Entry {
    backoff: Backoff,
    state: AttemptState,
    due: Time,
    error: Option<String>,
    peer: Option<PeerName>,
}

#[derive(Debug)]
struct Connected {
    address: SocketAddr,
    since: Time,
}

/// The connection maker.
///
/// Inputs are `set_targets` and `handle_*`, each with `now`. After any of them, and when the time of
/// [`Self::poll_timeout`] has come, call [`Self::poll_dial`] until it answers `None`. Each endpoint it
/// answers must be reported back exactly once, by [`Self::handle_connected`] or
/// [`Self::handle_dial_failed`]; until then it counts as being dialled.
///
/// An endpoint is not dialled while it is connected: a target while the peer last seen there, or any
/// peer at the address it last led to, is connected; an address while its peer is.
#[derive(Debug)]
pub struct Connector {
    config: ConnectorConfig,
    rng: ChaCha8Rng,
    targets: BTreeSet<String>,
    /// Targets that nobody gave; none of them is among `targets`.
    found: BTreeSet<String>,
    entries: BTreeMap<Endpoint, Entry>,
    /// Where each target led when it last connected.
    led_to: BTreeMap<String, SocketAddr>,
    connected: BTreeMap<PeerName, Connected>,
}

impl Connector {
    /// A connector without targets.
    pub fn new(config: ConnectorConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::from_seed(seed),
            targets: BTreeSet::new(),
            found: BTreeSet::new(),
            entries: BTreeMap::new(),
            led_to: BTreeMap::new(),
            connected: BTreeMap::new(),
        }
    }

    /// Replaces the targets. New ones are dialled at once, and so are those that failed.
    pub fn set_targets(&mut self, targets: BTreeSet<String>, now: Time) {
        let found = &self.found;
        let kept = |target: &String| targets.contains(target) || found.contains(target);
        forget_targets(&mut self.entries, &mut self.led_to, kept);
        for target in &targets {
            let entry = self
                .entries
                .entry(Endpoint::Target(target.clone()))
                .or_insert_with(|| Entry::new(now, None));
            if !matches!(entry.state, AttemptState::Connecting) {
                entry.retry_at_once(now);
            }
        }
        self.found = &self.found - &targets;
        self.targets = targets;
    }

    /// Replaces the targets that were found rather than given: the addresses of the nodes of a cluster,
    /// say. Those that stay are not disturbed. They are dialled like others, but for the limit of
    /// connections, which holds for them.
    pub fn set_found(&mut self, found: BTreeSet<String>, now: Time) {
        let given = &self.targets;
        let kept = |target: &String| found.contains(target) || given.contains(target);
        forget_targets(&mut self.entries, &mut self.led_to, kept);
        let found = &found - &self.targets;
        let new: Vec<&String> = found.difference(&self.found).collect();
        let count = u32::try_from(new.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let spread = SPREAD_EACH.saturating_mul(count).min(SPREAD_MAX);
        for target in new {
            let due = now + spread.mul_f64(unit_of(&mut self.rng));
            self.entries
                .entry(Endpoint::Target(target.clone()))
                .or_insert_with(|| Entry::new(due, None));
        }
        self.found = found;
    }

    /// The targets, as they were found ([`Self::set_found`]) and not given as well.
    pub fn found(&self) -> &BTreeSet<String> {
        &self.found
    }

    /// The targets, as they were set.
    pub fn targets(&self) -> &BTreeSet<String> {
        &self.targets
    }

    /// Takes over the addresses at which others see each peer ([`crate::Node::candidates`]).
    pub fn handle_candidates(
        &mut self,
        candidates: &BTreeMap<PeerName, BTreeSet<SocketAddr>>,
        now: Time,
    ) {
        let wanted = |address: &SocketAddr, peer: &PeerName| {
            candidates.get(peer).is_some_and(|addresses| addresses.contains(address))
        };
        self.entries.retain(|endpoint, entry| match endpoint {
            Endpoint::Target(_) => true,
            Endpoint::Address(address, peer) => {
                entry.state == AttemptState::Connecting || wanted(address, peer)
            }
        });
        if !self.config.discovery {
            return;
        }
        for (&peer, addresses) in candidates {
            if peer == self.config.name {
                continue;
            }
            let delay = if self.config.name > peer {
                POLITENESS + POLITENESS.mul_f64(self.unit())
            } else {
                Duration::ZERO
            };
            for &address in addresses {
                self.entries
                    .entry(Endpoint::Address(address, peer))
                    .or_insert_with(|| Entry::new(now + delay, Some(peer)));
            }
        }
    }

    /// A control link to `peer` is admitted. `target` is set where it was dialled as one.
    pub fn handle_connected(
        &mut self,
        peer: PeerName,
        address: SocketAddr,
        target: Option<&str>,
        now: Time,
    ) {
        self.connected.insert(peer, Connected { address, since: now });
        if let Some(target) = target {
            self.led_to.insert(target.to_owned(), address);
        }
        for (endpoint, entry) in &mut self.entries {
            match endpoint {
                Endpoint::Target(text) if target == Some(text.as_str()) => {
                    entry.peer = Some(peer);
                    entry.succeeded(now);
                }
                Endpoint::Address(_, expected) if *expected == peer => {
                    entry.succeeded(now);
                }
                Endpoint::Target(_) | Endpoint::Address(..) => {}
            }
        }
    }

    /// The last control link to `peer` is gone. Its endpoints are dialled again.
    pub fn handle_disconnected(&mut self, peer: PeerName, now: Time) {
        let Some(was) = self.connected.remove(&peer) else { return };
        let lived = now.since(was.since);
        let rng = &mut self.rng;
        for (endpoint, entry) in &mut self.entries {
            let leads_there = match endpoint {
                Endpoint::Target(text) => {
                    entry.peer == Some(peer) || leads_to(&self.led_to, text) == Some(was.address)
                }
                Endpoint::Address(_, expected) => *expected == peer,
            };
            if leads_there && entry.state != AttemptState::Connecting {
                entry.state = AttemptState::Retrying;
                entry.due = now + entry.backoff.after_loss(lived, unit_of(rng));
            }
        }
    }

    /// A dial that [`Self::poll_dial`] asked for failed.
    pub fn handle_dial_failed(&mut self, endpoint: &Endpoint, error: DialError, now: Time) {
        let unit = self.unit();
        let Some(entry) = self.entries.get_mut(endpoint) else { return };
        let retry_at = match error.retry {
            Retry::Backoff => Some(now + entry.backoff.after_failure(unit)),
            Retry::Slow => Some(now + entry.backoff.longest(unit)),
            Retry::Never => None,
        };
        entry.state = AttemptState::Failed { retry_at };
        entry.due = retry_at.unwrap_or(now);
        entry.error = Some(error.text);
    }

    /// The next endpoint to dial, if one is due.
    pub fn poll_dial(&mut self, now: Time) -> Option<Endpoint> {
        let endpoint = self
            .entries
            .iter()
            .filter(|(endpoint, entry)| entry.due <= now && self.is_waiting(endpoint, entry))
            .min_by_key(|(_, entry)| entry.due)
            .map(|(endpoint, _)| endpoint.clone())?;
        let entry = self.entries.get_mut(&endpoint)?;
        entry.state = AttemptState::Connecting;
        Some(endpoint)
    }

    /// When [`Self::poll_dial`] has something next, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.entries
            .iter()
            .filter(|(endpoint, entry)| self.is_waiting(endpoint, entry))
            .map(|(_, entry)| entry.due)
            .min()
    }

    /// The endpoints that are not connected, sorted.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.entries
            .iter()
            .filter(|(endpoint, entry)| !self.is_connected(endpoint, entry))
            .map(|(endpoint, entry)| Attempt {
                endpoint: endpoint.clone(),
                state: entry.state.clone(),
                error: entry.error.clone(),
                peer: entry.peer,
            })
            .collect()
    }

    /// Whether the endpoint waits for its time to be dialled.
    fn is_waiting(&self, endpoint: &Endpoint, entry: &Entry) -> bool {
        match entry.state {
            AttemptState::Connecting | AttemptState::Failed { retry_at: None } => return false,
            AttemptState::Retrying | AttemptState::Failed { retry_at: Some(_) } => {}
        }
        if self.is_connected(endpoint, entry) {
            return false;
        }
        match endpoint {
            Endpoint::Target(text) => !self.found.contains(text) || self.has_room(),
            Endpoint::Address(address, peer) => {
                self.has_room() && !self.is_being_dialled(*address, *peer)
            }
        }
    }

    fn is_connected(&self, endpoint: &Endpoint, entry: &Entry) -> bool {
        match endpoint {
            Endpoint::Address(_, peer) => self.connected.contains_key(peer),
            Endpoint::Target(text) => {
                // The text may be the address of a peer that came to us, or that gossip found.
                let address = leads_to(&self.led_to, text);
                entry.peer.is_some_and(|peer| self.connected.contains_key(&peer))
                    || address.is_some_and(|address| {
                        self.connected.values().any(|connected| connected.address == address)
                    })
            }
        }
    }

    fn has_room(&self) -> bool {
        let dialling = self
            .entries
            .iter()
            .filter(|(endpoint, entry)| {
                let counts = match endpoint {
                    Endpoint::Address(..) => true,
                    Endpoint::Target(text) => self.found.contains(text),
                };
                counts && entry.state == AttemptState::Connecting
            })
            .count();
        self.config.conn_limit == 0 || self.connected.len() + dialling < self.config.conn_limit
    }

    /// Whether a dial is under way that leads to the same peer or the same address.
    fn is_being_dialled(&self, address: SocketAddr, peer: PeerName) -> bool {
        self.entries.iter().any(|(endpoint, entry)| {
            entry.state == AttemptState::Connecting
                && match endpoint {
                    Endpoint::Target(text) => {
                        entry.peer == Some(peer) || text.parse() == Ok(address)
                    }
                    Endpoint::Address(at, expected) => *at == address || *expected == peer,
                }
        })
    }

    fn unit(&mut self) -> f64 {
        unit_of(&mut self.rng)
    }
}

impl Entry {
    fn new(due: Time, peer: Option<PeerName>) -> Self {
        Self { backoff: Backoff::default(), state: AttemptState::Retrying, due, error: None, peer }
    }

    fn retry_at_once(&mut self, now: Time) {
        self.backoff = Backoff::default();
        self.state = AttemptState::Retrying;
        self.due = now;
    }

    fn succeeded(&mut self, now: Time) {
        self.state = AttemptState::Retrying;
        self.due = now;
        self.error = None;
    }
}

/// Forgets all targets but those to be kept.
fn forget_targets(
    entries: &mut BTreeMap<Endpoint, Entry>,
    led_to: &mut BTreeMap<String, SocketAddr>,
    kept: impl Fn(&String) -> bool,
) {
    entries.retain(|endpoint, _| match endpoint {
        Endpoint::Target(target) => kept(target),
        Endpoint::Address(..) => true,
    });
    led_to.retain(|target, _| kept(target));
}

/// The address that a target stands for, as far as that is known without resolving a name.
fn leads_to(led_to: &BTreeMap<String, SocketAddr>, target: &str) -> Option<SocketAddr> {
    led_to.get(target).copied().or_else(|| target.parse().ok())
}

/// A number from 0 up to 1, without it.
fn unit_of(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}
