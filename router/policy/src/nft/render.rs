//! A transaction in the language of `nft -j` (libnftables-json(5)).

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Action, BASE, Command, Elements, End, Line, Match, TABLE, Transaction};
use crate::nft::diff::SetKind;
use crate::{Family, Protocol};

/// The priority of the base chain: before the filter rules of others, after any translation of
/// destinations.
const PRIORITY: i32 = -5;
/// ICMP and ICMPv6. Protocols go by number: `nft` looks names up in /etc/protocols, which a container may lack.
const ICMP: [u8; 2] = [1, 58];
/// The flags of TCP that tell an opening segment, FIN, SYN, RST and ACK, and those that one has: SYN.
const OPENING_MASK: u8 = 0x17;
const OPENING: u8 = 0x02;
/// How many dropped packets a rule tells the log of: a second, and at once.
const LOG_LIMIT: (u32, u32) = (20, 100);
/// Router and neighbour solicitations and advertisements, and redirects (RFC 4861).
const NEIGHBOUR_TYPES: (u8, u8) = (133, 137);

impl Transaction {
    /// What `nft -j -f -` reads.
    pub fn to_json(&self) -> Value {
        let commands: Vec<_> = self.commands.iter().flat_map(command).collect();
        json!({ "nftables": commands })
    }
}

fn command(command: &Command) -> Vec<Value> {
    match command {
        Command::Reset => {
            let table = json!({"table": {"family": "inet", "name": TABLE}});
            // Deleting what is not there fails, so it is made first.
            vec![add(table.clone()), json!({"delete": &table}), add(table)]
        }
        Command::AddSet(name, family, kind) => {
            let mut set = named(name);
            set["type"] = match kind {
                SetKind::Addresses | SetKind::Prefixes => address_type(*family).into(),
                SetKind::Ports => json!([address_type(*family), "inet_proto", "inet_service"]),
            };
            if *kind == SetKind::Prefixes {
                set["flags"] = json!(["interval"]);
            }
            vec![add(json!({ "set": set }))]
        }
        Command::AddElements(name, elements) => vec![add(element(name, values(elements)))],
        Command::DeleteElements(name, elements) => {
            vec![json!({"delete": element(name, values(elements))})]
        }
        Command::DeleteSet(name) => vec![json!({"delete": {"set": named(name)}})],
        Command::AddMap(name, family) => {
            let mut map = named(name);
            map["type"] = address_type(*family).into();
            map["map"] = "verdict".into();
            vec![add(json!({ "map": map }))]
        }
        Command::AddMembers(name, members) => {
            let jump = |(address, chain): &(std::net::IpAddr, String)| json!([address, {"jump": {"target": chain}}]);
            vec![add(element(name, members.iter().map(jump).collect()))]
        }
        Command::DeleteMembers(name, members) => {
            let jump = |(address, chain): &(std::net::IpAddr, String)| json!([address, {"jump": {"target": chain}}]);
            vec![json!({"delete": element(name, members.iter().map(jump).collect())})]
        }
        Command::AddChain(name) => {
            let mut chain = named(name);
            if name == BASE {
                chain["type"] = "filter".into();
                chain["hook"] = "forward".into();
                chain["prio"] = PRIORITY.into();
                chain["policy"] = "accept".into();
            }
            vec![add(json!({ "chain": chain }))]
        }
        Command::FlushChain(name) => vec![json!({"flush": {"chain": named(name)}})],
        Command::AddLine(chain, line) => vec![add(json!({ "rule": rule(chain, line) }))],
        Command::DeleteChain(name) => vec![json!({"delete": {"chain": named(name)}})],
    }
}

fn add(object: Value) -> Value {
    json!({ "add": object })
}

fn named(name: &str) -> Value {
    json!({"family": "inet", "table": TABLE, "name": name})
}

fn element(name: &str, elements: Vec<Value>) -> Value {
    let mut element = named(name);
    element["elem"] = elements.into();
    json!({ "element": element })
}

