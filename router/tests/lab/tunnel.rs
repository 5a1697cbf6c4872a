//! Networks that let QUIC through and nothing else: packets go inside the control connection.

use crate::harness::{Lab, PATIENCE, eventually};
use crate::mesh::address_of;
use crate::paths::{connection, pings, stall};

/// Waits until packets between both hosts are carried so, both ways and without others.
#[track_caller]
fn await_transport(lab: &Lab, hosts: [usize; 2], transport: &str) {
    for (host, to) in [(hosts[0], hosts[1]), (hosts[1], hosts[0])] {
        eventually(&format!("{transport} from h{host} to h{to}"), 2 * PATIENCE, || {
            let row = connection(lab, host, to)?;
            let so = row["transport"] == transport
                && row["path"] == "direct"
                && row["state"] == "established";
            if so { Ok(()) } else { Err(row.to_string()) }
        });
    }
}

/// A packet of full size, and one that is longer than any, pass.
fn large_pings(lab: &Lab, host: usize, pod: &str, address: &str) {
    for size in ["1300", "8000"] {
        eventually(&format!("a ping of {size} bytes"), PATIENCE, || {
            let ping = ["ping", "-n", "-c", "1", "-W", "2", "-s", size, address];
            let ping = lab.podexec(host, pod, &ping);
            if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
        });
    }
}

#[test]
fn where_data_packets_die_and_quic_lives_it_carries_them_until_they_live_again() {
    let lab = Lab::mesh("quiconly");
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    await_transport(&lab, [1, 2], "udp");
    let pings = pings(&lab, 1, "a", &two);
    lab.ok(["cut", "1", "2", "--data"]);
    await_transport(&lab, [1, 2], "quic");
    lab.await_ping(1, "a", &two);
    large_pings(&lab, 1, "a", &two);
    let row = connection(&lab, 1, 2).expect("a connection");
    assert!(row["detail"].as_str().is_some_and(|text| text.contains("QUIC carries")), "{row}");
    let text = lab.weft(1, &["status", "connections"]).stdout;
    assert!(text.contains("quic"), "{text}");

    lab.ok(["heal"]);
    await_transport(&lab, [1, 2], "udp");
    lab.await_ping(1, "a", &two);
    let (answers, longest) = stall(&pings.stop());
    assert!(answers > 10, "{answers} pings were answered");
    println!("longest pause {longest:.2} s");
    for (host, peer) in [(1, "h2"), (2, "h1")] {
        let log = lab.log(host);
        let ended = log.lines().find(|line| line.contains("disconnected") && line.contains(peer));
        assert_eq!(ended, None, "the session ended");
    }
}

#[test]
fn nodes_that_start_behind_such_a_network_find_each_other() {
    let lab = Lab::up("quicstart", 2);
    lab.ok(["cut", "1", "2", "--data"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.await_mesh(2 * PATIENCE);
    await_transport(&lab, [1, 2], "quic");
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    // Nothing at all passes, and then everything.
    lab.ok(["cut", "1", "2"]);
    eventually("the way is known to be dead", PATIENCE, || match connection(&lab, 1, 2) {
        Ok(row) if row["state"] == "established" => Err(row.to_string()),
        _ => Ok(()),
    });
    lab.ok(["heal"]);
    await_transport(&lab, [1, 2], "udp");
    lab.await_ping(1, "a", &two);
}

#[test]
fn the_flag_forces_it_at_one_end_or_both() {
    let lab = Lab::up("quicflag", 3);
    lab.launch(1, &["--ipalloc-init", "founder", "--tunnel", "quic"]);
    lab.launch(2, &["h1", "--tunnel", "quic"]);
    lab.launch(3, &["h1", "h2", "--tunnel", "udp"]);
    lab.await_mesh(2 * PATIENCE);
    await_transport(&lab, [1, 2], "quic");
    for host in 1..=3 {
        lab.pod(host, "a");
    }
    for (host, to, transport) in [(1, 3, "quic"), (3, 1, "udp")] {
        let row = connection(&lab, host, to).expect("a connection");
        assert_eq!(row["transport"], transport, "{row}");
    }
    let [two, three] = [2, 3].map(|host| address_of(&lab, host, "a"));
    for address in [&two, &three] {
        lab.await_ping(1, "a", address);
        large_pings(&lab, 1, "a", address);
    }
    // A relay between two nodes may be reached so, too: h2 and h3 lose each other.
    lab.ok(["cut", "2", "3"]);
    eventually("a path through the first", 2 * PATIENCE, || {
        let row = connection(&lab, 3, 2)?;
        let so = row["path"] == "relay" && row["state"] == "established";
        if so { Ok(()) } else { Err(row.to_string()) }
    });
    lab.await_ping(3, "a", &two);
    lab.await_ping(2, "a", &three);

    let refused = lab.run(3, &["--tunnel", "tcp"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("must be auto, udp or quic"), "{}", refused.stderr);
}
