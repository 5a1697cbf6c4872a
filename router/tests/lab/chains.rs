//! The plugins in company: Debian's portmap, bandwidth, tuning and firewall behind `weft-net`, and
//! Debian's bridge with `weft-ipam`.

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, eventually};

/// Writes a conflist and answers its path.
fn conflist(lab: &Lab, name: &str, plugins: &Value) -> String {
    let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
    let path = lab.dir().join(format!("{name}.conflist"));
    std::fs::write(&path, list.to_string()).expect("the lab's folder is there");
    path.to_str().expect("an ASCII path").to_owned()
}

fn mesh_of_two(name: &str) -> Lab {
    let lab = Lab::up(name, 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.await_mesh(PATIENCE);
    lab
}

/// What an HTTP request without a client's comfort answers.
pub(crate) fn fetch(
    lab: &Lab,
    host: usize,
    pod: Option<&str>,
    address: &str,
) -> Result<(), String> {
    let get = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -T2 - TCP:{address},connect-timeout=1"
    );
    let outcome = match pod {
        Some(pod) => lab.podexec(host, pod, &["sh", "-c", &get]),
        None => lab.exec(host, &["sh", "-c", &get]),
    };
    if outcome.stdout.contains("hello") { Ok(()) } else { Err(outcome.stderr) }
}

const SERVER: [&str; 3] = ["socat", "TCP-LISTEN:8080,reuseaddr,fork", "SYSTEM:echo hello"];

#[test]
fn debians_plugins_chain_behind_ours() {
    let lab = mesh_of_two("chain");
    let chain = json!([
        {"type": "weft-net", "ipMasq": true},
        {"type": "portmap", "snat": true,
            "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 8080, "protocol": "tcp"}]}},
        {"type": "bandwidth", "runtimeConfig": {"bandwidth": {"ingressRate": 80_000_000, "ingressBurst": 8_000_000,
            "egressRate": 80_000_000, "egressBurst": 8_000_000}}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "321"}},
        {"type": "firewall"},
    ]);
    // portmap 1.1.1 looks for an IPv6 rule of a Pod that has no such address, so it is left out of CHECK.
    let mut checked = chain.clone();
    checked.as_array_mut().expect("a list").remove(1);
    let checked = conflist(&lab, "checked", &checked);
    lab.ok(["pod", "1", "checked", &checked]);
    lab.ok(["podcheck", "1", "checked"]);
    lab.ok(["unpod", "1", "checked"]);
    let chain = conflist(&lab, "chain", &chain);
    let address = lab.ok(["pod", "1", "web", &chain]);
    let _server = lab.podspawn(1, "web", &SERVER);
    let tuned = lab.podexec(1, "web", &["sysctl", "-n", "net.core.somaxconn"]).stdout;
    assert_eq!(tuned.trim(), "321");
    let shaped = lab.exec(1, &["tc", "qdisc"]).stdout;
    assert!(shaped.contains("tbf"), "{shaped}");

    lab.pod(2, "client");
    eventually("the Pod's port", PATIENCE, || {
        fetch(&lab, 2, Some("client"), &format!("{address}:8080"))
    });
    // portmap: by the host's address in the underlay, from another host.
    eventually("the mapped port", PATIENCE, || fetch(&lab, 2, None, "10.99.0.1:8081"));

    lab.ok(["unpod", "1", "web"]);
    assert_eq!(lab.ps(1), Ok(json!([])));
    assert!(!lab.links(1).iter().any(|link| link.starts_with("wv")), "{:?}", lab.links(1));
    let rules = lab.exec(1, &["iptables-save"]).stdout;
    assert!(!rules.contains(&address), "portmap and firewall have taken their rules away: {rules}");
}

#[test]
fn a_pod_reaches_itself_through_a_service() {
    let lab = Lab::up("hairpin", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.await_mesh(PATIENCE);
    let hairpin = conflist(&lab, "hairpin", &json!([{"type": "weft-net", "hairpinMode": true}]));
    let plain = conflist(&lab, "plain", &json!([{"type": "weft-net"}]));
    for (pod, list, works) in [("with", &hairpin, true), ("without", &plain, false)] {
        let address = lab.ok(["pod", "1", pod, list]);
        let _server = lab.podspawn(1, pod, &SERVER);
        eventually("the server", PATIENCE, || fetch(&lab, 1, None, &format!("{address}:8080")));
        // What kube-proxy does for a Service of one Pod.
        let rules = format!(
            "table ip service {{
               chain pre {{
                 type nat hook prerouting priority dstnat
                 ip daddr 10.96.0.1 tcp dport 80 dnat to {address}:8080
               }}
               chain post {{
                 type nat hook postrouting priority srcnat - 1
                 ip saddr {address} ip daddr {address} masquerade
               }}
             }}"
        );
        lab.ok(["exec", "1", "nft", &rules]);
        if works {
            eventually("the Service", PATIENCE, || fetch(&lab, 1, Some(pod), "10.96.0.1:80"));
        } else {
            assert!(
                fetch(&lab, 1, Some(pod), "10.96.0.1:80").is_err(),
                "the mode makes the difference"
            );
        }
        lab.ok(["exec", "1", "nft", "delete table ip service"]);
    }
}

#[test]
fn debians_bridge_has_its_addresses_from_the_mesh() {
    let lab = mesh_of_two("ipam");
    let list = json!([
        {"type": "bridge", "bridge": "weft", "mtu": 1300, "ipam": {"type": "weft-ipam", "defaultRoute": true}},
    ]);
    let list = conflist(&lab, "lan", &list);
    let mut addresses = Vec::new();
    for (host, pod) in [(1, "a"), (1, "b"), (2, "a")] {
        addresses.push((host, pod, lab.ok(["pod", &host.to_string(), pod, &list])));
    }
    // One of our own wiring beside them.
    addresses.push((2, "own", lab.pod(2, "own")));
    for (host, pod, _) in &addresses {
        for (.., address) in &addresses {
            lab.await_ping(*host, pod, address);
        }
    }
    let inside = lab.podexec(1, "a", &["cat", "/proc/net/arp"]).stdout;
    assert!(inside.contains("10."), "{inside}");
    let ps = lab.ps(1).expect("the daemon answers");
    let link = lab.podexec(1, "a", &["ip", "link", "show", "eth0"]).stdout;
    let mac = ps[0]["mac"].as_str().expect("it has one");
    assert!(link.contains(mac), "the MAC address is the interface's own: {mac}, {link}");
    assert_eq!(ps[0]["network"], "lan");
    let route = lab.podexec(1, "a", &["ip", "route"]).stdout;
    assert!(route.contains("default via 10."), "{route}");
    lab.ok(["podcheck", "1", "a"]);
    for (host, pod, _) in &addresses {
        lab.ok(["unpod", &host.to_string(), pod]);
    }
    for host in [1, 2] {
        assert_eq!(lab.ps(host), Ok(json!([])));
    }
}
