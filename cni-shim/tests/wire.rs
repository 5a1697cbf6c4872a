//! The wiring on real parts: network namespaces, a bridge, veth pairs. Needs root.
//!
//! Each test is a host of its own, a namespace with a bridge, which the wiring runs in on a thread
//! of its own; Pods are further namespaces. All of them go with their guards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod room;

use std::path::PathBuf;

use room::{Host, Netns};
use weft_cni_shim::wire::{self, Mac, Plan, Route, WireError};

fn plan(pod: &Netns, last: u8) -> Plan {
    Plan {
        netns: pod.path(),
        ifname: "eth0".into(),
        host_ifname: wire::host_ifname(pod.name(), "eth0"),
        bridge: "weft".into(),
        mac: Mac([0x0a, 0x58, 10, 32, 0, last]),
        ips: vec![
            format!("10.32.0.{last}/12").parse().unwrap(),
            format!("fd00:32::{last}/64").parse().unwrap(),
        ],
        mtu: 1400,
        routes: vec![],
        default_via: vec![],
        hairpin: false,
        multicast_route: true,
    }
}

#[test]
fn two_pods_on_one_bridge_reach_each_other() {
    let host = Host::new("two");
    let (one, two) = (Netns::new("two-p1"), Netns::new("two-p2"));
    let (first, second) = (plan(&one, 1), plan(&two, 2));
    let wired = host.run({
        let first = first.clone();
        async move {
            let wired = wire::attach(&first).await.unwrap();
            wire::attach(&second).await.unwrap();
            wire::check(&first).await.unwrap();
            wire::check(&second).await.unwrap();
            wired
        }
    });
    assert_eq!(wired.pod_mac, first.mac);
    assert!(
        host.ip(&["link", "show", &first.host_ifname]).contains(&wired.host_mac.to_string()),
        "the reported MAC is the host's end's"
    );

    one.exec("ping", &["-c1", "-W2", "10.32.0.2"]);
    two.exec("ping", &["-c1", "-W2", "fd00:32::1"]);

    let link = one.ip(&["-d", "link", "show", "eth0"]);
    assert!(link.contains("0a:58:0a:20:00:01") && link.contains("mtu 1400"), "{link}");
    assert!(!one.ip(&["addr", "show", "eth0"]).contains("tentative"));
    assert!(one.ip(&["route"]).contains("224.0.0.0/4 dev eth0"));
    assert!(one.ip(&["link", "show", "lo"]).contains("UP"));
    let port = host.ip(&["-d", "link", "show", &first.host_ifname]);
    for part in ["master weft", "learning off", "flood off", "mcast_flood on", "bcast_flood on"] {
        assert!(port.contains(part), "{part}: {port}");
    }
    assert!(!host.ip(&["addr", "show", &first.host_ifname]).contains("inet6"));
    for end in [port, one.ip(&["-d", "link", "show", "eth0"])] {
        assert!(end.contains("numtxqueues 1 numrxqueues 1 "), "more are taken away again: {end}");
    }
    let table = host.exec("bridge", &["fdb", "show", "br", "weft"]);
    assert!(
        table.contains(&format!("0a:58:0a:20:00:01 dev {} master weft static", first.host_ifname)),
        "{table}"
    );
}

#[test]
fn detach_removes_everything_and_may_be_repeated() {
    let host = Host::new("det");
    let pod = Netns::new("det-p");
    let plan = plan(&pod, 1);
    let name = pod.name().to_owned();
    host.run(async move {
        wire::attach(&plan).await.unwrap();
        wire::detach(&name, "eth0").await.unwrap();
        wire::detach(&name, "eth0").await.unwrap();
        wire::detach("never-was", "eth0").await.unwrap();
        let gone = wire::check(&plan).await.unwrap_err();
        assert!(gone.to_string().starts_with("interface \"eth0\" is missing in "), "{gone}");
        // The same key can be wired again.
        wire::attach(&plan).await.unwrap();
    });
    assert!(pod.ip(&["link"]).contains("eth0"));
}

