//! Which watch works, and what that means for readiness.

use weft_api::status::KubernetesState;

use super::*;

fn start() -> Engine {
    let mut engine = founder_in_api_mode(Restored::default());
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    hear_lists(&mut engine, Vec::new(), Vec::new());
    hear(&mut engine, Event::Nodes(vec![node(1, Some(1))]), at(1));
    outcome(&mut engine, &mut disk, at(1));
    engine
}

fn view(engine: &Engine) -> (KubernetesState, String, Option<String>) {
    let view = engine.status(at(0)).kubernetes.unwrap();
    assert_eq!(view.node, OWN);
    (view.state, view.since, view.detail)
}

#[test]
fn status_says_what_fails_and_since_when() {
    let mut engine = start();
    let began = "2026-08-06 18:55:38 UTC".to_owned();
    assert_eq!(view(&engine), (KubernetesState::Watching, began, None));
    engine.set_clock(1_786_042_600_000, at(62));
    hear(&mut engine, away(Resource::Pods), at(62));
    engine.set_clock(1_786_042_700_000, at(162));
    hear(&mut engine, away(Resource::Nodes), at(162));
    let detail = Some("nodes, pods: no route to 10.0.0.9".to_owned());
    let since = "2026-08-06 18:56:40 UTC".to_owned();
    assert_eq!(view(&engine), (KubernetesState::Away, since.clone(), detail));
    let words = format!(
        "the Kubernetes API is away since {since}: nodes, pods: no route to 10.0.0.9; Pods keep"
    );
    warning(&engine, &words, at(162));
    // What an answer refuses weighs more, and other words for the same trouble make it no younger.
    hear(&mut engine, refused(Resource::Pods), at(163));
    engine.set_clock(1_786_042_800_000, at(262));
    hear(&mut engine, refused(Resource::Pods), at(262));
    let detail = Some("pods: the service account may not list pods".to_owned());
    assert_eq!(view(&engine), (KubernetesState::Failing, since, detail));
    for resource in [Resource::Pods, Resource::Nodes] {
        hear(&mut engine, Event::Watching(resource), at(262));
    }
    let now = "2026-08-06 19:00:00 UTC".to_owned();
    assert_eq!(view(&engine), (KubernetesState::Watching, now, None));
    assert_eq!(warnings(&engine, at(262)), Vec::<String>::new());
}

#[test]
fn readiness_sees_what_waiting_does_not_mend_and_serving_goes_on() {
    for (event, patience) in [(refused as fn(Resource) -> Event, 30), (away, 120)] {
        for resource in Resource::ALL {
            let mut engine = start();
            let mut disk = BTreeMap::new();
            let web = pod("web", 1, json!({}), "Running");
            hear(&mut engine, Event::Applied(Resource::Pods, web), at(2));
            hear(&mut engine, event(resource), at(10));
            assert!(engine.ready(at(10 + patience - 1)), "{resource:?}");
            assert!(!engine.ready(at(10 + patience)), "{resource:?}");
            engine.attach(1, ask("c1", "web", Some("web-1")), at(200));
            let served = outcome(&mut engine, &mut disk, at(200));
            assert!(served.answer(1).is_ok());
            let down = |word: &Word| matches!(word, Word::Present { up: false, .. });
            assert!(!served.words.iter().any(down), "the Node has a network");
            hear(&mut engine, Event::Watching(resource), at(201));
            assert!(engine.ready(at(400)), "{resource:?}");
        }
    }
}

#[test]
fn metrics_tell_each_watch() {
    let mut engine = start();
    for _ in 0..2 {
        hear(&mut engine, refused(Resource::Pods), at(2));
    }
    hear(&mut engine, Event::Watching(Resource::Pods), at(3));
    hear(&mut engine, away(Resource::Pods), at(4));
    let figures = engine.kubernetes_figures().unwrap();
    assert_eq!(
        figures.watches,
        [
            ("nodes", true, 0),
            ("namespaces", true, 0),
            ("networkpolicies", true, 0),
            ("pods", false, 2)
        ]
    );
}

#[test]
fn what_could_not_be_said_is_a_warning_until_it_is() {
    let mut engine = start();
    hear(&mut engine, Event::Unsaid(Some("may not patch nodes: grant it".into())), at(2));
    warning(&engine, "may not patch nodes: grant it", at(2));
    hear(&mut engine, Event::Unsaid(None), at(3));
    assert_eq!(warnings(&engine, at(3)), Vec::<String>::new());
}

#[test]
fn a_range_that_holds_nodes_or_services_is_named() {
    let mut engine = start();
    let mut inside = node(2, None);
    inside.addresses = vec!["10.33.0.7".parse().unwrap()];
    hear(&mut engine, Event::Nodes(vec![node(1, Some(1)), inside]), at(2));
    warning(
        &engine,
        "the range 10.32.0.0/12 holds addresses of the cluster's nodes: n2 (10.33.0.7);",
        at(2),
    );
    let engine = engine_with(1, Init::Founder, Restored::default(), |settings| {
        let service = Some("10.40.0.1".parse().unwrap());
        settings.kubernetes = Some(KubernetesSettings { node: OWN.into(), service });
    });
    warning(
        &engine,
        "the range 10.32.0.0/12 overlaps the cluster's Services: the API server's is 10.40.0.1",
        at(0),
    );
}
