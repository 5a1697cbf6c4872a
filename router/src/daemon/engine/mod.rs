//! The daemon's state machine. No I/O, no clock: the shell (`daemon::run`) feeds it and carries out
//! what it asks for.
//!
//! It joins the pure parts: the gossip node (records, ring), the connector (whom to dial), the
//! table of links (one per peer), and the attachments (Pods' interfaces). After every `handle_*`
//! the shell drains [`Engine::poll_output`], then looks at [`Engine::take_tables_changed`] and
//! [`Engine::poll_timeout`].
//!
//! Durability: answers to calls and gossip messages come out only after the [`Output::Save`] that
//! they depend on was reported as done.

mod attachments;
mod conduct;
mod explain;
mod expose;
mod fence;
mod healing;
mod kubernetes;
mod meaning;
mod objects;
mod others;
mod output;
mod paths;
mod peers;
mod policy;
mod rejoin;
mod removal;
mod reset;
mod saving;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tracing::{info, warn};
use weft_api::attach::Attachment;
use weft_api::peers::TargetsReply;
use weft_crypto::{Identity, PeerName};
use weft_dataplane::Mac;
use weft_gossip::ipam::Route;
use weft_gossip::{Connector, ConnectorConfig, Event, Node, RestoreError, Saved, Time};

use super::links::LinkId;
use super::store::Kind;
use crate::config::Tunnel;
use attachments::Attachments;
pub(super) use attachments::read_attachments;
use conduct::Conducts;
pub(super) use conduct::Fault;
use expose::Exposure;
pub(super) use expose::{HostState, refuse_own};
pub(super) use fence::CutPort;
use fence::Fence;
use kubernetes::Kubernetes;
pub(super) use kubernetes::{KubernetesSettings, SavedKubernetes};
use objects::Objects;
pub(super) use output::{CallId, Output, Reply};
use paths::Paths;
pub(super) use paths::TRAFFIC_EVERY;
pub(super) use peers::{LinkInfo, Verdict};
use peers::{PeerLink, Peers};
use policy::Enforcement;
use rejoin::Rejoin;
pub(super) use rejoin::SavedPeers;
use removal::Removals;
use reset::Resetting;
pub(super) use reset::{given_up_text, name_some};
use saving::Saving;

/// How long an address is waited for before a call fails (the contract of `attach` and ADD).
pub(super) const ATTACH_DEADLINE: Duration = Duration::from_secs(30);

/// What the engine is told at its start.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: PeerName,
    pub(super) nickname: String,
    pub(super) port: u16,
    pub(super) ranges: Vec<IpNet>,
    pub(super) bridge: String,
    pub(super) bridge_mac: Mac,
    pub(super) mtu: u32,
    pub(super) discovery: bool,
    pub(super) conn_limit: usize,
    /// The cipher suites of the data plane, in words.
    pub(super) cipher: String,
    /// What carries data packets.
    pub(super) tunnel: Tunnel,
    /// What the kernel does for the data plane, in words.
    pub(super) offload: String,
    /// How the data plane's threads are scheduled, in words.
    pub(super) scheduling: String,
    /// How many threads the data plane has for each direction.
    pub(super) workers: usize,
    pub(super) launch_peers: BTreeSet<String>,
    /// What the operator should know of the configuration, shown in status.
    pub(super) warnings: Vec<String>,
    /// Set in API mode.
    pub(super) kubernetes: Option<KubernetesSettings>,
}

/// What was on disk.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) gossip: Option<Saved>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) targets: Option<SavedTargets>,
    pub(super) peers: SavedPeers,
    pub(super) heard: Option<Vec<u8>>,
    /// What the Kubernetes API told; only looked at in API mode.
    pub(super) kubernetes: Option<SavedKubernetes>,
    /// What was wrong with the disk and could be made good.
    pub(super) notes: Vec<String>,
    /// Bytes of the journal.
    pub(super) journal_bytes: u64,
}

/// The targets as saved: those in force, and those of the command line they started from. A launch
/// with the same command line carries on; one with another starts from that.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct SavedTargets {
    pub(super) launch: BTreeSet<String>,
    pub(super) targets: BTreeSet<String>,
}

