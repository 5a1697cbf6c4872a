//! The plugin killed at each of its steps, and the daemon killed under it.

use std::os::unix::net::UnixListener;

use serde_json::json;
use weft_cni_shim::fault::ADD_STEPS;

use super::{Sandbox, network};
use crate::harness::{Lab, PATIENCE, eventually};

/// What is on a host: its links, the Pods' addresses, and all rules but their counters.
fn traces(lab: &Lab) -> (Vec<String>, String, String) {
    let rules = lab.ok(["exec", "1", "nft", "--stateless", "list", "ruleset"]);
    let entries = lab.ok(["exec", "1", "bridge", "fdb", "show", "br", "weft"]);
    let ours = entries.lines().filter(|entry| entry.contains("0a:58:"));
    (lab.links(1), rules, ours.map(|entry| format!("{entry}\n")).collect())
}

#[test]
fn whatever_kills_the_plugin_del_leaves_no_trace() {
    let lab = Lab::up("kill", 1);
    let range = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];
    lab.launch(1, &[&range[..], &["--ipalloc-init", "founder"]].concat());
    // One Pod is masqueraded and stays, so that another that is not has a rule of its own.
    let mut masqueraded = network();
    masqueraded["ipMasq"] = true.into();
    let stays = Sandbox::new(&lab, "stays");
    stays.add(&lab, &masqueraded);
    let before = (lab.ps(1).expect("the daemon answers"), traces(&lab));

    let victim = Sandbox::new(&lab, "victim");
    for verb in ["DEL", "GC"] {
        for step in ADD_STEPS {
            let variable = format!("WEFT_CNI_FAULT={step}");
            let add = victim.start(&lab, (1, "weft-net", "ADD"), &network(), &[&variable]);
            assert!(add.answer().died(), "ADD gets to \"{step}\"");
            if step == "wired" {
                assert_ne!(traces(&lab), before.1, "there is something to remove");
            }
            let mut config = network();
            config["cni.dev/valid-attachments"] =
                json!([{"containerID": stays.id(), "ifname": "eth0"}]);
            victim.call(&lab, 1, verb, &config).ok();
            assert_eq!(lab.ps(1).as_ref(), Ok(&before.0), "{verb} after \"{step}\"");
            assert_eq!(traces(&lab), before.1, "{verb} after \"{step}\"");
        }
    }
    victim.add(&lab, &network());
    victim.call(&lab, 1, "DEL", &network()).ok();
    assert_eq!(traces(&lab), before.1);
}

#[test]
fn an_add_outlasts_a_restart_of_the_daemon_and_not_its_absence() {
    let lab = Lab::up("absent", 1);
    let founder = ["--ipalloc-init", "founder"];
    lab.launch(1, &founder);
    let (early, late) = (Sandbox::new(&lab, "early"), Sandbox::new(&lab, "late"));
    let socket = lab.host_dir(1).join("weft.sock");

    lab.ok(["kill", "1", "-9"]);
    std::fs::remove_file(&socket).expect("a killed daemon leaves its socket");
    let mut patient = network();
    patient["retrySeconds"] = 120.into();
    let adding = early.start(&lab, (1, "weft-net", "ADD"), &patient, &[]);
    // One that ends while it is asked: so it is known that the plugin has met no daemon.
    let dying = UnixListener::bind(&socket).expect("the place is free");
    dying.set_nonblocking(true).expect("a socket can be");
    eventually("call of the plugin", PATIENCE, || dying.accept().map_err(|e| e.to_string()));
    drop(dying);
    lab.launch(1, &founder);
    assert_eq!(adding.answer().addresses().len(), 1);
    early.call(&lab, 1, "DEL", &network()).ok();

    let stands = early.add(&lab, &network());
    lab.ok(["kill", "1", "-9"]);
    let text = late.call(&lab, 1, "ADD", &network()).failed(11);
    assert!(text.contains("is not reachable") && text.contains("weft.sock"), "{text}");
    assert!(lab.exec(1, &["ip", "-n", late.id(), "link", "show", "eth0"]).code != 0);
    let mut hasty = network();
    hasty["retrySeconds"] = 0.into();
    let text = early.call(&lab, 1, "DEL", &hasty).failed(11);
    assert!(text.contains("is not reachable"), "{text}");
    lab.launch(1, &founder);
    let known = lab.ps(1).expect("the daemon answers");
    assert!(known[0]["ips"].to_string().contains(&stands[0]), "{known}");
    early.call(&lab, 1, "DEL", &network()).ok();
    eventually("no Pod", PATIENCE, || match lab.ps(1)? {
        rest if rest == json!([]) => Ok(()),
        rest => Err(rest.to_string()),
    });
}
