//! The table at the Pods' ports: what a Pod may send whatever the policies say, and ports that are
//! closed because nobody has said whose they are.
//!
//! It is of the family `bridge`, so that it sees the port itself. A frame that came in by anything
//! but a Pod's port is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use weft_cni_shim::wire::Mac;

use super::drops::GROUP;
use super::{Port, batch};

/// The table, family `bridge`.
pub(super) const TABLE: &str = "weft-port";

/// Why a frame is dropped at a port: the end of the name of the chain that drops it, and what people are told.
pub(super) const REASONS: [(&str, &str); 8] = [
    ("unknown", "the port is no known Pod's"),
    ("mac", "not the Pod's MAC address"),
    ("vlan", "a VLAN tag"),
    ("protocol", "neither IP nor ARP"),
    ("arp", "ARP for an address that is not the Pod's"),
    ("ipv4", "not the Pod's IPv4 address"),
    ("ipv6", "not the Pod's IPv6 address"),
    ("nd", "router advertisement, redirect, or neighbour discovery for an address not the Pod's"),
];

/// The sets of the table.
const SETS: [(&str, &str); 5] = [
    ("ports", "type ifname"),
    ("macs", "type ifname . ether_addr"),
    ("ipv4", "type ifname . ipv4_addr"),
    ("ipv6", "type ifname . ipv6_addr"),
    // The target of a solicitation or an advertisement (RFC 4861, 4.3 and 4.4).
    ("targets", "typeof iifname . @th,64,128"),
];

/// What is looked at, in order. A Pod that looks for its address on the segment before it uses it
/// has none yet: `::`, and `0.0.0.0` in ARP.
const CHECKS: [&str; 18] = [
    "iifname != @ports goto drop_unknown",
    "iifname . ether saddr != @macs goto drop_mac",
    "ether type { 8021q, 8021ad } goto drop_vlan",
    "ether type arp jump check_arp",
    "ether type arp accept",
    "ether type ip iifname . ip saddr @ipv4 accept",
    "ether type ip goto drop_ipv4",
    "ether type != ip6 goto drop_protocol",
    "icmpv6 type { nd-router-advert, nd-redirect } goto drop_nd",
    "icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets goto drop_nd",
    "iifname . ip6 saddr @ipv6 accept",
    "ip6 saddr != :: goto drop_ipv6",
    "icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets accept",
    "icmpv6 type nd-neighbor-solicit goto drop_nd",
    "icmpv6 type nd-router-solicit accept",
    "icmpv6 type mld-listener-report accept",
    "icmpv6 type mld2-listener-report accept",
    "goto drop_ipv6",
];
const ARP_CHECKS: [&str; 6] = [
    "arp htype != 1 goto drop_arp",
    "arp ptype != ip goto drop_arp",
    "arp hlen != 6 goto drop_arp",
    "arp plen != 4 goto drop_arp",
    "iifname . arp saddr ether != @macs goto drop_arp",
    "arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @ipv4 goto drop_arp",
];

/// The elements of the sets: the name of the set, and what is in it.
type Elements = BTreeMap<&'static str, BTreeSet<Vec<Part>>>;

/// A part of an element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The name of an interface.
    Name(String),
    Mac(Mac),
    Address(IpAddr),
    /// An IPv6 address where nft knows a number only.
    Target(Ipv6Addr),
}

impl Part {
    /// In the words of nft.
    fn word(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Mac(mac) => mac.to_string(),
            Self::Address(address) => address.to_string(),
            Self::Target(address) => number(*address),
        }
    }

    /// In the words of the kernel.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(bytes.len().max(NAME), 0);
                bytes
            }
            Self::Mac(Mac([a, b, c, d, e, f])) => vec![*a, *b, *c, *d, *e, *f, 0, 0],
            Self::Address(address) => batch::octets(*address),
            Self::Target(address) => batch::octets(IpAddr::from(*address)),
        }
    }
}

/// The room that the kernel has for the name of an interface, bytes.
const NAME: usize = 16;

/// How names of Pods' ports begin; see [`weft_cni_shim::wire::host_ifname`].
const PREFIX: &str = "wv";

