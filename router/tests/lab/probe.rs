//! Who reaches whom, found out by real sockets.
//!
//! A connection that is denied looks like one that is slow. So each host counts twice, in a table of
//! its own: what comes to the hook before the policies' chain, and what is still there behind it. A
//! probe that came to a host and did not pass is denied; one that was answered is allowed; until one
//! of both is known, it is waited for.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use weft_netio::netns::Netns;

use crate::harness::{PATIENCE, eventually};

/// The ports that each Pod serves.
pub(crate) const PORTS: [u16; 2] = [80, 81];

/// What comes to the policies' hook (priority -5) and what passes it, by source, its port, and
/// destination, after any translation. The port is another for each probe.
const COUNTING: &str = "table inet probe {
    set before4 { type ipv4_addr . inet_service . ipv4_addr; flags dynamic; size 65535; }
    set behind4 { type ipv4_addr . inet_service . ipv4_addr; flags dynamic; size 65535; }
    set before6 { type ipv6_addr . inet_service . ipv6_addr; flags dynamic; size 65535; }
    set behind6 { type ipv6_addr . inet_service . ipv6_addr; flags dynamic; size 65535; }
    chain before {
        type filter hook forward priority -6;
        meta l4proto { tcp, udp, sctp } add @before4 { ip saddr . th sport . ip daddr }
        meta l4proto { tcp, udp, sctp } add @before6 { ip6 saddr . th sport . ip6 daddr }
    }
    chain behind {
        type filter hook forward priority -4;
        meta l4proto { tcp, udp, sctp } add @behind4 { ip saddr . th sport . ip daddr }
        meta l4proto { tcp, udp, sctp } add @behind6 { ip6 saddr . th sport . ip6 daddr }
    }
}";

/// What a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection.
    Tcp,
    /// A datagram that is sent back.
    Udp,
    /// An INIT in a raw packet, since the kernel may have no SCTP. IPv4 only.
    Sctp,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A source, its port, and a destination.
type Flow = (IpAddr, u16, IpAddr);

/// A host's counting.
pub(crate) struct Host(Netns);

impl Host {
    /// Makes the table. It goes with the namespace.
    pub(crate) fn new(namespace: &str) -> Self {
        let host = Self(open(namespace));
        host.nft(&["-f", "-"], COUNTING);
        host
    }

    /// Runs a command here, without the lab's script: there are hundreds of them.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub(crate) fn run(&self, mut command: Command, input: &str) -> String {
        let output = self.0.run(|| -> std::io::Result<_> {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut stdin = child.stdin.take().expect("it is piped");
            // One that does not read it says by its exit code whether it should have.
            stdin.write_all(input.as_bytes()).ok();
            drop(stdin);
            child.wait_with_output()
        });
        let output = output.expect("the namespace can be entered").expect("the command starts");
        assert!(output.status.success(), "{command:?} failed with {input}");
        String::from_utf8(output.stdout).expect("it prints text")
    }

    fn nft(&self, arguments: &[&str], input: &str) -> String {
        let mut nft = Command::new("nft");
        nft.args(arguments);
        self.run(nft, input)
    }

    fn set(&self, name: &str) -> BTreeSet<Flow> {
        let listing = self.nft(&["-j", "list", "set", "inet", "probe", name], "");
        let listing: Value = serde_json::from_str(&listing).expect("nft prints JSON");
        let objects = listing["nftables"].as_array().expect("a list of objects");
        let set = objects.iter().find_map(|object| object.get("set")).expect("the set");
        set["elem"].as_array().into_iter().flatten().map(flow).collect()
    }

    /// What came here and did not pass.
    fn dropped(&self, family: Family) -> BTreeSet<Flow> {
        let [before, behind] = match family {
            Family::V4 => ["before4", "behind4"],
            Family::V6 => ["before6", "behind6"],
        };
        // In this order: what is in the first at some moment has long passed at a later one.
        let before = self.set(before);
        &before - &self.set(behind)
    }
}

fn flow(element: &Value) -> Flow {
    let parts = element.get("concat").unwrap_or(&element["elem"]["val"]["concat"]);
    let ip = |part: &Value| part.as_str()?.parse().ok();
    let port = parts[1].as_u64().and_then(|port| u16::try_from(port).ok());
    let flow = ip(&parts[0]).zip(port).zip(ip(&parts[2]));
    let ((source, port), destination) = flow.unwrap_or_else(|| panic!("not an element: {element}"));
    (source, port, destination)
}

