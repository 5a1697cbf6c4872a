//! Elements put into sets and taken out of them by one message to the kernel, without a process.
//!
//! That is all that most changes are: a Pod that comes or goes, here or elsewhere. What makes or
//! removes sets, chains or lines is left to `nft`, and so are prefixes, whose elements are the ends
//! of intervals.
//!
//! A batch is a transaction (`linux/netfilter/nfnetlink.h`): all of it takes effect at once, or
//! nothing does.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use weft_policy::Protocol;
use weft_policy::nft::{Command, Elements, Map, Ruleset, TABLE, Transaction};

use super::netfilter::{ACK, Channel, Request, Subsystem, put, put_nested};

/// How many elements are changed this way at most: what fits the socket's buffer with ease. Beyond
/// that, starting a process no longer matters.
const MOST: usize = 512;
/// How many are in one message: an attribute is 64 KiB at most.
const OF_MESSAGE: usize = 128;

/// The families of tables (`linux/netfilter.h`).
pub(super) const INET: u8 = 1;
pub(super) const BRIDGE: u8 = 7;

/// Messages and attributes of `linux/netfilter/nfnetlink.h` and `nf_tables.h`.
const BEGIN: u8 = 16;
const END: u8 = 17;
const NEW_ELEMENTS: u8 = 12;
const GET_ELEMENTS: u8 = 13;
const DELETE_ELEMENTS: u8 = 14;
const CREATE: u16 = 0x400;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const JUMP: i32 = -3;

/// An element of a set, or of a map from keys to chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// As it stands in the registers: each part of it fills whole words of 4 bytes.
    pub(super) key: Vec<u8>,
    /// The chain that it leads to, in a map.
    pub(super) chain: Option<String>,
}

/// Elements that come to a set or go from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct Change {
    pub(super) family: u8,
    pub(super) table: &'static str,
    pub(super) set: String,
    /// Whether they go.
    pub(super) delete: bool,
    pub(super) elements: Vec<Element>,
}

impl Change {
    /// Addresses that come to a set of a table of the family `inet`, or go from it.
    pub(in crate::daemon) fn of_addresses<'a>(
        table: &'static str,
        set: &str,
        delete: bool,
        addresses: impl Iterator<Item = &'a IpAddr>,
    ) -> Self {
        let element = |address: &IpAddr| Element { key: octets(*address), chain: None };
        let elements = addresses.map(element).collect();
        Self { family: INET, table, set: set.to_owned(), delete, elements }
    }
}

/// What a transaction changes, if that is elements alone that can be told this way.
pub(super) fn changes(transaction: &Transaction) -> Option<Vec<Change>> {
    let change = |set: &str, delete, elements| Change {
        family: INET,
        table: TABLE,
        set: set.to_owned(),
        delete,
        elements,
    };
    let members = |members: &[(IpAddr, String)]| {
        let member = |(address, chain): &(IpAddr, String)| Element {
            key: octets(*address),
            chain: Some(chain.clone()),
        };
        members.iter().map(member).collect()
    };
    let changes = transaction.commands.iter().map(|command| match command {
        Command::AddElements(set, of) => Some(change(set, false, elements(of)?)),
        Command::DeleteElements(set, of) => Some(change(set, true, elements(of)?)),
        Command::AddMembers(map, of) => Some(change(map, false, members(of))),
        Command::DeleteMembers(map, of) => Some(change(map, true, members(of))),
        Command::Reset
        | Command::AddSet(..)
        | Command::DeleteSet(_)
        | Command::AddMap(..)
        | Command::AddChain(_)
        | Command::FlushChain(_)
        | Command::AddLine(..)
        | Command::DeleteChain(_) => None,
    });
    changes.collect()
}

/// Whether this many elements are changed this way.
pub(super) fn fits(changes: &[Change]) -> bool {
    changes.iter().map(|change| change.elements.len()).sum::<usize>() <= MOST
}

/// Makes these changes, in their order, as one transaction.
///
/// # Errors
/// The kernel's; then nothing has changed.
pub(in crate::daemon) fn run(channel: &mut Channel, changes: &[Change]) -> io::Result<()> {
    let requests = requests(changes);
    if requests.is_empty() { Ok(()) } else { channel.with(|socket| socket.commit(&requests)) }
}

