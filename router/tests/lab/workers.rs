//! The threads of the data plane.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Lab, PATIENCE, eventually};
use crate::paths::await_path;

#[test]
fn workers_are_scheduled_as_asked() {
    let lab = Lab::up("realtime", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1", "--realtime", "off"]);
    let scheduling = |host| lab.status(host).expect("it runs")["router"]["scheduling"].clone();
    assert_eq!([scheduling(1), scheduling(2)], ["real-time", "ordinary"]);
    assert!(lab.log(2).contains("scheduling=ordinary"), "{}", lab.log(2));
}

/// Several workers in each direction, whichever way packets take. The packets of one session meet different workers
/// there: those that come straight from a peer, through another node, and inside the control connection.
#[test]
fn several_workers_are_as_good_as_one() {
    let lab = Lab::up("workers", 3);
    for host in 1..=3 {
        let peers: Vec<_> = (1..host).map(|peer| format!("h{peer}")).collect();
        let mut arguments: Vec<_> = peers.iter().map(String::as_str).collect();
        arguments.extend(["--workers", "3"]);
        if host == 1 {
            arguments.extend(["--ipalloc-init", "founder"]);
        }
        lab.launch(host, &arguments);
    }
    lab.await_mesh(PATIENCE);
    for host in 1..=3 {
        assert_eq!(lab.status(host).expect("it runs")["router"]["workers"], 3);
    }
    let status = lab.weft(1, &["status"]).stdout;
    assert!(status.contains("Workers: 3 each way"), "{status}");

    let pods: Vec<_> = (1..=3).map(|host| lab.pod(host, "a")).collect();
    let all_reach_all = || {
        for from in 1..=3 {
            for address in &pods {
                lab.await_ping(from, "a", address);
                large_ping(&lab, from, address);
            }
        }
    };
    all_reach_all();
    many_connections(&lab, &pods[1]);
    lab.ok(["cut", "1", "2"]);
    await_path(&lab, [1, 2], "relay");
    all_reach_all();
    let before = Passed::at(&lab);
    many_connections(&lab, &pods[1]);
    let after = Passed::at(&lab);
    let [relayed, sent, received, written] = [
        after.relayed - before.relayed,
        after.sent - before.sent,
        after.received - before.received,
        after.written - before.written,
    ];
    let seen = format!("{sent} sent, {relayed} relayed, {received} received, {written} written");
    assert!(sent > 5_000.0 && relayed < 1.2 * sent, "packets go in two pieces: {seen}");
    assert!(written < received / 2.0, "segments are not joined: {seen}");
    lab.ok(["heal"]);
    await_path(&lab, [1, 2], "direct");
    for (one, other) in [("1", "2"), ("1", "3"), ("2", "3")] {
        lab.ok(["cut", one, other, "--data"]);
    }
    eventually("packets inside control connections", 2 * PATIENCE, || {
        let table = lab.json(1, &["status", "connections", "--json"])?;
        let rows = table.as_array().ok_or("no table")?;
        let inside = rows.iter().all(|row| row["transport"] == "quic" && row["path"] == "direct");
        if inside { Ok(()) } else { Err(table.to_string()) }
    });
    all_reach_all();
    for host in 1..=3 {
        let replays = lab.metric(host, "weft_dataplane_drops_total{reason=\"replayed\"}");
        assert_eq!(replays.unwrap_or(0.0), 0.0, "a worker took another's packet for a replay");
    }
}

/// While there is little to do each lane keeps to its processors, and while there is much to do workers run wherever
/// there is room.
#[test]
fn workers_keep_to_their_processors_while_there_is_little_to_do() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(processors > 1, "this test needs two processors");
    let lab = Lab::up("placement", 2);
    lab.launch(1, &["--ipalloc-init", "founder", "--workers", "2"]);
    lab.launch(2, &["h1", "--workers", "2"]);
    lab.await_mesh(PATIENCE);
    let (one, two) = (lab.pod(1, "a"), lab.pod(2, "a"));
    lab.await_ping(1, "a", &two);
    let await_workers = |what: &str, wanted: &dyn Fn(usize) -> bool| {
        let mut before = workers(&lab, 2);
        eventually(what, PATIENCE, || {
            let now = workers(&lab, 2);
            // A worker looks where it is once in 32 wake-ups, and not at all while it has nothing to do.
            let worked = now.iter().filter(|(name, worker)| {
                before.get(*name).is_none_or(|then| then.woken + 100 < worker.woken)
            });
            let directions: BTreeSet<_> =
                worked.clone().map(|(name, _)| name.split('-').nth(1)).collect();
            let all = worked.clone().all(|(_, worker)| wanted(worker.allowed));
            let seen = format!("{before:?}, then {now:?}");
            if directions.len() == 2 {
                before = now;
                if all { Ok(()) } else { Err(seen) }
            } else {
                Err(seen)
            }
        });
    };
    let ping = || lab.podspawn(1, "a", &["ping", "-q", "-n", "-i", "0.002", &two]);
    let pings = ping();
    await_workers("workers at home", &|allowed| allowed < processors);
    drop(pings);
    let server = lab.podspawn(1, "a", &["iperf3", "-s"]);
    let stream = lab.podspawn(2, "a", &["iperf3", "-c", &one, "-t", "60", "-P", "4"]);
    await_workers("workers that are free", &|allowed| allowed == processors);
    drop((server, stream));
    let _pings = ping();
    await_workers("workers at home again", &|allowed| allowed < processors);
}

