//! The log of dropped packets, as the kernel hands it out (NFLOG), and where the last ones are kept.
//!
//! The rules limit how many are logged, so that a flood costs little; all are counted.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tracing::warn;
use weft_api::enforcement::DroppedPacket;
use weft_policy::{Cluster, Direction, Protocol};

use super::netfilter::{ACK, Netfilter, Request, Subsystem, find};
use super::{PolicyState, ports};

/// The group that dropped packets are logged to, the number of our port.
pub(super) const GROUP: u16 = 6783;

/// How many are kept; the oldest go first.
const KEPT: usize = 1000;
/// How much of a packet is looked at, bytes.
const SNAP: u32 = 96;

/// Messages and attributes of `linux/netfilter/nfnetlink_log.h`.
const CONFIG: u8 = 1;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const PACKET_HEADER: u16 = 1;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// The last dropped packets.
#[derive(Debug, Default)]
pub(super) struct Log {
    kept: VecDeque<DroppedPacket>,
    last: u64,
}

impl Log {
    /// Those after one, the oldest first.
    pub(super) fn after(&self, sequence: u64) -> Vec<DroppedPacket> {
        self.kept.iter().filter(|packet| packet.sequence > sequence).cloned().collect()
    }

    fn push(&mut self, mut packet: DroppedPacket) {
        self.last += 1;
        packet.sequence = self.last;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(packet);
    }
}

/// Starts the thread that keeps the log. `state` names the Pods. It ends with the process.
///
/// # Errors
/// The kernel has no such log, or another program reads the group.
pub(super) fn start(state: Arc<ArcSwap<PolicyState>>, log: Arc<Mutex<Log>>) -> io::Result<()> {
    let socket = Netfilter::open()?;
    let configure = |kind, value: &[u8]| {
        let request = Request::new(Subsystem::Log, CONFIG, ACK, 0, GROUP).attribute(kind, value);
        socket.ask(&request, |_| {})
    };
    configure(CONFIG_COMMAND, &[BIND, 0, 0, 0])?;
    let mut mode = SNAP.to_be_bytes().to_vec();
    mode.extend([COPY_PACKET, 0]);
    configure(CONFIG_MODE, &mode)?;
    std::thread::Builder::new().name("weft-drops".to_owned()).spawn(move || {
        loop {
            let read = socket.receive(|message| {
                let Some(packet) = describe(message, &state.load(), now_ms()) else { return };
                log.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
            });
            match read {
                // More than the socket holds: those are counted all the same.
                Err(error) if error.raw_os_error() != Some(nix::libc::ENOBUFS) => {
                    warn!(%error, "the log of dropped packets has ended");
                    return;
                }
                _ => {}
            }
        }
    })?;
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An entry out of a message of the log.
fn describe(message: &[u8], state: &PolicyState, time_ms: u64) -> Option<DroppedPacket> {
    let header = find(message, PACKET_HEADER)?;
    let ether_type = u16::from_be_bytes(*header.first_chunk()?);
    let packet = find(message, PAYLOAD)?;
    let prefix = find(message, PREFIX).unwrap_or_default();
    let prefix = String::from_utf8_lossy(prefix).trim_end_matches('\0').to_owned();
    let (source, destination, protocol, port) = match ether_type {
        0x0800 => ipv4(packet)?,
        0x86dd => ipv6(packet)?,
        0x0806 => {
            let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (address(14)?, address(24)?, "ARP".to_owned(), None)
        }
        _ => return None,
    };
    let named = |address: IpAddr| {
        let pod = state.cluster.all_pods().find(|pod| pod.addresses.contains(&address));
        pod.filter(|pod| pod.is_selectable())
    };
    let (from, to) = (named(source), named(destination));
    let reason = match prefix.as_str() {
        "ingress" => policies(&state.cluster, to, Direction::Ingress),
        "egress" => policies(&state.cluster, from, Direction::Egress),
        "midway" => "no connection that was allowed is known".to_owned(),
        port => {
            let known = ports::REASONS.iter().find(|(name, _)| *name == port);
            known.map_or_else(|| port.to_owned(), |(_, text)| (*text).to_owned())
        }
    };
    Some(DroppedPacket {
        sequence: 0,
        time_ms,
        source: source.to_string(),
        source_pod: from.map(weft_policy::Pod::full_name),
        destination: destination.to_string(),
        destination_pod: to.map(weft_policy::Pod::full_name),
        protocol,
        port,
        reason,
    })
}

/// Says which policies of a Pod did not allow it.
fn policies(cluster: &Cluster, pod: Option<&weft_policy::Pod>, direction: Direction) -> String {
    let word = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let names: Vec<_> = pod
        .into_iter()
        .flat_map(|pod| {
            let policies = cluster.policies_of(&pod.namespace);
            policies.filter(|p| p.rules(direction).is_some() && p.subjects.matches(&pod.labels))
        })
        .map(|policy| format!("{}/{}", policy.namespace, policy.name))
        .collect();
    if names.is_empty() {
        return format!("isolated for {word}");
    }
    format!("isolated for {word} by {}", names.join(", "))
}

type Ends = (IpAddr, IpAddr, String, Option<u16>);

fn ipv4(packet: &[u8]) -> Option<Ends> {
    let length = usize::from(packet.first()? & 15) * 4;
    let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let (protocol, port) = carried(*packet.get(9)?, packet.get(length..).unwrap_or_default());
    Some((address(12)?, address(16)?, protocol, port))
}

fn ipv6(packet: &[u8]) -> Option<Ends> {
    let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    let (protocol, port) = carried(*packet.get(6)?, packet.get(40..).unwrap_or_default());
    Some((address(8)?, address(24)?, protocol, port))
}

/// The name of a protocol and the destination port.
fn carried(number: u8, header: &[u8]) -> (String, Option<u16>) {
    let port = header.get(2..).and_then(|rest| rest.first_chunk()).copied();
    let port = port.map(u16::from_be_bytes);
    match number {
        6 => (Protocol::Tcp.to_string(), port),
        17 => (Protocol::Udp.to_string(), port),
        132 => (Protocol::Sctp.to_string(), port),
        1 => ("ICMP".to_owned(), None),
        58 => ("ICMPv6".to_owned(), None),
        other => (other.to_string(), None),
    }
}
