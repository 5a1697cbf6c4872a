//! The real `weft-net` in real namespaces, in front of a stand-in for the daemon. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod room;
#[path = "room/stub.rs"]
mod stub;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use room::{Host, Netns};
use serde_json::{Value, json};
use stub::Stub;
use weft_cni_shim::wire::host_ifname;

/// A host, a Pod and a daemon, and the plugin between them.
struct Scene {
    host: Host,
    pod: Netns,
    stub: Stub,
}

/// What a run of the plugin left: its exit status and its standard output, as JSON where there is
/// any.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: i32,
    json: Value,
}

impl Scene {
    fn new(tag: &str) -> Self {
        Self { host: Host::new(tag), pod: Netns::new(&format!("{tag}-p")), stub: Stub::start(tag) }
    }

    fn config(version: &str) -> Value {
        json!({"cniVersion": version, "name": "weft", "type": "weft-net", "retrySeconds": 0})
    }

    /// Runs a verb for container `c1`, `eth0`, with the given variables in place of the usual.
    fn run(&self, verb: &str, config: &Value, env: &[(&str, &str)]) -> Outcome {
        self.run_raw(verb, config.to_string().as_bytes(), env)
    }

    /// Runs a verb that is killed at one of its steps, and answers the signal that ended it.
    fn run_until(&self, verb: &str, config: &Value, step: &str) -> Option<i32> {
        let mut command = self.command(verb, &[("WEFT_CNI_FAULT", step)]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        child.wait().unwrap().signal()
    }

    fn run_raw(&self, verb: &str, input: &[u8], env: &[(&str, &str)]) -> Outcome {
        feed(self.command(verb, env), input)
    }

    fn command(&self, verb: &str, env: &[(&str, &str)]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_weft-net"));
        command
            .env("WEFT_SOCKET", self.stub.socket())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_NETNS", self.pod.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/opt/cni/bin");
        for (name, value) in env {
            command.env(name, value);
        }
        command
    }

    /// A result of ADD as CHECK is given it.
    fn with_previous(version: &str, previous: &Value) -> Value {
        let mut config = Self::config(version);
        config["prevResult"] = previous.clone();
        config
    }
}

fn feed(mut command: Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may answer without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    Outcome { code: output.status.code().unwrap(), json }
}

fn failed(outcome: &Outcome, code: u32) -> &str {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.json["code"], code, "{outcome:?}");
    outcome.json["msg"].as_str().unwrap()
}

const DONE: Outcome = Outcome { code: 0, json: Value::Null };

#[test]
fn every_version_adds_checks_and_deletes() {
    let scene = Scene::new("ver");
    let port = host_ifname("c1", "eth0");
    let empty = (scene.host.state(), scene.pod.state());
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let added = scene.run("ADD", &Scene::config(version), &[]);
        assert_eq!(added.code, 0, "{added:?}");
        let result = &added.json;
        assert_eq!(result["cniVersion"], version);
        let interfaces = result["interfaces"].as_array().unwrap();
        assert_eq!(interfaces.len(), 3);
        assert_eq!(interfaces[0]["name"], "weft");
        assert_eq!(interfaces[1]["name"], port.as_str());
        assert_eq!(interfaces[1].get("sandbox"), None);
        assert_eq!(interfaces[2]["name"], "eth0");
        assert_eq!(interfaces[2]["mac"], "0a:58:0a:20:00:01");
        assert_eq!(interfaces[2]["sandbox"], scene.pod.path().to_str().unwrap());
        assert_eq!(interfaces[2].get("mtu").is_some(), version == "1.1.0");
        let family = version < "1.0.0";
        let mut ips = json!([
            {"address": "10.32.0.1/12", "interface": 2},
            {"address": "fd00:32::1/64", "interface": 2},
        ]);
        if family {
            ips[0]["version"] = "4".into();
            ips[1]["version"] = "6".into();
        }
        assert_eq!(result["ips"], ips);
        assert!(scene.pod.ip(&["addr", "show", "eth0"]).contains("10.32.0.1/12"));

        let checked = scene.run("CHECK", &Scene::with_previous(version, result), &[]);
        if version == "0.3.1" {
            assert_eq!(failed(&checked, 1), "CNI version 0.3.1 has no CHECK");
        } else {
            assert_eq!(checked, DONE);
        }

        // Twice: a runtime repeats what it is not sure of.
        let config = Scene::with_previous(version, result);
        assert_eq!(scene.run("DEL", &config, &[]), DONE);
        assert_eq!(scene.run("DEL", &config, &[]), DONE);
        assert!(scene.stub.state().attachments.is_empty());
        assert!(!scene.host.ip(&["link"]).contains(&port));
        assert!(!scene.pod.ip(&["link"]).contains("eth0"));
    }
    assert_eq!(scene.host.state(), empty.0);
    assert_eq!(scene.pod.ip(&["-br", "addr"]).lines().count(), 1, "only lo is left");
}

