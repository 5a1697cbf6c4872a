//! What a Pod may send whatever the policies say: its own addresses, and nothing that the segment's
//! other members would mistake for a router's or a neighbour's.

use crate::harness::{Lab, Outcome, PATIENCE, eventually};

const RANGES: [&str; 2] = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];

fn founder(name: &str) -> Lab {
    let lab = Lab::up(name, 1);
    lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
    lab
}

/// The addresses of a Pod, IPv4 and IPv6.
fn addresses(lab: &Lab, pod: &str) -> (String, String) {
    lab.pod(1, pod);
    let rows = lab.ps(1).expect("ps answers");
    let container = lab.pod_namespace(1, pod);
    let row = rows.as_array().and_then(|rows| rows.iter().find(|r| r["container"] == container));
    let ip = |index: usize| {
        let ip = row.and_then(|row| row["ips"][index].as_str()).expect("it has both families");
        ip.split('/').next().expect("an address").to_owned()
    };
    (ip(0), ip(1))
}

/// The MAC address that a Pod was given.
fn mac(lab: &Lab, pod: &str) -> String {
    let rows = lab.ps(1).expect("ps answers");
    let container = lab.pod_namespace(1, pod);
    let row = rows.as_array().and_then(|rows| rows.iter().find(|r| r["container"] == container));
    row.and_then(|row| row["mac"].as_str()).expect("it has one").to_owned()
}

fn ping(lab: &Lab, pod: &str, from: &str, to: &str) -> bool {
    let ping = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-I", from, to];
    lab.podexec(1, pod, &ping).code == 0
}

/// Runs a command in a Pod; it must succeed.
#[track_caller]
fn ok(lab: &Lab, pod: &str, command: &[&str]) {
    let Outcome { code, stderr, .. } = lab.podexec(1, pod, command);
    assert_eq!(code, 0, "{command:?}: {stderr}");
}

/// Waits until a drop for this reason is in the log.
#[track_caller]
fn await_drop(lab: &Lab, reason: &str) {
    eventually(&format!("drop because of {reason}"), PATIENCE, || {
        let drops = lab.json(1, &["policy", "drops", "--json"])?;
        let found = drops
            .as_array()
            .into_iter()
            .flatten()
            .any(|drop| drop["reason"].as_str().is_some_and(|text| text.contains(reason)));
        if found { Ok(()) } else { Err(drops.to_string()) }
    });
}

#[test]
fn a_pod_cannot_speak_for_another() {
    let lab = founder("spoof");
    let (a4, a6) = addresses(&lab, "a");
    let (b4, b6) = addresses(&lab, "b");
    let (victim4, victim6) = addresses(&lab, "v");
    assert!(ping(&lab, "a", &a4, &b4) && ping(&lab, "a", &a6, &b6), "without spoofing it works");
    let of_victim = lab.exec(1, &["ip", "-n", &lab.pod_namespace(1, "b"), "neigh"]);
    assert!(!of_victim.stdout.contains(&format!("{victim4} ")), "b knows no victim yet");

    // Its addresses, from the Pod's own MAC address.
    ok(&lab, "a", &["ip", "addr", "add", &format!("{victim4}/32"), "dev", "eth0"]);
    ok(&lab, "a", &["ip", "-6", "addr", "add", &format!("{victim6}/128"), "dev", "eth0", "nodad"]);
    assert!(!ping(&lab, "a", &victim4, &b4));
    await_drop(&lab, "not the Pod's IPv4 address");
    assert!(!ping(&lab, "a", &victim6, &b6));
    await_drop(&lab, "not the Pod's IPv6 address");
    // The kernel announces all addresses of an interface, in ARP and ND, when its MAC is set.
    let own = mac(&lab, "a");
    ok(&lab, "a", &["ip", "link", "set", "eth0", "address", &own]);
    await_drop(&lab, "ARP for an address that is not the Pod's");
    await_drop(&lab, "neighbour discovery for an address not the Pod's");
    let neighbours = lab.exec(1, &["ip", "-n", &lab.pod_namespace(1, "b"), "neigh"]).stdout;
    let taken = |line: &str| line.starts_with(&format!("{victim4} ")) && line.contains(&own);
    assert!(!neighbours.lines().any(taken), "{neighbours}");
    assert!(ping(&lab, "a", &a4, &b4) && ping(&lab, "a", &a6, &b6), "its own still work");
    assert!(ping(&lab, "b", &b4, &victim4), "and so does the victim");

    // Another MAC address.
    ok(&lab, "a", &["ip", "link", "set", "eth0", "address", "0a:58:00:00:00:99"]);
    assert!(!ping(&lab, "a", &a4, &b4));
    await_drop(&lab, "not the Pod's MAC address");
    ok(&lab, "a", &["ip", "link", "set", "eth0", "address", &own]);
    eventually("a ping with the MAC address as it was", PATIENCE, || {
        if ping(&lab, "a", &a4, &b4) { Ok(()) } else { Err("no answer".to_owned()) }
    });
}