/// The state machine.
pub(super) struct Engine {
    settings: Settings,
    node: Node,
    connector: Connector,
    peers: Peers,
    attachments: Attachments,
    exposure: Exposure,
    enforcement: Enforcement,
    rejoin: Rejoin,
    removals: Removals,
    fence: Fence,
    resetting: Option<Resetting>,
    objects: Objects,
    /// Set in API mode.
    kubernetes: Option<Kubernetes>,
    /// Seconds since the Unix epoch, as told last; 0 before the first time.
    seconds_of_day: u64,
    outputs: VecDeque<Output>,
    /// Whether two cluster secrets are accepted.
    secrets_changing: bool,
    saving: Saving,
    /// Names the next probe.
    next_probe: u64,
    paths: Paths,
    conducts: Conducts,
    tables_changed: bool,
    /// What stopped the data plane, if anything did.
    data_failure: Option<String>,
}

impl Engine {
    /// Starts from what was on disk.
    pub(super) fn new(
        settings: Settings,
        gossip: weft_gossip::Config,
        identity: Arc<Identity>,
        seed: [u8; 32],
        restored: Restored,
        now: Time,
    ) -> Result<Self, RestoreError> {
        let mut settings = settings;
        settings.warnings.extend(restored.notes);
        let node = Node::new(gossip, identity, seed, restored.gossip.as_ref(), now)?;
        let connector_config = ConnectorConfig {
            name: settings.name,
            discovery: settings.discovery,
            conn_limit: settings.conn_limit,
        };
        let kubernetes = settings
            .kubernetes
            .clone()
            .map(|settings| Kubernetes::new(settings, restored.kubernetes, now));
        let mut engine = Self {
            node,
            connector: Connector::new(connector_config, seed),
            peers: Peers::new(settings.name, settings.conn_limit),
            attachments: Attachments::new(restored.attachments),
            exposure: Exposure::new(),
            enforcement: Enforcement::default(),
            rejoin: Rejoin::new(restored.peers),
            removals: Removals::default(),
            fence: Fence::default(),
            resetting: None,
            objects: Objects::default(),
            kubernetes,
            seconds_of_day: 0,
            outputs: VecDeque::new(),
            secrets_changing: false,
            saving: Saving::new(restored.journal_bytes),
            next_probe: 0,
            paths: Paths::default(),
            conducts: Conducts::default(),
            tables_changed: true,
            data_failure: None,
            settings,
        };
        if engine.kubernetes.is_some() {
            // Before anything else: who takes part in making a ring is known from the first list of Nodes on.
            engine.node.set_targets(None, now);
        }
        engine.release_orphans(now);
        engine.fence_later();
        engine.fence_due();
        engine.cut_off();
        engine.restore_exposure();
        engine.recall(restored.heard.as_deref(), now);
        engine.objects.own_pods_changed = true;
        engine.tell_policy_changes();
        let targets = match restored.targets {
            Some(saved) if saved.launch == engine.settings.launch_peers => saved.targets,
            _ => engine.settings.launch_peers.clone(),
        };
        engine.connector.set_targets(targets, now);
        engine.save_targets();
        engine.update_candidates(now);
        engine.settle(now);
        Ok(engine)
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Engine::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let reset = self.resetting.as_ref().map(Resetting::next);
        let release = self.conducts.poll_timeout();
        let path = self.next_path_timeout();
        let kubernetes = self.next_kubernetes_timeout();
        [self.node.poll_timeout(), self.connector.poll_timeout(), path, reset, release, kubernetes]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.node.handle_timeout(now);
        self.release_members(now);
        self.drive_paths(now);
        self.drive_kubernetes(now);
        self.settle(now);
    }

    /// A gossip message came. What is wrong with it is counted by the node and closes nothing.
    pub(super) fn handle_message(&mut self, link: LinkId, bytes: &[u8], now: Time) {
        let listening = |peer: &PeerName| !self.conducts.is_quarantined(*peer);
        if let Some(peer) = self.peers.of_link(link).filter(listening) {
            if let Err(error) = self.node.handle_message(peer, bytes, now) {
                self.blame_message(peer, &error, now);
            }
            self.settle(now);
        }
    }

    /// Adds targets, or replaces them. `targets` are normalised.
    pub(super) fn connect(
        &mut self,
        call: CallId,
        targets: BTreeSet<String>,
        replace: bool,
        now: Time,
    ) {
        let mut all = if replace { BTreeSet::new() } else { self.connector.targets().clone() };
        all.extend(targets);
        self.change_targets(call, all, now);
    }

    /// Drops targets.
    pub(super) fn forget(&mut self, call: CallId, targets: &BTreeSet<String>, now: Time) {
        let all = self.connector.targets() - targets;
        self.change_targets(call, all, now);
    }