#[test]
fn what_the_runtime_says_of_the_pod_reaches_the_daemon() {
    let scene = Scene::new("say");
    let mut config = Scene::config("1.0.0");
    config["mtu"] = 1280.into();
    config["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.32.0.99"}]);
    config["dns"] = json!({"nameservers": ["10.32.0.53"]});
    config["args"] = json!({"cni": {"labels": [{"key": "app", "value": "web"}]}});
    config["runtimeConfig"] = json!({"ips": ["10.32.0.1"]});
    config["prevResult"] = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "sandbox": "/x"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
    });
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;Z=1";
    let added = scene.run("ADD", &config, &[("CNI_ARGS", args)]);
    assert_eq!(added.code, 0, "{added:?}");

    let request = scene.stub.state().last_attach.clone().unwrap();
    assert_eq!((request.container.as_str(), request.ifname.as_str()), ("c1", "eth0"));
    assert_eq!(request.namespace.as_deref(), Some("shop"));
    assert_eq!(request.pod.as_deref(), Some("web-0"));
    assert_eq!(request.labels.get("app").map(String::as_str), Some("web"));
    assert_eq!(request.ips, ["10.32.0.1/32".parse().unwrap()]);

    // Behind what the chain had, the indexes too.
    assert_eq!(added.json["interfaces"][3]["name"], "eth0");
    assert_eq!(added.json["ips"][0], json!({"address": "127.0.0.1/8", "interface": 0}));
    assert_eq!(added.json["ips"][1]["interface"], 3);
    assert_eq!(added.json["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.32.0.99"}]));
    assert_eq!(added.json["dns"], json!({"nameservers": ["10.32.0.53"]}));
    assert!(scene.pod.ip(&["route"]).contains("default via 10.32.0.99 dev eth0"));
    assert!(scene.pod.ip(&["link", "show", "eth0"]).contains("mtu 1280"));

    config["prevResult"] = added.json;
    assert_eq!(scene.run("CHECK", &config, &[]), DONE);
    scene.pod.ip(&["route", "del", "default"]);
    let checked = scene.run("CHECK", &config, &[]);
    assert!(failed(&checked, 102).starts_with("the route to 0.0.0.0/0 through interface \"eth0\""));
}

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
fn a_second_add_fails_and_leaves_the_first_alone() {
    let scene = Scene::new("twi");
    let config = Scene::config("1.0.0");
    let added = scene.run("ADD", &config, &[]);
    assert_eq!(added.code, 0, "{added:?}");
    let before = (scene.host.state(), scene.pod.state());
    let again = scene.run("ADD", &config, &[]);
    assert!(failed(&again, 101).starts_with("interface \"eth0\" exists already in "));
    assert_eq!((scene.host.state(), scene.pod.state()), before);
    assert_eq!(scene.stub.state().attachments.len(), 1, "the address is still reserved");
    assert_eq!(scene.run("CHECK", &Scene::with_previous("1.0.0", &added.json), &[]), DONE);
}

#[test]
fn del_works_without_the_namespace_and_frees_one_interface_only() {
    let scene = Scene::new("del");
    let config = Scene::config("1.0.0");
    assert_eq!(scene.run("ADD", &config, &[]).code, 0);
    assert_eq!(scene.run("ADD", &config, &[("CNI_IFNAME", "net1")]).code, 0);
    assert_eq!(scene.run("DEL", &config, &[("CNI_NETNS", "")]), DONE);
    assert!(!scene.pod.ip(&["link"]).contains("eth0"));
    assert!(scene.pod.ip(&["link"]).contains("net1"));
    let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
    assert_eq!(left, [("c1".to_owned(), "net1".to_owned())]);
    let vanished = [("CNI_IFNAME", "net1"), ("CNI_NETNS", "/run/netns/weft-never-was")];
    // The result of an earlier version of something else must not keep a container from going.
    let config = Scene::with_previous("1.0.0", &json!({"interfaces": null, "ips": 7}));
    assert_eq!(scene.run("DEL", &config, &vanished), DONE);
    assert!(scene.stub.state().attachments.is_empty());
}