/// The first of these sets that lacks an element that has come to it.
///
/// # Errors
/// The kernel's, where it would not say.
pub(super) fn lacking<'a>(
    channel: &mut Channel,
    changes: &'a [Change],
) -> io::Result<Option<&'a Change>> {
    for change in changes {
        for element in &change.elements {
            let request = request(change, std::slice::from_ref(element), GET_ELEMENTS, ACK);
            match channel.with(|socket| socket.ask(&request, |_| {})) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(change)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// Maps that lead these addresses to chains, as [`Ruleset::maps`] has them.
pub(super) fn members_of(ruleset: &Ruleset, addresses: &BTreeSet<IpAddr>) -> Vec<Change> {
    let member = |(address, chain): (&IpAddr, &String)| Element {
        key: octets(*address),
        chain: Some(chain.clone()),
    };
    let change = |(name, map): (&String, &Map)| Change {
        family: INET,
        table: TABLE,
        set: name.clone(),
        delete: false,
        elements: addresses
            .iter()
            .filter_map(|address| map.elements.get_key_value(address))
            .map(member)
            .collect(),
    };
    ruleset.maps.iter().map(change).collect()
}

/// The messages of a batch; none where nothing changes. The kernel confirms the last change, after it
/// has carried out all.
fn requests(changes: &[Change]) -> Vec<Request> {
    let parts: Vec<_> = changes
        .iter()
        .flat_map(|change| change.elements.chunks(OF_MESSAGE).map(move |part| (change, part)))
        .collect();
    if parts.is_empty() {
        return Vec::new();
    }
    // What a batch is for stands where others have their group.
    let frame = |kind| Request::new(Subsystem::Batch, kind, 0, 0, Subsystem::Tables as u16);
    let last = parts.len() - 1;
    let inner = parts.iter().enumerate().map(|(index, (change, part))| {
        let confirm = if index == last { ACK } else { 0 };
        match change.delete {
            true => request(change, part, DELETE_ELEMENTS, confirm),
            false => request(change, part, NEW_ELEMENTS, CREATE | confirm),
        }
    });
    std::iter::once(frame(BEGIN)).chain(inner).chain([frame(END)]).collect()
}

fn request(change: &Change, part: &[Element], kind: u8, flags: u16) -> Request {
    let mut list = Vec::new();
    for element in part {
        let mut body = Vec::new();
        let mut key = Vec::new();
        put(&mut key, DATA_VALUE, &element.key);
        put_nested(&mut body, ELEMENT_KEY, &key);
        if let Some(chain) = element.chain.as_ref().filter(|_| kind == NEW_ELEMENTS) {
            let (mut verdict, mut data) = (Vec::new(), Vec::new());
            put(&mut verdict, VERDICT_CODE, &JUMP.to_be_bytes());
            put(&mut verdict, VERDICT_CHAIN, &text(chain));
            put_nested(&mut data, DATA_VERDICT, &verdict);
            put_nested(&mut body, ELEMENT_DATA, &data);
        }
        put_nested(&mut list, ELEMENT, &body);
    }
    Request::new(Subsystem::Tables, kind, flags, change.family, 0)
        .attribute(LIST_TABLE, &text(change.table))
        .attribute(LIST_SET, &text(&change.set))
        .nested(LIST_ELEMENTS, &list)
}

/// The elements of a set; None for prefixes.
fn elements(elements: &Elements) -> Option<Vec<Element>> {
    let plain = |key| Element { key, chain: None };
    match elements {
        Elements::Addresses(addresses) => {
            Some(addresses.iter().map(|address| plain(octets(*address))).collect())
        }
        Elements::Prefixes(_) => None,
        Elements::Ports(ports) => {
            let port = |(address, protocol, port): &(IpAddr, Protocol, u16)| {
                let mut key = octets(*address);
                let number = match protocol {
                    Protocol::Tcp => 6,
                    Protocol::Udp => 17,
                    Protocol::Sctp => 132,
                };
                key.extend([number, 0, 0, 0]);
                key.extend(port.to_be_bytes());
                key.extend([0, 0]);
                plain(key)
            };
            Some(ports.iter().map(port).collect())
        }
    }
}

/// An address as it stands in a packet.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A name, with the zero that ends it.
fn text(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

#[cfg(test)]
mod tests;
