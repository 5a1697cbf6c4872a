//! An orderly end: peers know at once, and what nobody needs is gone.

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn a_host_without_pods_is_left_as_it_was() {
    let lab = Lab::up("leave", 1);
    let before = lab.links(1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let during = lab.links(1);
    assert!(during.iter().any(|link| link == "weft"), "{during:?}");
    assert!(during.iter().any(|link| link == "weft-tap"), "{during:?}");
    lab.ok(["kill", "1"]);
    assert_eq!(lab.links(1), before);
    assert!(!lab.host_dir(1).join("weft.sock").exists(), "the socket is left behind");
}

#[test]
fn pods_of_one_host_go_on_without_the_daemon() {
    let lab = Lab::up("stay", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    let remote = lab.pod(2, "a");
    lab.pod(1, "a");
    let local = lab.pod(1, "b");
    lab.await_ping(1, "a", &remote);
    lab.ok(["kill", "1"]);
    let links = lab.links(1);
    assert!(!links.iter().any(|link| link == "weft-tap"), "{links:?}");
    let ping = lab.podexec(1, "a", &["ping", "-n", "-c", "1", "-W", "2", &local]);
    assert_eq!(ping.code, 0, "{}", ping.stdout);
    eventually("farewell in the status of the peer", PATIENCE, || {
        let status = lab.status(2)?;
        let established = &status["router"]["connections"]["established"];
        if *established == 0 { Ok(()) } else { Err(status.to_string()) }
    });
    lab.launch(1, &["h2"]);
    lab.await_ping(1, "a", &remote);
}
