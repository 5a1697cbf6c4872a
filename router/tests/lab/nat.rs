//! Nodes behind NATs: which of them find a direct path, and what happens when a NAT changes its mind.

use crate::harness::{Lab, PATIENCE, eventually};
use crate::paths::{await_path, connection, pings, stall};

/// What is between two nodes behind NATs of these kinds, with a third that both reach. The table of
/// `docs/operations.md`.
const TABLE: [(&str, &str, &str); 6] = [
    ("cone", "cone", "direct"),
    ("cone", "restricted", "direct"),
    ("cone", "symmetric", "direct"),
    ("restricted", "restricted", "direct"),
    ("restricted", "symmetric", "relay"),
    ("symmetric", "symmetric", "relay"),
];

/// Hosts 2 to 7, two behind each kind.
const KINDS: [&str; 6] = ["cone", "cone", "restricted", "restricted", "symmetric", "symmetric"];

fn expected(one: &str, other: &str) -> &'static str {
    let row = TABLE.iter().find(|(a, b, _)| (*a, *b) == (one, other) || (*b, *a) == (one, other));
    row.expect("each pair of kinds is in the table").2
}

#[test]
fn each_pair_of_nats_has_the_path_that_the_table_tells() {
    let lab = Lab::up("natpairs", 7);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for (host, kind) in (2..).zip(KINDS) {
        lab.ok(["nat", &host.to_string(), kind]);
        lab.launch(host, &["h1"]);
    }
    lab.await_mesh(3 * PATIENCE);
    for host in 1..=7 {
        lab.pod(host, "a");
    }
    let pairs = (2..=7_usize).flat_map(|one| (one + 1..=7).map(move |other| (one, other)));
    for (one, other) in pairs.clone() {
        let [near, far] = [KINDS[one - 2], KINDS[other - 2]];
        println!("{near} and {far}: h{one} and h{other}");
        await_path(&lab, [one, other], expected(near, far));
    }
    // What is found stays, and what was not found is not found by more searching.
    for (one, other) in pairs {
        let row = connection(&lab, one, other).expect("a connection");
        assert_eq!(row["path"], expected(KINDS[one - 2], KINDS[other - 2]), "{row}");
    }
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout == "42 of 42 pings\n" { Ok(()) } else { Err(pings.stdout) }
    });
    // Each knows as whom the others see it.
    let status = lab.status(6).expect("the daemon answers");
    let seen = status["router"]["observed_addresses"].as_array().expect("a list").clone();
    assert!(
        seen.iter().any(|row| row["address"].as_str().is_some_and(|a| a.starts_with("10.99.0.6:"))),
        "{seen:?}"
    );
    assert!(lab.weft(6, &["status"]).stdout.contains("Seen at: 10.99.0.6:"));
}

#[test]
fn a_site_whose_address_changes_keeps_its_sessions_and_finds_direct_paths_again() {
    let lab = Lab::up("natmove", 3);
    lab.ok(["shape", "two-sites-nat"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.launch(3, &["h1"]);
    lab.await_mesh(2 * PATIENCE);
    for pair in [[1, 2], [1, 3], [2, 3]] {
        await_path(&lab, pair, "direct");
    }
    lab.pod(2, "a");
    let three = lab.pod(3, "a");
    lab.await_ping(2, "a", &three);
    let pings = pings(&lab, 2, "a", &three);
    for expected in ["10.99.0.102", "10.99.0.2"] {
        assert_eq!(lab.ok(["renumber", "2"]), expected);
        for host in [1, 3] {
            eventually(&format!("h2 at {expected}, as h{host} sees it"), 2 * PATIENCE, || {
                let row = connection(&lab, host, 2)?;
                let address = row["address"].as_str().unwrap_or_default();
                let moved = address.starts_with(&format!("{expected}:"))
                    && row["path"] == "direct"
                    && row["state"] == "established";
                if moved { Ok(()) } else { Err(row.to_string()) }
            });
        }
        await_path(&lab, [2, 3], "direct");
        lab.await_ping(2, "a", &three);
    }
    // It may all have been so quick that the pings have not had ten turns.
    let ping = lab.podexec(2, "a", &["ping", "-n", "-c", "20", "-i", "0.1", &three]);
    assert_eq!(ping.code, 0, "{}", ping.stdout);
    let (answers, longest) = stall(&pings.stop());
    assert!(answers > 10, "{answers} pings were answered");
    println!("longest pause {longest:.2} s");
    for host in 1..=3 {
        let log = lab.log(host);
        let ended = log.lines().find(|line| line.contains("disconnected"));
        assert_eq!(ended, None, "a session ended");
    }
}

#[test]
fn the_lab_refuses_nats_that_it_does_not_know() {
    let lab = Lab::up("natbad", 2);
    for (command, said) in [
        (&["nat", "2", "conical"][..], "no NAT is 'conical'"),
        (&["shape", "two-sites-nat"], "three hosts"),
        (&["renumber", "2"], "behind no router"),
    ] {
        let refused = lab.lab(command);
        assert!(refused.code != 0 && refused.stderr.contains(said), "{}", refused.stderr);
    }
}
