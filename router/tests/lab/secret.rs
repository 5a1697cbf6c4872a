//! Different secrets: two clusters that never mix.

use std::path::PathBuf;

use crate::harness::{Lab, PATIENCE, eventually};

/// Writes a fresh secret of its own for a host.
fn other_secret(lab: &Lab, host: usize) -> PathBuf {
    let secret = lab.weft(host, &["secret", "new"]);
    assert_eq!(secret.code, 0, "{}", secret.stderr);
    let file = lab.host_dir(host).join("other-secret");
    std::fs::write(&file, secret.stdout).expect("the lab's folder is writable");
    lab.ok(["exec", &host.to_string(), "chmod", "0600", &file.display().to_string()]);
    file
}

/// Waits until a host's own status says that the secret is why it has no peer.
fn await_reason(lab: &Lab, host: usize) -> String {
    eventually("reason in the stranger's status", PATIENCE, || {
        let status = lab.status(host)?;
        let connections = lab.json(host, &["status", "connections", "--json"])?;
        let said = format!("{} {connections}", status["warnings"]);
        if said.contains("secret") { Ok(said) } else { Err(said) }
    })
}

#[test]
fn a_stranger_gets_no_peer_and_the_others_go_on() {
    let lab = Lab::up("stranger", 3);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    let secret = other_secret(&lab, 3);
    lab.launch(3, &["h1", "h2", "--secret-file", &secret.display().to_string()]);
    let stranger = lab.status(3).expect("the daemon answers")["router"]["name"].clone();
    let stranger = stranger.as_str().expect("the name is text").to_owned();
    await_reason(&lab, 3);
    // It tries again and again, and once more when it is told to.
    lab.ok(["weft", "3", "forget", "10.99.0.1"]);
    lab.ok(["weft", "3", "connect", "10.99.0.1"]);
    eventually("second refusal", PATIENCE, || {
        match lab.metric(1, "weft_admission_failures_total") {
            Some(count) if count >= 2.0 => Ok(()),
            count => Err(format!("{count:?} refusals")),
        }
    });

    eventually("mesh of the two others", PATIENCE, || {
        for host in [1, 2] {
            let status = lab.status(host)?;
            if status["router"]["peers"] != 2 || status["router"]["connections"]["established"] != 1
            {
                return Err(status.to_string());
            }
        }
        Ok(())
    });
    let status = lab.status(3).expect("the daemon answers");
    assert_eq!(status["router"]["peers"], 1, "the stranger knows itself alone: {status}");
    assert_eq!(status["router"]["connections"]["established"], 0, "{status}");
    assert_eq!(status["ipam"]["owned"], 0, "the stranger owns no address: {status}");
    assert_eq!(status["ready"], false, "{status}");
    assert_eq!(lab.json(3, &["status", "ipam", "--json"]), Ok(serde_json::json!([])));
    for host in [1, 2] {
        let peers = lab.json(host, &["status", "peers", "--json"]).expect("there is a table");
        assert!(!peers.to_string().contains(&stranger), "{peers}");
        let log = lab.log(host);
        let said: Vec<_> = log
            .lines()
            .filter(|line| line.contains("10.99.0.3") && line.contains("WARN"))
            .collect();
        assert_eq!(said.len(), 1, "host {host} logs the stranger once: {said:#?}");
    }
    assert_eq!(lab.metric(3, "weft_gossip_messages_total").unwrap_or(0.0), 0.0);

    lab.pod(1, "a");
    let address = lab.pod(2, "a");
    lab.await_ping(1, "a", &address);
}

#[test]
fn two_daemons_with_different_secrets_exchange_no_gossip() {
    let lab = Lab::up("strange", 2);
    let file = lab.dir().join("wire.pcap");
    let path = file.display().to_string();
    let capture = lab.spawn(
        1,
        &[
            "tcpdump",
            "-Z",
            "root",
            "-i",
            "eth0",
            "-U",
            "--immediate-mode",
            "-w",
            &path,
            "udp port 6783",
        ],
    );
    eventually("capture", PATIENCE, || {
        // The file has its 24 bytes of header once tcpdump listens.
        let length = std::fs::metadata(&file).map_or(0, |data| data.len());
        if length >= 24 { Ok(()) } else { Err(format!("{length} bytes of it")) }
    });
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let secret = other_secret(&lab, 2);
    lab.launch(2, &["h1", "--secret-file", &secret.display().to_string()]);
    await_reason(&lab, 2);
    let refused = eventually("count of refusals", PATIENCE, || {
        lab.metric(1, "weft_admission_failures_total")
            .filter(|count| *count >= 1.0)
            .ok_or_else(|| "none".to_owned())
    });
    for host in [1, 2] {
        for metric in ["weft_gossip_messages_total", "weft_gossip_bytes_total"] {
            assert_eq!(lab.metric(host, metric), Some(0.0), "{metric} of host {host}");
        }
    }
    drop(capture);

    // What passed is a handshake, a proof and a refusal for each attempt, none of which is near
    // this size.
    let wire = std::fs::metadata(&file).expect("there is a capture").len();
    let after = lab.metric(1, "weft_admission_failures_total").unwrap_or(refused);
    println!("{wire} bytes on the wire for {after} attempts");
    assert!(wire > 1_000, "nothing was captured");
    // One attempt more may be under way.
    assert!((wire as f64) < 16_384.0 * (after + 1.0), "{wire} bytes for {after} attempts");
}
