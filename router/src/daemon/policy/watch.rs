//! Whether the kernel still has what it was given. Others flush tables and turn settings off.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_policy::nft::Ruleset;

use super::kernel::Given;
use super::netfilter::{ACK, Netfilter, Request, Subsystem, find};
use super::{PolicyError, nft, ports};

/// Have bridged packets pass the tables of the family `inet`, and conntrack.
const SETTINGS: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];

/// Messages and attributes of `linux/netfilter/nf_tables.h`.
const GET_GENERATION: u8 = 16;
const GENERATION: u16 = 1;

/// Turns on what has bridged packets pass our rules. Answers the settings that were off.
pub(super) fn bridge_settings() -> Result<Vec<&'static str>, PolicyError> {
    let mut off = Vec::new();
    for path in SETTINGS {
        let fail = |source| PolicyError::Bridge { path, source };
        if std::fs::read_to_string(path).map_err(fail)?.trim() != "1" {
            std::fs::write(path, "1").map_err(fail)?;
            off.push(path);
        }
    }
    Ok(off)
}

/// The number of transactions that the namespace's nftables have seen.
pub(super) fn generation() -> std::io::Result<Option<u32>> {
    let mut generation = None;
    let request = Request::new(Subsystem::Tables, GET_GENERATION, ACK, 0, 0);
    Netfilter::open()?.ask(&request, |message| {
        let value = find(message, GENERATION).and_then(|value| value.first_chunk().copied());
        generation = generation.or(value.map(u32::from_be_bytes));
    })?;
    Ok(generation)
}

/// What the tables lack or have too much; None where they are as they were given. Elements of sets
/// are not looked at.
pub(super) fn difference(given: &Given) -> Result<Option<String>, PolicyError> {
    let (policy, port) = (weft_policy::nft::TABLE, ports::TABLE);
    let Some(found) = nft::list("inet", policy)? else {
        return Ok(Some(format!("table inet {policy} was removed")));
    };
    if let Some(what) = compare(&found, &expected(&given.ruleset)) {
        return Ok(Some(format!("table inet {policy} was changed: {what}")));
    }
    let Some(found) = nft::list("bridge", port)? else {
        return Ok(Some(format!("table bridge {port} was removed")));
    };
    let what = compare(&found, &ports::lines());
    Ok(what.map(|what| format!("table bridge {port} was changed: {what}")))
}

/// How many lines each chain has.
fn expected(ruleset: &Ruleset) -> BTreeMap<String, usize> {
    ruleset.chains.iter().map(|(name, lines)| (name.clone(), lines.len())).collect()
}

/// What differs between the listing of a table and the lines that its chains should have.
fn compare(listing: &Value, expected: &BTreeMap<String, usize>) -> Option<String> {
    let objects = listing["nftables"].as_array()?;
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for object in objects {
        if let Some(name) = object["chain"]["name"].as_str() {
            found.entry(name).or_default();
        }
        if let Some(chain) = object["rule"]["chain"].as_str() {
            *found.entry(chain).or_default() += 1;
        }
        if object["table"].get("flags").is_some() {
            return Some("it is switched off".to_owned());
        }
    }
    for (name, lines) in expected {
        match found.get(name.as_str()) {
            None => return Some(format!("chain {name} is gone")),
            Some(found) if found != lines => {
                return Some(format!("chain {name} has {found} rules instead of {lines}"));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().find(|name| !expected.contains_key(**name));
    more.map(|name| format!("chain {name} is not ours"))
}
