//! One machine of the world: its disk, its daemon while that runs, and the Pods that believe in what
//! the daemon promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use weft_crypto::{Identity, PeerName};
use weft_gossip::{
    Config, Connector, ConnectorConfig, Node, RestoreError, Time,
    ipam::{Init, IpamSnapshot, RequestId, ViewId},
};

/// A machine.
pub(crate) struct Host {
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: SocketAddr,
    /// Where its operator told it to connect.
    pub(crate) targets: BTreeSet<String>,
    pub(crate) init: Init,
    /// What survives a crash: the token and the bytes of the newest write that was finished.
    pub(crate) disk: Option<(u64, Vec<u8>)>,
    /// Writes under way: incarnation, token, bytes.
    pub(crate) writing: Vec<(u64, u64, Vec<u8>)>,
    /// The daemon, while it runs.
    pub(crate) daemon: Option<Daemon>,
    /// How often the daemon was started.
    pub(crate) incarnation: u64,
    /// What Pods on this machine were promised and use, whether the daemon runs or not.
    pub(crate) pods: BTreeMap<String, Vec<IpAddr>>,
    /// It will never start again.
    pub(crate) dead: bool,
    /// Pods that were stopped while nobody could be sure that the disk knew.
    pub(crate) stopped: BTreeSet<String>,
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) node: Node,
    pub(crate) connector: Connector,
    /// For each link the generation of it.
    pub(crate) links: BTreeMap<PeerName, u64>,
    /// Requests without an outcome.
    pub(crate) waiting: BTreeMap<RequestId, String>,
}

impl Host {
    pub(crate) fn new(index: usize, seed: u64, init: Init, targets: BTreeSet<String>) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        Self {
            identity: Arc::new(Identity::from_seed(key)),
            address: address(index),
            targets,
            init,
            disk: None,
            writing: Vec::new(),
            daemon: None,
            incarnation: 0,
            pods: BTreeMap::new(),
            dead: false,
            stopped: BTreeSet::new(),
        }
    }

    pub(crate) fn name(&self) -> PeerName {
        self.identity.name()
    }

    /// Whether it runs and was not removed.
    pub(crate) fn stays(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.node.removed_by().is_none())
    }

    /// The state of removals that it is in, while it runs.
    pub(crate) fn view(&self) -> Option<ViewId> {
        let IpamSnapshot::V1(snapshot) = self.daemon.as_ref()?.node.ipam().snapshot();
        Some(snapshot.space.view)
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
            ranges: vec!["10.32.0.0/24".parse().expect("invariant: a range")],
            init: self.init.clone(),
            targets: self.targets.len(),
            cool_down: Duration::from_secs(3),
        };
        let disk = self.disk.as_ref().map(|(_, bytes)| bytes.as_slice());
        let node = Node::new(config, Arc::clone(&self.identity), seed, disk, now)?;
        let config = ConnectorConfig { name: self.name(), discovery: true, conn_limit: 0 };
        let mut connector = Connector::new(config, seed);
        connector.set_targets(self.targets.clone(), now);
        self.daemon =
            Some(Daemon { node, connector, links: BTreeMap::new(), waiting: BTreeMap::new() });
        // Tokens start anew with each life of the machine.
        if let Some((token, _)) = &mut self.disk {
            *token = 0;
        }
        Ok(())
    }
}

/// Where a machine is on the underlay.
pub(crate) fn address(index: usize) -> SocketAddr {
    let index = u32::try_from(index).expect("invariant: few machines");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0xC0A8_0001 + index)), 6783)
}
