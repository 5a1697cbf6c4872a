//! The command line against a running daemon, and without one.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn attach_and_detach_are_idempotent() {
    let lab = Lab::up("attach", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let namespace = lab.pod_namespace(1, "x");
    lab.ok(["exec", "1", "ip", "netns", "add", &namespace]);
    let path = format!("/run/netns/{namespace}");

    let attach = ["attach", "--netns", &path, "--namespace", "shop", "--pod", "web", "--label"];
    let labels = ["tier=front", "--port", "http=80/tcp", "--json"];
    let arguments: Vec<_> = attach.iter().chain(&labels).copied().collect();
    let attached = lab.json(1, &arguments).expect("attach succeeds");
    assert_eq!(attached["container"], path.as_str());
    assert_eq!(attached["ifname"], "eth0");
    assert_eq!(attached["namespace"], "shop");
    assert_eq!(attached["pod"], "web");
    assert_eq!(attached["labels"], json!({"tier": "front"}));
    assert_eq!(lab.json(1, &["ps", "--json"]), Ok(json!([attached])));
    let address = attached["ips"][0].as_str().expect("it has an address").to_owned();
    assert!(address.starts_with("10.") && address.ends_with("/12"), "{address}");
    let mac = attached["mac"].as_str().expect("it has a MAC address");
    let inside = lab.exec(1, &["ip", "-n", &namespace, "address", "show", "eth0"]).stdout;
    assert!(inside.contains(&address) && inside.contains(mac), "{inside}");
    assert!(lab.links(1).iter().any(|link| link.starts_with("wv")), "{:?}", lab.links(1));

    // The daemon promises the same address again; the wire is there already, and stays.
    lab.weft(1, &["attach", "--netns", &path]);
    let again = lab.json(1, &["ps", "--json"]).expect("the daemon answers");
    assert_eq!(again[0]["ips"], attached["ips"]);
    assert_eq!(again.as_array().map(Vec::len), Some(1));
    let inside = lab.exec(1, &["ip", "-n", &namespace, "address", "show", "eth0"]).stdout;
    assert!(inside.contains(&address), "{inside}");

    for _ in 0..2 {
        let detached = lab.weft(1, &["detach", "--netns", &path]);
        assert_eq!(detached.code, 0, "{}", detached.stderr);
        assert_eq!(lab.json(1, &["ps", "--json"]), Ok(json!([])));
    }
    let inside = lab.exec(1, &["ip", "-n", &namespace, "link"]).stdout;
    assert!(!inside.contains("eth0"), "{inside}");
    assert!(!lab.links(1).iter().any(|link| link.starts_with("wv")), "{:?}", lab.links(1));
    let plain = lab.weft(1, &["attach", "--netns", &path]);
    assert_eq!(plain.code, 0, "{}", plain.stderr);
    assert!(plain.stdout.lines().all(|line| line.ends_with("/12")), "{}", plain.stdout);
    lab.ok(["exec", "1", "ip", "netns", "del", &namespace]);
    assert_eq!(lab.weft(1, &["detach", "--netns", &path]).code, 0, "the namespace may be gone");
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let lab = Lab::up("codes", 1);
    for arguments in [&["status"][..], &["ps"], &["connect", "h1"], &["status", "peers", "--json"]]
    {
        let outcome = lab.weft(1, arguments);
        assert_eq!(outcome.code, 3, "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("weft.sock"), "{}", outcome.stderr);
    }
    for arguments in [&["frobnicate"][..], &["status", "--frobnicate"], &["attach"], &["connect"]] {
        let outcome = lab.weft(1, arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
    }
    assert_eq!(lab.weft(1, &["version"]).code, 0);
    assert_eq!(lab.weft(1, &["--help"]).code, 0);
    let one = lab.weft(1, &["secret", "new"]);
    let two = lab.weft(1, &["secret", "new"]);
    assert!(one.code == 0 && one.stdout != two.stdout && one.stdout.lines().count() == 1);

    lab.launch(1, &["--ipalloc-init", "founder"]);
    let outcome = lab.weft(1, &["attach", "--netns", "/run/netns/no-such-namespace"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no-such-namespace"), "{}", outcome.stderr);
    assert_eq!(lab.json(1, &["ps", "--json"]), Ok(json!([])));
}

#[test]
fn connect_and_forget_change_the_targets() {
    let lab = Lab::up("targets", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &[]);
    lab.ok(["weft", "2", "connect", "10.99.0.1"]);
    lab.await_mesh(PATIENCE);
    let status = lab.status(2).expect("the daemon answers");
    assert_eq!(status["router"]["targets"].as_array().map(Vec::len), Some(1), "{status}");
    // IPv6 leads to the same peer; that makes no second connection.
    lab.ok(["weft", "2", "connect", "--replace", "[fd99::1]"]);
    let status = lab.status(2).expect("the daemon answers");
    let targets = status["router"]["targets"].to_string();
    assert!(targets.contains("fd99::1") && !targets.contains("10.99.0.1"), "{targets}");
    lab.await_mesh(PATIENCE);
    lab.ok(["weft", "2", "forget", "[fd99::1]"]);
    eventually("empty list of targets", PATIENCE, || {
        let status = lab.status(2)?;
        if status["router"]["targets"] == json!([]) { Ok(()) } else { Err(status.to_string()) }
    });
    let refused = lab.weft(2, &["connect", "no such host:port"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("no such host:port"), "{}", refused.stderr);
}

#[test]
fn setup_cni_writes_the_conflist_when_the_daemon_is_ready_and_not_before() {
    let lab = Lab::up("patient", 1);
    let (bin, conf) = (lab.dir().join("bin"), lab.dir().join("net.d"));
    let text = |path: &std::path::Path| path.to_str().expect("an ASCII path").to_owned();
    let setup = |bin: &std::path::Path, conf: &std::path::Path| {
        let words = ["weft", "1", "setup-cni", "--bin-dir", &text(bin), "--conf-dir", &text(conf)];
        lab.command(words.map(str::to_owned))
    };
    let mut waiting = setup(&bin, &conf).stdout(Stdio::null()).spawn().expect("it starts");
    eventually("installed plugins", PATIENCE, || {
        if bin.join("weft-ipam").exists() { Ok(()) } else { Err("not yet".to_owned()) }
    });
    assert!(!conf.exists(), "a conflist before there is a daemon");
    lab.launch(1, &["--ipalloc-init", "founder"]);
    assert!(waiting.wait().expect("it ends").success());
    let list = std::fs::read(conf.join("10-weft.conflist")).expect("the conflist is there");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("it is JSON");
    assert_eq!(list["plugins"][0]["type"], "weft-net");

    // Where there is no folder and none can be made, the text says which.
    let file = lab.dir().join("file");
    std::fs::write(&file, "").expect("the lab's folder can be written");
    for (bin, conf) in [(&file, &conf), (&bin, &file)] {
        let refused = setup(bin, conf).output().expect("it starts");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), told.lines().count()), (Some(1), 1), "{told}");
        assert!(told.contains("cannot make") && told.contains(&text(&file)), "{told}");
    }
}

#[test]
fn setup_cni_installs_what_a_runtime_needs_and_removes_it() {
    let lab = Lab::up("setup", 1);
    let (bin, conf) = (lab.dir().join("bin"), lab.dir().join("net.d"));
    let text = |path: &std::path::Path| path.to_str().expect("an ASCII path").to_owned();
    let (bin_dir, conf_dir) = (text(&bin), text(&conf));
    let setup = ["setup-cni", "--bin-dir", &bin_dir, "--conf-dir", &conf_dir];
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let entries = |dir: &std::path::Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("ASCII"))
            .collect();
        names.sort();
        names
    };
    for _ in 0..2 {
        let done = lab.weft(1, &setup);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(done.stdout.lines().count(), 3, "{}", done.stdout);
        assert_eq!(entries(&bin), ["weft-ipam", "weft-net"]);
        assert_eq!(entries(&conf), ["10-weft.conflist"]);
    }
    // It works as it stands.
    let list = text(&conf.join("10-weft.conflist"));
    let address = lab.ok(["pod", "1", "a", &list]);
    assert!(address.starts_with("10."), "{address}");
    lab.ok(["podcheck", "1", "a"]);
    lab.ok(["unpod", "1", "a"]);
    let removal: Vec<_> = setup.iter().chain(&["--remove"]).copied().collect();
    for lines in [3, 0] {
        let done = lab.weft(1, &removal);
        assert_eq!((done.code, done.stdout.lines().count()), (0, lines), "{}", done.stderr);
        assert!(entries(&bin).is_empty() && entries(&conf).is_empty());
    }
}
