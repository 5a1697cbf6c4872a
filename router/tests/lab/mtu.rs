//! Underlays that take shorter packets than their interfaces say, and tell nobody.

use std::time::{Duration, Instant};

use crate::harness::{Background, Lab, PATIENCE, eventually};

/// What is around a Pod's packet on an IPv4 underlay: IP, UDP, the tunnel, Ethernet.
const AROUND: u64 = 20 + 8 + 43 + 14;

/// How soon Pods must reach each other again.
const SOON: Duration = Duration::from_secs(10);

/// The MTU of a host's connection to another, by `weft status connections`.
fn mtu(lab: &Lab, host: usize, to: usize) -> Result<u64, String> {
    let table = lab.json(host, &["status", "connections", "--json"])?;
    let rows = table.as_array().ok_or("no table")?;
    let row = rows.iter().find(|row| row["nickname"] == format!("h{to}").as_str());
    row.and_then(|row| row["mtu"].as_u64()).ok_or_else(|| table.to_string())
}

#[track_caller]
fn await_mtu(lab: &Lab, mtu: u64, patience: Duration) {
    for (host, to) in [(1, 2), (2, 1)] {
        eventually(&format!("MTU of {mtu} from h{host} to h{to}"), patience, || {
            match self::mtu(lab, host, to)? {
                found if found == mtu => Ok(()),
                found => Err(found.to_string()),
            }
        });
    }
}

/// Waits until a ping of that content is answered.
#[track_caller]
fn await_large_ping(lab: &Lab, address: &str, size: &str, patience: Duration) -> Duration {
    let started = Instant::now();
    eventually(&format!("{size}-byte ping of {address}"), patience, || {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", "-s", size, address];
        let ping = lab.podexec(1, "a", &ping);
        if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
    });
    started.elapsed()
}

/// The addresses of a host's Pod "a", IPv4 first.
fn addresses(lab: &Lab, host: usize) -> [String; 2] {
    let pods = lab.ps(host).expect("the daemon answers");
    let ips = pods[0]["ips"].as_array().expect("a Pod has addresses");
    let ip = |v6| {
        let mut all = ips.iter().filter_map(|ip| ip.as_str()?.split_once('/').map(|(ip, _)| ip));
        all.find(|ip| ip.contains(':') == v6).expect("an address of either family").to_owned()
    };
    [ip(false), ip(true)]
}

/// Two hosts with a Pod each, and the second Pod's addresses.
fn pair(name: &str) -> (Lab, [String; 2]) {
    let lab = Lab::up(name, 2);
    let ranges = ["--ipalloc-range", "10.32.0.0/12,fd10::/48"];
    lab.launch(1, &[&["--ipalloc-init", "founder"][..], &ranges].concat());
    lab.launch(2, &[&["h1"][..], &ranges].concat());
    lab.await_mesh(PATIENCE);
    for host in [1, 2] {
        lab.pod(host, "a");
    }
    let two = addresses(&lab, 2);
    for address in &two {
        lab.await_ping(1, "a", address);
    }
    (lab, two)
}

/// A transfer from the first Pod to the second that goes on, and where its bytes arrive.
fn transfer(lab: &Lab, to: &str) -> ([Background; 2], std::path::PathBuf) {
    let file = lab.dir().join("received");
    let path = file.to_str().expect("a path of ours is text");
    let open = format!("OPEN:{path},creat,trunc");
    let server = lab.podspawn(2, "a", &["socat", "-u", "TCP-LISTEN:5000", &open]);
    eventually("a listener", PATIENCE, || {
        let listening = lab.podexec(2, "a", &["ss", "-Hltn", "sport = :5000"]).stdout;
        if listening.is_empty() { Err(listening) } else { Ok(()) }
    });
    let client =
        format!("while head -c 200000 /dev/zero; do sleep 0.1; done | socat -u - TCP:{to}:5000");
    let client = lab.podspawn(1, "a", &["sh", "-c", &client]);
    ([server, client], file)
}

/// Waits until that many bytes more have arrived.
#[track_caller]
fn await_bytes(file: &std::path::Path, more: u64, patience: Duration) {
    let size = || std::fs::metadata(file).map(|data| data.len()).map_err(|e| e.to_string());
    let before = size().unwrap_or(0);
    eventually("bytes of a transfer", patience, || match size()? {
        now if now >= before + more => Ok(()),
        now => Err(format!("{} bytes", now - before)),
    });
}

/// What a Pod's kernel has learnt of the path.
fn path_mtu(lab: &Lab, address: &str) -> Option<u64> {
    let route = lab.podexec(1, "a", &["ip", "route", "get", address]).stdout;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

#[test]
fn a_path_that_becomes_narrow_and_wide_again_is_followed() {
    let (lab, [v4, v6]) = pair("narrow");
    let overlay = lab.status(1).expect("the daemon answers")["router"]["mtu"].clone();
    let overlay = overlay.as_u64().expect("an MTU");
    await_mtu(&lab, overlay, PATIENCE);
    let (_transfer, received) = transfer(&lab, &v4);
    await_bytes(&received, 1_000_000, PATIENCE);

    lab.ok(["cut", "1", "2", "--over", "700"]);
    let took = await_large_ping(&lab, &v4, "10000", SOON);
    println!("a 10,000-byte ping passes {took:?} after all above 700 bytes is dropped");
    await_large_ping(&lab, &v6, "10000", SOON);
    await_bytes(&received, 1_000_000, PATIENCE);
    await_mtu(&lab, 700 - AROUND, PATIENCE);
    // The Pod is told, so that TCP needs no pieces.
    eventually("word of the MTU in the Pod", PATIENCE, || match path_mtu(&lab, &v4) {
        Some(mtu) if mtu == 700 - AROUND => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let told = lab.metric(1, "weft_dataplane_too_big_told_total");
    assert!(told > Some(0.0), "{told:?}");
    // Full packets of IPv6, which links of this protocol must take, and whole ones of IPv4.
    await_large_ping(&lab, &v6, "1232", PATIENCE);
    await_bytes(&received, 1_000_000, PATIENCE);
    for host in [1, 2] {
        let log = lab.log(host);
        let ended = log.lines().find(|line| line.contains("disconnected"));
        assert_eq!(ended, None, "the session ended");
    }

    lab.ok(["heal"]);
    await_mtu(&lab, overlay, 4 * PATIENCE);
    await_large_ping(&lab, &v4, "10000", PATIENCE);
    await_bytes(&received, 1_000_000, PATIENCE);
}

#[test]
fn an_underlay_of_1280_bytes_is_measured_to_the_byte() {
    let (lab, [v4, v6]) = pair("ipv6least");
    lab.ok(["cut", "1", "2", "--over", "1280"]);
    await_large_ping(&lab, &v4, "10000", SOON);
    await_large_ping(&lab, &v6, "10000", SOON);
    await_mtu(&lab, 1280 - AROUND, PATIENCE);
    let largest = (1280 - AROUND - 28).to_string();
    await_large_ping(&lab, &v4, &largest, PATIENCE);
}
