//! Two hosts: nameless network namespaces joined by a veth pair, each with a TAP and a running data plane.
//!
//! Needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN), /dev/net/tun, and the commands `ip` and `ping`. Nothing has a name
//! outside, so everything vanishes with the test, however it ends.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weft_crypto::{Identity, PeerName, ReceiverIndex, Role, SessionKeys, Suite};
use weft_dataplane::{
    Counters, DataEvent, Dataplane, DataplaneConfig, DropReason, Hop, Lane, Mac, Path, PathSize,
    PeerPath, PeerSlot, Route, RxSession, Tables, TablesSpec, mac_for,
};
use weft_netio::netns::Netns;
use weft_netio::tap::Tap;
use weft_netio::udp::{PortGroup, bind_group};

/// What TLS would export.
const EXPORTED: [u8; 32] = [7; 32];
/// What the test itself shares with host B when it plays a third member.
const EXPORTED_THIRD: [u8; 32] = [9; 32];
/// The index of the third member's session at host B.
pub(crate) const THIRD_SESSION: ReceiverIndex = ReceiverIndex(0xcccc_0000);
/// The IPv4 address that belongs to the third member.
pub(crate) const THIRD_IP: [u8; 4] = [10, 46, 0, 1];

/// One host.
pub(crate) struct Host {
    pub(crate) netns: Netns,
    /// The overlay addresses.
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
    /// The underlay address of the data socket.
    pub(crate) underlay: SocketAddr,
    pub(crate) tables: Arc<ArcSwap<Tables>>,
    pub(crate) events: Arc<Mutex<Vec<DataEvent>>>,
    /// Held so that the port's sockets keep their places.
    _control: UdpSocket,
    pub(crate) dataplane: Dataplane,
}

/// A host's constants: the first, A, dialled the second, B.
struct Plan {
    role: Role,
    session: ReceiverIndex,
    underlay: &'static str,
    v4: &'static str,
    v6: &'static str,
}

const PLANS: [Plan; 2] = [
    Plan {
        role: Role::Client,
        session: ReceiverIndex(0xaaaa_0000),
        underlay: "192.0.2.1",
        v4: "10.32.0.1",
        v6: "fd00::1",
    },
    Plan {
        role: Role::Server,
        session: ReceiverIndex(0xbbbb_0000),
        underlay: "192.0.2.2",
        v4: "10.40.0.1",
        v6: "fd00::8000:1",
    },
];

/// The name of host 0, host 1, or the third member, 2.
pub(crate) fn name(host: u8) -> PeerName {
    Identity::from_seed([host; 32]).name()
}

/// Seals as the third member for host B.
pub(crate) fn third_keys() -> SessionKeys {
    SessionKeys::derive(&EXPORTED_THIRD, Role::Client)
}

/// The workers of host B; A has one for each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Workers {
    /// One for each direction.
    One,
    /// Three, ordinary threads, among which packets are shared out by session: they keep the order as one does.
    BySession,
    /// Three, which keep to their processors while there is little to do, and the order only of what the kernel receives
    /// on one processor. Here packets arrive on whatever processor sends them.
    ByProcessor,
}

/// Builds both hosts; each forwards to the other.
pub(crate) fn hosts() -> [Host; 2] {
    hosts_with(Workers::One)
}

/// The same with such workers.
pub(crate) fn hosts_with(workers: Workers) -> [Host; 2] {
    let netns = [0, 1].map(|_| Netns::unshared().expect("this test needs root: CAP_SYS_ADMIN"));
    let [a, b] = &netns;
    a.run(|| {
        let there = format!("/proc/{}/fd/{}", std::process::id(), b.as_fd().as_raw_fd());
        ip(&format!("link add under type veth peer name under netns {there}"));
    })
    .unwrap();
    let mut started =
        netns.into_iter().zip(&PLANS).map(|(netns, plan)| start(netns, plan, workers));
    let mut hosts = [started.next().unwrap(), started.next().unwrap()];
    let ends = [hosts[0].underlay, hosts[1].underlay];
    for (index, host) in hosts.iter_mut().enumerate() {
        host.tables.store(Arc::new(Tables::new(spec(index, ends))));
    }
    hosts
}

/// The tables of a host, for changing before they are published again.
pub(crate) fn spec(index: usize, underlays: [SocketAddr; 2]) -> TablesSpec {
    spec_of(index, underlays, Suite::ChaCha20Poly1305)
}