/// A thread of the data plane.
#[derive(Debug)]
struct Worker {
    /// How many processors it may run on.
    allowed: usize,
    /// How often it slept, and so was woken.
    woken: u64,
}

/// The workers of a host's daemon.
fn workers(lab: &Lab, host: usize) -> BTreeMap<String, Worker> {
    let pid = std::fs::read_to_string(lab.host_dir(host).join("weft.pid")).expect("it runs");
    let pid = pid.split_whitespace().next().expect("a process");
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut workers = BTreeMap::new();
    for task in tasks.flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|text| text.trim().to_owned())
        };
        let Some(name) = field("Name:") else { continue };
        if name.starts_with("weft-egress") || name.starts_with("weft-ingress") {
            // A mask in hexadecimal digits, with commas.
            let mask = field("Cpus_allowed:").expect("each thread has some");
            let bits = mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones);
            let woken = field("voluntary_ctxt_switches:").and_then(|count| count.parse().ok());
            let worker = Worker { allowed: bits.sum::<u32>() as usize, woken: woken.unwrap_or(0) };
            workers.insert(name, worker);
        }
    }
    workers
}

/// Packets so far, between the first host and the second with the third as relay.
struct Passed {
    relayed: f64,
    /// Of both ends.
    sent: f64,
    /// By the second.
    received: f64,
    /// Frames that came out of the second's TAP.
    written: f64,
}

impl Passed {
    fn at(lab: &Lab) -> Self {
        let metric = |host, prefix| lab.metric(host, prefix).expect("it runs");
        let sent = |host| metric(host, "weft_dataplane_packets_total{direction=\"out\"}");
        let tap = lab.exec(2, &["ip", "-j", "-s", "link", "show", "dev", "weft-tap"]).stdout;
        let tap: Value = serde_json::from_str(&tap).expect("JSON");
        Self {
            relayed: metric(3, "weft_dataplane_relayed_packets_total"),
            sent: sent(1) + sent(2),
            received: metric(2, "weft_dataplane_packets_total{direction=\"in\"}"),
            written: tap[0]["stats64"]["rx"]["packets"].as_f64().expect("a number"),
        }
    }
}

fn large_ping(lab: &Lab, host: usize, address: &str) {
    eventually("a ping of 8000 bytes", PATIENCE, || {
        let ping = ["ping", "-n", "-c", "1", "-W", "2", "-s", "8000", address];
        let ping = lab.podexec(host, "a", &ping);
        if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
    });
}

/// Streams side by side from the first host's Pod to the second's, so that more than one queue has work.
fn many_connections(lab: &Lab, address: &str) {
    let server = lab.podspawn(2, "a", &["iperf3", "-s"]);
    eventually("streams", PATIENCE, || {
        let command =
            ["iperf3", "-c", address, "-n", "16M", "-P", "8", "--connect-timeout", "1000"];
        let run = lab.podexec(1, "a", &command);
        if run.code == 0 { Ok(()) } else { Err(format!("{}{}", run.stdout, run.stderr)) }
    });
    drop(server);
}