#[test]
fn a_taken_name_in_the_pod_fails_and_changes_nothing() {
    let host = Host::new("tak");
    let pod = Netns::new("tak-p");
    pod.ip(&["link", "add", "eth0", "type", "bridge"]);
    let before = (host.state(), pod.state());
    let plan = plan(&pod, 1);
    let netns = pod.path();
    host.run(async move {
        let error = wire::attach(&plan).await.unwrap_err();
        assert!(matches!(error, WireError::InterfaceExists { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("interface \"eth0\" exists already in {}", netns.display())
        );
    });
    assert_eq!((host.state(), pod.state()), before);
}

#[test]
fn a_hosts_end_of_another_life_is_named_and_left_alone() {
    let host = Host::new("old");
    let pod = Netns::new("old-p");
    let plan = plan(&pod, 1);
    host.ip(&["link", "add", &plan.host_ifname, "type", "bridge"]);
    let before = (host.state(), pod.state());
    host.run(async move {
        let error = wire::attach(&plan).await.unwrap_err();
        assert!(matches!(error, WireError::HostInterfaceExists { .. }), "{error}");
    });
    assert_eq!((host.state(), pod.state()), before);
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let host = Host::new("mid");
    let pod = Netns::new("mid-p");
    let before = (host.state(), pod.state());
    let good = plan(&pod, 1);
    // Each is refused by the kernel at another step, after the pair stands.
    let twice = Plan { ips: vec![good.ips[0], good.ips[0]], ..good.clone() };
    let off_link = Route {
        dst: "192.0.2.0/24".parse().unwrap(),
        via: Some("198.51.100.1".parse().unwrap()),
        ..Route::default()
    };
    let no_way = Plan { routes: vec![off_link], ..good.clone() };
    host.run(async move {
        for bad in [twice, no_way] {
            let error = wire::attach(&bad).await.unwrap_err();
            assert!(matches!(error, WireError::Kernel { .. }), "{error}");
        }
    });
    assert_eq!(host.state(), before.0);
    // The loopback of the Pod is brought up last, so not even that has changed.
    assert_eq!(pod.state(), before.1);
    host.run(async move { wire::attach(&good).await.map(drop).unwrap() });
}

#[test]
fn what_cannot_be_wired_is_named() {
    let host = Host::new("bad");
    let pod = Netns::new("bad-p");
    let good = plan(&pod, 1);
    let own = host.path();
    host.run(async move {
        let text = |plan: Plan| async move { wire::attach(&plan).await.unwrap_err().to_string() };
        assert_eq!(
            text(Plan { bridge: "nobr".into(), ..good.clone() }).await,
            "bridge \"nobr\" does not exist: is `weft launch` running?"
        );
        let gone = PathBuf::from("/run/netns/weft-never-was");
        assert_eq!(
            text(Plan { netns: gone, ..good.clone() }).await,
            "cannot enter the network namespace /run/netns/weft-never-was: \
             No such file or directory (os error 2)"
        );
        assert_eq!(
            text(Plan { netns: "/dev/null".into(), ..good.clone() }).await,
            "cannot enter the network namespace /dev/null: Invalid argument (os error 22)"
        );
        assert_eq!(
            text(Plan { netns: own.clone(), ..good.clone() }).await,
            format!("{} is the namespace of the host, not of a Pod", own.display())
        );
    });
}

#[test]
fn check_names_what_is_missing() {
    let host = Host::new("chk");
    let pod = Netns::new("chk-p");
    let mut plan = plan(&pod, 1);
    plan.routes = vec![
        Route {
            dst: "0.0.0.0/0".parse().unwrap(),
            via: Some("10.32.0.9".parse().unwrap()),
            ..Route::default()
        },
        Route { dst: "fd00:33::/64".parse().unwrap(), ..Route::default() },
    ];
    let port = plan.host_ifname.clone();
    let check = |plan: &Plan| {
        let plan = plan.clone();
        host.run(async move { wire::check(&plan).await.map_err(|error| error.to_string()) })
    };
    host.run({
        let plan = plan.clone();
        async move { wire::attach(&plan).await.map(drop).unwrap() }
    });
    assert_eq!(check(&plan), Ok(()));

    let missing = |expected: &str| {
        let error = check(&plan).unwrap_err();
        assert!(error.starts_with(expected), "expected {expected}, found {error}");
    };
    host.exec("bridge", &["fdb", "del", "0a:58:0a:20:00:01", "dev", &port, "master"]);
    missing("bridge \"weft\" has no entry for 0a:58:0a:20:00:01");
    host.ip(&["link", "set", &port, "nomaster"]);
    missing(&format!("interface \"{port}\" is no port of bridge \"weft\""));
    pod.ip(&["route", "del", "default"]);
    missing("the route to 0.0.0.0/0 through interface \"eth0\" is missing in ");
    pod.ip(&["route", "del", "224.0.0.0/4"]);
    missing("the route to 224.0.0.0/4 through interface \"eth0\" is missing in ");
    pod.ip(&["addr", "del", "fd00:32::1/64", "dev", "eth0"]);
    missing("address fd00:32::1/64 is missing on interface \"eth0\" in ");
    pod.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:01"]);
    missing("interface \"eth0\" has MAC address 02:00:00:00:00:01 instead of 0a:58:0a:20:00:01");
    pod.ip(&["link", "set", "eth0", "down"]);
    missing("interface \"eth0\" is down in ");
}
