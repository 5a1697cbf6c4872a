//! What is tried, in this order; a step leaves the cluster as it found it, but for its own objects.

use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_kubernetes::{Event, NodeInfo, ObjectId, PEER_ANNOTATION, Resource, Word};

use super::cluster::{ACCOUNT, Cluster, rules};
use super::heard::{all_watching, hear};

type Step = for<'a> fn(&'a mut Cluster) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// All of them.
pub(crate) const STEPS: &[(&str, Step)] = &[
    ("lists and changes of Nodes, Namespaces, NetworkPolicies and own Pods", |c| {
        Box::pin(lists_and_changes(c))
    }),
    ("annotation and condition through nodes/status, and again when others change them", |c| {
        Box::pin(presence(c))
    }),
    ("a note is an Event, once for all nodes", |c| Box::pin(notes(c))),
    ("a missing right is named, and used when granted", |c| Box::pin(missing_right(c))),
    ("an unknown token is told from an API server that is away", |c| Box::pin(unknown_token(c))),
    ("a certificate for other names is named", |c| Box::pin(certificate(c))),
    ("watches and words after the API server was killed", |c| Box::pin(killed(c))),
];

fn node(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }],
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "" }],
        },
    })
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "team": "a" } } })
}

fn policy(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    })
}

fn pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i", "ports": [{ "name": "web", "containerPort": 80 }] }] },
    })
}

fn id(object: &Value) -> ObjectId {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    ObjectId { namespace: text("namespace"), name: text("name") }
}

fn find<'a>(nodes: &'a [NodeInfo], name: &str) -> Option<&'a NodeInfo> {
    nodes.iter().find(|node| node.name == name)
}