/// The same with that cipher suite, which both hosts must have.
pub(crate) fn spec_of(index: usize, underlays: [SocketAddr; 2], suite: Suite) -> TablesSpec {
    let (own, other) = (&PLANS[index], &PLANS[1 - index]);
    let keys = SessionKeys::derive(&EXPORTED, own.role);
    let peer = name(u8::try_from(1 - index).unwrap());
    let third = SessionKeys::derive(&EXPORTED_THIRD, Role::Server);
    let halves = [("10.32.0.0", "10.39.255.255"), ("10.40.0.0", "10.45.255.255")];
    let halves_v6 = [("fd00::", "fd00::7fff:ffff"), ("fd00::8000:0", "fd00::ffff:ffff")];
    let route = |(start, end): (&str, &str), to| Route {
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
        to,
    };
    let to_peer = Hop::Peer(PeerSlot(0));
    let local: Mac = mac_for(own.v4.parse().unwrap());
    let mut spec = TablesSpec {
        routes: vec![
            route(halves[index], Hop::Local),
            route(halves[1 - index], to_peer),
            route(halves_v6[index], Hop::Local),
            route(halves_v6[1 - index], to_peer),
        ],
        peers: vec![PeerPath {
            name: peer,
            sealer: Arc::new(keys.sealer(other.session, suite)),
            path: Path::Direct(underlays[1 - index]),
            size: PathSize::default(),
        }],
        sessions: vec![RxSession {
            receiver: own.session,
            opener: Arc::new(keys.opener(suite)),
            peer,
        }],
        local: vec![(own.v4.parse().unwrap(), local), (own.v6.parse().unwrap(), local)],
        ranges: vec!["10.32.0.0/12".parse().unwrap(), "fd00::/96".parse().unwrap()],
        ..TablesSpec::default()
    };
    if index == 1 {
        // Nobody hears what is sent to the third member; the test plays it from host A's underlay.
        spec.peers.push(PeerPath {
            name: name(2),
            sealer: Arc::new(third.sealer(ReceiverIndex(1), suite)),
            path: Path::Direct(SocketAddr::new([192, 0, 2, 9].into(), 9)),
            size: PathSize::default(),
        });
        spec.sessions.push(RxSession {
            receiver: THIRD_SESSION,
            opener: Arc::new(third.opener(suite)),
            peer: name(2),
        });
        spec.routes.push(route(("10.46.0.0", "10.46.255.255"), Hop::Peer(PeerSlot(1))));
    }
    spec
}

fn start(netns: Netns, plan: &Plan, workers: Workers) -> Host {
    let realtime = !matches!(workers, Workers::BySession);
    let config = DataplaneConfig { realtime, ..DataplaneConfig::default() };
    let lanes = match (plan.role, workers) {
        (Role::Client, _) | (_, Workers::One) => NonZeroU8::MIN,
        (Role::Server, _) => NonZeroU8::new(3).unwrap(),
    };
    let (taps, group) = netns
        .run(|| {
            ip("link set lo up");
            ip(&format!("addr add {}/24 dev under", plan.underlay));
            ip("link set under up");
            let taps = Tap::open_queues("weft-tap", lanes)
                .expect("this test needs CAP_NET_ADMIN and /dev/net/tun");
            let mac = mac_for(plan.v4.parse().unwrap());
            ip(&format!("link set weft-tap address {mac} mtu 1400 up"));
            ip(&format!("addr add {}/12 dev weft-tap", plan.v4));
            ip(&format!("addr add {}/96 dev weft-tap nodad", plan.v6));
            ip("route add 224.0.0.0/4 dev weft-tap");
            (taps, bind_group("[::]:0".parse().unwrap(), lanes).unwrap())
        })
        .unwrap();
    let PortGroup { control, data, local } = group;
    let tables = Arc::new(ArcSwap::from_pointee(Tables::empty()));
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let on_event = Box::new(move |event| sink.lock().unwrap().push(event));
    let lanes = taps.into_iter().zip(data).map(|(tap, socket)| Lane { tap, socket }).collect();
    let dataplane = Dataplane::start(lanes, Arc::clone(&tables), on_event, config).unwrap();
    Host {
        netns,
        v4: plan.v4.parse().unwrap(),
        v6: plan.v6.parse().unwrap(),
        underlay: SocketAddr::new(plan.underlay.parse().unwrap(), local.port()),
        tables,
        events,
        _control: control,
        dataplane,
    }
}

impl Host {
    pub(crate) fn counters(&self) -> Counters {
        self.dataplane.counters()
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.counters().drops.get(reason)
    }

    /// Pings from this host; the whole output is the failure's text.
    pub(crate) fn ping(&self, arguments: &str) {
        let output = self.netns.run(|| command("ping", arguments)).unwrap();
        assert!(output.status.success(), "ping {arguments}: {output:?}\n{:?}", self.counters());
    }
}

/// Runs `ip` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) -> String {
    let output = command("ip", arguments);
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn command(program: &str, arguments: &str) -> Output {
    Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("this test needs the command `{program}`: {error}"))
}

/// Waits for a condition, at most 10 s.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
