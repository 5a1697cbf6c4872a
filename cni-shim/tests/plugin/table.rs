//! Every verb in every version against everything that can be wrong, a row each.

use serde_json::{Value, json};
use weft_cni_shim::wire::host_ifname;

use crate::room::Netns;
use crate::scene::{DONE, Scene, failed};

const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Whether a version has a verb.
fn has(version: &str, verb: &str) -> bool {
    match verb {
        "CHECK" => version >= "0.4.0",
        "GC" | "STATUS" => version >= "1.1.0",
        _ => true,
    }
}

/// Something that is wrong, and what each verb says to it.
struct Row {
    name: &'static str,
    /// The code of each verb's error; 0 is success.
    codes: [u32; 6],
    /// Whether the interface of an earlier ADD is there, before it goes wrong, for the verbs that
    /// are about one.
    stands: bool,
    env: &'static [(&'static str, &'static str)],
    /// A change to the configuration.
    config: fn(&mut Value),
    /// Whether it is found before it is asked whether the version has the verb.
    early: bool,
    /// The whole of standard input instead.
    input: Option<&'static str>,
    /// Whether the version in the configuration is read, so that errors have it; else the newest.
    versioned: bool,
    /// A change to the world, and back.
    before: fn(&Scene),
    after: fn(&Scene),
}

const ROW: Row = Row {
    name: "",
    codes: [0; 6],
    stands: true,
    env: &[],
    config: |_| {},
    early: false,
    input: None,
    versioned: true,
    before: |_| {},
    after: |_| {},
};