/// The sockets of a Pod, or of whatever else has a namespace and addresses.
pub(crate) struct Prober {
    namespace: Netns,
    /// Where it is reached now.
    pub(crate) addresses: Vec<IpAddr>,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    sctp: Socket,
}

impl Prober {
    /// Serves [`PORTS`] in a namespace.
    pub(crate) fn new(namespace: &str, addresses: Vec<IpAddr>) -> Self {
        let namespace = open(namespace);
        // Of both families.
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let sockets = namespace.run(|| -> std::io::Result<_> {
            let tcp: Vec<_> =
                PORTS.iter().map(|&port| TcpListener::bind(any(port))).collect::<Result<_, _>>()?;
            let udp: Vec<_> =
                PORTS.iter().map(|&port| UdpSocket::bind(any(port))).collect::<Result<_, _>>()?;
            tcp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            udp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
            Ok((tcp, udp, raw_sctp()?))
        });
        let (tcp, udp, sctp) =
            sockets.expect("the namespace can be entered").expect("ports 80 and 81 are free");
        Self { namespace, addresses, tcp, udp, sctp }
    }

    /// The address of a family.
    ///
    /// # Panics
    /// It has none.
    #[track_caller]
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|&address| Family::of(address) == family).expect("an address of the family")
    }

    /// Answers what has come; the SCTP packets, by source and port.
    fn serve(&self, inits: &mut BTreeSet<Flow>) {
        for socket in &self.tcp {
            while socket.accept().is_ok() {}
        }
        let mut buffer = [0; 256];
        for socket in &self.udp {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..length], from).ok();
            }
        }
        // An IPv4 header without options stands before it.
        while let Ok(length) = (&self.sctp).read(&mut buffer) {
            if length >= 33 && buffer[32] == 1 {
                let source = Ipv4Addr::new(buffer[12], buffer[13], buffer[14], buffer[15]);
                let port = u16::from_be_bytes([buffer[20], buffer[21]]);
                inits.insert((source.into(), port, self.address(Family::V4)));
            }
        }
    }
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// Who tries, by its place among all.
    pub(crate) from: usize,
    /// Whom it speaks to.
    pub(crate) target: SocketAddr,
    /// Where that arrives: the target's address, or what it is translated to.
    pub(crate) arrives: IpAddr,
    /// How.
    pub(crate) kind: Kind,
}

/// An attempt under way.
struct Probe {
    kind: Kind,
    flow: Flow,
    target: SocketAddr,
    socket: Socket,
    allowed: Option<bool>,
}

impl Probe {
    /// Sends what no kernel sends again by itself.
    fn send(&self) {
        // What is full or filtered now is sent again later.
        match self.kind {
            Kind::Tcp => {}
            Kind::Udp => drop(self.socket.send(b"probe")),
            Kind::Sctp => {
                let packet = init(self.flow.1, self.target.port());
                let to = SocketAddr::new(self.target.ip(), 0);
                drop(self.socket.send_to(&packet, &to.into()));
            }
        }
    }

    fn answered(&self, inits: &BTreeSet<Flow>) -> bool {
        match self.kind {
            Kind::Tcp => {
                let error = self.socket.take_error().expect("a socket has a state");
                assert!(error.is_none(), "{:?}: {error:?}", self.flow);
                self.socket.peer_addr().is_ok()
            }
            Kind::Udp => (&self.socket).read(&mut [0; 16]).is_ok(),
            Kind::Sctp => inits.contains(&self.flow),
        }
    }
}

/// Tries all pairs but those of one with itself; answers `.` for allowed and `X` for denied, a row for
/// each source, with `-` on the diagonal. `next` is the next unused source port.
///
/// # Panics
/// As [`ask`].
pub(crate) fn matrix(
    hosts: &[Host],
    pods: &[&Prober],
    kind: Kind,
    port: u16,
    family: Family,
    next: &mut u16,
) -> Vec<String> {
    let pairs = (0..pods.len()).flat_map(|from| (0..pods.len()).map(move |to| (from, to)));
    let pairs: Vec<_> = pairs.filter(|(from, to)| from != to).collect();
    let attempts: Vec<_> = pairs
        .iter()
        .map(|&(from, to)| {
            let arrives = pods[to].address(family);
            Attempt { from, target: SocketAddr::new(arrives, port), arrives, kind }
        })
        .collect();
    let allowed = ask(hosts, pods, &attempts, next);
    let mut rows = vec![vec!['-'; pods.len()]; pods.len()];
    for ((from, to), allowed) in pairs.into_iter().zip(allowed) {
        rows[from][to] = if allowed { '.' } else { 'X' };
    }
    rows.into_iter().map(|row| row.into_iter().collect()).collect()
}

