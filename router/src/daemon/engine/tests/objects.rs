//! Objects as the engine hands them to the enforcer and to the disk.

use serde_json::{Value, json};
use weft_api::policy::{ObjectName, Outcome};
use weft_gossip::{ObjectKey, ObjectView, Stamp};

use super::*;
use crate::daemon::policy::PolicyState;

fn key(name: &str) -> ObjectKey {
    ObjectKey { kind: "NetworkPolicy".into(), namespace: "prod".into(), name: name.into() }
}

fn policy(name: &str) -> (ObjectKey, Value) {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": "prod" },
        "spec": { "podSelector": {} },
    });
    (key(name), value)
}

/// The last that the enforcer was told.
fn told(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>) -> Option<PolicyState> {
    let mut told = None;
    let mut held_back = Vec::new();
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Policy { token, state } => {
                told = Some((*state).clone());
                engine.handle_policy(enforced(token), at(0));
            }
            Output::Save { kind: Kind::Gossip, token, what } => {
                disk.entry(Kind::Gossip).or_default().write(what);
                engine.handle_saved(Kind::Gossip, token, at(0));
            }
            other => held_back.push(other),
        }
    }
    engine.outputs.extend(held_back);
    told
}

#[test]
fn an_object_is_answered_and_enforced_once_it_is_on_disk_and_outlives_a_restart() {
    let mut engine = founder(1, Restored::default());
    let mut disk = BTreeMap::new();
    drain(&mut engine, &mut disk, at(0));
    engine.set_clock(1_800_000_000_000, at(0));
    engine.apply(7, vec![policy("web"), policy("db")], at(0));
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
    let [Output::Save { kind: Kind::Gossip, token, what }] = &outputs[..] else {
        panic!("only a write comes first: {outputs:?}")
    };
    disk.entry(Kind::Gossip).or_default().write(what.clone());
    engine.handle_saved(Kind::Gossip, *token, at(0));
    let state = told(&mut engine, &mut disk).expect("there is something to enforce");
    let policies: Vec<_> = state.cluster.policies.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(policies, ["db", "web"]);
    let replies = drain(&mut engine, &mut disk, at(0));
    let [Output::Reply { call: 7, result: Ok(Reply::Changed(reply)) }] = &replies[..] else {
        panic!("the answer comes last: {replies:?}")
    };
    assert!(reply.objects.iter().all(|object| object.outcome == Outcome::Created));

    let mut again = founder(1, restored(&disk));
    let state = told(&mut again, &mut disk).expect("there is something to enforce");
    assert_eq!(state.cluster.policies.len(), 2);
    again.apply(8, vec![policy("web")], at(0));
    let web = ObjectName {
        kind: "NetworkPolicy".into(),
        namespace: Some("prod".into()),
        name: "web".into(),
    };
    again.delete(9, &[ObjectName { name: "gone".into(), ..web.clone() }], at(0));
    again.delete(10, std::slice::from_ref(&web), at(0));
    let state = told(&mut again, &mut disk).expect("one is gone");
    assert_eq!(state.cluster.policies.len(), 1);
    let replies = drain(&mut again, &mut disk, at(0));
    let outcome = |call| {
        let found = replies.iter().find_map(|output| match output {
            Output::Reply { call: of, result } if *of == call => Some(result),
            _ => None,
        });
        match found.expect("every call is answered") {
            Ok(Reply::Changed(reply)) => Ok(reply.objects[0].outcome),
            Ok(other) => panic!("{other:?}"),
            Err(body) => Err(body.message.clone()),
        }
    };
    assert_eq!(outcome(8), Ok(Outcome::Unchanged));
    assert!(outcome(9).unwrap_err().contains("no NetworkPolicy prod/gone"));
    assert_eq!(outcome(10), Ok(Outcome::Deleted));
    assert_eq!(again.object_list(at(0)).len(), 1);
}

