//! Nodes that are gone for good, and nodes that begin anew: `weft rmpeer`, `weft reset`.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Lab, PATIENCE, eventually};

/// The owners in `status ipam` of a host with what they own, sorted.
fn owners(lab: &Lab, host: usize) -> Result<Vec<(String, u64)>, String> {
    let rows = lab.json(host, &["status", "ipam", "--json"])?;
    let rows = rows.as_array().ok_or("status ipam is a list")?;
    let owner = |row: &Value| {
        let peer = row["peer"].as_str().unwrap_or_default().to_owned();
        (peer, row["addresses"].as_u64().unwrap_or(0))
    };
    let mut owners: Vec<_> = rows.iter().map(owner).collect();
    owners.sort();
    Ok(owners)
}

fn name(lab: &Lab, host: usize) -> String {
    let status = lab.status(host).expect("the daemon answers");
    status["router"]["name"].as_str().expect("the name is text").to_owned()
}

/// Waits until hosts see the same owners, none of `gone` among them, and no address without one.
fn await_same_ring(lab: &Lab, hosts: &[usize], gone: &[String]) {
    eventually("the same ring without the removed", PATIENCE, || {
        let rings = hosts.iter().map(|host| owners(lab, *host)).collect::<Result<Vec<_>, _>>()?;
        let total: u64 = rings[0].iter().map(|(_, count)| count).sum();
        let same = rings.iter().all(|ring| *ring == rings[0]);
        let left = rings[0].iter().any(|(peer, _)| gone.contains(peer));
        if same && total == 1 << 20 && !left { Ok(()) } else { Err(format!("{rings:?}")) }
    });
}

