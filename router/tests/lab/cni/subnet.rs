//! Networks that have a part of the range to themselves, and ranges that are used up.

use serde_json::{Value, json};

use super::{Sandbox, network};
use crate::harness::{Lab, PATIENCE, eventually};

fn within(subnet: &Value) -> Value {
    let mut config = network();
    config["subnet"] = subnet.clone();
    config
}

#[test]
fn a_network_has_its_own_part_of_the_range() {
    let lab = Lab::up("subnet", 1);
    let range = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];
    lab.launch(1, &[&range[..], &["--ipalloc-init", "founder"]].concat());
    let pods = ["a", "b", "c", "d", "e"].map(|name| Sandbox::new(&lab, name));

    let mut red = within(&json!("10.32.8.0/24"));
    assert_eq!(pods[0].add(&lab, &red)[0], "10.32.8.1");
    let both = within(&json!(["fd00:77:0:9::/64", "10.32.9.0/24"]));
    assert_eq!(pods[1].add(&lab, &both), ["10.32.9.1", "fd00:77:0:9::1"]);
    // Both are of one segment: the prefix length is the range's.
    let inside = lab.exec(1, &["ip", "-n", pods[1].id(), "address", "show", "eth0"]).stdout;
    assert!(inside.contains("10.32.9.1/12") && inside.contains("fd00:77:0:9::1/48"), "{inside}");
    lab.ok(["exec", "1", "ip", "netns", "exec", pods[0].id(), "ping", "-c1", "-W2", "10.32.9.1"]);

    red["runtimeConfig"] = json!({"ips": ["10.32.8.77"]});
    assert_eq!(pods[2].add(&lab, &red)[0], "10.32.8.77");
    red["runtimeConfig"] = json!({"ips": ["10.32.9.77"]});
    assert_eq!(
        pods[3].call(&lab, 1, "ADD", &red).failed(7),
        "10.32.9.77 is not an address that can be given from 10.32.8.0/24"
    );

    let refused = |subnet: Value| pods[3].call(&lab, 1, "ADD", &within(&subnet)).failed(7);
    let ranges = "10.32.0.0/12,fd00:77::/48";
    for outside in ["192.168.0.0/24", "10.0.0.0/8", "fd00:78::/64"] {
        let text = format!("{outside} is not a part of the range {ranges}");
        assert_eq!(refused(json!(outside)), text);
    }
    assert_eq!(
        refused(json!(["10.32.8.0/24", "10.32.9.0/24"])),
        "10.32.9.0/24 is the second part that was asked for of one range: an interface has one \
         address of each"
    );
    assert_eq!(refused(json!("here")), "invalid subnet \"here\": no CIDR");

    // The plugin that gives addresses to others has the key too.
    let foreign = json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge",
        "ipam": {"type": "weft-ipam", "subnet": "10.32.10.0/24"}});
    let given = pods[4].start(&lab, (1, "weft-ipam", "ADD"), &foreign, &[]).answer();
    assert_eq!(given.addresses()[0], "10.32.10.1");

    for pod in &pods {
        pod.call(&lab, 1, "DEL", &network()).ok();
    }
    assert_eq!(lab.ps(1), Ok(json!([])));
}

#[test]
fn a_part_of_the_range_is_had_on_every_host() {
    let lab = Lab::up("parts", 2);
    let range = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];
    lab.launch(1, &[&range[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&range[..], &["h1"]].concat());
    lab.await_mesh(PATIENCE);
    let config = within(&json!(["10.32.8.0/24", "fd00:77:0:8::/64"]));
    let pods = ["a", "b"].map(|name| Sandbox::new(&lab, name));
    let addresses = [0, 1].map(|pod| {
        let added = pods[pod].call(&lab, pod + 1, "ADD", &config).addresses();
        assert!(
            added[0].starts_with("10.32.8.") && added[1].starts_with("fd00:77:0:8:"),
            "{added:?}"
        );
        added
    });
    assert_ne!(addresses[0], addresses[1]);
    for (host, there) in [(1, &addresses[1]), (2, &addresses[0])] {
        for ip in there {
            eventually("ping between the hosts", PATIENCE, || {
                let ping = ["ip", "netns", "exec", pods[host - 1].id(), "ping", "-c1", "-W1", ip];
                let ping = lab.exec(host, &ping);
                if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
            });
        }
    }
}

#[test]
fn a_range_and_a_part_of_it_that_are_used_up_say_so() {
    let lab = Lab::up("full", 1);
    lab.launch(1, &["--ipalloc-range", "10.40.0.0/28", "--ipalloc-init", "founder"]);
    let mut anywhere = network();
    // The way out would take an address for the host.
    anywhere["defaultRoute"] = false.into();
    let mut part = anywhere.clone();
    part["subnet"] = "10.40.0.8/30".into();

    let pods: Vec<_> = (0..16).map(|pod| Sandbox::new(&lab, &format!("p{pod}"))).collect();
    let (last, pods) = pods.split_last().expect("there are some");
    let (waits, pods) = pods.split_last().expect("there are some");
    for (number, pod) in pods.iter().enumerate() {
        let address = pod.add(&lab, if number < 2 { &part } else { &anywhere }).remove(0);
        let expected = [9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14];
        assert_eq!(address, format!("10.40.0.{}", expected[number]));
    }
    // Both wait as long as an address may become free.
    let calls = [(waits, &part), (last, &anywhere)]
        .map(|(pod, config)| pod.start(&lab, (1, "weft-net", "ADD"), config, &[]));
    let texts = calls.map(|call| call.answer().failed(11));
    assert!(texts[0].contains("waiting for a free address of 10.40.0.8/30"), "{}", texts[0]);
    assert!(texts[1].contains("all of the range are in use"), "{}", texts[1]);

    for pod in pods {
        pod.call(&lab, 1, "DEL", &anywhere).ok();
    }
    assert_eq!(lab.ps(1), Ok(json!([])));
}
