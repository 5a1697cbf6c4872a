//! Routes: the way out, and those of the configuration.

use serde_json::json;
use weft_cni_shim::wire::host_ifname;

use crate::scene::{DONE, Scene, failed};

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
fn routes_have_what_version_1_1_0_says_of_them() {
    let scene = Scene::new("rts");
    scene.stub.state().gateways = vec!["10.32.0.9".parse().unwrap(), "fd00:32::9".parse().unwrap()];
    let mut config = Scene::config("1.1.0");
    config["routes"] = json!([
        {"dst": "192.0.2.0/24", "mtu": 1300, "advmss": 1200, "priority": 7},
        {"dst": "198.51.100.0/24", "scope": 253},
        {"dst": "0.0.0.0/0", "gw": "10.32.0.8", "table": 1000},
        {"dst": "2001:db8::/32", "mtu": 1290, "advmss": 1210, "priority": 8, "table": 0},
    ]);
    let added = scene.run("ADD", &config, &[]);
    assert_eq!(added.code, 0, "{added:?}");
    let all = scene.pod.ip(&["route", "show", "table", "all"])
        + &scene.pod.ip(&["-6", "route", "show", "table", "all"]);
    let line = |start: &str| {
        let mut lines = all.lines().filter(|line| line.starts_with(start));
        lines.next().unwrap_or_else(|| panic!("no {start} in {all}")).to_owned()
    };
    let has = |line: String, parts: &[&str]| {
        for part in parts {
            assert!(line.contains(part), "no {part} in {line}");
        }
    };
    has(line("192.0.2.0/24"), &["via 10.32.0.9", "metric 7", "mtu 1300", "advmss 1200"]);
    has(line("198.51.100.0/24"), &["dev eth0", "scope link"]);
    has(line("default via 10.32.0.8"), &["table 1000"]);
    has(line("2001:db8::/32"), &["via fd00:32::9", "metric 8", "mtu 1290", "advmss 1210"]);
    // Another table's default route is not the Pod's way out.
    has(line("default via 10.32.0.9"), &["dev eth0"]);
    let told = json!([
        {"dst": "0.0.0.0/0", "gw": "10.32.0.9"},
        {"dst": "::/0", "gw": "fd00:32::9"},
        {"dst": "192.0.2.0/24", "gw": "10.32.0.9", "mtu": 1300, "advmss": 1200, "priority": 7},
        {"dst": "198.51.100.0/24", "scope": 253},
        {"dst": "0.0.0.0/0", "gw": "10.32.0.8", "table": 1000},
        {"dst": "2001:db8::/32", "gw": "fd00:32::9", "mtu": 1290, "advmss": 1210, "priority": 8,
            "table": 0},
    ]);
    assert_eq!(added.json["routes"], told);

    config["prevResult"] = added.json;
    assert_eq!(scene.run("CHECK", &config, &[]), DONE);
    let route = |words: &str| drop(scene.pod.ip(&words.split(' ').collect::<Vec<_>>()));
    let kept = "route replace 192.0.2.0/24 via 10.32.0.9 metric 7 mtu 1300 advmss 1200";
    for (missing, change, back) in [
        (
            "192.0.2.0/24",
            &["route replace 192.0.2.0/24 via 10.32.0.9 metric 7 mtu 1299 advmss 1200"][..],
            &[kept][..],
        ),
        (
            "192.0.2.0/24",
            &["route replace 192.0.2.0/24 via 10.32.0.9 metric 7 mtu 1300 advmss 1199"],
            &[kept],
        ),
        (
            "192.0.2.0/24",
            &[
                "route del 192.0.2.0/24 metric 7",
                "route add 192.0.2.0/24 via 10.32.0.9 metric 9 mtu 1300 advmss 1200",
            ],
            &["route del 192.0.2.0/24 metric 9", kept],
        ),
        (
            "0.0.0.0/0",
            &["route del default table 1000", "route add default via 10.32.0.8 table 1001"],
            &["route add default via 10.32.0.8 table 1000"],
        ),
    ] {
        change.iter().copied().for_each(route);
        let checked = scene.run("CHECK", &config, &[]);
        let told = format!("the route to {missing} through interface");
        assert!(failed(&checked, 102).starts_with(&told), "{checked:?}");
        back.iter().copied().for_each(route);
        assert_eq!(scene.run("CHECK", &config, &[]), DONE);
    }

    let bad = |route: serde_json::Value, code| {
        let mut config = Scene::config("1.1.0");
        config["routes"] = json!([route]);
        let added = scene.run("ADD", &config, &[("CNI_IFNAME", "net1")]);
        failed(&added, code).to_owned()
    };
    assert_eq!(
        bad(json!({"dst": "192.0.2.0/24", "gw": "10.32.0.9", "scope": 253}), 7),
        "the route to 192.0.2.0/24 has a gateway, and a scope that has none"
    );
    assert!(bad(json!({"dst": "192.0.2.0/24", "priority": -1}), 7).contains("invalid value"));
    assert!(bad(json!({"dst": "192.0.2.0/24", "scope": 256}), 7).contains("invalid value"));
    assert_eq!(scene.stub.state().attachments.len(), 1, "their addresses are given back");
}