fn values(elements: &Elements) -> Vec<Value> {
    match elements {
        Elements::Addresses(addresses) => addresses.iter().map(|address| json!(address)).collect(),
        Elements::Prefixes(prefixes) => prefixes.iter().map(prefix).collect(),
        Elements::Ports(ports) => ports
            .iter()
            .map(|(address, protocol, port)| {
                json!({"concat": [address, protocol_number(*protocol), port]})
            })
            .collect(),
    }
}

fn prefix(prefix: &IpNet) -> Value {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        json!(prefix.addr())
    } else {
        json!({"prefix": {"addr": prefix.addr(), "len": prefix.prefix_len()}})
    }
}

fn rule(chain: &str, line: &Line) -> Value {
    let mut expressions: Vec<_> = line.matches.iter().flat_map(matching).collect();
    if line.counted {
        expressions.push(json!({"counter": null}));
    }
    if let Action::Log(..) = line.action {
        let (rate, burst) = LOG_LIMIT;
        let limit = json!({"rate": rate, "per": "second", "burst": burst});
        expressions.push(json!({ "limit": limit }));
    }
    expressions.push(action(&line.action));
    let mut rule = json!({"family": "inet", "table": TABLE, "chain": chain, "expr": expressions});
    if !line.comment.is_empty() {
        rule["comment"] = line.comment.as_str().into();
    }
    rule
}

fn matching(matching: &Match) -> Vec<Value> {
    let one = |left: Value, right: Value| {
        vec![json!({"match": {"op": "==", "left": left, "right": right}})]
    };
    let in_states = |state: &str| json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": state}});
    match matching {
        Match::NotFrom(name) => vec![not(meta("iifname"), name)],
        Match::NotTo(name) => vec![not(meta("oifname"), name)],
        Match::Established => vec![in_states("established")],
        Match::RelatedError => {
            let mut all = vec![in_states("related")];
            all.extend(one(meta("l4proto"), json!({ "set": ICMP })));
            all
        }
        Match::NeighbourDiscovery => {
            one(payload("icmpv6", "type"), json!({"range": [NEIGHBOUR_TYPES.0, NEIGHBOUR_TYPES.1]}))
        }
        Match::Midway => {
            let flags = json!({"&": [payload("tcp", "flags"), OPENING_MASK]});
            let opens = json!({"op": "!=", "left": flags, "right": OPENING});
            vec![in_states("new"), json!({ "match": opens })]
        }
        Match::Address(end, family, set) => one(address(*end, *family), format!("@{set}").into()),
        Match::NamedPort(family, set) => {
            let key = json!({"concat": [
                address(End::Destination, *family), meta("l4proto"), payload("th", "dport"),
            ]});
            one(key, format!("@{set}").into())
        }
        Match::Protocol(protocol) => one(meta("l4proto"), protocol_number(*protocol).into()),
        Match::Ports(protocol, ranges) => {
            let ranges: Vec<_> = ranges.iter().copied().map(range).collect();
            let right = match &ranges[..] {
                [only] => only.clone(),
                _ => json!({ "set": ranges }),
            };
            one(payload(header(*protocol), "dport"), right)
        }
    }
}

fn action(action: &Action) -> Value {
    match action {
        Action::Accept => json!({"accept": null}),
        Action::Drop => json!({"drop": null}),
        Action::Return => json!({"return": null}),
        Action::Log(group, word) => json!({"log": {"group": group, "prefix": word}}),
        Action::Goto(chain) => json!({"goto": {"target": chain}}),
        Action::Lookup(end, family, map) => {
            json!({"vmap": {"key": address(*end, *family), "data": format!("@{map}")}})
        }
    }
}

fn not(left: Value, right: &str) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn address(end: End, family: Family) -> Value {
    let protocol = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    match end {
        End::Source => payload(protocol, "saddr"),
        End::Destination => payload(protocol, "daddr"),
    }
}

fn range((first, last): (u16, u16)) -> Value {
    if first == last { json!(first) } else { json!({"range": [first, last]}) }
}

const fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// The number of a protocol (IANA).
const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The header of a protocol, a word of `nft`'s language.
const fn header(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
