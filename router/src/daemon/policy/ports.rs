//! The table at the Pods' ports: what a Pod may send whatever the policies say, and ports that are
//! closed because nobody has said whose they are.
//!
//! It is of the family `bridge`, so that it sees the port itself. A frame that came in by anything
//! but a Pod's port is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use super::Port;
use super::drops::GROUP;

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

/// The elements of the sets, in the words of nft: the name of the set, and what is in it.
type Elements = BTreeMap<&'static str, BTreeSet<Vec<String>>>;

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

/// The commands from some ports to others.
pub(super) fn changes(
    before: &BTreeMap<String, Port>,
    after: &BTreeMap<String, Port>,
) -> Vec<Value> {
    let (before, after) = (elements(before), elements(after));
    let mut commands = Vec::new();
    for (name, _) in SETS {
        let none = BTreeSet::new();
        let (old, new) = (before.get(name).unwrap_or(&none), after.get(name).unwrap_or(&none));
        for (command, elements) in [("delete", old.difference(new)), ("add", new.difference(old))] {
            let elements: Vec<_> = elements.map(|element| value(element)).collect();
            if !elements.is_empty() {
                let of =
                    json!({"family": "bridge", "table": TABLE, "name": name, "elem": elements});
                commands.push(json!({command: {"element": of}}));
            }
        }
    }
    commands
}

fn elements(ports: &BTreeMap<String, Port>) -> Elements {
    let mut elements = Elements::new();
    let mut add = |set, element: Vec<String>| {
        elements.entry(set).or_default().insert(element);
    };
    for (name, port) in ports {
        add("ports", vec![name.clone()]);
        add("macs", vec![name.clone(), port.mac.to_string()]);
        for address in &port.addresses {
            match address {
                IpAddr::V4(address) => add("ipv4", vec![name.clone(), address.to_string()]),
                IpAddr::V6(address) => {
                    add("ipv6", vec![name.clone(), address.to_string()]);
                    add("targets", vec![name.clone(), number(*address)]);
                }
            }
        }
        let own = link_local(port.mac.0);
        add("ipv6", vec![name.clone(), own.to_string()]);
        add("targets", vec![name.clone(), number(own)]);
    }
    elements
}

fn words(element: &[String]) -> String {
    // Names of interfaces are quoted, numbers are not.
    let mut parts = element.iter();
    let name = parts.next().map(|name| format!("\"{name}\"")).unwrap_or_default();
    std::iter::once(name).chain(parts.cloned()).collect::<Vec<_>>().join(" . ")
}

fn value(element: &[String]) -> Value {
    match element {
        [only] => json!(only),
        _ => json!({ "concat": element }),
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
        let changes = json!({ "nftables": changes(&one, &two) });
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
