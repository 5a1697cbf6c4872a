//! A network that falls apart and heals.

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn both_sides_of_a_partition_go_on_and_meet_again() {
    let lab = Lab::mesh("cut");
    let one = lab.pod(1, "a");
    let two = lab.pod(2, "a");
    let three = lab.pod(3, "a");
    for address in [&two, &three] {
        lab.await_ping(1, "a", address);
    }

    lab.ok(["partition", "1,2", "3"]);
    let across = lab.podexec(1, "a", &["ping", "-n", "-c", "1", "-W", "1", &three]);
    assert_ne!(across.code, 0, "the partition does not separate: {}", across.stdout);
    lab.await_ping(1, "a", &two);
    lab.await_ping(2, "a", &one);
    eventually("loss of h3 in the status of h1", PATIENCE, || {
        let peers = lab.json(1, &["status", "peers", "--json"])?;
        let gone = peers.as_array().into_iter().flatten();
        let mut gone = gone.filter(|peer| peer["nickname"] == "h3" && peer["reachable"] == false);
        gone.next().map(|_| ()).ok_or_else(|| peers.to_string())
    });
    // Each side still serves Pods, each from its own space.
    let alone = lab.pod(3, "b");
    let together = lab.pod(1, "b");
    assert_ne!(alone, together);
    lab.await_ping(3, "a", &alone);

    lab.ok(["heal"]);
    // Retries are up to 30 s apart, with a quarter more by chance.
    lab.await_mesh(2 * PATIENCE);
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout.ends_with("20 of 20 pings\n") { Ok(()) } else { Err(pings.stdout) }
    });
    for host in 1..=3 {
        let status = lab.status(host).expect("the daemon answers");
        assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    }
}
