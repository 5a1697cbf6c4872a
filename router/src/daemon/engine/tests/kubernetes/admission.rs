//! Calls for addresses, and what the API knows of their Pods.

use super::*;

fn start() -> (Engine, BTreeMap<Kind, Saved>) {
    let mut engine = founder_in_api_mode(Restored::default());
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    (engine, disk)
}

#[test]
fn a_call_waits_for_the_lists_and_then_for_its_pod() {
    let (mut engine, mut disk) = start();
    engine.attach(1, ask("c1", "web", Some("web-1")), at(0));
    assert!(outcome(&mut engine, &mut disk, at(0)).answers.is_empty());
    hear_lists(&mut engine, Vec::new(), Vec::new());
    assert!(outcome(&mut engine, &mut disk, at(1)).answers.is_empty());
    // Another one under the same name is not it.
    let labels = json!({ "app": "web" });
    for uid in [2, 1] {
        let event = Event::Applied(Resource::Pods, pod("web", uid, labels.clone(), "Pending"));
        hear(&mut engine, event, at(2));
        let outcome = outcome(&mut engine, &mut disk, at(2));
        assert_eq!(outcome.answers.len(), usize::from(uid == 1), "{outcome:?}");
        if uid == 1 {
            assert_eq!(outcome.pod("web").labels, BTreeMap::from([("app".into(), "web".into())]));
        }
    }
    // A repeated call is not held up, whatever the API says by then.
    hear(&mut engine, refused(Resource::Pods), at(3));
    engine.attach(2, ask("c1", "web", Some("web-1")), at(3));
    assert!(outcome(&mut engine, &mut disk, at(3)).answer(2).is_ok());
    assert_eq!(engine.kubernetes_figures().unwrap().blind, 0);
}

#[test]
fn a_call_for_a_pod_that_never_shows_up_fails_in_time_and_says_why() {
    let (mut engine, mut disk) = start();
    engine.attach(1, ask("c1", "web", Some("web-1")), at(0));
    assert!(pass(&mut engine, &mut disk, at(29)).answers.is_empty());
    assert_eq!(
        pass(&mut engine, &mut disk, at(30)).refusal(1),
        "the NetworkPolicies of this cluster are not known yet: nodes, namespaces, networkpolicies, pods: \
         no answer yet (waited for 30 s)"
    );
    hear_lists(&mut engine, Vec::new(), Vec::new());
    engine.attach(2, ask("c1", "web", Some("web-1")), at(40));
    assert_eq!(
        pass(&mut engine, &mut disk, at(70)).refusal(2),
        "the Kubernetes API tells of no Pod prod/web with uid web-1 on the node n1: is that this node? see \
         --kubernetes-node (waited for 30 s)"
    );
    // Nor is one let through that the API may not tell of.
    hear(&mut engine, refused(Resource::Pods), at(80));
    engine.attach(3, ask("c1", "web", Some("web-1")), at(80));
    assert!(pass(&mut engine, &mut disk, at(109)).answers.is_empty());
    assert!(pass(&mut engine, &mut disk, at(110)).refusal(3).contains("prod/web"));
    assert_eq!(engine.status(at(110)).ipam.active, 0);
}

#[test]
fn while_the_api_is_away_pods_are_served_by_what_is_known() {
    let (mut engine, mut disk) = start();
    let closed = policy("closed", json!({ "podSelector": {} }));
    hear_lists(&mut engine, vec![closed], vec![pod("known", 1, json!({ "app": "a" }), "Pending")]);
    outcome(&mut engine, &mut disk, at(1));
    engine.attach(1, ask("c1", "web", Some("web-1")), at(2));
    assert!(outcome(&mut engine, &mut disk, at(2)).answers.is_empty());
    hear(&mut engine, away(Resource::Pods), at(3));
    let served = outcome(&mut engine, &mut disk, at(3));
    assert!(served.answer(1).is_ok());
    assert_eq!(served.pod("web").labels["from"], "runtime");
    assert_eq!(served.policies(), ["closed"]);
    engine.attach(2, ask("c2", "known", Some("known-1")), at(4));
    let served = outcome(&mut engine, &mut disk, at(4));
    assert_eq!(served.pod("known").labels, BTreeMap::from([("app".into(), "a".into())]));
    assert_eq!(engine.kubernetes_figures().unwrap().blind, 1);
    // When it is back, what it says of them is in force at once.
    let web = pod("web", 1, json!({ "app": "web" }), "Running");
    hear(&mut engine, Event::Listed(Resource::Pods, vec![web]), at(9));
    let told = outcome(&mut engine, &mut disk, at(9));
    assert_eq!(told.pod("web").labels, BTreeMap::from([("app".into(), "web".into())]));
    assert_eq!(told.pod("known").labels["app"], "a", "it is attached, gone or not");
}

