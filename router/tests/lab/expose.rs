//! The host's own address, and the way out for Pods.

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, eventually};

const RANGES: [&str; 2] = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];

/// The addresses of the host's own entry, which stands first; none where the host is hidden.
fn exposed(lab: &Lab, host: usize) -> Vec<String> {
    let ps = lab.json(host, &["ps", "--json"]).expect("the daemon answers");
    if ps[0]["container"] != "weft:expose" {
        return Vec::new();
    }
    let ips = ps[0]["ips"].as_array().expect("a list").iter();
    ips.filter_map(|ip| ip.as_str()?.split_once('/').map(|(ip, _)| ip.to_owned())).collect()
}

/// Waits until a ping from a host to an address is answered.
fn host_reaches(lab: &Lab, host: usize, address: &str) {
    eventually(&format!("a ping from host {host} to {address}"), PATIENCE, || {
        let ping = lab.exec(host, &["ping", "-n", "-c", "1", "-W", "1", address]);
        if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
    });
}

#[test]
fn an_exposed_host_reaches_all_pods_and_stays_so() {
    let lab = Lab::up("expose", 2);
    lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&RANGES[..], &["h1"]].concat());
    lab.await_mesh(PATIENCE);
    // Pods without a way out do not expose their host.
    let attach = |host: usize| {
        let namespace = lab.pod_namespace(host, "x");
        lab.ok(["exec", &host.to_string(), "ip", "netns", "add", &namespace]);
        let path = format!("/run/netns/{namespace}");
        let row = lab.json(host, &["attach", "--netns", &path, "--json"]).expect("it attaches");
        let ips: Vec<_> = row["ips"].as_array().expect("a list").iter().collect();
        ips.iter().filter_map(|ip| Some(ip.as_str()?.split_once('/')?.0.to_owned())).collect()
    };
    let (here, there): (Vec<String>, Vec<String>) = (attach(1), attach(2));
    assert_eq!((here.len(), there.len()), (2, 2));
    assert!(exposed(&lab, 1).is_empty());

    let printed = lab.ok(["weft", "1", "expose"]);
    assert_eq!(printed, lab.ok(["weft", "1", "expose"]), "repeating it changes nothing");
    let own = exposed(&lab, 1);
    assert_eq!(printed.lines().count(), 2);
    assert_eq!(own.len(), 2);
    let table = lab.ok(["weft", "1", "ps"]);
    assert!(table.starts_with("weft:expose"), "{table}");
    for address in here.iter().chain(&there) {
        host_reaches(&lab, 1, address);
    }
    // And is reached, from a Pod of another host too.
    for address in &own {
        for host in [1, 2] {
            let namespace = lab.pod_namespace(host, "x");
            eventually("a ping to the host", PATIENCE, || {
                let ping = lab.exec(
                    host,
                    &[
                        "ip", "netns", "exec", &namespace, "ping", "-n", "-c", "1", "-W", "1",
                        address,
                    ],
                );
                if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
            });
        }
    }

    lab.ok(["kill", "1", "-9"]);
    lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
    lab.await_mesh(PATIENCE);
    assert_eq!(exposed(&lab, 1), own);
    host_reaches(&lab, 1, &there[0]);

    lab.ok(["weft", "1", "hide"]);
    assert_eq!(lab.weft(1, &["hide"]).code, 0, "it may be repeated");
    assert!(exposed(&lab, 1).is_empty());
    let addresses = lab.exec(1, &["ip", "-o", "address", "show", "dev", "weft"]).stdout;
    assert!(own.iter().all(|address| !addresses.contains(address)), "{addresses}");
    for host in [1, 2] {
        lab.ok(["exec", &host.to_string(), "ip", "netns", "del", &lab.pod_namespace(host, "x")]);
    }
}

/// A conflist with these keys in the plugin's configuration.
fn conflist(lab: &Lab, name: &str, keys: &Value) -> String {
    let mut plugin = json!({"type": "weft-net"});
    for (key, value) in keys.as_object().expect("an object") {
        plugin[key] = value.clone();
    }
    let list = json!({"cniVersion": "1.0.0", "name": "weft", "plugins": [plugin]});
    let path = lab.dir().join(format!("{name}.conflist"));
    std::fs::write(&path, list.to_string()).expect("the lab's folder is there");
    path.to_str().expect("an ASCII path").to_owned()
}

/// The addresses that a server in the underlay sees requests of a Pod come from, v4 and v6.
fn seen_from(lab: &Lab, host: usize, pod: &str) -> (bool, bool) {
    let reach = |address: &str| {
        lab.podexec(host, pod, &["ping", "-n", "-c", "1", "-W", "1", address]).code == 0
    };
    (reach("10.99.0.254"), reach("fd99::fe"))
}

