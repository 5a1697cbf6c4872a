//! Paths that die without a word, and ways around them: packets are dropped, nothing is reset.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{Background, Lab, PATIENCE, eventually};

/// A host's connection to another.
pub(crate) fn connection(lab: &Lab, host: usize, to: usize) -> Result<Value, String> {
    let table = lab.json(host, &["status", "connections", "--json"])?;
    let rows = table.as_array().ok_or("no table")?;
    let nickname = format!("h{to}");
    let row = rows.iter().find(|row| row["nickname"] == nickname.as_str());
    row.cloned().ok_or_else(|| format!("host {host} has no connection to {nickname}: {table}"))
}

/// Waits until both hosts have an established connection to each other along such a path.
#[track_caller]
pub(crate) fn await_path(lab: &Lab, hosts: [usize; 2], path: &str) {
    for (host, to) in [(hosts[0], hosts[1]), (hosts[1], hosts[0])] {
        eventually(&format!("{path} path from h{host} to h{to}"), 2 * PATIENCE, || {
            let row = connection(lab, host, to)?;
            if row["path"] == path && row["state"] == "established" {
                Ok(())
            } else {
                Err(row.to_string())
            }
        });
    }
}

pub(crate) fn name(lab: &Lab, host: usize) -> String {
    let status = lab.status(host).expect("the daemon answers");
    status["router"]["name"].as_str().expect("a node has a name").to_owned()
}

/// A ping every tenth of a second that goes on until it is stopped.
pub(crate) fn pings(lab: &Lab, host: usize, pod: &str, address: &str) -> Background {
    lab.podspawn(host, pod, &["ping", "-n", "-D", "-i", "0.1", "-W", "1", address])
}

/// What the pings say: how many answers, and the longest pause between two, in seconds.
pub(crate) fn stall(printed: &str) -> (usize, f64) {
    let times: Vec<f64> = printed
        .lines()
        .filter(|line| line.contains("bytes from"))
        .filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.parse().ok())
        .collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    (times.len(), longest)
}

#[test]
fn traffic_takes_another_way_around_a_silent_cut_and_comes_back() {
    let lab = Lab::mesh("cutpath");
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    await_path(&lab, [1, 2], "direct");
    let third = name(&lab, 3);
    let mut told = String::new();
    for direction in [None, Some("--one-way")] {
        let pings = pings(&lab, 1, "a", &two);
        let cut = ["cut", "1", "2"];
        lab.ok(cut.iter().copied().chain(direction));
        await_path(&lab, [1, 2], "relay");
        for (host, to) in [(1, 2), (2, 1)] {
            let row = connection(&lab, host, to).expect("a connection");
            assert_eq!(row["via"], third.as_str(), "{row}");
            let detail = row["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("the direct path is dead"), "{row}");
        }
        // A full-sized packet goes as well, in two parts.
        eventually("a large ping", PATIENCE, || {
            let ping = ["ping", "-n", "-c", "1", "-W", "2", "-s", "8000", &two];
            let ping = lab.podexec(1, "a", &ping);
            if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
        });
        lab.ok(["heal"]);
        await_path(&lab, [1, 2], "direct");
        lab.await_ping(1, "a", &two);
        let (answers, longest) = stall(&pings.stop());
        assert!(answers > 10, "{answers} pings were answered");
        writeln!(told, "longest pause {longest:.2} s ({direction:?})").expect("text grows");
    }
    println!("{told}");
    for (host, peer) in [(1, "h2"), (2, "h1")] {
        let log = lab.log(host);
        let ended = log.lines().find(|line| line.contains("disconnected") && line.contains(peer));
        assert_eq!(ended, None, "the session ended");
    }
    assert!(lab.metric(3, "weft_dataplane_relayed_packets_total") > Some(0.0));
}

#[test]
fn another_relay_takes_over_from_one_that_died() {
    let lab = Lab::up("relays", 4);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for host in 2..=4 {
        lab.launch(host, &["h1"]);
    }
    lab.await_mesh(PATIENCE);
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    lab.ok(["cut", "1", "2"]);
    await_path(&lab, [1, 2], "relay");
    lab.await_ping(1, "a", &two);
    let via = connection(&lab, 1, 2).expect("a connection")["via"].clone();
    let [first, second] = if via == name(&lab, 3).as_str() { [3, 4] } else { [4, 3] };
    let successor = name(&lab, second);
    lab.ok(["kill", &first.to_string(), "-9"]);
    for (host, to) in [(1, 2), (2, 1)] {
        eventually("the other relay", PATIENCE, || {
            let row = connection(&lab, host, to)?;
            let taken = row["via"] == successor.as_str() && row["state"] == "established";
            if taken { Ok(()) } else { Err(row.to_string()) }
        });
    }
    lab.await_ping(1, "a", &two);
    assert!(!lab.log(1).lines().any(|line| line.contains("disconnected") && line.contains("h2")));
}

#[test]
fn nodes_in_a_line_reach_each_other_through_all_between_and_nobody_reads_it() {
    let lab = Lab::up("line", 4);
    lab.ok(["shape", "line"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for (host, peer) in [(2, "h1"), (3, "h2"), (4, "h3")] {
        lab.launch(host, &[peer]);
    }
    lab.await_mesh(3 * PATIENCE);
    for (one, other, path) in [(1, 2, "direct"), (1, 3, "relay"), (1, 4, "relay"), (2, 4, "relay")]
    {
        await_path(&lab, [one, other], path);
    }
    for host in 1..=4 {
        lab.pod(host, "a");
    }
    let four = crate::mesh::address_of(&lab, 4, "a");
    lab.await_ping(1, "a", &four);
    eventually("pings between all Pods", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.stdout == "12 of 12 pings\n" { Ok(()) } else { Err(pings.stdout) }
    });

    // What the relays between see is sealed twice, and never what the Pods say.
    let capture = lab.dir().join("capture");
    let capture = capture.to_str().expect("a path of ours is text");
    let dump = lab.spawn(2, &["tcpdump", "-i", "any", "-s", "0", "-U", "-w", capture, "udp"]);
    eventually("capture", PATIENCE, || {
        lab.podexec(1, "a", &["ping", "-n", "-c", "3", "-p", "5745465453", &four]);
        let bytes = std::fs::read(capture).map_err(|e| e.to_string())?;
        if bytes.len() > 2000 { Ok(()) } else { Err(format!("{} bytes", bytes.len())) }
    });
    dump.stop();
    let bytes = std::fs::read(capture).expect("there is a capture");
    assert!(!bytes.windows(10).any(|window| window == b"WEFTSWEFTS"), "the relay can read it");
}