#[test]
fn a_dead_node_removed_on_two_hosts_at_once_leaves_its_space_to_the_others() {
    let lab = Lab::mesh("removed");
    let address = lab.pod(3, "a");
    for host in [1, 2] {
        lab.pod(host, "a");
    }
    let gone = name(&lab, 3);
    lab.ok(["kill", "3", "-9"]);
    let both: Vec<_> = [("1", "h3".to_owned()), ("2", gone[..10].to_owned())]
        .into_iter()
        .map(|(host, name)| {
            let mut command = lab.command(["weft", host, "rmpeer", &name]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    for command in both {
        let output = command.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with(&format!("{}(h3) removed on ", &gone[..10])), "{text}");
    }
    await_same_ring(&lab, &[1, 2], std::slice::from_ref(&gone));
    for host in [1, 2] {
        let status = lab.status(host).expect("the daemon answers");
        let removals = status["ipam"]["removals"].as_array().expect("a list");
        assert_eq!(removals.len(), 1, "{status}");
        assert!(removals[0]["peer"] == *gone && removals[0]["complete"] == true, "{status}");
        assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
        eventually("h3 gone from the peers", PATIENCE, || match lab.status(host)? {
            status if status["router"]["peers"] == 2 => Ok(()),
            status => Err(status.to_string()),
        });
        // Whoever repeats it is told the same.
        let again = lab.ok(["weft", &host.to_string(), "rmpeer", &gone]);
        assert!(again.contains("(h3) removed on "), "{again}");
    }

    // One of the two is the heir, and hands out what the dead one had.
    let namespace = lab.pod_namespace(1, "heir");
    lab.ok(["exec", "1", "ip", "netns", "add", &namespace]);
    let (path, cidr) = (format!("/run/netns/{namespace}"), format!("{address}/12"));
    let taken: Vec<_> = [1, 2]
        .into_iter()
        .filter(|host| {
            let attach = ["attach", "--netns", &path, "--ip", &cidr];
            lab.weft(*host, &attach).code == 0
        })
        .take(1)
        .collect();
    assert_eq!(taken.len(), 1, "{address} of the removed node can be had nowhere");
    lab.ok(["weft", &taken[0].to_string(), "detach", "--netns", &path]);

    for (names, words) in [
        (["nobody"], "no node is known"),
        (["h1"], "is this node itself"),
        ([""], "no node is known"),
    ] {
        let refused = lab.weft(1, &["rmpeer", names[0]]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (1, 1), "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

#[test]
fn a_removal_names_whom_it_waits_for_and_force_is_shown() {
    let lab = Lab::up("forced", 4);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for host in 2..=4 {
        lab.launch(host, &["h1"]);
    }
    lab.await_mesh(PATIENCE);
    let gone = [name(&lab, 3), name(&lab, 4)];
    for host in ["3", "4"] {
        lab.ok(["kill", host, "-9"]);
    }

    let pending = lab.ok(["weft", "1", "rmpeer", "h3"]);
    assert!(pending.contains("(h3) to be removed on "), "{pending}");
    assert!(pending.contains(&format!("waits for {}(h4)", &gone[1][..10])), "{pending}");
    for host in [1, 2] {
        eventually("pending removal in status", PATIENCE, || {
            let status = lab.status(host)?;
            let removal = &status["ipam"]["removals"][0];
            let known = removal["peer"] == *gone[0]
                && removal["complete"] == false
                && removal["at"].as_u64() > Some(0)
                && removal["waits_for"][0]["peer"] == *gone[1]
                && removal["waits_for"].as_array().map(Vec::len) == Some(1);
            let warned = status["warnings"].to_string().contains("waits for");
            if known && warned { Ok(()) } else { Err(status.to_string()) }
        });
        for table in [&["status"][..], &["status", "ipam"]] {
            let text = lab.weft(host, table).stdout;
            assert!(
                text.contains("(h3) to be removed on ") && text.contains(" UTC, waits for "),
                "{text}"
            );
        }
        let owners = lab.json(host, &["status", "ipam", "--json"]).expect("there is a table");
        let row = owners.as_array().into_iter().flatten().find(|row| row["nickname"] == "h3");
        assert!(row.is_some_and(|row| row["removal"]["complete"] == false), "{owners}");
    }
    // Meanwhile the others go on.
    lab.pod(2, "a");

    let forced = lab.ok(["weft", "2", "rmpeer", "--force", "h3"]);
    assert!(forced.contains(&format!("{}(h4) removed by force on ", &gone[1][..10])), "{forced}");
    await_same_ring(&lab, &[1, 2], &gone);
    for host in [1, 2] {
        let text = lab.weft(host, &["status"]).stdout;
        assert!(text.contains("(h4) removed by force on "), "{text}");
        assert!(!text.contains("waits for"), "{text}");
    }
}

#[test]
fn a_removed_node_that_returns_cuts_its_pods_off_and_says_so() {
    let lab = Lab::mesh("returns");
    let one = lab.pod(1, "a");
    let void = lab.pod(3, "a");
    lab.pod(3, "b");
    lab.await_ping(1, "a", &void);
    lab.await_ping(3, "b", &void);
    let gone = name(&lab, 3);

    lab.ok(["partition", "1,2", "3"]);
    // The removed node knows nothing of it and goes on.
    lab.ok(["weft", "1", "rmpeer", &gone]);
    await_same_ring(&lab, &[1, 2], std::slice::from_ref(&gone));
    lab.await_ping(3, "b", &void);

    lab.ok(["heal"]);
    eventually("the removed node told", 2 * PATIENCE, || {
        let status = lab.status(3)?;
        let text = status["warnings"].to_string();
        let told = ["removed from the ring on", "(h1) at 20", "run `weft reset`", "is cut off"];
        if told.iter().all(|words| text.contains(words)) && status["ipam"]["owned"] == 0 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    let container = lab.pod_namespace(3, "a");
    let words = format!("Pod default/a (eth0 of {container}) is cut off");
    assert!(lab.log(3).contains(&words), "{}", lab.log(3));
    let ps = lab.ps(3).expect("the daemon answers");
    let rows = ps.as_array().expect("ps is a list");
    assert!(rows.len() == 2 && rows.iter().all(|row| row["fenced"].is_string()), "{ps}");
    let table = lab.ok(["weft", "3", "ps"]);
    assert!(table.lines().all(|line| line.ends_with("- cut off!")), "{table}");
    eventually("ports down", PATIENCE, || {
        let links = lab.exec(3, &["ip", "-brief", "link"]).stdout;
        let ports: Vec<_> = links.lines().filter(|line| line.starts_with("wv")).collect();
        let cut = |line: &&str| !line.contains(" UP ") && !line.contains(",UP");
        if ports.len() == 2 && ports.iter().all(cut) { Ok(()) } else { Err(links.clone()) }
    });
    for (host, address) in [(3, &void), (1, &void)] {
        let pod = if host == 3 { "b" } else { "a" };
        let ping = lab.podexec(host, pod, &["ping", "-n", "-c", "1", "-W", "1", address]);
        assert_ne!(ping.code, 0, "a Pod with a void address answers: {}", ping.stdout);
    }
    let check = lab.lab(["podcheck", "3", "a"]);
    assert_ne!(check.code, 0, "the plugin's CHECK finds a cut-off Pod well");

    // A restart changes nothing of it, and the void Pods can be deleted.
    lab.ok(["kill", "3", "-9"]);
    lab.launch(3, &["h2"]);
    let ps = lab.ps(3).expect("the daemon answers");
    assert!(ps[0]["fenced"].is_string() && ps[1]["fenced"].is_string(), "{ps}");
    let ping = lab.podexec(3, "b", &["ping", "-n", "-c", "1", "-W", "1", &void]);
    assert_ne!(ping.code, 0, "plugged in again after a restart: {}", ping.stdout);
    lab.ok(["unpod", "3", "a"]);
    assert_eq!(lab.ps(3).expect("the daemon answers").as_array().map(Vec::len), Some(1));
    let refused = lab.lab(["pod", "3", "c"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("weft reset"), "{}", refused.stderr);
    lab.await_ping(1, "a", &one);

    // The cure that it names: a new identity, the Pod that is still there stays known as cut off.
    let text = lab.ok(["weft", "3", "reset"]);
    assert!(text.starts_with(&format!("{}(h3) is ", &gone[..10])), "{text}");
    assert_ne!(name(&lab, 3), gone);
    lab.await_mesh(PATIENCE);
    let fresh = lab.pod(3, "c");
    lab.await_ping(1, "a", &fresh);
    lab.await_ping(3, "c", &one);
    let ps = lab.ps(3).expect("the daemon answers");
    let fenced: Vec<_> = ps
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["fenced"].is_string())
        .map(|row| row["container"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(fenced, [lab.pod_namespace(3, "b")], "{ps}");
    lab.ok(["unpod", "3", "b"]);
    let status = lab.status(3).expect("the daemon answers");
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
}

#[test]
fn a_reset_on_a_live_node_hands_its_space_over_and_begins_anew() {
    let lab = Lab::mesh("reset");
    let one = lab.pod(1, "a");
    let address = lab.pod(3, "a");
    let former = name(&lab, 3);
    let refused = lab.weft(3, &["reset"]);
    assert_eq!((refused.code, refused.stderr.lines().count()), (1, 1), "{}", refused.stderr);
    let words = format!("Pod default/a (eth0 of {}) attached", lab.pod_namespace(3, "a"));
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    lab.await_ping(1, "a", &address);

    lab.ok(["unpod", "3", "a"]);
    // Takes as long as a freed address rests.
    let text = lab.ok(["weft", "3", "reset"]);
    assert!(text.starts_with(&format!("{}(h3) is ", &former[..10])), "{text}");
    assert!(!text.contains("left behind"), "{text}");
    let fresh = name(&lab, 3);
    assert_ne!(fresh, former);
    // Targets are kept, so it is back, and the former identity is nobody's concern.
    lab.await_mesh(PATIENCE);
    await_same_ring(&lab, &[1, 2, 3], std::slice::from_ref(&former));
    let status = lab.status(1).expect("the daemon answers");
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    assert_eq!(status["ipam"]["removals"], serde_json::json!([]), "{status}");
    let again = lab.pod(3, "a");
    lab.await_ping(1, "a", &again);
    lab.await_ping(3, "a", &one);
}

#[test]
fn a_changed_range_is_refused_by_name_and_reset_is_the_way_forward() {
    let lab = Lab::up("range", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.pod(1, "a");
    let dir = lab.host_dir(1).join("data");
    let dir = dir.to_str().expect("an ASCII path");
    let in_use = lab.weft(1, &["--socket", "/run/weft-lab/none.sock", "reset", "--data-dir", dir]);
    assert_eq!(in_use.code, 1);
    assert!(in_use.stderr.contains("in use by another weft"), "{}", in_use.stderr);
    lab.ok(["kill", "1"]);

    let new = ["--ipalloc-init", "founder", "--ipalloc-range", "10.64.0.0/12"];
    let refused = lab.run(1, &new);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for words in ["10.32.0.0/12", "10.64.0.0/12", "weft reset"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }

    let which = lab.weft(1, &["reset"]);
    assert_eq!(which.code, 2, "{}", which.stderr);
    assert!(which.stderr.contains("--data-dir"), "{}", which.stderr);
    let attached = lab.weft(1, &["reset", "--data-dir", dir]);
    assert_eq!(attached.code, 1, "{}", attached.stderr);
    assert!(attached.stderr.contains("Pod default/a ("), "{}", attached.stderr);
    let done = lab.ok(["weft", "1", "reset", "--data-dir", dir, "--force"]);
    assert!(done.contains("no daemon runs") && done.contains("weft rmpeer"), "{done}");

    lab.launch(1, &new);
    let ps = lab.ps(1).expect("the daemon answers");
    assert!(ps[0]["fenced"].is_string(), "{ps}");
    lab.ok(["unpod", "1", "a"]);
    let two: Vec<_> = ["b", "c"].into_iter().map(|pod| lab.pod(1, pod)).collect();
    assert!(two.iter().all(|address| address.starts_with("10.64.")), "{two:?}");
    lab.await_ping(1, "b", &two[1]);
}
