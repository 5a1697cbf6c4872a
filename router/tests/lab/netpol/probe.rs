//! Who reaches whom, found out by real sockets.
//!
//! A connection that is denied looks like one that is slow. So each host counts twice, in a table of
//! its own: what comes to the hook before the policies' chain, and what is still there behind it. A
//! probe that came to a host and did not pass is denied; one that was answered is allowed; until one
//! of both is known, it is waited for.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use weft_netio::netns::Netns;

use crate::harness::PATIENCE;

/// The ports that each Pod serves.
pub(crate) const PORTS: [u16; 2] = [80, 81];

/// What comes to the policies' hook (priority -5) and what passes it, by source, its port, and
/// destination. The port is another for each probe.
const COUNTING: &str = "table inet probe {
    set before { type ipv4_addr . inet_service . ipv4_addr; flags dynamic; size 65535; }
    set behind { type ipv4_addr . inet_service . ipv4_addr; flags dynamic; size 65535; }
    chain before {
        type filter hook forward priority -6;
        meta l4proto { tcp, udp, sctp } add @before { ip saddr . th sport . ip daddr }
    }
    chain behind {
        type filter hook forward priority -4;
        meta l4proto { tcp, udp, sctp } add @behind { ip saddr . th sport . ip daddr }
    }
}";

/// What a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection.
    Tcp,
    /// A datagram that is sent back.
    Udp,
    /// An INIT in a raw packet, since the kernel may have no SCTP.
    Sctp,
}

/// A source, its port, and a destination.
type Flow = (Ipv4Addr, u16, Ipv4Addr);

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
    fn dropped(&self) -> BTreeSet<Flow> {
        // In this order: what is in the first at some moment has long passed at a later one.
        let before = self.set("before");
        &before - &self.set("behind")
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

/// A Pod's sockets.
pub(crate) struct Prober {
    namespace: Netns,
    /// Where the Pod is reached now.
    pub(crate) address: Ipv4Addr,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    sctp: Socket,
}

impl Prober {
    /// Serves [`PORTS`] in a namespace.
    pub(crate) fn new(namespace: &str, address: Ipv4Addr) -> Self {
        let namespace = open(namespace);
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
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
        Self { namespace, address, tcp, udp, sctp }
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
                inits.insert((source, port, self.address));
            }
        }
    }
}

/// What one Pod tries at another.
struct Probe {
    kind: Kind,
    from: usize,
    to: usize,
    flow: Flow,
    target: SocketAddrV4,
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
                let to = SocketAddrV4::new(*self.target.ip(), 0);
                drop(self.socket.send_to(&packet, &SocketAddr::from(to).into()));
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

/// Tries all pairs of Pods but those of a Pod with itself; answers `.` for allowed and `X` for
/// denied, a row for each source, with `-` on the diagonal. `next` is the next unused source port.
///
/// # Panics
/// A probe is neither answered nor dropped by a policy.
pub(crate) fn matrix(
    hosts: &[Host],
    pods: &[&Prober],
    kind: Kind,
    port: u16,
    next: &mut u16,
) -> Vec<String> {
    let mut probes: Vec<Probe> = Vec::new();
    for (from, pod) in pods.iter().enumerate() {
        let others = pods.iter().enumerate().filter(|(to, _)| *to != from);
        let wanted: Vec<_> = others
            .map(|(to, other)| {
                *next = next.checked_add(1).expect("65,535 probes are enough");
                (to, SocketAddrV4::new(other.address, port), *next)
            })
            .collect();
        let start = || {
            let made = wanted.iter().map(|&(to, target, source)| {
                let socket = socket(kind, source, target).expect("a socket");
                let flow = (pod.address, source, *target.ip());
                Probe { kind, from, to, flow, target, socket, allowed: None }
            });
            made.collect::<Vec<_>>()
        };
        probes.extend(pod.namespace.run(start).expect("the namespace can be entered"));
    }
    probes.iter().for_each(Probe::send);
    await_all(hosts, pods, &mut probes);
    let mut rows = vec![vec!['-'; pods.len()]; pods.len()];
    for probe in &probes {
        rows[probe.from][probe.to] = if probe.allowed == Some(true) { '.' } else { 'X' };
    }
    rows.into_iter().map(|row| row.into_iter().collect()).collect()
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
            let dropped: Vec<_> = hosts.iter().map(Host::dropped).collect();
            for probe in probes.iter_mut().filter(|probe| probe.allowed.is_none()) {
                if dropped.iter().any(|flows| flows.contains(&probe.flow)) {
                    probe.allowed = Some(false);
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

fn socket(kind: Kind, source: u16, target: SocketAddrV4) -> std::io::Result<Socket> {
    let socket = match kind {
        Kind::Tcp => Socket::new(Domain::IPV4, Type::STREAM, None)?,
        Kind::Udp => Socket::new(Domain::IPV4, Type::DGRAM, None)?,
        Kind::Sctp => return raw_sctp(),
    };
    socket.set_nonblocking(true)?;
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, source);
    socket.bind(&SocketAddr::from(any).into())?;
    match socket.connect(&SocketAddr::from(target).into()) {
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