#[test]
fn what_others_wrote_and_cannot_be_understood_closes_its_namespace() {
    use super::super::objects::read_object;
    use weft_policy::Object;
    let view = |kind: &str, body: &str| ObjectView {
        key: ObjectKey { kind: kind.into(), ..key("web") },
        body: body.as_bytes().into(),
        stamp: Stamp::default(),
        writer: identity(9).name(),
    };
    let other_name = policy("other").1.to_string();
    for garbage in ["", "{", "[]", "{\"kind\":\"Pod\"}", &other_name, "\u{0}"] {
        let (object, fault) = read_object(&view("NetworkPolicy", garbage));
        let Some(Object::NetworkPolicy(policy)) = object else { panic!("{garbage} opens") };
        assert_eq!((policy.namespace.as_str(), policy.name.as_str()), ("prod", "web"));
        assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])));
        assert!(fault.is_some_and(|fault| fault.contains("all Pods of prod are isolated")));
    }
    let (object, fault) = read_object(&view("NetworkPolicy", &policy("web").1.to_string()));
    assert!(object.is_some() && fault.is_none());
    let (object, fault) = read_object(&view("Namespace", "{}"));
    let Some(Object::Namespace(namespace)) = object else { panic!("a namespace stays") };
    assert_eq!((namespace.name.as_str(), namespace.labels.len()), ("web", 1));
    assert!(fault.is_some());
    assert!(matches!(read_object(&view("ConfigMap", "{}")), (None, None)), "of a later version");
}

#[test]
fn a_pod_that_others_cannot_be_told_of_is_refused() {
    let mut engine = founder(1, Restored::default());
    let mut disk = BTreeMap::new();
    drain(&mut engine, &mut disk, at(0));
    let mut long = request("c1");
    long.pod = Some("web".into());
    long.labels.insert("app".into(), "x".repeat(1000));
    engine.attach(1, long, at(0));
    let outputs = drain(&mut engine, &mut disk, at(0));
    let [Output::Reply { call: 1, result: Err(body) }] = &outputs[..] else {
        panic!("it is refused: {outputs:?}")
    };
    assert_eq!(body.code, weft_api::error::ErrorCode::Invalid);
    assert_eq!(body.message, "Pod web: text too long in its names, labels or ports");
}

/// All that the enforcer is told until nothing is left to do.
fn orders(engine: &mut Engine, disk: &mut BTreeMap<Kind, Saved>) -> Vec<Arc<PolicyState>> {
    let mut orders = Vec::new();
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Policy { token, state } => {
                orders.push(state);
                engine.handle_policy(enforced(token), at(0));
            }
            Output::Save { kind, token, what } => {
                disk.entry(kind).or_default().write(what);
                engine.handle_saved(kind, token, at(0));
            }
            _ => {}
        }
    }
    orders
}

#[test]
fn a_pod_that_comes_changes_or_goes_is_enforced_once() {
    let mut engine = founder(1, Restored::default());
    let mut disk = BTreeMap::new();
    orders(&mut engine, &mut disk);
    engine.apply(1, vec![policy("web")], at(0));
    let first = orders(&mut engine, &mut disk).pop().expect("a policy");
    // The later ones by name come first.
    for container in ["c3", "c2", "c1"] {
        engine.attach(2, request(container), at(0));
        let told = orders(&mut engine, &mut disk);
        assert_eq!(told.len(), 1, "{container}");
        assert!(Arc::ptr_eq(&told[0].cluster.policies, &first.cluster.policies));
    }
    let labelled = |engine: &Engine| {
        let labels = engine.node.pods().flat_map(|(_, pod)| pod.labels);
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labelled(&engine), []);

    // A label, as the Kubernetes API may change it.
    let key = ("c2".to_owned(), "eth0".to_owned());
    let attachment = engine.attachments.get_mut(&key).expect("it stands");
    attachment.labels.insert("app".into(), "web".into());
    engine.settle(at(0));
    let told = orders(&mut engine, &mut disk);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cluster.pods[1].labels["app"], "web");
    assert!(Arc::ptr_eq(&told[0].cluster.policies, &first.cluster.policies));
    assert_eq!(labelled(&engine), [("app".to_owned(), "web".to_owned())], "others are told");

    engine.detach(3, &query("c2"), at(0));
    assert_eq!(orders(&mut engine, &mut disk).len(), 1);
    assert_eq!(labelled(&engine), []);
    engine.attach(4, request("c1"), at(0));
    assert_eq!(orders(&mut engine, &mut disk).len(), 0, "it is there already");
}
