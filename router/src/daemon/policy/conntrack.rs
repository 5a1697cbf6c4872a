//! Flows that the kernel tracks: read, and deleted where they must not go on.
//!
//! A flow that is deleted is asked for anew: its next packet is judged by the rules that stand.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use weft_policy::Protocol;
use weft_policy::nft::Payload;

use super::batch::octets;
use super::netfilter::{
    ACK, Channel, DUMP, Netfilter, Request, Subsystem, attributes, find, put, put_nested,
};

/// Messages and attributes of `linux/netfilter/nfnetlink_conntrack.h`.
const GET: u8 = 1;
const DELETE: u8 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_SOURCE: [u16; 2] = [1, 3];
const IP_DESTINATION: [u16; 2] = [2, 4];
const FILTER: u16 = 25;
const FILTER_ORIG: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_SOURCE: u32 = 1;
const FILTER_DESTINATION: u32 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const ICMP_TYPE: [u16; 2] = [5, 8];

/// For how many addresses the kernel is asked one by one; a listing costs as much as about fifteen.
const FEW: usize = 12;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A tracked flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    /// Who opened it.
    pub(super) source: IpAddr,
    /// Whom it was opened to, before any translation.
    pub(super) asked: IpAddr,
    /// Whom it leads to, after any translation.
    pub(super) destination: IpAddr,
    /// Where answers go; the source, or whom it was translated to.
    pub(super) answered: IpAddr,
    /// What it carries, with the port at [`Self::destination`].
    pub(super) payload: Payload,
    /// What names it to the kernel: attributes as they came.
    name: Vec<(u16, Vec<u8>)>,
}

impl Flow {
    /// Whether one of its addresses is among these.
    pub(super) fn concerns(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        [self.source, self.asked, self.destination, self.answered]
            .iter()
            .any(|address| addresses.contains(address))
    }
}

/// Deletes the flows of these addresses.
///
/// The kernel finds them itself where it can, which takes a sixtieth of the time that a listing
/// takes: about 0.1 ms for each end of a flow and address, however many flows there are.
///
/// # Errors
/// The kernel's, as [`delete`] has them.
pub(super) fn forget(channel: &mut Channel, addresses: &BTreeSet<IpAddr>) -> io::Result<()> {
    if addresses.len() <= FEW {
        let all = channel
            .with(|socket| addresses.iter().try_for_each(|address| forget_one(socket, *address)));
        // An older kernel takes the addresses for the name of one flow, which lacks its protocol, and
        // refuses.
        if all.is_ok() {
            return Ok(());
        }
    }
    delete(channel, None, |flow| flow.concerns(addresses)).map(drop)
}

/// Has the kernel delete the flows one of whose addresses this is.
fn forget_one(socket: &Netfilter, address: IpAddr) -> io::Result<()> {
    for tuple in [TUPLE_ORIG, TUPLE_REPLY] {
        for end in [End::Source, End::Destination] {
            socket.ask(&about(DELETE, ACK, tuple, end, address), |_| {})?;
        }
    }
    Ok(())
}

/// An end of one of a flow's two tuples.
#[derive(Debug, Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// A request about the flows with this address at that end of that tuple.
fn about(kind: u8, flags: u16, tuple: u16, end: End, address: IpAddr) -> Request {
    let (attributes, flag) = match end {
        End::Source => (IP_SOURCE, FILTER_SOURCE),
        End::Destination => (IP_DESTINATION, FILTER_DESTINATION),
    };
    let (family, attribute) =
        if address.is_ipv4() { (AF_INET, attributes[0]) } else { (AF_INET6, attributes[1]) };
    let (mut value, mut ip, mut filter) = (Vec::new(), Vec::new(), Vec::new());
    put(&mut value, attribute, &octets(address));
    put_nested(&mut ip, TUPLE_IP, &value);
    for (of, name) in [(TUPLE_ORIG, FILTER_ORIG), (TUPLE_REPLY, FILTER_REPLY)] {
        let flag = if of == tuple { flag } else { 0 };
        put(&mut filter, name, &flag.to_ne_bytes());
    }
    Request::new(Subsystem::Conntrack, kind, flags, family, 0)
        .nested(tuple, &ip)
        .nested(FILTER, &filter)
}

