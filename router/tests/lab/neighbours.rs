//! Who answers for a Pod of another host: the router on the spot.

use std::fs::read_to_string;

use crate::harness::{Background, Lab, PATIENCE, eventually};

/// Listens in a Pod, into a file of the lab.
fn listen(lab: &Lab, host: usize, pod: &str) -> (Background, impl Fn() -> String + use<>) {
    let file = lab.host_dir(host).join("heard");
    let filter = "arp or icmp or (icmp6 and (ip6[40] == 135 or ip6[40] == 128))";
    let command = format!("exec tcpdump -n -l -i eth0 '{filter}' >{} 2>&1", file.display());
    let listener = lab.podspawn(host, pod, &["sh", "-c", &command]);
    let heard = move || read_to_string(&file).unwrap_or_default();
    eventually("listener", PATIENCE, || {
        if heard().contains("listening on") { Ok(()) } else { Err(heard()) }
    });
    (listener, heard)
}

#[test]
fn remote_pods_are_resolved_without_asking_them() {
    let lab = Lab::up("neighbours", 2);
    let range = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];
    lab.launch(1, &[&range[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&range[..], &["h1"]].concat());
    lab.await_mesh(PATIENCE);
    for host in [1, 2] {
        lab.pod(host, "a");
    }
    let there = lab.ps(2).expect("the daemon answers");
    let (_asking, asks) = listen(&lab, 1, "a");
    let (_asked, hears) = listen(&lab, 2, "a");
    let mac = there[0]["mac"].as_str().expect("it has a MAC address");
    for ip in there[0]["ips"].as_array().expect("it has addresses") {
        let ip = ip.as_str().and_then(|ip| ip.split('/').next()).expect("an address");
        let (question, echo) = if ip.contains(':') {
            (format!("neighbor solicitation, who has {ip}"), "ICMP6, echo request")
        } else {
            (format!("Request who-has {ip} "), "ICMP echo request")
        };
        lab.await_ping(1, "a", ip);
        let table = lab.podexec(1, "a", &["ip", "neighbour", "show", ip]).stdout;
        // The answer is derived from the address; a Pod's own MAC address, from its first one.
        assert!(table.contains("lladdr 0a:58:"), "{table}");
        assert_eq!(table.contains(mac), !ip.contains(':'), "{table}");
        eventually("question", PATIENCE, || {
            if asks().contains(&question) { Ok(()) } else { Err(asks()) }
        });
        eventually("ping", PATIENCE, || if hears().contains(echo) { Ok(()) } else { Err(hears()) });
        let heard = hears();
        assert!(!heard.contains(&question), "the question crossed the mesh: {heard}");
    }
}