#[test]
fn a_node_that_never_heard_of_policies_refuses_pods_at_once_while_the_api_is_away() {
    let (mut engine, mut disk) = start();
    for resource in Resource::ALL {
        hear(&mut engine, away(resource), at(1));
    }
    engine.attach(1, ask("c1", "web", Some("web-1")), at(1));
    engine.attach(2, request("c2"), at(1));
    let outcome = outcome(&mut engine, &mut disk, at(1));
    let why = "the NetworkPolicies of this cluster are not known yet: nodes, namespaces, networkpolicies, \
               pods: no route to 10.0.0.9";
    assert_eq!((outcome.refusal(1), outcome.refusal(2)), (why, why));
    assert!(outcome.state.is_none(), "what the kernel has, stays");
    assert!(!engine.ready(at(1)));
}

#[test]
fn a_call_that_waits_is_taken_back_by_a_detach() {
    let (mut engine, mut disk) = start();
    engine.attach(1, ask("c1", "web", Some("web-1")), at(0));
    engine.detach(2, &query("c1"), at(1));
    let outcome = outcome(&mut engine, &mut disk, at(1));
    assert!(outcome.refusal(1).contains("was detached meanwhile"));
    hear_lists(&mut engine, Vec::new(), vec![pod("web", 1, json!({}), "Running")]);
    assert_eq!(engine.status(at(1)).ipam.active, 0);
}

#[test]
fn labels_ports_and_phases_are_those_of_the_api_and_told_to_others() {
    let (mut engine, mut disk) = start();
    hear_lists(&mut engine, Vec::new(), vec![pod("web", 1, json!({ "app": "a" }), "Running")]);
    engine.attach(1, ask("c1", "web", Some("web-1")), at(1));
    let told = outcome(&mut engine, &mut disk, at(1));
    let ports: Vec<_> =
        told.pod("web").ports.iter().map(|port| (port.name.as_str(), port.number)).collect();
    assert_eq!(ports, [("web", 80), ("side", 81)]);
    let others_hear = |engine: &Engine| {
        let labels = |(_, pod): (_, weft_gossip::PodInfo)| pod.labels;
        engine
            .node
            .pods()
            .flat_map(labels)
            .map(|(key, value)| key + "=" + &value)
            .collect::<Vec<_>>()
    };
    assert_eq!(others_hear(&engine), ["app=a"]);
    assert_eq!(engine.select(&query("c1"))[0].labels["app"], "a");

    let event = Event::Applied(Resource::Pods, pod("web", 1, json!({ "app": "b" }), "Running"));
    hear(&mut engine, event, at(2));
    let told = outcome(&mut engine, &mut disk, at(2));
    assert_eq!(told.pod("web").labels["app"], "b");
    assert_eq!(others_hear(&engine), ["app=b"]);

    let event = Event::Applied(Resource::Pods, pod("web", 1, json!({ "app": "b" }), "Failed"));
    hear(&mut engine, event, at(3));
    let told = outcome(&mut engine, &mut disk, at(3));
    assert!(told.pod("web").finished);
    assert!(others_hear(&engine).is_empty());
}

#[test]
fn a_pod_that_is_gone_keeps_its_labels_until_it_is_detached() {
    let (mut engine, mut disk) = start();
    hear_lists(&mut engine, Vec::new(), vec![pod("web", 1, json!({ "app": "a" }), "Running")]);
    engine.attach(1, ask("c1", "web", Some("web-1")), at(1));
    outcome(&mut engine, &mut disk, at(1));
    hear(&mut engine, Event::Deleted(Resource::Pods, id("prod", "web")), at(2));
    // The next one of a StatefulSet, under the same name.
    let next = pod("web", 2, json!({ "app": "b" }), "Pending");
    hear(&mut engine, Event::Applied(Resource::Pods, next), at(2));
    engine.attach(2, ask("c2", "web", Some("web-2")), at(2));
    let told = outcome(&mut engine, &mut disk, at(2)).state.unwrap();
    let labels: Vec<_> = told.cluster.pods.iter().map(|pod| pod.labels["app"].as_str()).collect();
    assert_eq!(labels, ["a", "b"]);
    engine.detach(3, &query("c1"), at(3));
    hear(&mut engine, Event::Listed(Resource::Pods, Vec::new()), at(3));
    outcome(&mut engine, &mut disk, at(3));
    pass(&mut engine, &mut disk, at(9));
    let saved = String::from_utf8(disk[&Kind::Kubernetes].snapshot.clone()).unwrap();
    assert!(saved.contains("web-2") && !saved.contains("web-1"), "{saved}");
}

#[test]
fn a_pod_of_the_kubelet_is_found_by_the_uid_that_the_runtime_has() {
    let (mut engine, mut disk) = start();
    let mut mirror = pod("proxy", 1, json!({ "app": "proxy" }), "Running");
    mirror.value["metadata"]["annotations"] = json!({ "kubernetes.io/config.hash": "of-the-file" });
    hear_lists(&mut engine, Vec::new(), vec![mirror]);
    engine.attach(1, ask("c1", "proxy", Some("of-the-file")), at(1));
    let outcome = outcome(&mut engine, &mut disk, at(1));
    assert_eq!(outcome.pod("proxy").labels["app"], "proxy");
}