/// The script that replaces the table, whatever there was, at once.
pub(super) fn script(ports: &BTreeMap<String, Port>) -> String {
    let mut text = format!("table bridge {TABLE}\ndelete table bridge {TABLE}\n");
    let _ = writeln!(text, "table bridge {TABLE} {{");
    let elements = elements(ports);
    for (name, kind) in SETS {
        let of = elements.get(name).into_iter().flatten();
        let of: Vec<_> = of.map(|element| words(element)).collect();
        let of = if of.is_empty() {
            String::new()
        } else {
            format!("; elements = {{ {} }}", of.join(", "))
        };
        let _ = writeln!(text, "  set {name} {{ {kind}{of}; }}");
    }
    for (name, _) in REASONS {
        let log =
            format!("limit rate 20/second burst 100 packets log prefix \"{name}\" group {GROUP}");
        let _ = writeln!(text, "  chain drop_{name} {{\n    {log}\n    counter drop\n  }}");
    }
    let _ = writeln!(text, "  chain check_arp {{\n    {}\n  }}", ARP_CHECKS.join("\n    "));
    let _ = writeln!(text, "  chain check {{\n    {}\n  }}", CHECKS.join("\n    "));
    let _ = writeln!(
        text,
        "  chain from_pods {{\n    type filter hook prerouting priority -300; policy accept;\n    \
         iifname \"{PREFIX}*\" goto check\n  }}\n  chain to_pods {{\n    type filter hook postrouting \
         priority 300; policy accept;\n    oifname \"{PREFIX}*\" oifname != @ports goto drop_unknown\n  }}\n}}"
    );
    text
}

/// How many lines each chain of the table has.
pub(super) fn lines() -> BTreeMap<String, usize> {
    let mut lines: BTreeMap<_, _> =
        REASONS.iter().map(|(name, _)| (format!("drop_{name}"), 2)).collect();
    lines.insert("check".to_owned(), CHECKS.len());
    lines.insert("check_arp".to_owned(), ARP_CHECKS.len());
    lines.extend([("from_pods".to_owned(), 1), ("to_pods".to_owned(), 1)]);
    lines
}

/// What differs between two sets of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference(Vec<(&'static str, bool, Vec<Vec<Part>>)>);

/// What changes from some ports to others.
pub(super) fn changes(
    before: &BTreeMap<String, Port>,
    after: &BTreeMap<String, Port>,
) -> Difference {
    let (before, after) = (elements(before), elements(after));
    let mut changes = Vec::new();
    for (name, _) in SETS {
        let none = BTreeSet::new();
        let (old, new) = (before.get(name).unwrap_or(&none), after.get(name).unwrap_or(&none));
        for (delete, elements) in [(true, old.difference(new)), (false, new.difference(old))] {
            let elements: Vec<_> = elements.cloned().collect();
            if !elements.is_empty() {
                changes.push((name, delete, elements));
            }
        }
    }
    Difference(changes)
}

impl Difference {
    /// As commands of `nft -j`.
    pub(super) fn to_json(&self) -> Vec<Value> {
        let command = |(name, delete, elements): &(&str, bool, Vec<Vec<Part>>)| {
            let elements: Vec<_> = elements.iter().map(|element| value(element)).collect();
            let of = json!({"family": "bridge", "table": TABLE, "name": name, "elem": elements});
            json!({if *delete { "delete" } else { "add" }: {"element": of}})
        };
        self.0.iter().map(command).collect()
    }

    /// As changes of a batch.
    pub(super) fn to_batch(&self) -> Vec<batch::Change> {
        let element = |parts: &Vec<Part>| batch::Element {
            key: parts.iter().flat_map(Part::bytes).collect(),
            chain: None,
        };
        let change = |(name, delete, elements): &(&str, bool, Vec<Vec<Part>>)| batch::Change {
            family: batch::BRIDGE,
            table: TABLE,
            set: (*name).to_owned(),
            delete: *delete,
            elements: elements.iter().map(element).collect(),
        };
        self.0.iter().map(change).collect()
    }
}

