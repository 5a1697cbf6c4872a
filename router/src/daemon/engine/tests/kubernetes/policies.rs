//! Policies and namespaces of the API.

use weft_api::error::ErrorCode;
use weft_api::policy::ObjectName;

use super::*;

fn start(policies: Vec<Object>) -> (Engine, BTreeMap<Kind, Saved>, Outcome) {
    let mut engine = founder_in_api_mode(Restored::default());
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    hear_lists(&mut engine, policies, Vec::new());
    let outcome = outcome(&mut engine, &mut disk, at(1));
    (engine, disk, outcome)
}

#[test]
fn policies_and_namespaces_of_the_api_are_in_force_as_they_come_and_go() {
    let (mut engine, mut disk, outcome1) = start(vec![policy("a", json!({ "podSelector": {} }))]);
    assert_eq!(outcome1.policies(), ["a"]);
    let state = outcome1.state.as_ref().unwrap();
    assert_eq!(state.cluster.namespaces["prod"].labels["stage"], "production");
    let b = policy("b", json!({ "podSelector": {} }));
    hear(&mut engine, Event::Applied(Resource::NetworkPolicies, b), at(2));
    hear(&mut engine, Event::Deleted(Resource::NetworkPolicies, id("prod", "a")), at(2));
    assert_eq!(outcome(&mut engine, &mut disk, at(2)).policies(), ["b"]);
    // A list replaces all.
    let c = policy("c", json!({ "podSelector": {} }));
    hear(&mut engine, Event::Listed(Resource::NetworkPolicies, vec![c]), at(3));
    assert_eq!(outcome(&mut engine, &mut disk, at(3)).policies(), ["c"]);
    let rows = engine.object_list(at(3));
    let rows: Vec<_> =
        rows.iter().map(|r| (r.id.name.as_str(), r.written_ms, r.writer.as_str())).collect();
    assert_eq!(rows, [("prod", 0, "kubernetes"), ("c", 1_786_042_538_000, "kubernetes")]);
}

#[test]
fn the_policies_outlive_a_restart_while_the_api_is_away() {
    let (mut engine, mut disk, _) = start(vec![policy("a", json!({ "podSelector": {} }))]);
    let web = pod("web", 1, json!({ "app": "a" }), "Running");
    hear(&mut engine, Event::Applied(Resource::Pods, web), at(1));
    engine.attach(1, ask("c1", "web", Some("web-1")), at(1));
    outcome(&mut engine, &mut disk, at(1));
    assert!(!disk.contains_key(&Kind::Kubernetes), "not at each event");
    pass(&mut engine, &mut disk, at(3));
    let written = disk[&Kind::Kubernetes].clone();

    let mut engine = founder_in_api_mode(restored(&disk));
    let first = outcome(&mut engine, &mut disk, at(0));
    assert_eq!(first.policies(), ["a"]);
    assert_eq!(first.pod("web").labels, BTreeMap::from([("app".into(), "a".into())]));
    for resource in Resource::ALL {
        hear(&mut engine, away(resource), at(1));
    }
    engine.attach(1, ask("c2", "new", Some("new-1")), at(1));
    let served = outcome(&mut engine, &mut disk, at(1));
    assert!(served.answer(1).is_ok() && served.policies() == ["a"]);
    assert!(engine.ready(at(1)));
    pass(&mut engine, &mut disk, at(100));
    assert!(disk[&Kind::Kubernetes] == written, "nothing was heard");
    assert_eq!(engine.last_kubernetes(), None);
}

#[test]
fn a_write_that_is_due_at_the_end_is_made() {
    let (mut engine, _, _) = start(vec![policy("a", json!({ "podSelector": {} }))]);
    let Some(weft_gossip::Written::Snapshot(bytes)) = engine.last_kubernetes() else { panic!() };
    assert!(String::from_utf8(bytes).unwrap().contains("\"name\":\"a\""));
    assert_eq!(engine.last_kubernetes(), None);
}

