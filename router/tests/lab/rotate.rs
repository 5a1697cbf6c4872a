//! The cluster secret is changed on one node after the other, under traffic.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Lab, PATIENCE, eventually};

/// A fresh secret, with the end of its line.
fn fresh(lab: &Lab) -> String {
    let secret = lab.weft(1, &["secret", "new"]);
    assert_eq!(secret.code, 0, "{}", secret.stderr);
    secret.stdout
}

fn file_of(lab: &Lab, host: usize) -> PathBuf {
    lab.host_dir(host).join("own-secret")
}

fn write(lab: &Lab, host: usize, text: &str) {
    let file = file_of(lab, host);
    std::fs::write(&file, text).expect("the lab's folder is writable");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("the lab's files are ours");
}

fn launch(lab: &Lab, host: usize, arguments: &[&str]) {
    let file = file_of(lab, host).display().to_string();
    lab.launch(host, &[arguments, &["--secret-file", &file]].concat());
}

/// Whether a host's status says that two secrets are accepted.
fn warns(lab: &Lab, host: usize) -> bool {
    let status = lab.status(host).expect("the daemon answers");
    status["warnings"].to_string().contains("two cluster secrets")
}

#[test]
fn the_secret_is_changed_under_traffic_and_nodes_join_in_every_phase() {
    let lab = Lab::up("rotate", 3);
    let (old, new) = (fresh(&lab), fresh(&lab));
    for host in 1..=3 {
        write(&lab, host, &old);
    }
    launch(&lab, 1, &["--ipalloc-init", "founder"]);
    launch(&lab, 2, &["h1"]);
    launch(&lab, 3, &["h1", "h2"]);
    lab.await_mesh(PATIENCE);
    lab.pod(1, "a");
    let address = lab.pod(2, "a");
    lab.await_ping(1, "a", &address);

    let (stop, report) = (lab.dir().join("stop"), lab.dir().join("pings"));
    let pings = format!(
        "while [ ! -e {stop} ]; do ping -n -q -i 0.002 -c 500 -W 5 {address}; done > {report}; \
         echo over >> {report}",
        stop = stop.display(),
        report = report.display(),
    );
    let pinging = lab.podspawn(1, "a", &["sh", "-c", &pings]);

    // What is wrong is refused, and what was accepted goes on.
    write(&lab, 1, &format!("{old}password\n"));
    let refused = lab.weft(1, &["secret", "reload"]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("line 2: cluster secret is too short"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("password"), "{}", refused.stderr);
    assert!(!warns(&lab, 1));

    let both = format!("{old}{new}");
    for (text, accepted, changing) in
        [(&both, "2 secrets are accepted", true), (&new, "one secret is accepted", false)]
    {
        for host in 1..=3 {
            write(&lab, host, text);
            let reload = lab.weft(host, &["secret", "rotate"]);
            assert_eq!(reload.code, 0, "{}", reload.stderr);
            assert!(reload.stdout.contains(accepted), "{}", reload.stdout);
            assert_eq!(warns(&lab, host), changing, "host {host}");
            // A node that starts now dials, and is dialled by, nodes before and behind the change.
            lab.ok(["kill", "3", "-9"]);
            launch(&lab, 3, &["h1", "h2"]);
            lab.await_mesh(PATIENCE);
        }
    }
    std::fs::write(&stop, "").expect("the lab's folder is writable");
    let report = eventually("last ping", PATIENCE, || {
        let text = std::fs::read_to_string(&report).map_err(|error| error.to_string())?;
        if text.contains("over") { Ok(text) } else { Err(text) }
    });
    drop(pinging);
    let rounds: Vec<_> = report.lines().filter(|line| line.contains("packet loss")).collect();
    println!("{} rounds of 500 pings, the last: {:?}", rounds.len(), rounds.last());
    assert!(!rounds.is_empty(), "{report}");
    assert!(rounds.iter().all(|round| round.contains(" 0% packet loss")), "{rounds:#?}");

    // The old secret admits nobody any more.
    lab.ok(["kill", "3", "-9"]);
    write(&lab, 3, &old);
    launch(&lab, 3, &["h1", "h2"]);
    eventually("refusal of the old secret", PATIENCE, || {
        let status = lab.json(3, &["status", "connections", "--json"])?.to_string();
        if status.contains("cluster secret") { Ok(()) } else { Err(status) }
    });
    let status = lab.status(3).expect("the daemon answers");
    assert_eq!(status["router"]["connections"]["established"], 0, "{status}");
}