async fn lists_and_changes(cluster: &Cluster) {
    let (first, second) = (node("lists-1", "192.0.2.1"), node("lists-2", "192.0.2.2"));
    let (space, own) = (namespace("lists"), pod("lists", "own", "lists-1"));
    let (others, rule) = (pod("lists", "others", "lists-2"), policy("lists", "deny"));
    for object in [&first, &space, &own, &others, &rule] {
        cluster.create(object.clone()).await;
    }
    let (_weft, mut heard) = cluster.weft("weft", "lists-1");
    let events = all_watching(&mut heard).await;
    let listed = |resource: Resource| {
        let found = events.iter().find_map(|event| match event {
            Event::Listed(of, objects) if *of == resource => Some(objects.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no list of {resource:?} in {events:#?}"))
    };
    let pods = listed(Resource::Pods);
    assert_eq!(pods.iter().map(|pod| pod.id.clone()).collect::<Vec<_>>(), [id(&own)]);
    assert_eq!(pods[0].value["kind"], "Pod");
    assert_eq!(pods[0].value["spec"]["containers"][0]["ports"][0]["name"], "web");
    assert_eq!(pods[0].value["metadata"]["uid"], pods[0].uid.as_str());
    let policies = listed(Resource::NetworkPolicies);
    assert_eq!(policies[0].id, id(&rule));
    assert_eq!(policies[0].value["apiVersion"], "networking.k8s.io/v1");
    let namespaces = listed(Resource::Namespaces);
    let found = namespaces.iter().find(|object| object.id == id(&space)).unwrap();
    assert_eq!(found.value["metadata"]["labels"]["team"], "a");
    assert_eq!(found.value.get("spec"), None, "of a Namespace only the metadata is asked for");
    let nodes = events.iter().find_map(|event| match event {
        Event::Nodes(nodes) => Some(nodes.clone()),
        _ => None,
    });
    assert_eq!(
        find(&nodes.unwrap(), "lists-1").unwrap().addresses,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
    );

    // What a kubelet writes every five minutes is not told; what comes after it is.
    cluster
        .strategic_status(
            &first,
            json!({ "status": { "conditions": [{ "type": "Ready", "message": "still" }] } }),
        )
        .await;
    cluster.create(second.clone()).await;
    let event = hear(&mut heard, "Nodes", |event| matches!(event, Event::Nodes(_))).await;
    let Event::Nodes(nodes) = event else { panic!("{event:?}") };
    assert!(find(&nodes, "lists-2").is_some(), "{nodes:?}");
    let patch = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.9" }, { "type": "Hostname", "address": "lists-2" }] } });
    cluster.strategic_status(&second, patch).await;
    hear(&mut heard, "an address of a Node changes", |event| {
        matches!(event, Event::Nodes(nodes) if find(nodes, "lists-2").is_some_and(|node| node.addresses.contains(&"192.0.2.9".parse().unwrap())))
    })
    .await;
    cluster.delete(&second).await;
    hear(
        &mut heard,
        "a Node is gone",
        |event| matches!(event, Event::Nodes(nodes) if find(nodes, "lists-2").is_none()),
    )
    .await;

    cluster.merge(&space, json!({ "metadata": { "labels": { "team": "b" } } })).await;
    hear(&mut heard, "a label of a Namespace changes", |event| {
        matches!(event, Event::Applied(Resource::Namespaces, object) if object.value["metadata"]["labels"]["team"] == "b")
    })
    .await;
    cluster.delete(&rule).await;
    hear(&mut heard, "a policy is gone", |event| {
        *event == Event::Deleted(Resource::NetworkPolicies, id(&rule))
    })
    .await;
    cluster.merge(&own, json!({ "metadata": { "labels": { "app": "other" } } })).await;
    hear(&mut heard, "a label of a Pod changes", |event| {
        matches!(event, Event::Applied(Resource::Pods, object) if object.value["metadata"]["labels"]["app"] == "other")
    })
    .await;
    cluster.delete(&own).await;
    hear(&mut heard, "a Pod is gone", |event| *event == Event::Deleted(Resource::Pods, id(&own)))
        .await;
    cluster.delete(&others).await;
    cluster.delete(&first).await;
}

/// Waits until the condition and the annotation of `node` are these.
async fn told(cluster: &Cluster, node: &Value, status: &str, message: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = cluster.get(node).await;
        let conditions = found["status"]["conditions"].as_array().unwrap();
        let condition =
            conditions.iter().find(|condition| condition["type"] == "NetworkUnavailable");
        let said = condition.is_some_and(|condition| {
            condition["status"] == status && condition["message"] == message
        });
        if said
            && found["metadata"]["annotations"][PEER_ANNOTATION]
                == format!("peer-of-{}", node["metadata"]["name"].as_str().unwrap())
        {
            return found;
        }
        assert!(Instant::now() < deadline, "{status} {message} is not told: {found:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn presence(cluster: &Cluster) {
    let own = node("presence", "192.0.2.3");
    cluster.create(own.clone()).await;
    let (weft, mut heard) = cluster.weft("weft", "presence");
    weft.say(Word::Present { up: false, message: "waiting for the ring".to_owned() });
    told(cluster, &own, "True", "waiting for the ring").await;
    weft.say(Word::Present { up: true, message: "ready".to_owned() });
    let found = told(cluster, &own, "False", "ready").await;
    let conditions = found["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["type"] == "Ready"), "{conditions:?}");
    hear(&mut heard, "the peer on this node", |event| {
        matches!(event, Event::Nodes(nodes) if find(nodes, "presence").is_some_and(|node| node.peer.as_deref() == Some("peer-of-presence")))
    })
    .await;
    // Somebody else sets both.
    let patch = json!({
        "metadata": { "annotations": { PEER_ANNOTATION: "another" } },
        "status": { "conditions": [{ "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "x" }] },
    });
    cluster.strategic_status(&own, patch).await;
    told(cluster, &own, "False", "ready").await;
    // A Node that is made anew has neither.
    cluster.delete(&own).await;
    cluster.create(own.clone()).await;
    told(cluster, &own, "False", "ready").await;
    cluster.delete(&own).await;
    weft.say(Word::Present { up: true, message: "still".to_owned() });
    hear(&mut heard, "there is no Node", |event| {
        matches!(event, Event::Unsaid(Some(why)) if why.starts_with("there is no Node presence: "))
    })
    .await;
    cluster.create(own.clone()).await;
    hear(&mut heard, "all is said", |event| *event == Event::Unsaid(None)).await;
    told(cluster, &own, "False", "still").await;
    cluster.delete(&own).await;
}

async fn notes(cluster: &Cluster) {
    let (space, rule) = (namespace("notes"), policy("notes", "odd"));
    cluster.create(space.clone()).await;
    cluster.create(rule.clone()).await;
    let uid = cluster.get(&rule).await["metadata"]["uid"].as_str().unwrap().to_owned();
    let note = |namespace: &str, message: &str| Word::Note {
        resource: Resource::NetworkPolicies,
        id: ObjectId { namespace: namespace.to_owned(), name: "odd".to_owned() },
        uid: Some(uid.clone()),
        reason: "PolicyNotEnforced",
        message: message.to_owned(),
    };
    let (first, _heard) = cluster.weft("weft", "notes-1");
    let (second, _heard_too) = cluster.weft("weft", "notes-2");
    // One in a namespace that does not exist is dropped, and keeps nothing from being said after it.
    first.say(note("absent", "endPort without port"));
    for weft in [&first, &second] {
        weft.say(note("notes", "endPort without port"));
        weft.say(Word::Note {
            resource: Resource::Nodes,
            id: ObjectId { namespace: String::new(), name: "notes-1".to_owned() },
            uid: None,
            reason: "Last",
            message: "x".to_owned(),
        });
    }
    let events = |namespace: &str| {
        cluster.api(
            &json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "namespace": namespace } }),
        )
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let list = kube::api::ListParams::default();
    while events("default")
        .list(&list)
        .await
        .unwrap()
        .items
        .iter()
        .all(|event| event.data["reason"] != "Last")
    {
        assert!(Instant::now() < deadline, "no Event on a Node");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = events("notes").list(&list).await.unwrap().items;
    assert_eq!(found.len(), 1, "{found:#?}");
    let event = &found[0].data;
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "PolicyNotEnforced");
    assert_eq!(event["message"], "endPort without port");
    assert_eq!(event["involvedObject"]["uid"], uid.as_str());
    assert_eq!(event["involvedObject"]["kind"], "NetworkPolicy");
    cluster.delete(&rule).await;
}

async fn missing_right(cluster: &Cluster) {
    let Value::Array(mut fewer) = rules() else { panic!("rules are a list") };
    fewer.retain(|rule| {
        rule["resources"][0] != "networkpolicies" && rule["resources"][0] != "nodes/status"
    });
    cluster.rights(&Value::Array(fewer)).await;
    cluster.refused("weft", "/apis/networking.k8s.io/v1/networkpolicies").await;
    let own = node("rights", "192.0.2.4");
    cluster.create(own.clone()).await;
    let (weft, mut heard) = cluster.weft("weft", "rights");
    weft.say(Word::Present { up: true, message: "ready".to_owned() });
    let list = format!(
        "the service account {ACCOUNT} may not list networkpolicies: grant it, deploy/kubernetes/weft.yaml has the rule"
    );
    let patch = format!(
        "the service account {ACCOUNT} may not patch nodes/status: grant it, deploy/kubernetes/weft.yaml has the rule"
    );
    let (mut failing, mut unsaid) = (false, false);
    while !failing || !unsaid {
        match hear(&mut heard, "both refusals", |event| {
            matches!(event, Event::Failing { .. } | Event::Unsaid(_))
        })
        .await
        {
            Event::Failing { resource, why, answered } => {
                assert_eq!(
                    (resource, why.as_str(), answered),
                    (Resource::NetworkPolicies, list.as_str(), true)
                );
                failing = true;
            }
            Event::Unsaid(why) => {
                assert_eq!(why.as_deref(), Some(patch.as_str()));
                unsaid = true;
            }
            _ => {}
        }
    }
    cluster.rights(&rules()).await;
    let (mut watching, mut said) = (false, false);
    while !watching || !said {
        match hear(&mut heard, "both work", |_| true).await {
            Event::Watching(Resource::NetworkPolicies) => watching = true,
            Event::Unsaid(None) => said = true,
            _ => {}
        }
    }
    cluster.delete(&own).await;
}

async fn unknown_token(cluster: &Cluster) {
    let (_weft, mut heard) = cluster.weft("stranger", "stranger");
    let event = hear(&mut heard, "refusal", |event| matches!(event, Event::Failing { .. })).await;
    let Event::Failing { why, answered, .. } = event else { panic!("{event:?}") };
    assert!(
        answered && why.starts_with("the API server does not know who asks (Unauthorized): renew"),
        "{why}"
    );
}

async fn certificate(cluster: &Cluster) {
    let url = format!("https://localhost:{}", cluster.port);
    let (_weft, mut heard) = cluster.weft_by(Some(url), "weft", "certificate");
    let event = hear(&mut heard, "refusal", |event| matches!(event, Event::Failing { .. })).await;
    let Event::Failing { why, answered, .. } = event else { panic!("{event:?}") };
    assert!(
        answered && why.starts_with("the API server's certificate is for other names"),
        "{why}"
    );
}

async fn killed(cluster: &mut Cluster) {
    let (own, rule) = (node("killed", "192.0.2.5"), policy("default", "after"));
    cluster.create(own.clone()).await;
    let (weft, mut heard) = cluster.weft("weft", "killed");
    all_watching(&mut heard).await;
    cluster.kill_apiserver();
    let mut failing = Vec::new();
    while failing.len() < Resource::ALL.len() {
        let event =
            hear(&mut heard, "all watches fail", |event| matches!(event, Event::Failing { .. }))
                .await;
        let Event::Failing { resource, why, answered } = event else { panic!("{event:?}") };
        assert!(!answered, "{why}");
        if !failing.contains(&resource) {
            failing.push(resource);
        }
    }
    weft.say(Word::Present { up: false, message: "early".to_owned() });
    weft.say(Word::Present { up: true, message: "late".to_owned() });
    hear(&mut heard, "a word waits", |event| matches!(event, Event::Unsaid(Some(_)))).await;
    cluster.start_apiserver().await;
    let back = Instant::now();
    cluster.create(rule.clone()).await;
    let (mut watching, mut said, mut after) = (0, false, false);
    while watching < Resource::ALL.len() || !said || !after {
        match hear(&mut heard, "all works again", |_| true).await {
            Event::Watching(_) => watching += 1,
            Event::Unsaid(None) => said = true,
            Event::Applied(Resource::NetworkPolicies, object) => after |= object.id == id(&rule),
            Event::Listed(Resource::NetworkPolicies, objects) => {
                after |= objects.iter().any(|object| object.id == id(&rule))
            }
            _ => {}
        }
    }
    println!("all works again {:.1?} after the API server is ready", back.elapsed());
    told(cluster, &own, "False", "late").await;
    cluster.delete(&rule).await;
    cluster.delete(&own).await;
}
