//! Clusters founded apart that meet, and become one: `weft heal`.

use serde_json::Value;

use crate::harness::{Lab, PATIENCE, eventually};

/// Who owns how many addresses, as a host sees it, sorted.
fn ring(lab: &Lab, host: usize) -> Result<Vec<(String, u64)>, String> {
    let rows = lab.json(host, &["status", "ipam", "--json"])?;
    let rows = rows.as_array().ok_or("status ipam is a list")?;
    let owner = |row: &Value| {
        (
            row["peer"].as_str().unwrap_or_default().to_owned(),
            row["addresses"].as_u64().unwrap_or(0),
        )
    };
    let mut owners: Vec<_> = rows.iter().map(owner).collect();
    owners.sort();
    Ok(owners)
}

/// The entry of a Pod in `weft ps`.
fn entry(lab: &Lab, host: usize, pod: &str) -> Value {
    let ps = lab.ps(host).expect("the daemon answers");
    let entries = ps.as_array().expect("ps is a list");
    entries.iter().find(|of| of["pod"] == pod).cloned().unwrap_or_else(|| panic!("no {pod}: {ps}"))
}

/// A Pod with an address of its own choice, attached by hand.
fn pod(lab: &Lab, host: usize, name: &str, ip: &str) {
    let namespace = lab.pod_namespace(host, name);
    lab.ok(["exec", &host.to_string(), "ip", "netns", "add", &namespace]);
    let (netns, ip) = (format!("/run/netns/{namespace}"), format!("{ip}/12"));
    let arguments =
        ["attach", "--netns", &netns, "--namespace", "default", "--pod", name, "--ip", &ip];
    let outcome = lab.weft(host, &arguments);
    assert_eq!((outcome.code, outcome.stdout.trim()), (0, ip.as_str()), "{}", outcome.stderr);
}

/// Waits until a ping from a Pod is answered.
#[track_caller]
fn await_ping(lab: &Lab, host: usize, pod: &str, ip: &str) {
    let namespace = lab.pod_namespace(host, pod);
    let ping = ["ip", "netns", "exec", &namespace, "ping", "-n", "-c", "1", "-W", "1", ip];
    eventually(&format!("a ping from h{host}/{pod} to {ip}"), PATIENCE, || {
        let outcome = lab.exec(host, &ping);
        if outcome.code == 0 { Ok(()) } else { Err(outcome.stdout) }
    });
}

/// Waits until `host` shows each of `others` as part of another ring, and is connected to all.
fn await_another_ring(lab: &Lab, host: usize, others: usize, connections: usize) {
    eventually("a warning of another ring", PATIENCE, || {
        let status = lab.status(host)?;
        let warnings = status["warnings"].as_array().ok_or("warnings are a list")?;
        let of = |line: &&Value| line.as_str().is_some_and(|line| line.contains("another ring"));
        let told = warnings.iter().filter(of).count() == others;
        let connected = status["router"]["connections"]["established"] == connections;
        if told && connected { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn rings_founded_apart_go_on_by_themselves_until_heal_makes_them_one() {
    let lab = Lab::up("apart", 4);
    for (founder, second) in [(1, 2), (3, 4)] {
        lab.launch(founder, &["--ipalloc-init", "founder"]);
        lab.launch(second, &[&format!("h{founder}")]);
    }
    let clash = "10.37.0.5";
    let unique = ["10.33.0.1", "10.34.0.2", "10.35.0.3", "10.36.0.4"];
    for (host, ip) in (1..).zip(unique) {
        pod(&lab, host, "own", ip);
    }
    for host in [1, 3] {
        pod(&lab, host, "clash", clash);
    }
    for (from, to) in [(1, 2), (2, 1), (3, 4), (4, 3)] {
        await_ping(&lab, from, "own", unique[to - 1]);
    }

    lab.ok(["weft", "3", "connect", "10.99.0.1"]);
    for host in 1..=4 {
        await_another_ring(&lab, host, 2, 3);
    }
    // A fault stays where it is: each goes on with what is its own.
    for (from, to) in [(1, 2), (3, 4)] {
        await_ping(&lab, from, "own", unique[to - 1]);
        let later = lab.pod(to, "later");
        await_ping(&lab, from, "own", &later);
        lab.ok(["unpod", &to.to_string(), "later"]);
    }

    for (peer, words) in [
        ("nobody", "no node is known as \"nobody\""),
        ("h1", "(h1) is this node itself"),
        ("h2", "is part of the ring of this node already"),
    ] {
        let refused = lab.weft(1, &["heal", peer]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (1, 1), "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let said = lab.ok(["weft", "1", "heal", "h4"]);
    assert!(said.contains("(h4)") && said.contains("move"), "{said}");

    eventually("one ring on all hosts", PATIENCE, || {
        let rings = (1..=4).map(|host| ring(&lab, host)).collect::<Result<Vec<_>, _>>()?;
        let total: u64 = rings[0].iter().map(|(_, count)| count).sum();
        let one = rings.iter().all(|ring| *ring == rings[0]) && total == 1 << 20;
        for host in 1..=4 {
            let status = lab.status(host)?;
            let waits = status["warnings"].to_string().contains("ring");
            if !one || waits || status["ipam"]["state"] != "ready" {
                return Err(format!("{rings:?} {status}"));
            }
        }
        Ok(())
    });
    // What does not clash is where it was, and reached from everywhere.
    for host in 1..=4 {
        let own = entry(&lab, host, "own");
        assert_eq!(own["ips"][0], format!("{}/12", unique[host - 1]), "{own}");
        assert_eq!(own["fenced"], Value::Null, "{own}");
    }
    for from in 1..=4 {
        for to in (1..=4).filter(|to| *to != from) {
            await_ping(&lab, from, "own", unique[to - 1]);
        }
    }
    // Of the two that clash, one is cut off, and named.
    let lost: Vec<usize> = [1, 3]
        .into_iter()
        .filter(|host| !entry(&lab, *host, "clash")["fenced"].is_null())
        .collect();
    let [loser] = lost[..] else { panic!("one of the two loses its address: {lost:?}") };
    let status = lab.status(loser).expect("the daemon answers");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("Pod default/clash (") && warnings.contains(clash), "{status}");
    await_ping(&lab, 2, "own", clash);
    // Saying it again changes nothing.
    let again = lab.weft(1, &["heal", "h4"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("part of the ring of this node already"), "{}", again.stderr);
}