/// Deletes the flows that `doomed` says, of all or of those that have one of the addresses `at` as their
/// [`Flow::source`] or [`Flow::destination`]. Answers how many.
///
/// # Errors
/// The kernel's, where it would not list them or delete one. That one is gone meanwhile is none.
pub(super) fn delete(
    channel: &mut Channel,
    at: Option<&BTreeSet<IpAddr>>,
    doomed: impl Fn(&Flow) -> bool,
) -> io::Result<usize> {
    let requests = match at {
        Some(addresses) if addresses.len() <= FEW => {
            // The destination is whence answers come. A kernel that does not know of filters lists all.
            let of = |address: &IpAddr| {
                [TUPLE_ORIG, TUPLE_REPLY]
                    .map(|tuple| about(GET, DUMP, tuple, End::Source, *address))
            };
            addresses.iter().flat_map(of).collect()
        }
        _ => vec![Request::new(Subsystem::Conntrack, GET, DUMP, 0, 0)],
    };
    let mut flows: Vec<Flow> = Vec::new();
    channel.with(|socket| {
        flows.clear();
        requests.iter().try_for_each(|request| {
            socket.ask(request, |message| {
                let found = read(message).filter(|flow| doomed(flow));
                flows.extend(found.filter(|flow| !flows.contains(flow)));
            })
        })
    })?;
    for flow in &flows {
        let family = if flow.source.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut request = Request::new(Subsystem::Conntrack, DELETE, ACK, family, 0);
        for (kind, value) in &flow.name {
            request = match *kind {
                TUPLE_ORIG => request.nested(*kind, value),
                _ => request.attribute(*kind, value),
            };
        }
        match channel.with(|socket| socket.ask(&request, |_| {})) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(flows.len())
}

/// A flow out of its message; None for what makes none.
fn read(message: &[u8]) -> Option<Flow> {
    let original = find(message, TUPLE_ORIG)?;
    let reply = find(message, TUPLE_REPLY)?;
    let address = |tuple, kinds| address(find(tuple, TUPLE_IP)?, kinds);
    let protocol = find(reply, TUPLE_PROTO)?;
    let number = *find(protocol, PROTO_NUMBER)?.first()?;
    let port = || Some(u16::from_be_bytes(find(protocol, PROTO_SOURCE_PORT)?.try_into().ok()?));
    let payload = match number {
        6 => Payload::Port(Protocol::Tcp, port()?),
        17 => Payload::Port(Protocol::Udp, port()?),
        132 => Payload::Port(Protocol::Sctp, port()?),
        1 | 58 => {
            let asked = find(original, TUPLE_PROTO)?;
            let kind = ICMP_TYPE.iter().find_map(|kind| find(asked, *kind)?.first().copied());
            Payload::Icmp(kind?)
        }
        _ => Payload::Other,
    };
    let name = attributes(message)
        .filter(|(kind, _)| [TUPLE_ORIG, ID, ZONE].contains(kind))
        .map(|(kind, value)| (kind, value.to_vec()));
    Some(Flow {
        source: address(original, IP_SOURCE)?,
        asked: address(original, IP_DESTINATION)?,
        destination: address(reply, IP_SOURCE)?,
        answered: address(reply, IP_DESTINATION)?,
        payload,
        name: name.collect(),
    })
}

fn address(tuple: &[u8], [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    let four = || Some(IpAddr::from(<[u8; 4]>::try_from(find(tuple, v4)?).ok()?));
    let six = || Some(IpAddr::from(<[u8; 16]>::try_from(find(tuple, v6)?).ok()?));
    four().or_else(six)
}
