//! The nftables table that has what leaves the mesh go out under the host's address.
//!
//! One table of our own, made as a whole in one transaction; which Pods are exempt changes by elements
//! of its sets. Nothing in it concerns traffic that
//! stays on the bridge, or that is for an address of the mesh.

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use ipnet::IpNet;

use super::HostError;
use crate::daemon::policy::{Change, Channel, change_sets};

/// The table, family `inet`.
pub(super) const TABLE: &str = "weft_nat";

/// Makes the table, or replaces it.
pub(super) fn set(bridge: &str, ranges: &[IpNet], exempt: &[IpAddr]) -> Result<(), HostError> {
    nft(&rules(bridge, ranges, exempt))
}

/// Changes which addresses are exempt, where the table stands. Both lists are sorted.
///
/// # Errors
/// The kernel's, as where somebody has removed the table; then nothing has changed.
pub(super) fn change(channel: &mut Channel, old: &[IpAddr], new: &[IpAddr]) -> io::Result<()> {
    let mut changes = Vec::new();
    for (delete, these, others) in [(true, old, new), (false, new, old)] {
        let differ = these.iter().filter(|address| others.binary_search(address).is_err());
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = differ.partition(|address| address.is_ipv4());
        for (family, addresses) in [("ip", v4), ("ip6", v6)] {
            let addresses = addresses.into_iter();
            changes.push(Change::of_addresses(TABLE, &exempt_set(family), delete, addresses));
        }
    }
    change_sets(channel, &changes)
}

fn exempt_set(family: &str) -> String {
    format!("exempt_{family}")
}

/// Removes the table. That there is none is no error.
pub(super) fn remove() -> Result<(), HostError> {
    nft(&format!("table inet {TABLE}\ndelete table inet {TABLE}\n"))
}

/// The transaction. The table is declared first so that deleting it cannot fail.
fn rules(bridge: &str, ranges: &[IpNet], exempt: &[IpAddr]) -> String {
    let mut sets = String::new();
    let mut chain = String::new();
    for (family, kind, v4) in [("ip", "ipv4_addr", true), ("ip6", "ipv6_addr", false)] {
        let own: Vec<String> = ranges
            .iter()
            .filter(|range| range.addr().is_ipv4() == v4)
            .map(|range| range.trunc().to_string())
            .collect();
        if own.is_empty() {
            continue;
        }
        let plain: Vec<String> =
            exempt.iter().filter(|ip| ip.is_ipv4() == v4).map(ToString::to_string).collect();
        let (mesh, exempted) = (format!("mesh_{family}"), exempt_set(family));
        sets.push_str(&set_of(&mesh, kind, "flags interval; ", &own));
        sets.push_str(&set_of(&exempted, kind, "", &plain));
        chain.push_str(&format!(
            "    {family} saddr @{mesh} {family} daddr != @{mesh} {family} saddr != @{exempted} masquerade\n"
        ));
    }
    format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{sets}  chain postrouting {{\n    \
         type nat hook postrouting priority srcnat; policy accept;\n    oifname \"{bridge}\" return\n{chain}  }}\n}}\n"
    )
}

fn set_of(name: &str, kind: &str, flags: &str, elements: &[String]) -> String {
    let elements = if elements.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {} }}; ", elements.join(", "))
    };
    format!("  set {name} {{ type {kind}; {flags}{elements}}}\n")
}

/// Runs `nft -f -`. It stays in the caller's namespace.
fn nft(script: &str) -> Result<(), HostError> {
    let failed = |why: String| HostError::Nft { why };
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                failed("the command nft is missing, install nftables".to_owned())
            }
            _ => failed(format!("nft cannot be started: {error}")),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // What nft does not read it complains about itself.
        let _ = stdin.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(failed(complaint.lines().next().unwrap_or("nft failed without a word").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_mesh_and_the_exempt() {
        let ranges = ["10.32.0.0/12".parse().unwrap(), "fd00:77::/48".parse().unwrap()];
        let exempt = ["10.32.0.7".parse().unwrap()];
        assert_eq!(
            rules("weft", &ranges, &exempt),
            "table inet weft_nat\n\
             delete table inet weft_nat\n\
             table inet weft_nat {\n\
             \x20 set mesh_ip { type ipv4_addr; flags interval; elements = { 10.32.0.0/12 }; }\n\
             \x20 set exempt_ip { type ipv4_addr; elements = { 10.32.0.7 }; }\n\
             \x20 set mesh_ip6 { type ipv6_addr; flags interval; elements = { fd00:77::/48 }; }\n\
             \x20 set exempt_ip6 { type ipv6_addr; }\n\
             \x20 chain postrouting {\n\
             \x20   type nat hook postrouting priority srcnat; policy accept;\n\
             \x20   oifname \"weft\" return\n\
             \x20   ip saddr @mesh_ip ip daddr != @mesh_ip ip saddr != @exempt_ip masquerade\n\
             \x20   ip6 saddr @mesh_ip6 ip6 daddr != @mesh_ip6 ip6 saddr != @exempt_ip6 masquerade\n\
             \x20 }\n\
             }\n"
        );
    }

    #[test]
    fn a_family_without_a_range_has_no_rule() {
        let rules = rules("weft", &["10.32.0.0/12".parse().unwrap()], &[]);
        assert!(!rules.contains("ip6"), "{rules}");
    }
}
