//! Nodes that are gone for good: `weft rmpeer`.

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
