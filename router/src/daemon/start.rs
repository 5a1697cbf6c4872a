//! From a configuration to a running node, and the way back.

use std::net::{IpAddr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};
use weft_crypto::{Identity, RekeyTimes, Suite, SuitePolicy};
use weft_dataplane::{DataEvent, Dataplane, DataplaneConfig, Lane, Mac, Tables};
use weft_gossip::ipam::Init;
use weft_kubernetes::Kubernetes;
use weft_netio::tap::{Tap, TapError};
use weft_netio::udp::{self, BindError};

use super::api::{self, ControlSocket, Door};
use super::clock::Clock;
use super::engine::{Engine, KubernetesSettings, Restored, Settings, read_attachments};
use super::error::LaunchError;
use super::host::{self, Bridge, Outbound, Scissors, TAP_NAME};
use super::links::{Links, Local};
use super::policy::{Enforcer, Options};
use super::predecessor::{once_free, whenever_free};
use super::run::{Inputs, Running};
use super::store::{Journal, Kind, Recovered, Store, StoreError, Writer};
use super::{preflight, random};
use crate::config::{Config, IpallocInit, Mtu};

/// Events that wait for the event loop; senders wait or drop beyond that, as each says.
const EVENTS: usize = 1024;

/// The variable in which the kubelet tells a Pod the address of the API server's Service.
const API_SERVICE: &str = "KUBERNETES_SERVICE_HOST";

/// How long a freed address rests before it is handed out again.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Starts everything, from what can fail without a trace to what changes the host.
pub(super) async fn start(config: Config) -> Result<Running, LaunchError> {
    preflight::capabilities()?;
    let netlink = host::connect()?;
    preflight::ranges(&netlink, &config.ipalloc_range, &config.bridge).await?;

    let store = open_store(&config).await?;
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = config.workers.on(processors);
    let identity = Arc::new(store.identity()?);
    let port = once_free(
        |error| matches!(error, BindError::InUse { .. }),
        async || udp::bind_group((Ipv6Addr::UNSPECIFIED, config.port).into(), workers),
    )
    .await?;
    let status = once_free(
        |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse,
        async || TcpListener::bind(config.status_addr).await,
    )
    .await
    .map_err(|source| LaunchError::Status { address: config.status_addr, source })?;
    let socket = ControlSocket::bind(&config.socket)?;

    // What it hears first waits in the channel.
    let (kubernetes_events, kubernetes_in) = mpsc::channel(EVENTS);
    let kubernetes = start_kubernetes(&config, &identity, kubernetes_events)?;
    let kubernetes = (kubernetes, kubernetes_in);
    let (journal, recovered) = store.recover()?;
    let restored = restore(&store, recovered, config.kubernetes.is_some())?;
    let mtu = overlay_mtu(&netlink, &config).await?;
    let bridge = Bridge::ensure(netlink, &config.bridge, bridge_mac(&identity), mtu).await?;
    let parts = Parts {
        config,
        identity,
        store,
        journal,
        restored,
        kubernetes,
        status,
        socket,
        port,
        workers,
        mtu,
    };
    let running = on_bridge(parts, bridge.clone()).await;
    if running.is_err() {
        // The first error is the one to show.
        let _ = bridge.remove_if_unused().await;
    }
    running
}

