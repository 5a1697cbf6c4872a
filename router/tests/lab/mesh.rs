//! The main job: hosts find each other, and their Pods reach each other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn three_nodes_chained_by_one_peer_each_are_a_full_mesh() {
    let lab = Lab::up("chain", 3);
    lab.launch(1, &["h3", "--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.launch(3, &["h2"]);
    let launched = Instant::now();
    lab.await_mesh(Duration::from_secs(10));
    println!("a full mesh {:?} after the last launch answered", launched.elapsed());

    let names: Vec<_> = (1..=3)
        .map(|host| {
            let status = lab.status(host).expect("the daemon answers");
            status["router"]["name"].as_str().expect("the name is text").to_owned()
        })
        .collect();
    assert!(names.iter().all(|name| name.len() == 64), "{names:?}");
    eventually("every connection in the tables of all", PATIENCE, || {
        for host in 1..=3 {
            let peers = lab.json(host, &["status", "peers", "--json"])?;
            let links: usize = peers
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|peer| peer["connections"].as_array())
                .map(|links| links.iter().filter(|link| link["established"] == true).count())
                .sum();
            if links != 6 {
                return Err(format!("host {host} knows {links} of 6: {peers}"));
            }
        }
        Ok(())
    });
    for (host, own) in (1..).zip(&names) {
        check_status(&lab, host, own);
        check_tables(&lab, host, own, &names);
    }
}

/// The fields that programs rely on.
fn check_status(lab: &Lab, host: usize, own: &str) {
    let status = lab.status(host).expect("the daemon answers");
    assert!(status["version"].is_string(), "{status}");
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["warnings"], json!([]), "{status}");
    let router = &status["router"];
    assert_eq!(router["name"], *own);
    assert_eq!(router["nickname"], format!("h{host}"));
    assert_eq!(router["port"], 6783);
    assert_eq!(router["discovery"], true);
    assert_eq!(router["peers"], 3);
    assert!(router["targets"].as_array().is_some_and(|targets| targets.len() == 1), "{router}");
    let counts =
        json!({"established": 2, "pending": 0, "retrying": 0, "failed": 0, "connecting": 0});
    assert_eq!(router["connections"], counts);
    let ipam = &status["ipam"];
    assert_eq!(ipam["state"], "ready");
    assert_eq!(ipam["ranges"], json!(["10.32.0.0/12"]));
    assert!(ipam["owned"].is_u64() && ipam["active"] == 0, "{ipam}");
    for count in ["policies", "isolated_pods"] {
        assert!(status["policy"][count].is_u64(), "{status}");
    }
    assert!(status["policy"]["enforcing"].is_boolean(), "{status}");
}

fn check_tables(lab: &Lab, host: usize, own: &str, names: &[String]) {
    let table = |name: &str| lab.json(host, &["status", name, "--json"]).expect("there is a table");
    let names_of = |rows: &Value| {
        let mut names: Vec<_> = rows
            .as_array()
            .expect("a table is a list")
            .iter()
            .map(|row| row["peer"].as_str().expect("a peer has a name").to_owned())
            .collect();
        names.sort();
        names
    };
    let mut all = names.to_vec();
    all.sort();
    let mut others = all.clone();
    others.retain(|name| name != own);

    let connections = table("connections");
    assert_eq!(names_of(&connections), others);
    for connection in connections.as_array().expect("a table is a list") {
        assert_eq!(connection["state"], "established", "{connection}");
        assert_eq!(connection["transport"], "udp", "{connection}");
        assert_eq!(connection["path"], "direct", "{connection}");
        assert!(["in", "out"].iter().any(|way| connection["direction"] == *way), "{connection}");
        assert!(connection["address"].as_str().is_some_and(|a| a.contains(':')), "{connection}");
        assert!(connection["cipher"].is_string(), "{connection}");
        assert!(connection["mtu"].is_u64() && connection["rtt_us"].is_u64(), "{connection}");
    }
    let peers = table("peers");
    assert_eq!(names_of(&peers), all);
    for peer in peers.as_array().expect("a table is a list") {
        assert_eq!(peer["reachable"], true, "{peer}");
        assert!(peer["version"].is_string(), "{peer}");
    }
    let ipam = table("ipam");
    assert!(names_of(&ipam).iter().all(|name| all.contains(name)), "{ipam}");
    let total: u64 =
        ipam.as_array().into_iter().flatten().filter_map(|owner| owner["addresses"].as_u64()).sum();
    assert_eq!(total, 1 << 20, "a /12 has one owner for each address: {ipam}");
    assert_eq!(table("targets").as_array().map(Vec::len), Some(1));
    for name in ["connections", "peers", "targets", "ipam"] {
        let text = lab.weft(host, &["status", name]);
        assert!(text.code == 0 && !text.stdout.trim().is_empty(), "status {name}: {}", text.stderr);
    }
}