#[test]
fn del_leaves_an_interface_alone_that_is_not_ours() {
    let scene = Scene::new("for");
    scene.pod.ip(&["link", "add", "eth0", "type", "bridge"]);
    let config = Scene::config("1.0.0");
    failed(&scene.run("ADD", &config, &[]), 101);
    assert_eq!(scene.run("DEL", &config, &[]), DONE);
    assert!(scene.pod.ip(&["link"]).contains("eth0"));
}

#[test]
fn a_failed_add_gives_the_address_back() {
    let scene = Scene::new("giv");
    let before = (scene.host.state(), scene.pod.state());
    let refused = |config: &Value, code| {
        let outcome = scene.run("ADD", config, &[]);
        let text = failed(&outcome, code).to_owned();
        assert!(scene.stub.state().attachments.is_empty(), "{text}");
        assert_eq!((scene.host.state(), scene.pod.state()), before, "{text}");
        text
    };
    let mut config = Scene::config("1.0.0");
    config["mtu"] = 9000.into();
    assert_eq!(refused(&config, 7), "mtu 9000 of the configuration exceeds the overlay's 1400");
    config["mtu"] = 1000.into();
    // IPv6 needs 1280, so the kernel refuses its address when the pair stands already.
    assert!(refused(&config, 5).starts_with("cannot give fd00:32::1/64 to interface \"eth0\""));
    scene.stub.state().bridge = "nobr".into();
    assert_eq!(
        refused(&Scene::config("1.0.0"), 11),
        "bridge \"nobr\" does not exist: is `weft launch` running?"
    );
    scene.stub.state().refuse = Some((503, "not_ready"));
    assert_eq!(refused(&Scene::config("1.0.0"), 11), "refused by the stub");
    scene.stub.state().refuse = Some((409, "conflict"));
    assert_eq!(refused(&Scene::config("1.0.0"), 100), "refused by the stub");
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
fn an_add_waits_for_a_daemon_that_restarts() {
    let scene = Scene::new("wai");
    scene.stub.state().hang_up = true;
    let mut config = Scene::config("1.0.0");
    config["retrySeconds"] = 60.into();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| scene.run("ADD", &config, &[]));
        // The daemon comes back once the plugin has met it gone.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while scene.stub.state().requests.len() < 3 {
            assert!(std::time::Instant::now() < deadline, "the plugin does not try again");
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.stub.state().hang_up = false;
        let added = adding.join().unwrap();
        assert_eq!(added.code, 0, "{added:?}");
    });
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
fn the_host_is_the_way_out_unless_the_pod_has_one() {
    let scene = Scene::new("out");
    scene.stub.state().gateways = vec!["10.32.0.9".parse().unwrap(), "fd00:32::9".parse().unwrap()];
    let mut config = Scene::config("1.0.0");
    config["routes"] =
        json!([{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.32.0.8"}]);
    let added = scene.run("ADD", &config, &[]);
    assert_eq!(added.code, 0, "{added:?}");
    let asked = scene.stub.state().last_attach.clone().unwrap();
    assert_eq!(asked.network.as_deref(), Some("weft"));
    assert!(asked.outbound.is_some_and(|outbound| !outbound.masquerade));
    assert_eq!(added.json["ips"][0]["gateway"], "10.32.0.9");
    assert_eq!(added.json["ips"][1]["gateway"], "fd00:32::9");
    assert_eq!(
        added.json["routes"],
        json!([
            {"dst": "0.0.0.0/0", "gw": "10.32.0.9"},
            {"dst": "::/0", "gw": "fd00:32::9"},
            {"dst": "192.0.2.0/24", "gw": "10.32.0.9"},
            {"dst": "198.51.100.0/24", "gw": "10.32.0.8"},
        ])
    );
    let routes = scene.pod.ip(&["route"]) + &scene.pod.ip(&["-6", "route"]);
    assert!(routes.contains("default via 10.32.0.9 dev eth0"), "{routes}");
    assert!(routes.contains("default via fd00:32::9 dev eth0"), "{routes}");
    assert!(routes.contains("192.0.2.0/24 via 10.32.0.9 dev eth0"), "{routes}");

    // A second interface leaves the way out as it is, and CHECK misses nothing.
    let plain = Scene::config("1.0.0");
    let second = scene.run("ADD", &plain, &[("CNI_IFNAME", "net1")]);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(second.json.get("routes"), None);
    let routes = scene.pod.ip(&["route"]);
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
    let with = Scene::with_previous("1.0.0", &second.json);
    assert_eq!(scene.run("CHECK", &with, &[("CNI_IFNAME", "net1")]), DONE);

    config["prevResult"] = added.json;
    assert_eq!(scene.run("CHECK", &config, &[]), DONE);
    scene.pod.ip(&["-6", "route", "del", "default"]);
    let checked = scene.run("CHECK", &config, &[]);
    assert!(failed(&checked, 102).starts_with("the route to ::/0 through interface \"eth0\""));

    let mut closed = Scene::config("1.0.0");
    closed["defaultRoute"] = false.into();
    closed["hairpinMode"] = true.into();
    let third = scene.run("ADD", &closed, &[("CNI_IFNAME", "net2")]);
    assert_eq!(third.code, 0, "{third:?}");
    assert_eq!(scene.stub.state().last_attach.clone().unwrap().outbound, None);
    closed["prevResult"] = third.json;
    assert_eq!(scene.run("CHECK", &closed, &[("CNI_IFNAME", "net2")]), DONE);
    let port = host_ifname("c1", "net2");
    assert!(
        scene.host.exec("bridge", &["-d", "link", "show", "dev", &port]).contains("hairpin on")
    );
    scene.host.exec("bridge", &["link", "set", "dev", &port, "hairpin", "off"]);
    assert_eq!(
        failed(&scene.run("CHECK", &closed, &[("CNI_IFNAME", "net2")]), 102),
        format!("hairpin mode of interface \"{port}\" is off")
    );
}

#[test]
fn gc_frees_what_the_runtime_does_not_know_and_nothing_else() {
    let scene = Scene::new("gc");
    let mut other = Scene::config("1.1.0");
    other["name"] = "other".into();
    let add = |container: &str, ifname: &str, config: &Value| {
        let env = [("CNI_CONTAINERID", container), ("CNI_IFNAME", ifname)];
        let added = scene.run("ADD", config, &env);
        assert_eq!(added.code, 0, "{added:?}");
    };
    let config = Scene::config("1.1.0");
    add("c1", "eth0", &config);
    add("c1", "net1", &config);
    add("c2", "net2", &config);
    add("c3", "net3", &other);
    // Nothing is freed by mistake.
    assert_eq!(
        failed(&scene.run("GC", &config, &[]), 7),
        "cni.dev/valid-attachments is missing: nothing is freed"
    );
    assert_eq!(
        failed(&scene.run("GC", &Scene::config("1.0.0"), &[]), 1),
        "CNI version 1.0.0 has no GC"
    );
    assert_eq!(scene.stub.state().attachments.len(), 4);

    // The namespace of one is gone already.
    scene.host.ip(&["link", "del", &host_ifname("c2", "net2")]);
    let mut gc = config;
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    let bare = [("CNI_CONTAINERID", ""), ("CNI_IFNAME", ""), ("CNI_NETNS", "")];
    for _ in 0..2 {
        assert_eq!(scene.run("GC", &gc, &bare), DONE);
        let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
        let names = [("c1", "eth0"), ("c3", "net3")];
        assert_eq!(left, names.map(|(c, i)| (c.to_owned(), i.to_owned())));
    }
    let links = scene.host.ip(&["link"]);
    assert!(
        links.contains(&host_ifname("c1", "eth0")) && links.contains(&host_ifname("c3", "net3"))
    );
    assert!(!links.contains(&host_ifname("c1", "net1")));
}

#[test]
fn a_plugin_that_is_killed_leaves_what_the_next_del_removes() {
    let scene = Scene::new("die");
    let before = (scene.host.state(), scene.pod.state());
    let config = Scene::config("1.1.0");
    let gc = {
        let mut gc = config.clone();
        gc["cni.dev/valid-attachments"] = json!([]);
        gc
    };
    for (number, step) in
        ["vacant", "reserved", "pair", "pod", "port", "routes", "wired"].into_iter().enumerate()
    {
        for verb in ["DEL", "GC"] {
            let died = scene.run_until("ADD", &config, step);
            assert_eq!(died, Some(9), "ADD gets to \"{step}\"");
            assert_eq!(scene.stub.state().attachments.len(), usize::from(number > 0), "{step}");
            match verb {
                // A DEL that is killed half-way is repeated.
                "DEL" => assert_eq!(scene.run_until("DEL", &config, "unwired"), Some(9)),
                _ => assert_eq!(scene.run("GC", &gc, &[]), DONE),
            }
            assert_eq!(scene.run("DEL", &config, &[]), DONE);
            assert!(scene.stub.state().attachments.is_empty(), "{step}");
            assert_eq!(scene.host.state(), before.0, "{step}");
            let left = scene.pod.state();
            assert!(!left.contains("eth0"), "{step}: {left}");
        }
        assert_eq!(scene.run("ADD", &config, &[]).code, 0, "and an ADD may follow");
        assert_eq!(scene.run("DEL", &config, &[]), DONE);
    }
}

#[test]
fn a_pod_announces_its_addresses() {
    let scene = Scene::new("ann");
    // The bridge is an end of the same segment: what it hears, others hear too.
    let mut listener = scene.host.command("tcpdump");
    listener.args(["-n", "-l", "-i", "weft", "-c", "2"]).arg(
        "(arp and arp[14:4] == arp[24:4]) or (icmp6 and ip6[40] == 136 and ip6[48:2] == 0xfd00)",
    );
    let mut listener = listener.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = std::io::BufReader::new(listener.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut ready, &mut line).unwrap(), 0);
    }
    assert_eq!(scene.run("ADD", &Scene::config("1.0.0"), &[]).code, 0);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while listener.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = listener.kill();
    let heard = String::from_utf8(listener.wait_with_output().unwrap().stdout).unwrap();
    assert!(heard.contains("ARP, Request who-has 10.32.0.1"), "{heard}");
    assert!(heard.contains("neighbor advertisement, tgt is fd00:32::1"), "{heard}");
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
fn ipam_hands_out_addresses_and_makes_nothing() {
    let scene = Scene::new("ipm");
    scene.stub.state().gateways = vec!["10.32.0.9".parse().unwrap()];
    scene.pod.ip(&["link", "add", "eth0", "address", "02:00:00:00:00:07", "type", "bridge"]);
    let before = (scene.host.state(), scene.pod.state());
    let mut config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge",
        "ipam": {"type": "weft-ipam", "defaultRoute": true, "retrySeconds": 0,
            "routes": [{"dst": "192.0.2.0/24"}]}});
    let run = |verb: &str, config: &Value, env: &[(&str, &str)]| {
        let mut command = scene.command(verb, env);
        // The same variables for the other program.
        let mut ipam = scene.host.command(env!("CARGO_BIN_EXE_weft-ipam"));
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        ipam.envs(set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>());
        command = ipam;
        feed(command, config.to_string().as_bytes())
    };
    let added = run("ADD", &config, &[]);
    assert_eq!(
        added.json,
        json!({
            "cniVersion": "1.1.0",
            "ips": [
                {"address": "10.32.0.1/12", "gateway": "10.32.0.9"},
                {"address": "fd00:32::1/64"},
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.32.0.9"},
                {"dst": "192.0.2.0/24", "gw": "10.32.0.9"},
            ],
        })
    );
    let asked = scene.stub.state().last_attach.clone().unwrap();
    assert_eq!(asked.network.as_deref(), Some("lan"));
    assert_eq!(asked.mac.as_deref(), Some("02:00:00:00:00:07"), "that of the interface there");
    assert_eq!((scene.host.state(), scene.pod.state()), before);
    assert!(failed(&run("ADD", &config, &[]), 101).contains("has addresses already"));
    assert_eq!(scene.stub.state().attachments.len(), 1, "they are still the first's");

    config["prevResult"] = added.json;
    assert_eq!(run("CHECK", &config, &[]), DONE);
    config["prevResult"]["ips"] = json!([]);
    assert_eq!(
        failed(&run("CHECK", &config, &[]), 102),
        "address 10.32.0.1/12 is missing in prevResult"
    );
    assert_eq!(run("STATUS", &config, &[]), DONE);
    assert_eq!(run("ADD", &config, &[("CNI_CONTAINERID", "c2")]).code, 0);
    config["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
    assert_eq!(run("GC", &config, &[]), DONE);
    let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
    assert_eq!(left, [("c2".to_owned(), "eth0".to_owned())]);
    for _ in 0..2 {
        assert_eq!(run("DEL", &config, &[("CNI_CONTAINERID", "c2"), ("CNI_NETNS", "")]), DONE);
    }
    assert!(scene.stub.state().attachments.is_empty());
    assert_eq!((scene.host.state(), scene.pod.state()), before);
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