#[test]
fn what_stands_stays_until_the_policies_are_known() {
    let (mut engine, mut disk, _) = start(vec![policy("a", json!({ "podSelector": {} }))]);
    let web = pod("web", 1, json!({}), "Running");
    hear(&mut engine, Event::Applied(Resource::Pods, web), at(1));
    engine.attach(1, ask("c1", "web", Some("web-1")), at(1));
    outcome(&mut engine, &mut disk, at(1));
    // The disk has the Pod and lost the policies.
    disk.remove(&Kind::Kubernetes);
    let mut engine = founder_in_api_mode(restored(&disk));
    assert!(outcome(&mut engine, &mut disk, at(0)).state.is_none());
    hear(&mut engine, Event::Listed(Resource::Namespaces, Vec::new()), at(1));
    assert!(outcome(&mut engine, &mut disk, at(1)).state.is_none());
    let a = policy("a", json!({ "podSelector": {} }));
    hear(&mut engine, Event::Listed(Resource::NetworkPolicies, vec![a]), at(1));
    assert_eq!(outcome(&mut engine, &mut disk, at(1)).policies(), ["a"]);
}

#[test]
fn a_policy_that_cannot_be_understood_closes_is_named_and_noted_once() {
    let strange =
        policy("odd", json!({ "podSelector": {}, "ingress": [{ "from": [{ "x": 1 }] }] }));
    let (mut engine, mut disk, first) = start(vec![strange.clone()]);
    assert_eq!(first.policies(), ["odd"]);
    let key = ("prod".to_owned(), "odd".to_owned());
    let policy = first.state.as_ref().unwrap().cluster.policies[&key].clone();
    assert!(policy.ingress.iter().flatten().all(|rule| !rule.usable));
    warning(&engine, "NetworkPolicy prod/odd, of the Kubernetes API: ", at(1));
    assert!(first.words.iter().all(|word| !matches!(word, Word::Note { .. })));
    let said = pass(&mut engine, &mut disk, at(10)).words;
    let [Word::Note { resource, id: of, uid, reason, message }] = &said[..] else {
        panic!("one is said: {said:?}")
    };
    assert_eq!(
        (*resource, of, *reason),
        (Resource::NetworkPolicies, &id("prod", "odd"), "NotUnderstood")
    );
    assert_eq!(uid.as_deref(), Some("odd"));
    assert!(message.starts_with("weft: "), "{message}");
    hear(&mut engine, Event::Listed(Resource::NetworkPolicies, vec![strange]), at(11));
    assert!(pass(&mut engine, &mut disk, at(30)).words.is_empty());
    hear(&mut engine, Event::Deleted(Resource::NetworkPolicies, id("prod", "odd")), at(31));
    outcome(&mut engine, &mut disk, at(31));
    assert!(warnings(&engine, at(31)).iter().all(|text| !text.contains("odd")));
}

#[test]
fn nothing_is_written_past_the_api() {
    let (mut engine, mut disk, _) = start(Vec::new());
    let key = weft_gossip::ObjectKey {
        kind: "NetworkPolicy".into(),
        namespace: "prod".into(),
        name: "web".into(),
    };
    engine.apply(1, vec![(key, json!({}))], at(2));
    let name = ObjectName { kind: "Namespace".into(), namespace: None, name: "prod".into() };
    engine.delete(2, &[name], at(2));
    let outcome = outcome(&mut engine, &mut disk, at(2));
    assert_eq!(
        outcome.refusal(1),
        "NetworkPolicy prod/web cannot be written here: this node takes policies and namespaces from the \
         Kubernetes API: use `kubectl apply`"
    );
    assert!(outcome.refusal(2).ends_with("use `kubectl delete`"));
    assert_eq!(outcome.answers[&1].as_ref().unwrap_err().code, ErrorCode::Conflict);
}
