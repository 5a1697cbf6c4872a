//! Keys of data packets change while packets are under way, and no packet notices.

use crate::harness::{Lab, PATIENCE, eventually};

/// Keys in use have been changed by this age, in seconds.
const INTERVAL: &str = "2";
/// Changes of keys that the traffic lives through.
const CHANGES: f64 = 4.0;

/// How often a host's keys were changed.
fn changes(lab: &Lab, host: usize) -> f64 {
    lab.metric(host, "weft_rekeys_total").unwrap_or(0.0)
}

#[test]
fn no_packet_is_lost_when_keys_change() {
    let lab = Lab::up("rekey", 2);
    lab.launch(1, &["--ipalloc-init", "founder", "--rekey-interval", INTERVAL]);
    lab.launch(2, &["h1", "--rekey-interval", INTERVAL]);
    lab.await_mesh(PATIENCE);
    lab.pod(1, "a");
    let address = lab.pod(2, "a");
    lab.await_ping(1, "a", &address);

    let (data, copy) = (lab.dir().join("data"), lab.dir().join("copy"));
    let path = data.display();
    lab.ok(["exec", "1", "dd", "if=/dev/urandom", &format!("of={path}"), "bs=1M", "count=4"]);
    let file = format!("OPEN:{},creat", copy.display());
    let receiver = lab.podspawn(2, "a", &["socat", "-u", "TCP4-LISTEN:5000", &file]);
    eventually("listener", PATIENCE, || {
        let sockets = lab.podexec(2, "a", &["ss", "-ltn"]).stdout;
        if sockets.contains(":5000") { Ok(()) } else { Err(sockets) }
    });
    // A stream that lasts for longer than the first changes: a piece every 200 ms.
    let pieces = format!(
        "for i in $(seq 0 63); do dd if={path} bs=64K skip=$i count=1 status=none; sleep 0.2; done"
    );
    let stream = format!("({pieces}) | socat -u - TCP4:{address}:5000");
    let sender = lab.podspawn(1, "a", &["sh", "-c", &stream]);

    let before = changes(&lab, 1);
    let mut pings = 0;
    eventually("keys changed under traffic", PATIENCE, || {
        let ping = ["ping", "-n", "-q", "-i", "0.002", "-c", "1000", "-W", "5", &address];
        let report = lab.podexec(1, "a", &ping).stdout;
        assert!(report.contains(" 0% packet loss"), "{report}");
        pings += 1000;
        let done = changes(&lab, 1) - before;
        if done >= CHANGES { Ok(()) } else { Err(format!("{done} changes")) }
    });
    eventually("all of the stream at the other end", PATIENCE, || {
        let length = std::fs::metadata(&copy).map_or(0, |data| data.len());
        if length == 4 << 20 { Ok(()) } else { Err(format!("{length} bytes")) }
    });
    drop((sender, receiver));
    println!("{pings} pings through {} changes of keys, none lost", changes(&lab, 1) - before);
    let read = |file| std::fs::read(file).expect("it is readable");
    assert!(read(data) == read(copy), "the stream was altered");
    for host in [1, 2] {
        for metric in ["weft_sessions_expired_total", "weft_rekeys_refused_total"] {
            assert_eq!(lab.metric(host, metric), Some(0.0), "{metric} of host {host}");
        }
    }
}