#[test]
fn pods_of_three_hosts_reach_each_other() {
    let lab = Lab::mesh("pods");
    for host in 1..=3 {
        for name in ["a", "b"] {
            lab.pod(host, name);
            lab.ok(["podcheck", &host.to_string(), name]);
        }
    }
    let pods = lab.ok(["pods"]);
    let mut addresses: Vec<_> =
        pods.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 6, "{pods}");
    let pings = lab.lab(["pingall"]);
    assert_eq!(pings.stdout, "30 of 30 pings\n");

    a_large_ping_passes(&lab);
    multicast_reaches_all_hosts(&lab);
    for host in 1..=3 {
        assert!(lab.metric(host, "weft_dataplane_packets_total") > Some(0.0));
        assert!(lab.metric(host, "weft_gossip_bytes_total") > Some(0.0));
    }
}

/// 8,000 bytes leave the Pod as fragments of its own, or as one super-frame: either way all of them
/// must arrive.
fn a_large_ping_passes(lab: &Lab) {
    let address = address_of(lab, 3, "b");
    eventually("an 8,000-byte ping", PATIENCE, || {
        let ping =
            lab.podexec(1, "a", &["ping", "-n", "-c", "1", "-W", "2", "-s", "8000", &address]);
        if ping.code == 0 && ping.stdout.contains("8008 bytes from") {
            Ok(())
        } else {
            Err(ping.stdout)
        }
    });
}

fn multicast_reaches_all_hosts(lab: &Lab) {
    let files = [2, 3].map(|host| (host, lab.host_dir(host).join("multicast")));
    let receivers = files.clone().map(|(host, file)| {
        let listen = "UDP4-RECV:5007,reuseaddr,ip-add-membership=239.1.2.3:eth0";
        let target = format!("OPEN:{},creat,append", file.display());
        let receiver = lab.podspawn(host, "b", &["socat", "-u", listen, &target]);
        eventually("group joined", PATIENCE, || {
            let groups = lab.podexec(host, "b", &["ip", "maddress", "show", "dev", "eth0"]).stdout;
            if groups.contains("239.1.2.3") { Ok(()) } else { Err(groups) }
        });
        receiver
    });
    let send = "printf marker | socat -u - UDP4-DATAGRAM:239.1.2.3:5007,ip-multicast-ttl=4";
    eventually("multicast packet at both other hosts", PATIENCE, || {
        let sent = lab.podexec(1, "a", &["sh", "-c", send]);
        assert_eq!(sent.code, 0, "{}", sent.stderr);
        for (host, file) in &files {
            let received = std::fs::read_to_string(file).unwrap_or_default();
            if !received.contains("marker") {
                return Err(format!("none at host {host}"));
            }
        }
        Ok(())
    });
    drop(receivers);
}

/// A Pod's address, as `scripts/lab` remembers it.
pub(crate) fn address_of(lab: &Lab, host: usize, pod: &str) -> String {
    let pods = lab.ok(["pods"]);
    let prefix = format!("{host} {pod} ");
    let line = pods.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no Pod h{host}/{pod} in {pods}")).to_owned()
}
