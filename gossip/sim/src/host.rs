//! One machine of the world: its disk, its clocks, its daemon while that runs, and the Pods that
//! believe in what the daemon promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use weft_crypto::{Identity, PeerName};
use weft_gossip::{
    Config, Connector, ConnectorConfig, Node, RestoreError, Saved, Time, Written,
    ipam::{Init, IpamSnapshot, Request, RequestId, Space},
};

use crate::CrashPoint;

/// How long freed addresses rest.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(3);

/// Where nodes are.
pub(crate) type Places = BTreeMap<PeerName, BTreeSet<SocketAddr>>;

/// What is on a disk.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) saved: Saved,
    /// What the daemon said of its space then.
    pub(crate) space: Space,
}

/// Something on its way to a disk.
#[derive(Clone)]
pub(crate) struct Write {
    /// Of which life of the daemon.
    pub(crate) incarnation: u64,
    pub(crate) token: u64,
    pub(crate) what: Written,
    /// What the daemon said of its space then.
    pub(crate) space: Space,
    /// Where the machine stops.
    pub(crate) crash: Option<CrashPoint>,
}

/// What is checked of a daemon, as it was after the last event that changed it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) space: Space,
    /// What it holds, by origin.
    pub(crate) records: BTreeMap<PeerName, u64>,
}

/// A machine.
pub(crate) struct Host {
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: SocketAddr,
    /// Where its operator told it to connect.
    pub(crate) targets: BTreeSet<String>,
    /// Where its daemon saw the others last, as on its disk.
    pub(crate) remembered: Places,
    pub(crate) init: Init,
    pub(crate) ranges: Vec<IpNet>,
    /// What survives a crash: the writes that were finished.
    pub(crate) disk: Option<Disk>,
    /// Writes under way, oldest first.
    pub(crate) writing: Vec<Write>,
    /// The daemon, while it runs.
    pub(crate) daemon: Option<Daemon>,
    /// How often the daemon was started.
    pub(crate) incarnation: u64,
    /// What Pods on this machine were promised and use, whether the daemon runs or not.
    pub(crate) pods: BTreeMap<String, Vec<IpAddr>>,
    /// It will not start again, or not for a long time.
    pub(crate) dead: bool,
    /// It handed its space over before that, and nobody misses it.
    pub(crate) left: bool,
    /// Identities under which it handed its space over, with what they said of it last.
    pub(crate) former: Vec<(PeerName, Space)>,
    /// Pods that were stopped, or given up, while nobody could be sure that the disk knew.
    pub(crate) stopped: BTreeSet<String>,
    /// How far its time of day is off, seconds.
    pub(crate) clock_error: i64,
    pub(crate) seen: Option<Seen>,
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) node: Node,
    pub(crate) connector: Connector,
    /// Where those were that it knew before its start, or lost since, and has not found again.
    pub(crate) missed: Places,
    /// For each link the generation of it.
    pub(crate) links: BTreeMap<PeerName, u64>,
    /// Requests without an outcome.
    pub(crate) waiting: BTreeMap<RequestId, (String, Request)>,
    /// When it was started.
    started: Time,
    /// By how much its clock leapt since.
    leapt: Duration,
}

impl Daemon {
    /// What its own clock says.
    pub(crate) fn time(&self, now: Time) -> Time {
        Time::from_start(now.since(self.started) + self.leapt)
    }

    /// When it wants to be called, in the time of the world.
    pub(crate) fn timeout(&self) -> Option<Time> {
        let own = [self.node.poll_timeout(), self.connector.poll_timeout()];
        let own = own.into_iter().flatten().min()?;
        Some(self.started + own.since(Time::START + self.leapt))
    }

    pub(crate) fn leap(&mut self, by: Duration) {
        self.leapt += by;
    }

    pub(crate) fn space(&self) -> Space {
        let IpamSnapshot::V1(snapshot) = self.node.ipam().snapshot();
        snapshot.space
    }
}

impl Host {
    pub(crate) fn new(index: usize, seed: u64, ranges: Vec<IpNet>) -> Self {
        Self {
            identity: Arc::new(identity(index, seed, 0)),
            address: address(index),
            targets: BTreeSet::new(),
            remembered: Places::new(),
            init: Init::Observer,
            ranges,
            disk: None,
            writing: Vec::new(),
            daemon: None,
            incarnation: 0,
            pods: BTreeMap::new(),
            dead: false,
            left: false,
            former: Vec::new(),
            stopped: BTreeSet::new(),
            clock_error: 0,
            seen: None,
        }
    }

    pub(crate) fn name(&self) -> PeerName {
        self.identity.name()
    }