/// Makes these attempts at once and answers of each whether it was allowed.
///
/// # Panics
/// A probe is neither answered nor dropped by a policy.
pub(crate) fn ask(
    hosts: &[Host],
    pods: &[&Prober],
    attempts: &[Attempt],
    next: &mut u16,
) -> Vec<bool> {
    let start = |attempt: &Attempt| {
        let Attempt { from, target, arrives, kind } = *attempt;
        *next = next.checked_add(1).expect("65,535 probes are enough");
        let socket = pods[from].namespace.run(|| socket(kind, *next, target));
        let socket = socket.expect("the namespace can be entered").expect("a socket");
        let flow = (pods[from].address(Family::of(arrives)), *next, arrives);
        Probe { kind, flow, target, socket, allowed: None }
    };
    let mut probes: Vec<_> = attempts.iter().map(start).collect();
    probes.iter().for_each(Probe::send);
    await_all(hosts, pods, &mut probes);
    probes.iter().map(|probe| probe.allowed == Some(true)).collect()
}

/// Waits until all are decided.
fn await_all(hosts: &[Host], pods: &[&Prober], probes: &mut [Probe]) {
    let deadline = Instant::now() + PATIENCE;
    let mut inits = BTreeSet::new();
    for turn in 1_u32.. {
        pods.iter().for_each(|pod| pod.serve(&mut inits));
        for probe in probes.iter_mut().filter(|probe| probe.allowed.is_none()) {
            probe.allowed = probe.answered(&inits).then_some(true);
        }
        // Answers take a moment to come; only what is still open then is worth a look at the hosts.
        if turn.is_multiple_of(8) {
            for family in [Family::V4, Family::V6] {
                let of_family =
                    |probe: &Probe| probe.allowed.is_none() && Family::of(probe.flow.0) == family;
                if !probes.iter().any(of_family) {
                    continue;
                }
                let dropped: Vec<_> = hosts.iter().map(|host| host.dropped(family)).collect();
                for probe in probes.iter_mut().filter(|probe| of_family(probe)) {
                    if dropped.iter().any(|flows| flows.contains(&probe.flow)) {
                        probe.allowed = Some(false);
                    }
                }
            }
        }
        let open = || probes.iter().filter(|probe| probe.allowed.is_none());
        if open().next().is_none() {
            return;
        }
        if Instant::now() > deadline {
            let lost: Vec<_> = open().map(|probe| (probe.kind, probe.flow)).collect();
            panic!("neither answered nor dropped by a policy: {lost:?}");
        }
        if turn.is_multiple_of(64) {
            open().for_each(Probe::send);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn socket(kind: Kind, source: u16, target: SocketAddr) -> std::io::Result<Socket> {
    let domain = Domain::for_address(target);
    let socket = match kind {
        Kind::Tcp => Socket::new(domain, Type::STREAM, None)?,
        Kind::Udp => Socket::new(domain, Type::DGRAM, None)?,
        Kind::Sctp => return raw_sctp(),
    };
    socket.set_nonblocking(true)?;
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, source).into())?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
        other => other?,
    }
    Ok(socket)
}

fn raw_sctp() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(132)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A packet of SCTP that opens an association (RFC 9260, 3.1 and 3.3.2).
fn init(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend([0; 8]); // verification tag, checksum
    packet.extend([1, 0, 0, 20]); // INIT, no flags, 20 bytes
    packet.extend(7_u32.to_be_bytes()); // tag
    packet.extend(65_536_u32.to_be_bytes()); // window
    packet.extend([0, 1, 0, 1]); // streams out and in
    packet.extend(7_u32.to_be_bytes()); // first sequence number
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

fn open(namespace: &str) -> Netns {
    Netns::open(&Path::new("/run/netns").join(namespace)).expect("the lab has made it")
}

/// Waits until both nodes know as many policies, and their kernels too: what is counted was read there, after what
/// the node had known before was in force. `json` runs the command line on a host.
pub(crate) fn await_policies(policies: usize, json: impl Fn(usize, &[&str]) -> Value) {
    for host in [1, 2] {
        eventually("policies on both nodes", PATIENCE, || {
            let policy = json(host, &["status"])["policy"].clone();
            let right = policy["policies"] == policies && policy["enforcing"] == true;
            if right { Ok(()) } else { Err(policy.to_string()) }
        });
        // The first may be counted just before a change that came with it; the second is not.
        for _ in 0..2 {
            json(host, &["status", "policy"]);
        }
    }
}