/// What ADD, DEL, CHECK, GC, STATUS and VERSION answer.
const ROWS: &[Row] = &[
    Row { name: "nothing", ..ROW },
    Row {
        name: "unknown keys",
        config: |c| {
            c["disableGC"] = true.into();
            c["cniVersions"] = json!(["1.0.0", "1.1.0"]);
            c["whatever"] = json!({"deep": [1]});
        },
        ..ROW
    },
    Row { name: "no container", codes: [4, 4, 4, 0, 0, 0], env: &[("CNI_CONTAINERID", "")], ..ROW },
    Row {
        name: "a wrong container",
        codes: [4, 4, 4, 0, 0, 0],
        env: &[("CNI_CONTAINERID", "../c1")],
        ..ROW
    },
    Row { name: "no interface", codes: [4, 4, 4, 0, 0, 0], env: &[("CNI_IFNAME", "")], ..ROW },
    Row {
        name: "a wrong interface",
        codes: [4, 4, 4, 0, 0, 0],
        env: &[("CNI_IFNAME", "sixteen-is-a-lot")],
        ..ROW
    },
    Row { name: "no namespace", codes: [4, 0, 4, 0, 0, 0], env: &[("CNI_NETNS", "")], ..ROW },
    Row {
        name: "a namespace that never was",
        codes: [4, 0, 102, 0, 0, 0],
        env: &[("CNI_NETNS", "/run/netns/weft-never-was")],
        ..ROW
    },
    Row {
        name: "no namespace but a file",
        codes: [4, 0, 102, 0, 0, 0],
        env: &[("CNI_NETNS", "/dev/null")],
        ..ROW
    },
    Row {
        name: "the host's namespace",
        codes: [4, 0, 102, 0, 0, 0],
        env: &[("CNI_NETNS", "/proc/self/ns/net")],
        ..ROW
    },
    Row {
        name: "unknown arguments",
        codes: [4, 0, 4, 0, 0, 0],
        env: &[("CNI_ARGS", "COLOUR=blue")],
        ..ROW
    },
    Row { name: "known arguments", env: &[("CNI_ARGS", "IgnoreUnknown=1;COLOUR=blue")], ..ROW },
    Row { name: "no JSON", codes: [6; 6], input: Some("{"), versioned: false, early: true, ..ROW },
    Row {
        name: "no object",
        codes: [6; 6],
        input: Some("[1]"),
        versioned: false,
        early: true,
        ..ROW
    },
    Row {
        name: "nothing on standard input",
        codes: [6, 6, 6, 6, 6, 0],
        input: Some(""),
        versioned: false,
        early: true,
        ..ROW
    },
    Row {
        name: "a version of the past",
        codes: [1, 1, 1, 1, 1, 0],
        config: |c| c["cniVersion"] = "0.2.0".into(),
        versioned: false,
        early: true,
        ..ROW
    },
    Row {
        name: "a version of the future",
        codes: [1, 1, 1, 1, 1, 0],
        config: |c| c["cniVersion"] = "2.0.0".into(),
        versioned: false,
        early: true,
        ..ROW
    },
    Row {
        name: "no version",
        codes: [1, 1, 1, 1, 1, 0],
        config: |c| c["cniVersion"] = Value::Null,
        versioned: false,
        early: true,
        ..ROW
    },
    Row {
        name: "a network without a name",
        codes: [7, 7, 7, 7, 7, 0],
        config: |c| c["name"] = "".into(),
        early: true,
        ..ROW
    },
    Row {
        name: "a wrong value",
        codes: [7, 0, 7, 7, 7, 0],
        config: |c| c["mtu"] = "big".into(),
        early: true,
        ..ROW
    },
    Row {
        name: "another plugin's addresses",
        codes: [2, 0, 2, 2, 2, 0],
        config: |c| c["ipam"] = json!({"type": "host-local"}),
        early: true,
        ..ROW
    },
    Row {
        name: "a MAC address",
        codes: [2, 0, 2, 2, 2, 0],
        config: |c| c["runtimeConfig"] = json!({"mac": "02:00:00:00:00:01"}),
        early: true,
        ..ROW
    },
    Row {
        name: "a previous result that is none",
        codes: [7, 0, 7, 0, 0, 0],
        config: |c| c["prevResult"] = json!({"ips": 7}),
        ..ROW
    },
    Row {
        name: "an MTU above the overlay's",
        codes: [7, 0, 0, 0, 0, 0],
        config: |c| c["mtu"] = 9000.into(),
        ..ROW
    },
    Row {
        name: "a route that the kernel refuses",
        codes: [5, 0, 102, 0, 0, 0],
        config: |c| c["routes"] = json!([{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]),
        ..ROW
    },
    Row {
        name: "no list of valid attachments",
        codes: [0, 0, 0, 7, 0, 0],
        config: |c| drop(c.as_object_mut().unwrap().remove("cni.dev/valid-attachments")),
        ..ROW
    },
    Row {
        name: "somebody else's interface of that name",
        codes: [101, 0, 102, 0, 0, 0],
        stands: false,
        before: |scene| drop(scene.pod.ip(&["link", "add", "eth0", "type", "bridge"])),
        after: |scene| drop(scene.pod.ip(&["link", "del", "eth0"])),
        ..ROW
    },
    Row {
        name: "a host's end of another life",
        codes: [101, 0, 102, 0, 0, 0],
        stands: false,
        before: |scene| {
            drop(scene.host.ip(&["link", "add", &host_ifname("c1", "eth0"), "type", "bridge"]));
        },
        after: |scene| {
            let _ =
                scene.host.command("ip").args(["link", "del", &host_ifname("c1", "eth0")]).output();
        },
        ..ROW
    },
    Row { name: "nothing to undo", codes: [0, 0, 102, 0, 0, 0], stands: false, ..ROW },
    Row {
        name: "a full range",
        codes: [11, 0, 0, 0, 0, 0],
        before: |scene| scene.stub.state().refuse = Some((503, "not_ready")),
        after: |scene| scene.stub.state().refuse = None,
        ..ROW
    },
    Row {
        name: "an address that somebody has",
        codes: [100, 0, 0, 0, 0, 0],
        before: |scene| scene.stub.state().refuse = Some((409, "conflict")),
        after: |scene| scene.stub.state().refuse = None,
        ..ROW
    },
    Row {
        name: "an address outside the ranges",
        codes: [7, 0, 0, 0, 0, 0],
        before: |scene| scene.stub.state().refuse = Some((400, "invalid")),
        after: |scene| scene.stub.state().refuse = None,
        ..ROW
    },
    Row {
        name: "no daemon",
        codes: [11, 11, 11, 11, 51, 0],
        config: |c| c["socket"] = "/run/weft-never-was.sock".into(),
        ..ROW
    },
    Row {
        name: "a daemon that hangs up",
        codes: [11, 11, 11, 11, 51, 0],
        before: |scene| scene.stub.state().hang_up = true,
        after: |scene| scene.stub.state().hang_up = false,
        ..ROW
    },
    Row {
        name: "a daemon that is not ready",
        codes: [0, 0, 0, 0, 50, 0],
        before: |scene| scene.stub.state().ready = false,
        after: |scene| scene.stub.state().ready = true,
        ..ROW
    },
    Row {
        name: "no bridge",
        codes: [11, 0, 11, 0, 0, 0],
        before: |scene| drop(scene.host.ip(&["link", "set", "weft", "name", "other"])),
        after: |scene| drop(scene.host.ip(&["link", "set", "other", "name", "weft"])),
        ..ROW
    },
];

#[test]
fn every_verb_in_every_version_has_its_outcome() {
    let scene = Scene::new("tab");
    for row in ROWS {
        for version in VERSIONS {
            let plain = Scene::config(version);
            let added = scene.run("ADD", &plain, &[]);
            assert_eq!(added.code, 0, "{added:?}");
            let mut config = plain.clone();
            config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
            let mut with_previous = config.clone();
            with_previous["prevResult"] = added.json;
            for (verb, code) in VERBS.into_iter().zip(row.codes) {
                // The first ADD stands until here.
                if verb == "ADD" || !row.stands {
                    assert_eq!(scene.run("DEL", &plain, &[]).code, 0);
                }
                let mut config = if verb == "CHECK" { &with_previous } else { &config }.clone();
                (row.config)(&mut config);
                run(&scene, row, version, verb, code, &config);
                // What the previous result tells of must be this interface for the next verb too.
                if verb == "ADD" || verb == "DEL" {
                    assert_eq!(scene.run("DEL", &plain, &[]).code, 0);
                    let added = scene.run("ADD", &plain, &[]);
                    assert_eq!(added.code, 0, "{added:?}");
                    with_previous["prevResult"] = added.json;
                }
            }
            assert_eq!(scene.run("DEL", &plain, &[]).code, 0);
        }
    }
}

/// One cell of the table.
fn run(scene: &Scene, row: &Row, version: &str, verb: &str, code: u32, config: &Value) {
    let cell = format!("{verb} {version}: {}", row.name);
    let code = if has(version, verb) || row.early { code } else { 1 };
    (row.before)(scene);
    let looks = || {
        let held = scene.stub.state().attachments.len();
        (scene.host.interfaces(), scene.pod.interfaces(), held)
    };
    let before = looks();
    let input = row.input.map_or_else(|| config.to_string(), str::to_owned);
    let outcome = scene.run_raw(verb, input.as_bytes(), row.env);
    let after = looks();
    (row.after)(scene);
    if code == 0 {
        assert_eq!(outcome.code, 0, "{cell}: {outcome:?}");
        match verb {
            "ADD" => assert_eq!(outcome.json["cniVersion"], version, "{cell}"),
            "VERSION" => assert_eq!(outcome.json["supportedVersions"], json!(VERSIONS), "{cell}"),
            _ => assert_eq!(outcome.json, Value::Null, "{cell}"),
        }
    } else {
        println!("{cell}");
        assert!(!failed(&outcome, code).is_empty(), "{cell}");
        let told = if row.versioned { version } else { "1.1.0" };
        assert_eq!(outcome.json["cniVersion"], told, "{cell}");
        // DEL takes the interface away even where nobody is there to free its addresses.
        if (verb, code) != ("DEL", 11) {
            assert_eq!(after, before, "{cell}: a failure changes nothing");
        }
    }
    match (verb, code) {
        ("ADD", 0) => assert_eq!(after.2, 1, "{cell}"),
        ("DEL", 0) => {
            assert_eq!(after.2, 0, "{cell}: the address is free");
            assert!(!after.0.contains(&host_ifname("c1", "eth0")), "{cell}: {}", after.0);
        }
        _ => {}
    }
}

#[test]
fn a_namespace_that_vanishes_takes_nothing_with_it() {
    for version in VERSIONS {
        let mut scene = Scene::new("van");
        let mut config = Scene::config(version);
        let added = scene.run("ADD", &config, &[]);
        assert_eq!(added.code, 0, "{added:?}");
        config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
        config["prevResult"] = added.json;
        let path = scene.pod.path();
        let netns = [("CNI_NETNS", path.to_str().unwrap())];
        scene.pod = Netns::new("van-q");
        let text =
            format!("invalid CNI_NETNS: cannot enter the network namespace {}", path.display());
        for verb in ["ADD", "CHECK", "GC", "DEL", "DEL"] {
            let outcome = scene.run(verb, &config, &netns);
            match verb {
                _ if !has(version, verb) => drop(failed(&outcome, 1)),
                "ADD" | "CHECK" => assert!(failed(&outcome, 4).starts_with(&text), "{outcome:?}"),
                _ => assert_eq!(outcome, DONE, "{verb} {version}"),
            }
            let left = usize::from(verb != "DEL");
            assert_eq!(scene.stub.state().attachments.len(), left, "{verb} {version}");
        }
    }
}

#[test]
fn two_interfaces_of_one_container_are_two() {
    let scene = Scene::new("two");
    for version in VERSIONS {
        let env = |ifname| [("CNI_IFNAME", ifname)];
        let mut configs = ["eth0", "net1"].map(|ifname| {
            let mut config = Scene::config(version);
            let added = scene.run("ADD", &config, &env(ifname));
            assert_eq!(added.code, 0, "{added:?}");
            config["prevResult"] = added.json;
            config
        });
        assert_ne!(configs[0]["prevResult"]["ips"], configs[1]["prevResult"]["ips"]);
        if has(version, "CHECK") {
            assert_eq!(scene.run("CHECK", &configs[0], &env("eth0")), DONE);
            assert_eq!(scene.run("CHECK", &configs[1], &env("net1")), DONE);
            // The result of the one is not that of the other.
            failed(&scene.run("CHECK", &configs[0], &env("net1")), 102);
        }
        assert_eq!(scene.run("DEL", &configs[0], &env("eth0")), DONE);
        let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
        assert_eq!(left, [("c1".to_owned(), "net1".to_owned())]);
        assert!(scene.pod.ip(&["link"]).contains("net1"));
        if has(version, "CHECK") {
            assert_eq!(scene.run("CHECK", &configs[1], &env("net1")), DONE);
        }
        if has(version, "GC") {
            configs[1]["cni.dev/valid-attachments"] = json!([]);
            assert_eq!(scene.run("GC", &configs[1], &[]), DONE);
        }
        assert_eq!(scene.run("DEL", &configs[1], &env("net1")), DONE);
        assert!(scene.stub.state().attachments.is_empty());
    }
}

/// What somebody takes away behind the plugin's back, and what CHECK says.
struct Theft {
    what: &'static str,
    steal: fn(&Scene, &str),
    answer: &'static str,
}

const THEFTS: [Theft; 13] = [
    Theft {
        what: "the IPv4 address",
        steal: |scene, _| drop(scene.pod.ip(&["addr", "del", "10.32.0.1/12", "dev", "eth0"])),
        answer: "address 10.32.0.1/12 is missing on interface \"eth0\"",
    },
    Theft {
        what: "the IPv6 address",
        steal: |scene, _| drop(scene.pod.ip(&["addr", "del", "fd00:32::1/64", "dev", "eth0"])),
        answer: "address fd00:32::1/64 is missing on interface \"eth0\"",
    },
    Theft {
        what: "the default route",
        steal: |scene, _| drop(scene.pod.ip(&["route", "del", "default"])),
        answer: "the route to 0.0.0.0/0 through interface \"eth0\" is missing",
    },
    Theft {
        what: "a route of the configuration",
        steal: |scene, _| drop(scene.pod.ip(&["route", "del", "192.0.2.0/24"])),
        answer: "the route to 192.0.2.0/24 through interface \"eth0\" is missing",
    },
    Theft {
        what: "the route of multicast",
        steal: |scene, _| drop(scene.pod.ip(&["route", "del", "224.0.0.0/4"])),
        answer: "the route to 224.0.0.0/4 through interface \"eth0\" is missing",
    },
    Theft {
        what: "the veth",
        steal: |scene, port| drop(scene.host.ip(&["link", "del", port])),
        answer: "interface \"eth0\" is missing in ",
    },
    Theft {
        what: "the link",
        steal: |scene, _| drop(scene.pod.ip(&["link", "set", "eth0", "down"])),
        answer: "interface \"eth0\" is down in ",
    },
    Theft {
        what: "the MAC address",
        steal: |scene, _| {
            drop(scene.pod.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:01"]));
        },
        answer: "interface \"eth0\" has MAC address 02:00:00:00:00:01 instead of ",
    },
    Theft {
        what: "the bridge port",
        steal: |scene, port| drop(scene.host.ip(&["link", "set", port, "nomaster"])),
        answer: "interface \"wv",
    },
    Theft {
        what: "the bridge's entry",
        steal: |scene, port| {
            let entry = ["fdb", "del", "0a:58:0a:20:00:01", "dev", port, "master"];
            drop(scene.host.exec("bridge", &entry));
        },
        answer: "bridge \"weft\" has no entry for 0a:58:0a:20:00:01",
    },
    Theft {
        what: "the hairpin mode",
        steal: |scene, port| {
            drop(scene.host.exec("bridge", &["link", "set", "dev", port, "hairpin", "off"]));
        },
        answer: "hairpin mode of interface \"wv",
    },
    Theft {
        what: "a rule at the Pod's port",
        steal: |scene, _| {
            for attachment in scene.stub.state().attachments.values_mut() {
                attachment.unprotected = Some("the port is closed".to_owned());
            }
        },
        answer: "the rules at the Pod's port do not stand: the port is closed",
    },
    Theft {
        what: "the address at the daemon",
        steal: |scene, _| scene.stub.state().attachments.clear(),
        answer: "weft knows no interface \"eth0\" of container c1",
    },
];

#[test]
fn check_notices_whatever_is_taken_away() {
    let scene = Scene::new("thf");
    scene.stub.state().gateways = vec!["10.32.0.9".parse().unwrap()];
    let port = host_ifname("c1", "eth0");
    for version in VERSIONS.into_iter().filter(|version| has(version, "CHECK")) {
        for Theft { what, steal, answer } in THEFTS {
            let mut config = Scene::config(version);
            config["hairpinMode"] = true.into();
            config["routes"] = json!([{"dst": "192.0.2.0/24"}]);
            let added = scene.run("ADD", &config, &[]);
            assert_eq!(added.code, 0, "{added:?}");
            config["prevResult"] = added.json;
            assert_eq!(scene.run("CHECK", &config, &[]), DONE);
            steal(&scene, &port);
            let checked = scene.run("CHECK", &config, &[]);
            let told = failed(&checked, 102);
            assert!(told.starts_with(answer), "{what}: {told}");
            assert_eq!(scene.run("DEL", &config, &[]), DONE, "{what}");
        }
    }
}
