//! The other verbs, and what every verb answers to bad input.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::scene::{DONE, Scene, failed, feed};

#[test]
fn check_compares_with_the_daemon_too() {
    let scene = Scene::new("cmp");
    let config = Scene::config("1.1.0");
    assert_eq!(
        failed(&scene.run("CHECK", &config, &[]), 7),
        "prevResult is missing: CHECK compares with it"
    );
    let added = scene.run("ADD", &config, &[]);
    let config = Scene::with_previous("1.1.0", &added.json);
    assert_eq!(scene.run("CHECK", &config, &[]), DONE);

    let key = ("c1".to_owned(), "eth0".to_owned());
    let other = "10.32.9.9/12".parse().unwrap();
    let mine = {
        let mut state = scene.stub.state();
        std::mem::replace(&mut state.attachments.get_mut(&key).unwrap().ips[0], other)
    };
    assert_eq!(
        failed(&scene.run("CHECK", &config, &[]), 102),
        "address 10.32.9.9/12 is missing in prevResult"
    );
    scene.stub.state().attachments.get_mut(&key).unwrap().ips[0] = mine;
    assert_eq!(scene.run("CHECK", &config, &[]), DONE);
    scene.stub.state().attachments.clear();
    assert_eq!(
        failed(&scene.run("CHECK", &config, &[]), 102),
        "weft knows no interface \"eth0\" of container c1"
    );
}

#[test]
fn without_the_daemon_the_runtime_is_asked_to_come_back() {
    let scene = Scene::new("off");
    let mut config = Scene::config("1.1.0");
    assert_eq!(scene.run("ADD", &config, &[]).code, 0);
    config["socket"] = "/run/weft-never-was.sock".into();
    let text = "weft is not reachable at /run/weft-never-was.sock: is `weft launch` running?";
    let down = scene.run("DEL", &config, &[]);
    assert_eq!(failed(&down, 11), text);
    assert_eq!(scene.stub.state().attachments.len(), 1, "the address is not lost");
    assert_eq!(failed(&scene.run("ADD", &config, &[("CNI_CONTAINERID", "c2")]), 11), text);
    assert_eq!(failed(&scene.run("STATUS", &config, &[]), 51), text);
    assert_eq!(scene.run("DEL", &Scene::config("1.1.0"), &[]), DONE);
    assert!(scene.stub.state().attachments.is_empty());

    scene.stub.state().hang_up = true;
    assert!(
        failed(&scene.run("ADD", &Scene::config("1.1.0"), &[]), 11)
            .starts_with("weft closed the connection before it answered")
    );
}

#[test]
fn status_says_whether_an_add_would_be_served() {
    let scene = Scene::new("sta");
    let config = Scene::config("1.1.0");
    assert_eq!(scene.run("STATUS", &config, &[]), DONE);
    scene.stub.state().ready = false;
    let outcome = scene.run("STATUS", &config, &[]);
    assert_eq!(failed(&outcome, 50), "weft is not ready: ipam is waiting for a ring");
    assert_eq!(outcome.json["details"], "the stub warns");
    assert_eq!(
        failed(&scene.run("STATUS", &Scene::config("1.0.0"), &[]), 1),
        "CNI version 1.0.0 has no STATUS"
    );
}

#[test]
fn bad_input_is_named_and_touches_nothing() {
    let scene = Scene::new("inp");
    let config = Scene::config("1.0.0");
    let none: [(&str, &str); 0] = [];
    let bad = scene.run("ADD", &config, &[("CNI_CONTAINERID", "a b"), ("CNI_IFNAME", "")]);
    assert_eq!(failed(&bad, 4), "invalid CNI_CONTAINERID \"a b\"; CNI_IFNAME is missing");
    assert_eq!(bad.json["cniVersion"], "1.0.0");
    let gone = scene.run("ADD", &config, &[("CNI_NETNS", "/run/netns/weft-never-was")]);
    assert!(failed(&gone, 4).starts_with("invalid CNI_NETNS: cannot enter the network namespace"));
    let own = scene.host.path();
    let own = scene.run("ADD", &config, &[("CNI_NETNS", own.to_str().unwrap())]);
    assert!(failed(&own, 4).ends_with("is the namespace of the host, not of a Pod"));
    assert_eq!(failed(&scene.run("GO", &config, &none), 4), "unknown CNI_COMMAND \"GO\"");
    assert!(
        failed(&scene.run_raw("ADD", b"{\"cniVersion\":", &none), 6)
            .starts_with("the network configuration is not JSON: ")
    );
    let old = scene.run("ADD", &Scene::config("0.2.0"), &none);
    assert_eq!(failed(&old, 1), "CNI version \"0.2.0\" is not supported");
    assert_eq!(old.json["details"], "supported versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0");
    let previous = Scene::with_previous("1.0.0", &json!({"ips": 7}));
    assert!(failed(&scene.run("ADD", &previous, &none), 7).starts_with("invalid prevResult: "));
    assert!(scene.stub.state().requests.is_empty(), "the daemon was not asked");
}

#[test]
fn version_needs_neither_root_nor_configuration() {
    let plugin = || Command::new(env!("CARGO_BIN_EXE_weft-net"));
    let mut command = plugin();
    command.env_clear().env("CNI_COMMAND", "VERSION");
    let answer = feed(command, b"");
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.json,
        json!({
            "cniVersion": "1.1.0",
            "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        })
    );
    let mut bare = plugin();
    let output = bare.env_clear().stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("weft-net: CNI_COMMAND is not set\n"), "{text}");
    let output = plugin().arg("--version").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("weft-net "));
}
