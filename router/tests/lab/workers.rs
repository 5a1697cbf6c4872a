//! The threads of the data plane.

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
    many_connections(&lab, &pods[1]);
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
