//! Nodes that start again: all at once, and alone in the world.

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn all_nodes_killed_and_started_again_are_as_they_were() {
    let lab = Lab::mesh("allback");
    for host in 1..=3 {
        lab.pod(host, "a");
    }
    let before: Vec<_> = (1..=3).map(|host| lab.ps(host).expect("the daemon answers")).collect();
    for host in ["1", "2", "3"] {
        lab.ok(["kill", host, "-9"]);
    }
    // The founder comes last, and finds the ring that it founded.
    lab.launch(3, &["h2"]);
    lab.launch(2, &["h1"]);
    lab.launch(1, &["h3", "--ipalloc-init", "founder"]);
    lab.await_mesh(2 * PATIENCE);
    for (host, before) in (1..).zip(before) {
        assert_eq!(lab.ps(host), Ok(before), "host {host}");
        let status = lab.status(host).expect("the daemon answers");
        assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
        lab.pod(host, "b");
    }
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout == "30 of 30 pings\n" { Ok(()) } else { Err(pings.stdout) }
    });
}

#[test]
fn a_node_that_boots_alone_without_its_underlay_serves_its_pods() {
    let lab = Lab::up("alone", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.await_mesh(PATIENCE);
    let old = lab.pod(2, "old");
    for host in ["1", "2"] {
        lab.ok(["kill", host, "-9"]);
    }
    let down = lab.exec(2, &["ip", "link", "set", "eth0", "down"]);
    assert_eq!(down.code, 0, "{}", down.stderr);

    lab.launch(2, &["h1"]);
    let ready = lab.status(2).expect("the daemon answers");
    assert_eq!(ready["ready"], true, "{ready}");
    let (a, b) = (lab.pod(2, "a"), lab.pod(2, "b"));
    for (pod, address) in [("a", &b), ("b", &a), ("a", &old), ("old", &b)] {
        lab.await_ping(2, pod, address);
    }
    lab.ok(["unpod", "2", "a"]);
    let again = lab.pod(2, "c");
    assert!(![&old, &a, &b].contains(&&again), "{again} was freed a moment ago, or is in use");
    lab.await_ping(2, "c", &b);
    lab.ok(["unpod", "2", "old"]);
}
