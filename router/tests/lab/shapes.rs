//! Underlays by name: what `scripts/lab up N SHAPE` makes, and what becomes of a mesh on it.

use crate::harness::{Lab, PATIENCE, eventually};
use crate::mesh::address_of;
use crate::paths::{await_path, connection, name};

#[test]
fn in_a_star_all_talk_through_the_middle() {
    let lab = Lab::up("star", 4);
    lab.ok(["shape", "star"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for host in 2..=4 {
        lab.launch(host, &["h1"]);
    }
    lab.await_mesh(3 * PATIENCE);
    let middle = name(&lab, 1);
    for (one, other) in [(2, 3), (2, 4), (3, 4)] {
        await_path(&lab, [1, one], "direct");
        await_path(&lab, [one, other], "relay");
        let row = connection(&lab, one, other).expect("a connection");
        assert_eq!(row["via"], middle.as_str(), "{row}");
    }
    for host in 1..=4 {
        lab.pod(host, "a");
    }
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout == "12 of 12 pings\n" { Ok(()) } else { Err(pings.stdout) }
    });
    assert!(lab.metric(1, "weft_dataplane_relayed_packets_total") > Some(0.0));
    // And everybody is free to talk to everybody again.
    lab.ok(["shape", "mesh"]);
    await_path(&lab, [2, 3], "direct");
}

#[test]
fn where_every_tenth_packet_is_lost_the_mesh_stands_and_nobody_is_given_up() {
    let lab = Lab::up("lossy", 3);
    lab.ok(["shape", "lossy=10"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.launch(3, &["h1"]);
    lab.await_mesh(3 * PATIENCE);
    for host in 1..=3 {
        lab.pod(host, "a");
    }
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        await_path(&lab, [from, to], "direct");
        lab.await_ping(from, "a", &address_of(&lab, to, "a"));
    }
    // The loss is seen, and no reason to go another way.
    eventually("the loss in the table", 2 * PATIENCE, || {
        let row = connection(&lab, 1, 2)?;
        if row["loss_percent"].as_u64() > Some(0) { Ok(()) } else { Err(row.to_string()) }
    });
    for host in 1..=3 {
        let log = lab.log(host);
        let lost = log.lines().find(|line| line.contains("disconnected"));
        assert_eq!(lost, None, "a link ended");
    }
}