#[test]
fn a_pod_is_no_router() {
    let lab = founder("router");
    addresses(&lab, "a");
    addresses(&lab, "b");
    // A router advertisement (RFC 4861, 4.2); the kernel fills in its checksum.
    let advertise = r"printf '\206\0\0\0\100\0\7\10\0\0\0\0\0\0\0\0' | socat -u - 'IP6-SENDTO:[ff02::1%eth0]:58'";
    ok(&lab, "a", &["sh", "-c", advertise]);
    await_drop(&lab, "router advertisement");
    // Neither IP nor ARP: it would pass the policies.
    let socket = "socat -u - INTERFACE:eth0,type=3";
    let frame =
        format!(r"printf '\377\377\377\377\377\377\12\130\12\40\0\2\210\265hello' | {socket}");
    ok(&lab, "a", &["sh", "-c", &frame]);
    eventually("a frame of another protocol dropped", PATIENCE, || {
        let chain = ["nft", "list", "chain", "bridge", "weft-port", "drop_protocol"];
        let listing = lab.exec(1, &chain).stdout;
        if listing.contains("counter packets 1 ") { Ok(()) } else { Err(listing) }
    });
}

#[test]
fn a_port_of_nobody_lets_nothing_through() {
    let lab = founder("nobody");
    let (a4, _) = addresses(&lab, "a");
    // Named like a Pod's port, but the daemon has never heard of it.
    let shell = format!(
        "ip link add wv00000000ff type veth peer name stray && ip link set wv00000000ff master weft up \
         && ip link set stray up && ip addr add 10.40.0.9/12 dev stray && ! ping -c 2 -i 0.2 -W 1 -I stray {a4}"
    );
    let outcome = lab.exec(1, &["sh", "-c", &shell]);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    await_drop(&lab, "the port is no known Pod's");
}

#[test]
fn rules_outlive_the_daemon_and_are_put_back() {
    let lab = founder("outlive");
    let (a4, _) = addresses(&lab, "a");
    let (b4, _) = addresses(&lab, "b");
    let (victim4, _) = addresses(&lab, "v");
    assert!(ping(&lab, "a", &a4, &b4));
    ok(&lab, "a", &["ip", "addr", "add", &format!("{victim4}/32"), "dev", "eth0"]);
    let spoofs = |what: &str| assert!(!ping(&lab, "a", &victim4, &b4), "{what}");
    spoofs("at first");
    lab.ok(["kill", "1", "-9"]);
    spoofs("killed");
    assert!(ping(&lab, "a", &a4, &b4), "the Pods go on without the daemon");
    lab.launch(1, &RANGES);
    spoofs("restarted");
    assert!(ping(&lab, "a", &a4, &b4));

    let warned = |what: &str| {
        eventually(&format!("warning of {what}"), PATIENCE, || {
            let status = lab.status(1)?;
            let warnings = status["warnings"].to_string();
            if warnings.contains(what) { Ok(()) } else { Err(warnings) }
        });
    };
    for (table, what) in [
        ("bridge weft-port", "bridge weft-port was removed"),
        ("inet weft-policy", "inet weft-policy was removed"),
    ] {
        lab.ok(["exec", "1", "sh", "-c", &format!("nft delete table {table}")]);
        warned(what);
        lab.ok(["exec", "1", "sh", "-c", &format!("nft list table {table}")]);
        spoofs(what);
    }
    lab.ok(["exec", "1", "nft", "insert", "rule", "inet", "weft-policy", "forward", "accept"]);
    warned("chain forward has");
    lab.ok(["exec", "1", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"]);
    warned("bridge-nf-call-iptables off");
    let setting = lab.ok(["exec", "1", "sysctl", "-n", "net.bridge.bridge-nf-call-iptables"]);
    assert_eq!(setting, "1");
    assert_eq!(lab.status(1).expect("it answers")["policy"]["enforcing"], true);
}