    /// Whether it runs and was not removed.
    pub(crate) fn stays(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.node.removed_by().is_none())
    }

    /// Whether it owns space and goes on doing so.
    pub(crate) fn serves(&self) -> bool {
        let owns = |daemon: &Daemon| daemon.node.owned() > 0 && daemon.node.leaving().is_none();
        self.stays() && self.daemon.as_ref().is_some_and(owns)
    }

    /// Whether it runs and was told to leave.
    pub(crate) fn leaves(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.node.leaving().is_some())
    }

    /// Whether it runs and has handed its space over.
    pub(crate) fn has_left(&self) -> bool {
        let left = |daemon: &Daemon| daemon.node.leaving().is_some_and(|leaving| leaving.done);
        self.stays() && self.daemon.as_ref().is_some_and(left)
    }

    /// Whom it removes.
    pub(crate) fn removes(&self) -> Vec<PeerName> {
        let removals = self.daemon.as_ref().map(|daemon| daemon.node.removals());
        removals.into_iter().flatten().map(|removal| removal.name).collect()
    }

    /// What it says of its space, or what its disk says while it does not run.
    pub(crate) fn space(&self) -> Option<&Space> {
        match (&self.daemon, &self.seen) {
            (Some(_), Some(seen)) => Some(&seen.space),
            (Some(_), None) => None,
            (None, _) => self.disk.as_ref().map(|disk| &disk.space),
        }
    }

    /// Looks at the daemon again.
    pub(crate) fn look(&mut self) {
        self.seen = self
            .daemon
            .as_ref()
            .map(|daemon| Seen { space: daemon.space(), records: daemon.node.fingerprints() });
    }

    /// Tells the connection maker whom it can dial, as the daemon does.
    pub(crate) fn update_candidates(&mut self, now: Time) {
        let Some(daemon) = self.daemon.as_mut() else { return };
        let mut candidates = daemon.node.candidates();
        if !candidates.is_empty() {
            self.remembered.clone_from(&candidates);
        }
        for removal in daemon.node.removals() {
            daemon.missed.remove(&removal.name);
        }
        for (name, addresses) in &daemon.missed {
            candidates.entry(*name).or_default().extend(addresses);
        }
        let time = daemon.time(now);
        daemon.connector.handle_candidates(&candidates, time);
    }

    /// Starts the daemon from what is on the disk.
    pub(crate) fn start(
        &mut self,
        index: usize,
        seed: [u8; 32],
        now: Time,
    ) -> Result<(), RestoreError> {
        self.incarnation += 1;
        let config = Config {
            nickname: format!("h{index}"),
            version: "0.1.0".into(),
            boot_id: self.incarnation,
            port: self.address.port(),
            ranges: self.ranges.clone(),
            init: self.init.clone(),
            targets: self.targets.len(),
            cool_down: COOL_DOWN,
        };
        let disk = self.disk.as_ref().map(|disk| &disk.saved);
        // Each life of the daemon counts its own time.
        let begin = Time::START;
        let node = Node::new(config, Arc::clone(&self.identity), seed, disk, begin)?;
        let config = ConnectorConfig { name: self.name(), discovery: true, conn_limit: 0 };
        let mut connector = Connector::new(config, seed);
        connector.set_targets(self.targets.clone(), begin);
        let missed = self.remembered.clone();
        connector.handle_candidates(&missed, begin);
        self.daemon = Some(Daemon {
            node,
            connector,
            missed,
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            started: now,
            leapt: Duration::ZERO,
        });
        Ok(())
    }

    /// A write is finished, and so are those before it.
    pub(crate) fn finish_write(&mut self, write: Write) {
        let mut saved = self.disk.take().map(|disk| disk.saved).unwrap_or_default();
        saved.write(write.what);
        self.disk = Some(Disk { saved, space: write.space });
    }

    /// The data directory is gone, and with it the identity.
    pub(crate) fn forget(&mut self, index: usize, seed: u64) {
        if let Some(disk) = self.disk.as_ref().filter(|disk| disk.space.left) {
            self.former.push((self.name(), disk.space.clone()));
        }
        self.identity = Arc::new(identity(index, seed, self.incarnation + 1));
        self.disk = None;
        self.remembered.clear();
        self.seen = None;
        self.pods.clear();
        self.stopped.clear();
    }
}

fn identity(index: usize, seed: u64, life: u64) -> Identity {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(index as u64 + 1).to_le_bytes());
    key[16..24].copy_from_slice(&life.to_le_bytes());
    Identity::from_seed(key)
}

/// Where a machine is on the underlay.
pub(crate) fn address(index: usize) -> SocketAddr {
    let index = u32::try_from(index).expect("invariant: few machines");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0xC0A8_0001 + index)), 6783)
}
