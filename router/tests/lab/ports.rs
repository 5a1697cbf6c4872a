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
fn a_pod_speaks_in_no_vlan() {
    let lab = founder("vlan");
    let (a4, _) = addresses(&lab, "a");
    addresses(&lab, "b");
    // To all, from its own MAC address and its own address: a packet that would pass without the tag.
    let octal = |bytes: &[u8]| bytes.iter().map(|b| format!("\\{b:03o}")).collect::<String>();
    let own: Vec<u8> = mac(&lab, "a")
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("two digits"))
        .collect();
    let address: std::net::Ipv4Addr = a4.parse().expect("an address");
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(address.octets());
    packet.extend([255, 255, 255, 255, 0, 9, 0, 9, 0, 8, 0, 0]);
    let send = |tag: &[u8]| {
        let frame = [&[0xff; 6][..], &own, tag, &[8, 0], &packet].concat();
        let line = format!("printf '{}' | socat -u - INTERFACE:eth0,type=3", octal(&frame));
        ok(&lab, "a", &["sh", "-c", &line]);
    };
    let dropped = || {
        let drops = lab.json(1, &["policy", "drops", "--json"]).expect("it answers");
        drops.as_array().expect("a list").len()
    };
    send(&[]);
    let before = dropped();
    send(&[0x81, 0, 0, 5]);
    await_drop(&lab, "a VLAN tag");
    send(&[0x88, 0xa8, 0, 5]);
    eventually("both tags dropped, and nothing else", PATIENCE, || {
        let now = dropped();
        if now == before + 2 { Ok(()) } else { Err(format!("{before}, {now}")) }
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
    // At once followed by a change of our own, which must not hide it.
    lab.ok(["exec", "1", "nft", "insert", "rule", "bridge", "weft-port", "check", "accept"]);
    addresses(&lab, "later");
    warned("chain check has");
    spoofs("after a rule of others and a Pod of ours");
    lab.ok(["exec", "1", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"]);
    warned("bridge-nf-call-iptables off");
    let setting = lab.ok(["exec", "1", "sysctl", "-n", "net.bridge.bridge-nf-call-iptables"]);
    assert_eq!(setting, "1");
    assert_eq!(lab.status(1).expect("it answers")["policy"]["enforcing"], true);
}

#[test]
fn check_looks_for_the_rules_and_has_them_put_back() {
    let lab = founder("missing");
    let (a4, _) = addresses(&lab, "a");
    let (b4, _) = addresses(&lab, "b");
    lab.ok(["podcheck", "1", "a"]);
    lab.ok(["exec", "1", "nft", "flush", "set", "bridge", "weft-port", "ipv6"]);
    let checked = lab.lab(["podcheck", "1", "a"]);
    assert_ne!(checked.code, 0);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("rules at the Pod's port do not stand"), "{said}");
    assert!(said.contains("set ipv6 of table weft-port"), "{said}");
    eventually("the rules put back", PATIENCE, || {
        let checked = lab.lab(["podcheck", "1", "a"]);
        if checked.code == 0 { Ok(()) } else { Err(checked.stderr) }
    });
    eventually("a warning", PATIENCE, || {
        let warnings = lab.status(1)?["warnings"].to_string();
        let told = warnings.contains("set ipv6 of table weft-port: put back");
        if told { Ok(()) } else { Err(warnings) }
    });
    assert!(ping(&lab, "a", &a4, &b4));
}

#[test]
fn an_address_inherits_no_flow() {
    let lab = founder("inherit");
    let (a4, a6) = addresses(&lab, "a");
    let (b4, _) = addresses(&lab, "b");
    let flows = |address: &str| {
        let table = lab.exec(1, &["cat", "/proc/net/nf_conntrack"]).stdout;
        let lines = table.lines().filter(|line| line.contains(&format!("={address} ")));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // The kernel writes IPv6 addresses in full.
    let full = |address: &str| {
        let address: std::net::Ipv6Addr = address.parse().expect("an address");
        address.segments().map(|part| format!("{part:04x}")).join(":")
    };
    // Somebody goes on speaking to an address that nobody has, which makes flows that are allowed.
    let (later4, later6) = ("10.40.0.7", "fd00:77::4:7");
    for (address, arguments) in [(later4, "-4"), (later6, "-6")] {
        let neighbour =
            ["ip", arguments, "neigh", "replace", address, "lladdr", "0a:58:0a:28:00:07"];
        ok(&lab, "a", &[&neighbour[..], &["dev", "eth0"]].concat());
    }
    ok(&lab, "a", &["sh", "-c", &format!("echo x | socat -u - UDP4:{later4}:9")]);
    ok(&lab, "a", &["sh", "-c", &format!("echo x | socat -u - UDP6:[{later6}]:9")]);
    ok(&lab, "b", &["sh", "-c", &format!("echo x | socat -u - UDP4:{a4}:9")]);
    assert_eq!((flows(later4).len(), flows(&full(later6)).len()), (1, 1));
    assert_eq!((flows(&b4).len(), flows(&full(&a6)).len()), (1, 1));

    let namespace = lab.pod_namespace(1, "later");
    lab.ok(["exec", "1", "ip", "netns", "add", &namespace]);
    let netns = format!("/run/netns/{namespace}");
    let (ip4, ip6) = (format!("{later4}/12"), format!("{later6}/48"));
    let attached = lab.weft(1, &["attach", "--netns", &netns, "--ip", &ip4, "--ip", &ip6]);
    assert_eq!(attached.code, 0, "{}", attached.stderr);
    assert_eq!(flows(later4), [""; 0], "before anyone has the address");
    assert_eq!(flows(&full(later6)), [""; 0]);
    assert_eq!(flows(&b4).len(), 1, "the flows of others go on");

    // Nor when it goes.
    lab.ok(["unpod", "1", "b"]);
    eventually("the flows of a Pod that has gone deleted", PATIENCE, || {
        let left = flows(&b4);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[test]
fn a_restart_opens_and_closes_nothing() {
    let lab = founder("gapless");
    let (a4, _) = addresses(&lab, "a");
    let (b4, _) = addresses(&lab, "b");
    let (victim4, _) = addresses(&lab, "v");
    assert!(ping(&lab, "a", &a4, &b4));
    ok(&lab, "a", &["ip", "addr", "add", &format!("{victim4}/32"), "dev", "eth0"]);
    // What leaves the Pods and what arrives is counted there.
    let count = |pod: &str, hook: &str, what: &str| {
        ok(&lab, pod, &["nft", "add table ip seen"]);
        let chain = format!("add chain ip seen {hook} {{ type filter hook {hook} priority 0; }}");
        ok(&lab, pod, &["nft", &chain]);
        ok(&lab, pod, &["nft", &format!("add rule ip seen {hook} {what} counter")]);
    };
    count("a", "output", &format!("ip saddr {a4} icmp type echo-request"));
    count("a", "input", &format!("ip saddr {b4} icmp type echo-reply"));
    count("b", "input", &format!("ip saddr {victim4}"));
    let counted = |pod: &str, hook: &str| {
        let listed = lab.podexec(1, pod, &["nft", "list", "chain", "ip", "seen", hook]).stdout;
        let packets = listed.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        packets.and_then(|packets| packets.parse::<u64>().ok()).expect("a counter")
    };
    let allowed = lab.podspawn(1, "a", &["ping", "-n", "-i", "0.01", "-I", &a4, &b4]);
    let denied = lab.podspawn(1, "a", &["ping", "-n", "-i", "0.01", "-I", &victim4, &b4]);
    for (signal, pod) in [("-9", "killed"), ("-TERM", "ended")] {
        let before = counted("a", "input");
        lab.ok(["kill", "1", signal]);
        lab.launch(1, &RANGES);
        addresses(&lab, pod);
        assert!(counted("a", "input") > before);
    }
    drop((allowed, denied));
    eventually("an answer to each packet", PATIENCE, || {
        let (sent, answered) = (counted("a", "output"), counted("a", "input"));
        if sent == answered { Ok(()) } else { Err(format!("{sent} sent, {answered} answered")) }
    });
    assert_eq!(counted("b", "input"), 0, "packets under another's address arrived");
}

#[test]
fn large_packets_pass_whole() {
    let lab = founder("whole");
    addresses(&lab, "a");
    let (b4, _) = addresses(&lab, "b");
    let manifest = lab.dir().join("allow.yaml");
    let text = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: some, namespace: default}, \
                spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 5201}]}]}}";
    std::fs::write(&manifest, text).expect("the lab's folder can be written");
    let path = manifest.to_str().expect("UTF-8");
    lab.ok(["weft", "1", "policy", "apply", "-f", path]);
    eventually("both Pods isolated", PATIENCE, || {
        let policy = lab.status(1)?["policy"].clone();
        if policy["isolated_pods"] == 2 { Ok(()) } else { Err(policy.to_string()) }
    });
    let _server = lab.podspawn(1, "b", &["iperf3", "-s"]);
    eventually("a transfer", PATIENCE, || {
        let sent = lab.podexec(1, "a", &["iperf3", "-c", &b4, "-n", "50M"]);
        if sent.code == 0 { Ok(()) } else { Err(sent.stdout + &sent.stderr) }
    });
    let received = |what: &str| {
        let path = format!("/sys/class/net/eth0/statistics/rx_{what}");
        lab.podexec(1, "b", &["cat", &path]).stdout.trim().parse::<u64>().expect("a number")
    };
    let (bytes, packets) = (received("bytes"), received("packets"));
    assert!(bytes > 50 << 20 && bytes / packets > 4000, "{bytes} bytes in {packets} packets");
}
