//! `weft-ipam`.

use serde_json::{Value, json};

use crate::scene::{DONE, Scene, failed, feed};

#[test]
fn ipam_hands_out_addresses_and_makes_nothing() {
    let scene = Scene::new("ipm");
    scene.stub.state().gateways = vec!["10.32.0.9".parse().unwrap()];
    scene.pod.ip(&["link", "add", "eth0", "address", "02:00:00:00:00:07", "type", "bridge"]);
    let before = (scene.host.state(), scene.pod.state());
    let mut config = json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge",
        "ipam": {"type": "weft-ipam", "defaultRoute": true, "retrySeconds": 0,
            "routes": [{"dst": "192.0.2.0/24"}]}});
    let run = |verb: &str, config: &Value, env: &[(&str, &str)]| {
        let mut command = scene.command(verb, env);
        // The same variables for the other program.
        let mut ipam = scene.host.command(env!("CARGO_BIN_EXE_weft-ipam"));
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        ipam.envs(set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>());
        command = ipam;
        feed(command, config.to_string().as_bytes())
    };
    let added = run("ADD", &config, &[]);
    assert_eq!(
        added.json,
        json!({
            "cniVersion": "1.1.0",
            "ips": [
                {"address": "10.32.0.1/12", "gateway": "10.32.0.9"},
                {"address": "fd00:32::1/64"},
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.32.0.9"},
                {"dst": "192.0.2.0/24", "gw": "10.32.0.9"},
            ],
        })
    );
    let asked = scene.stub.state().last_attach.clone().unwrap();
    assert_eq!(asked.network.as_deref(), Some("lan"));
    assert_eq!(asked.mac.as_deref(), Some("02:00:00:00:00:07"), "that of the interface there");
    assert_eq!((scene.host.state(), scene.pod.state()), before);
    assert!(failed(&run("ADD", &config, &[]), 101).contains("has addresses already"));
    assert_eq!(scene.stub.state().attachments.len(), 1, "they are still the first's");

    config["prevResult"] = added.json;
    assert_eq!(run("CHECK", &config, &[]), DONE);
    config["prevResult"]["ips"] = json!([]);
    assert_eq!(
        failed(&run("CHECK", &config, &[]), 102),
        "address 10.32.0.1/12 is missing in prevResult"
    );
    assert_eq!(run("STATUS", &config, &[]), DONE);
    assert_eq!(run("ADD", &config, &[("CNI_CONTAINERID", "c2")]).code, 0);
    config["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
    assert_eq!(run("GC", &config, &[]), DONE);
    let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
    assert_eq!(left, [("c2".to_owned(), "eth0".to_owned())]);
    for _ in 0..2 {
        assert_eq!(run("DEL", &config, &[("CNI_CONTAINERID", "c2"), ("CNI_NETNS", "")]), DONE);
    }
    assert!(scene.stub.state().attachments.is_empty());
    assert_eq!((scene.host.state(), scene.pod.state()), before);
}
