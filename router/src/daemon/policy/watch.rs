//! Whether the kernel still has what it was given. Others flush tables and turn settings off.

use std::collections::BTreeMap;
use std::io;

use weft_policy::nft::Ruleset;

use super::batch::{BRIDGE, INET};
use super::kernel::Given;
use super::netfilter::{ACK, Channel, DUMP, Request, Subsystem, find};
use super::{PolicyError, ports};

/// Have bridged packets pass the tables of the family `inet`, and conntrack.
const SETTINGS: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];

/// Messages and attributes of `linux/netfilter/nf_tables.h`.
const GET_TABLE: u8 = 1;
const GET_CHAIN: u8 = 4;
const GET_RULE: u8 = 7;
const GET_GENERATION: u8 = 16;
const GENERATION: u16 = 1;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// The flag of a table whose chains see nothing (`NFT_TABLE_F_DORMANT`).
const DORMANT: u32 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;

/// How often a listing is repeated that others' transactions have disturbed.
const READINGS: usize = 3;

/// How many lines each chain of a table has.
type Lines = BTreeMap<String, usize>;

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
pub(super) fn generation(channel: &mut Channel) -> io::Result<Option<u32>> {
    let mut generation = None;
    let request = Request::new(Subsystem::Tables, GET_GENERATION, ACK, 0, 0);
    channel.with(|socket| {
        socket.ask(&request, |message| generation = generation.or(number(message, GENERATION)))
    })?;
    Ok(generation)
}

/// What the tables lack or have too much; None where they are as they were given. Elements of sets
/// are not looked at.
///
/// # Errors
/// The kernel's, where it would not list them.
pub(super) fn difference(channel: &mut Channel, given: &Given) -> io::Result<Option<String>> {
    let (policy, port) = (weft_policy::nft::TABLE, ports::TABLE);
    let expected = [
        ("inet", INET, policy, expected(&given.ruleset)),
        ("bridge", BRIDGE, port, ports::lines()),
    ];
    let mut wrong = None;
    for _ in 0..READINGS {
        let before = generation(channel)?;
        wrong = None;
        for (family, number, table, expected) in &expected {
            wrong = match list(channel, *number, table)? {
                Err(why) => Some(format!("table {family} {table} {why}")),
                Ok(found) => compare(&found, expected)
                    .map(|what| format!("table {family} {table} was changed: {what}")),
            };
            if wrong.is_some() {
                break;
            }
        }
        // A transaction in the middle of a listing makes it one of two states.
        if generation(channel)? == before {
            break;
        }
    }
    Ok(wrong)
}

/// How many lines each chain of a table has; or why there is nothing to count.
fn list(channel: &mut Channel, family: u8, table: &str) -> io::Result<Result<Lines, &'static str>> {
    let name: Vec<u8> = table.bytes().chain([0]).collect();
    let ask = |kind, flags, attribute| {
        Request::new(Subsystem::Tables, kind, flags, family, 0).attribute(attribute, &name)
    };
    let mut flags = None;
    let found = channel.with(|socket| {
        socket.ask(&ask(GET_TABLE, ACK, TABLE_NAME), |message| {
            flags = flags.or(number(message, TABLE_FLAGS));
        })
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("was removed")),
        outcome => outcome?,
    }
    if flags.is_some_and(|flags| flags & DORMANT != 0) {
        return Ok(Err("was changed: it is switched off"));
    }
    let mut lines = Lines::new();
    channel.with(|socket| {
        socket.ask(&ask(GET_CHAIN, DUMP, CHAIN_TABLE), |message| {
            // Older kernels list the chains of all tables.
            if find(message, CHAIN_TABLE) == Some(&name)
                && let Some(chain) = text(message, CHAIN_NAME)
            {
                lines.entry(chain).or_default();
            }
        })?;
        socket.ask(&ask(GET_RULE, DUMP, RULE_TABLE), |message| {
            if find(message, RULE_TABLE) == Some(&name)
                && let Some(chain) = text(message, RULE_CHAIN)
            {
                *lines.entry(chain).or_default() += 1;
            }
        })
    })?;
    Ok(Ok(lines))
}

/// How many lines each chain has.
fn expected(ruleset: &Ruleset) -> Lines {
    ruleset.chains.iter().map(|(name, lines)| (name.clone(), lines.len())).collect()
}

/// What differs between the lines that the chains of a table have and those that they should have.
fn compare(found: &Lines, expected: &Lines) -> Option<String> {
    for (name, lines) in expected {
        match found.get(name) {
            None => return Some(format!("chain {name} is gone")),
            Some(found) if found != lines => {
                return Some(format!("chain {name} has {found} rules instead of {lines}"));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().find(|name| !expected.contains_key(*name));
    more.map(|name| format!("chain {name} is not ours"))
}

fn number(message: &[u8], attribute: u16) -> Option<u32> {
    find(message, attribute)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// A name, which ends with a zero.
fn text(message: &[u8], attribute: u16) -> Option<String> {
    let (_, name) = find(message, attribute)?.split_last()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::alone::in_own_namespace;
    use super::super::kernel::Kernel;
    use super::super::{PolicyState, nft};

    #[test]
    fn whatever_is_done_to_the_tables_is_named() {
        if !in_own_namespace("watch::tests::whatever_is_done_to_the_tables_is_named") {
            return;
        }
        let mut kernel = Kernel::new("weft".to_owned(), false, false);
        let cases = [
            (
                "add table inet weft-policy { flags dormant; }",
                "table inet weft-policy was changed: it is switched off",
            ),
            (
                "flush chain bridge weft-port check_arp",
                "table bridge weft-port was changed: chain check_arp has 0 rules instead of 6",
            ),
            (
                "insert rule bridge weft-port check accept",
                "table bridge weft-port was changed: chain check has 19 rules instead of 18",
            ),
            (
                "delete chain bridge weft-port to_pods",
                "table bridge weft-port was changed: chain to_pods is gone",
            ),
            (
                "add chain inet weft-policy more",
                "table inet weft-policy was changed: chain more is not ours",
            ),
            ("delete table inet weft-policy", "table inet weft-policy was removed"),
            ("delete table bridge weft-port", "table bridge weft-port was removed"),
        ];
        for (command, said) in cases {
            kernel.doubt();
            kernel.apply(&PolicyState::default()).unwrap();
            // A table of others is nobody's business.
            nft::run_script("table inet other { chain more { accept; }; }").unwrap();
            assert_eq!(kernel.difference().unwrap(), None, "{command}");
            nft::run_script(command).unwrap();
            assert_eq!(kernel.difference().unwrap().as_deref(), Some(said), "{command}");
        }
    }
}