/// Opens the data directory, which the daemon before may still hold: for a moment, or where this one stands by for as
/// long as it lives.
async fn open_store(config: &Config) -> Result<Store, LaunchError> {
    let held = |error: &StoreError| matches!(error, StoreError::Locked { .. });
    let open = async || Store::open(&config.data_dir);
    if !config.stand_by {
        return Ok(once_free(held, open).await?);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(LaunchError::Signal)?;
    let dir = config.data_dir.display();
    let waiting = || info!("standing by until the daemon that uses {dir} has ended");
    tokio::select! {
        store = whenever_free(held, waiting, open) => Ok(store?),
        _ = terminate.recv() => Err(LaunchError::StoodBy),
    }
}

/// What has been made before the bridge.
struct Parts {
    config: Config,
    identity: Arc<Identity>,
    store: Store,
    journal: Journal,
    restored: Restored,
    /// In API mode; and what it hears.
    kubernetes: (Option<Kubernetes>, mpsc::Receiver<weft_kubernetes::Event>),
    status: TcpListener,
    socket: ControlSocket,
    port: udp::PortGroup,
    /// Of the data plane, for each direction; `port` has as many sockets for them.
    workers: NonZeroU8,
    mtu: u32,
}

/// The rest, on the bridge. Where it fails, what it made is gone: the TAP with its descriptor, the
/// tasks with the runtime.
async fn on_bridge(parts: Parts, bridge: Bridge) -> Result<Running, LaunchError> {
    let Parts {
        config,
        identity,
        store,
        journal,
        restored,
        kubernetes,
        status,
        mut socket,
        port,
        workers,
        mtu,
    } = parts;
    let (kubernetes, kubernetes_in) = kubernetes;
    let taps = once_free(
        |error| matches!(error, TapError::Exists { .. }),
        async || Tap::open_queues(TAP_NAME, workers),
    )
    .await?;
    let lanes: Vec<_> =
        taps.into_iter().zip(port.data).map(|(tap, socket)| Lane { tap, socket }).collect();
    // All of them are one device.
    if let Some(Lane { tap, .. }) = lanes.first() {
        bridge.plug_tap(tap.ifindex(), mtu).await?;
    }
    let ports: Vec<String> = restored
        .attachments
        .iter()
        .filter(|a| a.fenced.is_none())
        .map(|a| weft_cni_shim::wire::host_ifname(&a.container, &a.ifname))
        .collect();
    bridge.replug(&ports).await?;

    let (link_events, links_in) = mpsc::channel(EVENTS);
    let (saved_events, saved_in) = mpsc::channel(EVENTS);
    let (data_events, data_in) = mpsc::channel(EVENTS);
    let (commands, commands_in) = mpsc::channel(EVENTS);
    let (host_events, host_in) = mpsc::channel(EVENTS);
    let (cut_events, cut_in) = mpsc::channel(EVENTS);
    let scissors = Scissors::start(bridge.clone(), cut_events);
    let (policy_events, policy_in) = mpsc::channel(EVENTS);
    let outbound = Outbound::start(bridge.clone(), config.ipalloc_range.clone(), host_events);

    let options = Options { bridge: config.bridge.clone(), cut: config.policy_established.cut() };
    let enforcer = Enforcer::start(options, policy_events).map_err(LaunchError::Runtime)?;

    // A probe whose answer finds the queue full is sent again.
    let on_data = move |event: DataEvent| drop(data_events.try_send(event));
    let tables = Arc::new(ArcSwap::from_pointee(Tables::empty()));
    let dataplane = Dataplane::start(
        lanes,
        tables.clone(),
        Box::new(on_data),
        DataplaneConfig {
            datagram: weft_dataplane::datagram_len(mtu),
            realtime: config.realtime,
            ..DataplaneConfig::default()
        },
    )
    .map_err(LaunchError::Dataplane)?;
    let clock = Clock::start();
    let boot_id = u64::from_le_bytes(random());
    let settings = settings(&config, &identity, bridge.mac(), mtu, &dataplane);
    let gossip = gossip_config(&config, boot_id);
    let mut engine =
        Engine::new(settings, gossip, identity.clone(), random(), restored, clock.now())?;

    engine.set_secrets_changing(config.secrets.is_changing());
    let local = Local {
        name: identity.name(),
        boot_id,
        secrets: ArcSwap::from_pointee(config.secrets),
        offer: config.cipher.0.offer(),
        rekey: RekeyTimes::latest(config.rekey_interval),
    };
    let ends = (dataplane.relay_sender(), dataplane.tunnel_receiver());
    let links = Links::start(port.control, &identity, local, ends, link_events)?;
    // The event loop is gone only when the daemon stops.
    let writer =
        Writer::start(&store, journal, move |outcome| drop(saved_events.blocking_send(outcome)));

    let door = Door::new(commands);
    socket.serve(door.clone());
    api::serve_status(status, door);
    info!(
        name = %identity.name(),
        nickname = config.nickname,
        port = port.local.port(),
        offload = %dataplane.offload(),
        scheduling = %dataplane.scheduling(),
        workers = dataplane.lanes(),
        data_dir = %config.data_dir.display(),
        "weft is up"
    );
    let inputs = Inputs {
        links: links_in,
        saved: saved_in,
        data: data_in,
        commands: commands_in,
        host: host_in,
        cut: cut_in,
        policy: policy_in,
        kubernetes: kubernetes_in,
    };
    Ok(Running::new(super::run::Parts {
        clock,
        engine,
        links,
        dataplane,
        tables,
        writer,
        store,
        bridge,
        outbound,
        scissors,
        enforcer,
        kubernetes,
        socket,
        name: identity.name(),
        ranges: config.ipalloc_range,
        default_port: config.port,
        secret_file: config.secret_file,
        inputs,
    }))
}

fn settings(
    config: &Config,
    identity: &Identity,
    bridge_mac: Mac,
    mtu: u32,
    dataplane: &Dataplane,
) -> Settings {
    Settings {
        name: identity.name(),
        nickname: config.nickname.clone(),
        port: config.port,
        ranges: config.ipalloc_range.clone(),
        bridge: config.bridge.clone(),
        bridge_mac,
        mtu,
        discovery: config.discovery,
        conn_limit: config.conn_limit,
        cipher: cipher(config.cipher.0),
        tunnel: config.tunnel,
        offload: dataplane.offload().to_string(),
        scheduling: dataplane.scheduling().to_string(),
        workers: dataplane.lanes().get().into(),
        launch_peers: config.peers.iter().map(|peer| peer.target(config.port)).collect(),
        warnings: config.warnings.clone(),
        kubernetes: config.kubernetes.as_ref().map(|kubernetes| KubernetesSettings {
            node: kubernetes.node.clone(),
            service: std::env::var(API_SERVICE).ok().and_then(|address| address.parse().ok()),
        }),
    }
}

/// Listens to the Kubernetes API, where that is configured.
fn start_kubernetes(
    config: &Config,
    identity: &Identity,
    events: mpsc::Sender<weft_kubernetes::Event>,
) -> Result<Option<Kubernetes>, LaunchError> {
    let Some(kubernetes) = &config.kubernetes else { return Ok(None) };
    let settings = weft_kubernetes::Settings {
        access: kubernetes.access.clone(),
        server: kubernetes.server.clone(),
        node: kubernetes.node.clone(),
        peer: identity.name().to_string(),
    };
    Ok(Some(Kubernetes::start(settings, events)?))
}

/// The cipher suites for `weft status`: what is used where the peer has it, then what otherwise.
fn cipher(policy: SuitePolicy) -> String {
    const AES: Suite = Suite::Aes256Gcm;
    const CHACHA: Suite = Suite::ChaCha20Poly1305;
    match policy {
        SuitePolicy::Force(suite) => suite.to_string(),
        SuitePolicy::Auto if policy.offer().preferred.contains(AES) => format!("{AES} or {CHACHA}"),
        SuitePolicy::Auto => format!("{CHACHA} or {AES}"),
    }
}

fn gossip_config(config: &Config, boot_id: u64) -> weft_gossip::Config {
    weft_gossip::Config {
        nickname: config.nickname.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id,
        port: config.port,
        ranges: config.ipalloc_range.clone(),
        init: match &config.ipalloc_init {
            IpallocInit::Auto => Init::Auto,
            IpallocInit::Founder => Init::Founder,
            IpallocInit::Consensus(count) => Init::Consensus(*count),
            IpallocInit::Seed(names) => Init::Seed(names.clone()),
            IpallocInit::Observer => Init::Observer,
        },
        // In API mode the engine says how many there are; until then this node is not alone.
        targets: config.peers.len().max(usize::from(config.kubernetes.is_some())),
        cool_down: COOL_DOWN,
    }
}

fn restore(
    store: &Store,
    mut recovered: Recovered,
    api_mode: bool,
) -> Result<Restored, LaunchError> {
    for note in &recovered.notes {
        warn!("{note}");
    }
    let attachments = recovered.saved.remove(&Kind::Attachments).unwrap_or_default();
    Ok(Restored {
        gossip: recovered.saved.remove(&Kind::Gossip),
        attachments: read_attachments(&attachments)
            .map_err(|_| store.unreadable(Kind::Attachments))?,
        notes: recovered.notes,
        journal_bytes: recovered.bytes,
        targets: store.load_json(Kind::Targets)?,
        peers: store.load_json(Kind::Peers)?.unwrap_or_default(),
        heard: store.load(Kind::Heard)?,
        kubernetes: if api_mode { store.load_json(Kind::Kubernetes)? } else { None },
    })
}

async fn overlay_mtu(netlink: &rtnetlink::Handle, config: &Config) -> Result<u32, LaunchError> {
    match config.mtu {
        Mtu::Fixed(mtu) => Ok(mtu.into()),
        Mtu::Auto => {
            let peers: Vec<IpAddr> =
                config.peers.iter().filter_map(|peer| peer.host.parse().ok()).collect();
            let underlay = host::underlay_mtu(netlink, &peers).await?;
            // Sized for IPv6 on the underlay: a peer that is reached by it may come at any time.
            let mtu = weft_dataplane::pod_mtu(underlay, Ipv6Addr::UNSPECIFIED.into());
            Ok(mtu.unwrap_or(weft_dataplane::MIN_POD_MTU))
        }
    }
}

/// The bridge's MAC: locally administered, and of this node, so that it differs between hosts.
fn bridge_mac(identity: &Identity) -> [u8; 6] {
    let name = identity.name();
    let [a, b, c, d, ..] = *name.as_bytes();
    [0x0a, 0x59, a, b, c, d]
}
