//! What an operator can get wrong: one line that names the culprit and the cure, and nothing left
//! behind.

use std::path::Path;

use crate::harness::{Lab, Outcome, PATIENCE, eventually};

/// A launch must have failed with one line that holds all of `words`, and left the host as it was.
#[track_caller]
fn assert_refused(lab: &Lab, outcome: &Outcome, codes: &[i32], words: &[&str], before: &[String]) {
    let said = &outcome.stderr;
    assert!(codes.contains(&outcome.code), "exit code {}: {said}", outcome.code);
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "not one line: {said}");
    assert!(lines[0].starts_with("weft: "), "{said}");
    for word in words {
        assert!(said.contains(word), "does not name {word}: {said}");
    }
    assert_eq!(lab.links(1), before, "something is left behind after: {said}");
    assert!(!lab.host_dir(1).join("weft.sock").exists(), "a socket is left behind after: {said}");
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("the lab's folder is writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("its mode can be set");
    path.display().to_string()
}

#[test]
fn what_the_configuration_gets_wrong_is_one_line() {
    let lab = Lab::up("config", 1);
    let before = lab.links(1);
    let dir = lab.host_dir(1);
    let weak = write(&dir.join("weak"), "passwordpasswordpasswordpassword\n");
    let short = write(&dir.join("short"), "hunter2\n");
    let config = write(&dir.join("bad.toml"), "nicknam = \"x\"\n");
    let missing = dir.join("missing").display().to_string();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--secret-file", &weak], &["secret", &weak]),
        (&["--secret-file", &short], &["secret", &short]),
        (&["--secret-file", &missing], &[&missing]),
        (&["--config", &config], &["nicknam", "nickname", &config]),
        (&["bad peer:6783"], &["bad peer:6783"]),
        (&["10.99.0.1:99999"], &["10.99.0.1:99999"]),
        (&["--port", "0"], &["port"]),
        (&["--mtu", "12"], &["mtu", "12"]),
        (&["--bridge", "a-name-that-is-too-long"], &["bridge"]),
        (&["--ipalloc-range", "10.32.0.1/12"], &["10.32.0.1/12"]),
        (&["--ipalloc-range", "nonsense"], &["nonsense"]),
        (&["--ipalloc-init", "frobnicate"], &["frobnicate"]),
        (&["--cipher", "rot13"], &["rot13"]),
    ];
    for (arguments, words) in cases {
        let outcome = lab.run(1, arguments);
        assert_refused(&lab, &outcome, &[1, 2], words, &before);
    }
    let outcome = lab.run(1, &["--frobnicate"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--frobnicate"), "{}", outcome.stderr);
}

#[test]
fn what_the_host_stands_in_the_way_of_is_one_line() {
    let lab = Lab::up("hostile", 1);
    lab.ok(["exec", "1", "ip", "route", "add", "10.32.5.0/24", "dev", "eth0"]);
    let before = lab.links(1);
    let outcome = lab.run(1, &[]);
    assert_refused(&lab, &outcome, &[1], &["10.32.0.0/12", "10.32.5.0/24"], &before);
    lab.ok(["exec", "1", "ip", "route", "del", "10.32.5.0/24", "dev", "eth0"]);

    let port = lab.spawn(1, &["socat", "-u", "UDP4-RECV:6783", "STDOUT"]);
    eventually("port in use", PATIENCE, || {
        let sockets = lab.exec(1, &["ss", "-Hlun", "sport = :6783"]).stdout;
        if sockets.is_empty() { Err(sockets) } else { Ok(()) }
    });
    let outcome = lab.run(1, &[]);
    drop(port);
    assert_refused(&lab, &outcome, &[1], &["6783", "in use"], &before);

    let data = lab.host_dir(1).join("data");
    std::os::unix::fs::chown(&data, Some(12_345), Some(12_345)).expect("root may do that");
    let outcome = lab.run(1, &[]);
    let named = data.display().to_string();
    assert_refused(&lab, &outcome, &[1], &[&named, "owned by uid 12345"], &before);
    std::os::unix::fs::chown(&data, Some(0), Some(0)).expect("root may do that");

    lab.ok(["exec", "1", "ip", "link", "add", "weft", "type", "veth", "peer", "name", "other"]);
    let with_veth = lab.links(1);
    let outcome = lab.run(1, &[]);
    assert_refused(&lab, &outcome, &[1], &["weft", "bridge"], &with_veth);
    lab.ok(["exec", "1", "ip", "link", "del", "weft"]);
    assert_eq!(lab.links(1), before);
}

#[test]
fn without_the_capability_it_says_which() {
    let lab = Lab::up("caps", 1);
    let before = lab.links(1);
    let weft = Path::new(env!("CARGO_BIN_EXE_weft")).display().to_string();
    let dir = lab.host_dir(1);
    let secret = lab.weft(1, &["secret", "new"]).stdout;
    let secret = write(&dir.join("own-secret"), &secret);
    let data = dir.join("data").display().to_string();
    let socket = dir.join("weft.sock").display().to_string();
    let launch = ["launch", "--data-dir", &data, "--socket", &socket, "--secret-file", &secret];
    let without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", &weft];
    let command: Vec<_> = without.iter().chain(&launch).copied().collect();
    let outcome = lab.exec(1, &command);
    assert_refused(&lab, &outcome, &[1], &["CAP_NET_ADMIN"], &before);
}

#[test]
fn a_second_daemon_on_one_host_does_not_harm_the_first() {
    let lab = Lab::up("second", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let address = lab.pod(1, "a");
    lab.pod(1, "b");
    let outcome = lab.run(1, &[]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    lab.await_ping(1, "b", &address);
    assert_eq!(lab.status(1).expect("the first goes on")["ready"], true);
    let links = lab.links(1);
    assert!(links.iter().any(|link| link == "weft-tap"), "{links:?}");
}
