//! ADD: the interface, what the daemon is told, what is given back.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use weft_cni_shim::wire::host_ifname;

use crate::scene::{DONE, Scene, failed};

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
    config["subnet"] = json!(["10.32.0.0/24", "fd00:32::/96"]);
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
    let subnets = ["10.32.0.0/24", "fd00:32::/96"].map(|subnet| subnet.parse().unwrap());
    assert_eq!(request.subnets, subnets);

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
