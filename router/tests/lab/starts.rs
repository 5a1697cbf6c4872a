//! Ways in which a mesh comes to be: all at once without a founder, and over IPv6.

use std::process::Stdio;

use crate::chains::fetch;
use crate::harness::{Lab, PATIENCE, eventually};

/// Launches all hosts at the same time, each with the same arguments.
fn launch_all(lab: &Lab, hosts: usize, arguments: &[&str]) {
    let launches: Vec<_> = (1..=hosts)
        .map(|host| {
            let host = host.to_string();
            let mut command = lab.command(["launch", &host].iter().chain(arguments));
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    for launch in launches {
        let output = launch.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn started_at_once_without_a_founder_they_agree_on_one_ring() {
    let lab = Lab::up("symmetric", 4);
    launch_all(&lab, 4, &["h1", "h2", "h3", "h4"]);
    lab.await_mesh(PATIENCE);
    let addresses: Vec<_> = (1..=4).map(|host| lab.pod(host, "a")).collect();
    let mut distinct = addresses.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{addresses:?}");
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout.ends_with("12 of 12 pings\n") { Ok(()) } else { Err(pings.stdout) }
    });
    for host in 1..=4 {
        let ipam = lab.json(host, &["status", "ipam", "--json"]).expect("there is a table");
        let owners = ipam.as_array().expect("a table is a list").iter();
        let total: u64 = owners.filter_map(|owner| owner["addresses"].as_u64()).sum();
        assert_eq!(total, 1 << 20, "a /12 has one owner for each address: {ipam}");
    }
}

#[test]
fn an_underlay_without_ipv4_carries_pods_of_both_families() {
    let lab = Lab::up("sixes", 2);
    for host in ["1", "2"] {
        lab.ok(["exec", host, "ip", "-4", "address", "flush", "dev", "eth0"]);
    }
    let no_way = lab.exec(2, &["ping", "-n", "-c", "1", "-W", "1", "10.99.0.1"]);
    assert_ne!(no_way.code, 0, "the underlay has IPv4: {}", no_way.stdout);
    let range = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];
    lab.launch(1, &[&range[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&range[..], &["[fd99::1]"]].concat());
    lab.await_mesh(PATIENCE);
    let connections = lab.json(2, &["status", "connections", "--json"]).expect("there is a table");
    assert_eq!(connections[0]["address"], "[fd99::1]:6783", "{connections}");
    let server = ["socat", "TCP6-LISTEN:8080,ipv6only=0,reuseaddr,fork", "SYSTEM:echo hello"];
    let _servers = [1, 2].map(|host| {
        lab.pod(host, "a");
        lab.podspawn(host, "a", &server)
    });
    for (from, to) in [(1, 2), (2, 1)] {
        let ps = lab.ps(to).expect("the daemon answers");
        let ips = ps[0]["ips"].as_array().expect("a Pod has addresses").clone();
        assert_eq!(ips.len(), 2, "{ps}");
        for ip in ips {
            let ip = ip.as_str().and_then(|ip| ip.split('/').next()).expect("an address");
            lab.await_ping(from, "a", ip);
            let large = ["ping", "-n", "-c", "1", "-W", "2", "-s", "8000", ip];
            eventually("large ping", PATIENCE, || {
                let ping = lab.podexec(from, "a", &large);
                if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
            });
            let server =
                if ip.contains(':') { format!("[{ip}]:8080") } else { format!("{ip}:8080") };
            eventually("page", PATIENCE, || fetch(&lab, from, Some("a"), &server));
        }
    }
}