fn elements(ports: &BTreeMap<String, Port>) -> Elements {
    let mut elements = Elements::new();
    let mut add = |set, element: Vec<Part>| {
        elements.entry(set).or_default().insert(element);
    };
    for (name, port) in ports {
        let name = || Part::Name(name.clone());
        add("ports", vec![name()]);
        add("macs", vec![name(), Part::Mac(port.mac)]);
        let own = IpAddr::from(link_local(port.mac.0));
        for address in port.addresses.iter().copied().chain([own]) {
            match address {
                IpAddr::V4(_) => add("ipv4", vec![name(), Part::Address(address)]),
                IpAddr::V6(target) => {
                    add("ipv6", vec![name(), Part::Address(address)]);
                    add("targets", vec![name(), Part::Target(target)]);
                }
            }
        }
    }
    elements
}

fn words(element: &[Part]) -> String {
    let word = |part: &Part| match part {
        // Names of interfaces are quoted, numbers are not.
        Part::Name(name) => format!("\"{name}\""),
        _ => part.word(),
    };
    element.iter().map(word).collect::<Vec<_>>().join(" . ")
}

fn value(element: &[Part]) -> Value {
    match element {
        [only] => json!(only.word()),
        _ => json!({ "concat": element.iter().map(Part::word).collect::<Vec<_>>() }),
    }
}

/// An address as nft writes what it has no type for.
fn number(address: Ipv6Addr) -> String {
    format!("{:#034x}", u128::from(address))
}

/// The link-local address that follows from a MAC address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(last: u8) -> Port {
        Port {
            mac: format!("0a:58:0a:20:00:{last:02x}").parse().unwrap(),
            addresses: BTreeSet::from([
                IpAddr::from([10, 32, 0, last]),
                format!("fd00::{last:x}").parse().unwrap(),
            ]),
        }
    }

    #[test]
    fn a_port_that_comes_or_goes_costs_its_elements() {
        let none = BTreeMap::new();
        let one = BTreeMap::from([("wv1".to_owned(), port(1))]);
        let changes = |before, after| changes(before, after).to_json();
        let commands = changes(&none, &one);
        assert_eq!(commands.len(), 5);
        assert_eq!(
            commands[4]["add"]["element"]["elem"],
            json!([
                {"concat": ["wv1", "0xfd000000000000000000000000000001"]},
                {"concat": ["wv1", "0xfe8000000000000008580afffe200001"]},
            ])
        );
        assert_eq!(changes(&one, &one), [json!(null); 0]);
        let gone = changes(&one, &none);
        assert!(gone.iter().all(|command| command.get("delete").is_some()), "{gone:?}");
        assert_eq!(gone.len(), 5);
    }

    #[test]
    fn nft_takes_the_script_and_the_changes() {
        let one = BTreeMap::from([("wv1".to_owned(), port(1))]);
        let two = BTreeMap::from([("wv2".to_owned(), port(2))]);
        let changes = json!({ "nftables": changes(&one, &two).to_json() });
        let shell =
            "nft -f - <<<\"$1\" && nft -j -f - <<<\"$2\" && nft list table bridge weft-port";
        let output = std::process::Command::new("unshare")
            .args(["-n", "bash", "-c", shell, "-", &script(&one), &changes.to_string()])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this needs root, nft and unshare: {error}");
        let listing = String::from_utf8_lossy(&output.stdout);
        assert!(!listing.contains("wv1"), "{listing}");
        assert_eq!(listing.matches("\"wv2\"").count(), 7, "{listing}");
        for (chain, lines) in lines() {
            let body = listing.split(&format!("chain {chain} {{\n")).nth(1).unwrap_or_default();
            let body = body.split("\n\t}").next().unwrap_or_default();
            let rules = body.lines().filter(|line| !line.contains("type filter hook")).count();
            assert_eq!(rules, lines, "{chain}: {body}");
        }
    }

    #[test]
    fn the_link_local_address_is_that_of_the_mac() {
        let address = link_local([0x0a, 0x58, 0x0a, 0x20, 0, 1]);
        assert_eq!(address.to_string(), "fe80::858:aff:fe20:1");
    }
}
