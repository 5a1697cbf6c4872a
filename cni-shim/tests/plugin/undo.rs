//! DEL and GC, and what a plugin leaves that is killed.

use std::path::Path;

use serde_json::{Value, json};
use weft_cni_shim::fault::ADD_STEPS;
use weft_cni_shim::wire::host_ifname;

use crate::scene::{DONE, Scene, failed};

#[test]
fn del_works_without_the_namespace_and_frees_one_interface_only() {
    let scene = Scene::new("del");
    let config = Scene::config("1.0.0");
    assert_eq!(scene.run("ADD", &config, &[]).code, 0);
    assert_eq!(scene.run("ADD", &config, &[("CNI_IFNAME", "net1")]).code, 0);
    assert_eq!(scene.run("DEL", &config, &[("CNI_NETNS", "")]), DONE);
    assert!(!scene.pod.ip(&["link"]).contains("eth0"));
    assert!(scene.pod.ip(&["link"]).contains("net1"));
    let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
    assert_eq!(left, [("c1".to_owned(), "net1".to_owned())]);
    let vanished = [("CNI_IFNAME", "net1"), ("CNI_NETNS", "/run/netns/weft-never-was")];
    // The result of an earlier version of something else must not keep a container from going.
    let config = Scene::with_previous("1.0.0", &json!({"interfaces": null, "ips": 7}));
    assert_eq!(scene.run("DEL", &config, &vanished), DONE);
    assert!(scene.stub.state().attachments.is_empty());
}

#[test]
fn del_leaves_an_interface_alone_that_is_not_ours() {
    let scene = Scene::new("for");
    scene.pod.ip(&["link", "add", "eth0", "type", "bridge"]);
    let config = Scene::config("1.0.0");
    failed(&scene.run("ADD", &config, &[]), 101);
    assert_eq!(scene.run("DEL", &config, &[]), DONE);
    assert!(scene.pod.ip(&["link"]).contains("eth0"));
}

#[test]
fn gc_frees_what_the_runtime_does_not_know_and_nothing_else() {
    let scene = Scene::new("gc");
    let mut other = Scene::config("1.1.0");
    other["name"] = "other".into();
    let add = |container: &str, ifname: &str, config: &Value| {
        let env = [("CNI_CONTAINERID", container), ("CNI_IFNAME", ifname)];
        let added = scene.run("ADD", config, &env);
        assert_eq!(added.code, 0, "{added:?}");
    };
    let config = Scene::config("1.1.0");
    add("c1", "eth0", &config);
    add("c1", "net1", &config);
    add("c2", "net2", &config);
    add("c3", "net3", &other);
    // Nothing is freed by mistake.
    assert_eq!(
        failed(&scene.run("GC", &config, &[]), 7),
        "cni.dev/valid-attachments is missing: nothing is freed"
    );
    assert_eq!(
        failed(&scene.run("GC", &Scene::config("1.0.0"), &[]), 1),
        "CNI version 1.0.0 has no GC"
    );
    assert_eq!(scene.stub.state().attachments.len(), 4);

    // The namespace of one is gone already.
    scene.host.ip(&["link", "del", &host_ifname("c2", "net2")]);
    let mut gc = config;
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    let bare = [("CNI_CONTAINERID", ""), ("CNI_IFNAME", ""), ("CNI_NETNS", "")];
    for _ in 0..2 {
        assert_eq!(scene.run("GC", &gc, &bare), DONE);
        let left: Vec<_> = scene.stub.state().attachments.keys().cloned().collect();
        let names = [("c1", "eth0"), ("c3", "net3")];
        assert_eq!(left, names.map(|(c, i)| (c.to_owned(), i.to_owned())));
    }
    let links = scene.host.ip(&["link"]);
    assert!(
        links.contains(&host_ifname("c1", "eth0")) && links.contains(&host_ifname("c3", "net3"))
    );
    assert!(!links.contains(&host_ifname("c1", "net1")));
}

/// The steps of an ADD that the kernel refuses half-way.
const STEPS_BACK: [&str; 2] = ["undoing", "failed"];

#[test]
fn a_plugin_that_is_killed_leaves_what_the_next_del_removes() {
    let scene = Scene::new("die");
    let before = (scene.host.state(), scene.pod.state());
    let config = Scene::config("1.1.0");
    let mut refused = config.clone();
    // IPv6 needs 1280, so the kernel refuses its address when the pair stands already.
    refused["mtu"] = 1000.into();
    let mut gc = config.clone();
    gc["cni.dev/valid-attachments"] = json!([]);
    let steps = ADD_STEPS.map(|step| (step, &config)).into_iter();
    for (step, adding) in steps.chain(STEPS_BACK.map(|step| (step, &refused))) {
        for verb in ["DEL", "GC"] {
            let died = scene.run_until("ADD", adding, step);
            assert_eq!(died, Some(9), "ADD gets to \"{step}\"");
            let reserved = usize::from(step != "vacant");
            assert_eq!(scene.stub.state().attachments.len(), reserved, "{step}");
            // Each is killed half-way too, and repeated.
            match verb {
                "DEL" => assert_eq!(scene.run_until("DEL", &config, "unwired"), Some(9)),
                _ if reserved == 0 => {}
                _ => assert_eq!(scene.run_until("GC", &gc, "collected"), Some(9)),
            }
            assert_eq!(scene.run(verb, if verb == "GC" { &gc } else { &config }, &[]), DONE);
            assert!(scene.stub.state().attachments.is_empty(), "{step}");
            assert_eq!(scene.host.state(), before.0, "{step}");
            let left = scene.pod.state();
            assert!(!left.contains("eth0"), "{step}: {left}");
        }
        assert_eq!(scene.run("ADD", &config, &[]).code, 0, "and an ADD may follow");
        assert_eq!(scene.run("DEL", &config, &[]), DONE);
    }
}

#[test]
fn no_step_is_left_out() {
    let mut walked: Vec<_> = ADD_STEPS.iter().chain(&STEPS_BACK).copied().collect();
    walked.extend(["unwired", "collected"]);
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            for call in source.split("fault::point(\"").skip(1) {
                let step = call.split('"').next().unwrap();
                assert!(walked.contains(&step), "{}: \"{step}\"", path.display());
                found += 1;
            }
        }
    }
    assert!(found >= walked.len(), "{found} calls for {} steps", walked.len());
}