    fn change_targets(&mut self, call: CallId, targets: BTreeSet<String>, now: Time) {
        let reply = TargetsReply { targets: targets.iter().cloned().collect() };
        self.connector.set_targets(targets, now);
        let token = self.save_targets();
        self.answer_when_saved(Kind::Targets, token, call, Reply::Targets(reply));
        self.settle(now);
    }

    fn save_targets(&mut self) -> u64 {
        let saved = SavedTargets {
            launch: self.settings.launch_peers.clone(),
            targets: self.connector.targets().clone(),
        };
        self.save(Kind::Targets, &saved)
    }

    /// Drains the parts into the queue, writes first.
    fn settle(&mut self, now: Time) {
        loop {
            let before = self.outputs.len();
            self.tell_pods(now);
            while let Some(persist) = self.node.poll_persist() {
                self.removals.note_snapshot(persist.token);
                self.save_bytes(Kind::Gossip, persist.token, persist.what);
            }
            self.prepare_decided();
            self.write_attachments();
            while let Some(transmit) = self.node.poll_transmit() {
                if let Some(link) = self.peers.link_to(transmit.to) {
                    let (link, bytes) = (link.id, transmit.bytes);
                    self.outputs.push_back(Output::Send { link, bytes });
                }
            }
            while let Some(event) = self.node.poll_event() {
                self.handle_event(event, now);
            }
            self.fence_due();
            self.check_reset(now);
            self.settle_objects(now);
            let again = self.settle_kubernetes(now);
            while let Some(endpoint) = self.connector.poll_dial(now) {
                self.outputs.push_back(Output::Dial(endpoint));
            }
            if self.paths.stale {
                self.update_routes(now);
            } else if !again && self.outputs.len() == before {
                self.checkpoint_if_due();
                return;
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Allocated { id, result } => self.handle_allocated(id, result, now),
            Event::MembersChanged => {
                self.paths.stale = true;
                self.update_candidates(now);
            }
            Event::RoutesChanged => self.tables_changed = true,
            Event::ObjectsChanged => self.objects.changed = true,
            Event::PodsChanged => self.objects.pods_changed = true,
            Event::ObjectsWritten(id) => self.handle_written(id),
            Event::Fenced { key, addresses } => {
                let addresses = attachments::join(&addresses);
                tracing::debug!(key, addresses, "addresses in use here are another node's now");
                self.fence_later();
            }
            Event::Warning(text) => warn!("{text}"),
        }
    }

    /// Whether what the data plane forwards by has changed since the last call.
    pub(super) fn take_tables_changed(&mut self) -> bool {
        std::mem::take(&mut self.tables_changed)
    }

    /// Who owns which addresses.
    pub(super) fn routes(&self) -> Vec<Route> {
        self.node.routes()
    }

    /// The link to each connected peer.
    pub(super) fn links(&self) -> impl Iterator<Item = (PeerName, &PeerLink)> {
        self.peers.iter()
    }

    /// The Pods' interfaces on this node.
    pub(super) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter()
    }

    /// The bridge's MAC, which the host's own addresses have.
    pub(super) fn bridge_mac(&self) -> Mac {
        self.settings.bridge_mac
    }

    /// Whether a Pod could be served now, and will be: in API mode also whether the API is heard.
    pub(super) fn ready(&self, now: Time) -> bool {
        self.serves() && !self.kubernetes_is_overdue(now)
    }

    /// Whether a Pod could be served now.
    fn serves(&self) -> bool {
        self.node.ready()
            && !self.policies_are_unknown()
            && self.data_failure.is_none()
            && self.saving.failure().is_none()
            && !self.enforcement.has_failed()
    }

    /// Whether two cluster secrets are accepted from here on.
    pub(super) fn set_secrets_changing(&mut self, changing: bool) {
        self.secrets_changing = changing;
    }

    /// A direction of the data plane has ended for good.
    pub(super) fn handle_data_failure(&mut self, text: String) {
        tracing::error!("{text}");
        self.data_failure = Some(text);
    }

    /// The gossip node's counters.
    pub(super) fn gossip_stats(&self) -> &weft_gossip::Stats {
        self.node.stats()
    }

    fn log_peer(&self, peer: PeerName, what: &str) {
        info!(peer = self.title(peer), "{what}");
    }

    /// The short form and nickname of a peer: `a1b2c3d4e5(h1)`.
    fn title(&self, peer: PeerName) -> String {
        match self.node.nickname(peer) {
            Some(nickname) => format!("{}({nickname})", peer.short()),
            None => peer.short(),
        }
    }
}