#[test]
fn what_leaves_the_mesh_is_masqueraded_and_what_stays_is_not() {
    let lab = Lab::up("masq", 2);
    lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&RANGES[..], &["h1"]].concat());
    lab.await_mesh(PATIENCE);
    let masq = conflist(&lab, "masq", &json!({"ipMasq": true}));
    let exempt = json!({"ipMasq": true, "ipMasqExempt": ["10.32.0.0/12"]});
    let exempt = conflist(&lab, "exempt", &exempt);
    let closed = conflist(&lab, "closed", &json!({"defaultRoute": false}));
    lab.ok(["pod", "1", "closed", &closed]);
    assert!(exposed(&lab, 1).is_empty(), "nobody has asked for a way out");
    let route = lab.podexec(1, "closed", &["ip", "route"]).stdout;
    assert!(!route.contains("default"), "{route}");

    lab.ok(["pod", "1", "masq", &masq]);
    let own = exposed(&lab, 1);
    assert_eq!(own.len(), 2);
    let route = lab.podexec(1, "masq", &["ip", "route"]).stdout;
    assert!(route.contains(&format!("default via {} dev eth0", own[0])), "{route}");
    // The underlay's switch knows no route back to the mesh: an answer proves the translation.
    eventually("a ping out of the mesh", PATIENCE, || match seen_from(&lab, 1, "masq") {
        (true, true) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    lab.ok(["podcheck", "1", "masq"]);

    // An exempt IPv4 address leaves as it is, and finds no way back; IPv6 is not exempt. The table is
    // the one that was there.
    let table = || lab.exec(1, &["nft", "-a", "list", "table", "inet", "weft_nat"]).stdout;
    let before = table();
    let address = lab.ok(["pod", "1", "exempt", &exempt]);
    let exempted = table();
    assert_eq!(exempted.lines().next(), before.lines().next(), "the handle stands there");
    let is_exempt = |table: &str| table.contains(&format!("elements = {{ {address} }}"));
    assert!(is_exempt(&exempted), "{exempted}");
    assert_eq!(seen_from(&lab, 1, "exempt"), (false, true));
    assert_eq!(seen_from(&lab, 1, "masq"), (true, true));

    // Inside the mesh the Pod's own address arrives, on this host and on the other.
    for (host, pod) in [(1, "server"), (2, "server")] {
        lab.ok(["pod", &host.to_string(), pod, &masq]);
    }
    for host in [1, 2] {
        let server = lab.ok(["podexec", &host.to_string(), "server", "ip", "-4", "-o", "addr"]);
        let server = server.split("inet ").last().and_then(|rest| rest.split('/').next());
        let server = server.expect("it has an address").to_owned();
        lab.await_ping(1, "exempt", &server);
        // The server answers with the address that it sees its client at.
        let _server = lab.podspawn(
            host,
            "server",
            &["socat", "TCP-LISTEN:7000,reuseaddr,fork", "SYSTEM:echo $SOCAT_PEERADDR"],
        );
        let target = format!("TCP:{server}:7000,connect-timeout=1");
        let seen = eventually("an answer", PATIENCE, || {
            let answer = lab.podexec(1, "masq", &["socat", "-u", &target, "-"]);
            if answer.stdout.is_empty() { Err(answer.stderr) } else { Ok(answer.stdout) }
        });
        let client = lab.ok(["podexec", "1", "masq", "ip", "-4", "-o", "addr", "show", "eth0"]);
        let client = client.split("inet ").last().and_then(|rest| rest.split('/').next());
        assert_eq!(Some(seen.trim()), client);
    }
    assert_ne!(address, own[0]);

    // A table that somebody has removed comes back with the next change.
    lab.exec(1, &["nft", "delete", "table", "inet", "weft_nat"]);
    assert_eq!(table(), "");
    lab.ok(["unpod", "1", "exempt"]);
    eventually("the table", PATIENCE, || match table() {
        table if table.contains("masquerade") && !is_exempt(&table) => Ok(()),
        other => Err(other),
    });
    assert_eq!(seen_from(&lab, 1, "masq"), (true, true));

    let refused = lab.weft(1, &["hide"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("Pods on this host go out through its address"),
        "{}",
        refused.stderr
    );
    for pod in ["masq", "server", "closed"] {
        lab.ok(["unpod", "1", pod]);
    }
    lab.ok(["weft", "1", "hide"]);
    let tables = lab.exec(1, &["nft", "list", "tables"]).stdout;
    assert!(!tables.contains("weft_nat"), "{tables}");
}
