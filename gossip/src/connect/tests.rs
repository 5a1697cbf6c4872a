//! Tables of the connection maker.

use super::*;

const NOW: Time = Time::START;

#[test]
fn a_target_is_dialled_at_once_and_then_with_growing_pauses() {
    let mut connector = connector(1, true, 0);
    connector.set_targets(targets(&["b:6783"]), NOW);
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(connector.poll_dial(now), Some(target("b:6783")));
        assert_eq!(connector.poll_dial(now), None, "dialled twice at once");
        connector.handle_dial_failed(&target("b:6783"), failure(Retry::Backoff), now);
        let next = connector.poll_timeout().unwrap();
        assert_eq!(connector.poll_dial(now), None, "dialled without a pause");
        pauses.push(next.since(now).as_secs_f64());
        now = next;
    }
    for (attempt, pause) in (0_i32..).zip(&pauses) {
        let nominal = 1.5_f64.powi(attempt).min(30.0);
        assert!((0.75 * nominal..=1.25 * nominal).contains(pause), "{attempt}: {pauses:?}");
    }
    assert!(pauses.windows(2).any(|pair| pair[0] * 1.5 != pair[1]), "no jitter: {pauses:?}");
}

#[test]
fn what_failed_for_good_waits_for_new_targets() {
    let mut connector = connector(1, true, 0);
    connector.set_targets(targets(&["me:6783", "stranger:6783"]), NOW);
    while let Some(endpoint) = connector.poll_dial(NOW) {
        let retry = if endpoint == target("me:6783") { Retry::Never } else { Retry::Slow };
        connector.handle_dial_failed(&endpoint, failure(retry), NOW);
    }
    let attempts = connector.attempts();
    assert_eq!(attempts[0].state, AttemptState::Failed { retry_at: None });
    assert_eq!(attempts[0].error.as_deref(), Some("failed"));
    let AttemptState::Failed { retry_at: Some(at) } = attempts[1].state else {
        panic!("{attempts:?}")
    };
    assert!(at.since(NOW) >= Duration::from_secs(22));
    assert_eq!(connector.poll_timeout(), Some(at));
    connector.set_targets(targets(&["me:6783"]), NOW);
    assert_eq!(connector.poll_dial(NOW), Some(target("me:6783")));
    assert_eq!(connector.attempts().len(), 1);
}

#[test]
fn what_is_connected_is_not_dialled_and_not_shown() {
    let mut connector = connector(1, true, 0);
    connector.set_targets(targets(&["10.0.0.2:6783", "b:6783"]), NOW);
    let candidates = BTreeMap::from([(peer(2), BTreeSet::from([address(2)]))]);
    connector.handle_candidates(&candidates, NOW);
    // The peer comes to us. One target is its address; the other is a name, which must be tried.
    connector.handle_connected(peer(2), address(2), None, NOW);
    assert_eq!(connector.poll_dial(NOW), Some(target("b:6783")));
    assert_eq!(connector.poll_dial(NOW), None);
    connector.handle_connected(peer(2), address(2), Some("b:6783"), NOW);
    assert_eq!(connector.attempts(), []);
    assert_eq!(connector.poll_timeout(), None);
    // When it goes, all three lead to it again, in time.
    connector.handle_disconnected(peer(2), NOW);
    assert_eq!(connector.attempts().len(), 3);
    assert!(connector.attempts().iter().all(|attempt| attempt.state == AttemptState::Retrying));
    assert_eq!(connector.poll_dial(NOW), None);
    let later = NOW + Duration::from_secs(2);
    assert!(connector.poll_dial(later).is_some());
}

#[test]
fn found_targets_keep_to_the_limit_and_are_not_disturbed_by_others() {
    let mut connector = connector(1, true, 2);
    connector.set_targets(targets(&["given:6783"]), NOW);
    let found: Vec<String> = (2..30).map(|n| format!("10.0.0.{n}:6783")).collect();
    let found: BTreeSet<String> = found.into_iter().chain(["given:6783".to_owned()]).collect();
    connector.set_found(found, NOW);
    assert_eq!(connector.found().len(), 28, "what was given is not found");
    let later = NOW + Duration::from_secs(1);
    let dialled: Vec<Endpoint> = std::iter::from_fn(|| connector.poll_dial(later)).collect();
    assert_eq!(dialled.len(), 3, "the given one, and two of the others: {dialled:?}");
    assert!(dialled.contains(&target("given:6783")));

    // What failed waits its time, whoever comes or goes.
    let failed = dialled.into_iter().find(|endpoint| *endpoint != target("given:6783")).unwrap();
    connector.handle_dial_failed(&failed, failure(Retry::Slow), later);
    let Endpoint::Target(text) = &failed else { panic!("{failed:?}") };
    connector.set_found(BTreeSet::from([text.clone(), "10.0.1.1:6783".to_owned()]), later);
    connector.set_targets(targets(&["given:6783"]), later);
    let attempts = connector.attempts();
    let attempt = attempts.iter().find(|attempt| attempt.endpoint == failed).unwrap();
    assert!(matches!(attempt.state, AttemptState::Failed { .. }), "{attempt:?}");
    assert_eq!(attempts.len(), 3, "those that are gone are forgotten: {attempts:?}");
    // One that is given as well stays when it is no longer found.
    connector.set_targets(targets(&["given:6783", text]), later);
    connector.set_found(BTreeSet::new(), later);
    assert!(connector.attempts().iter().any(|attempt| attempt.endpoint == failed));
}

#[test]
fn a_long_life_resets_the_pause_and_a_short_one_does_not() {
    for (lived, shortest, longest) in [(61, 0.75, 1.25), (1, 1.6, 2.9)] {
        let mut connector = connector(1, true, 0);
        connector.set_targets(targets(&["b:6783"]), NOW);
        let mut now = NOW;
        for _ in 0..2 {
            connector.poll_dial(now).unwrap();
            connector.handle_dial_failed(&target("b:6783"), failure(Retry::Backoff), now);
            now = connector.poll_timeout().unwrap();
        }
        connector.poll_dial(now).unwrap();
        connector.handle_connected(peer(2), address(2), Some("b:6783"), now);
        now += Duration::from_secs(lived);
        connector.handle_disconnected(peer(2), now);
        let pause = connector.poll_timeout().unwrap().since(now).as_secs_f64();
        assert!((shortest..=longest).contains(&pause), "{lived}: {pause}");
    }
}

#[test]
fn discovered_peers_are_dialled_once_and_within_the_limit() {
    let candidates: BTreeMap<_, _> = (2..=9)
        .map(|n| (peer(n), BTreeSet::from([address(n), address(n + 100)])))
        .chain([(peer(1), BTreeSet::from([address(1)]))])
        .collect();
    let mut connector = connector(1, true, 3);
    connector.handle_candidates(&candidates, NOW);
    let mut dialled = BTreeSet::new();
    while let Some(Endpoint::Address(_, peer)) = connector.poll_dial(NOW) {
        assert!(dialled.insert(peer), "two dials to one peer at once");
    }
    assert_eq!(dialled.len(), 3);
    assert!(!dialled.contains(&peer(1)), "dialled itself");
    let mut without = self::connector(1, false, 0);
    without.handle_candidates(&candidates, NOW);
    assert_eq!(without.poll_dial(NOW), None);
    assert_eq!(without.attempts(), []);
}

#[test]
fn of_two_that_discover_each_other_the_larger_name_waits() {
    let first = |me: u8, other: u8| {
        let mut connector = connector(me, true, 0);
        let candidates = BTreeMap::from([(peer(other), BTreeSet::from([address(other)]))]);
        connector.handle_candidates(&candidates, NOW);
        connector.poll_timeout().unwrap().since(NOW)
    };
    assert_eq!(first(1, 2), Duration::ZERO);
    assert!(first(2, 1) >= POLITENESS);
}

#[test]
fn candidates_that_nobody_reports_any_more_are_forgotten() {
    let mut connector = connector(1, true, 0);
    connector.handle_candidates(&BTreeMap::from([(peer(2), BTreeSet::from([address(2)]))]), NOW);
    assert_eq!(connector.attempts().len(), 1);
    connector.handle_candidates(&BTreeMap::new(), NOW);
    assert_eq!(connector.attempts(), []);
    assert_eq!(connector.poll_dial(NOW), None);
}

fn connector(me: u8, discovery: bool, conn_limit: usize) -> Connector {
    Connector::new(ConnectorConfig { name: peer(me), discovery, conn_limit }, [me; 32])
}

fn peer(n: u8) -> PeerName {
    PeerName::from_bytes([n; 32])
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6783))
}

fn target(text: &str) -> Endpoint {
    Endpoint::Target(text.into())
}

fn targets(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).into()).collect()
}

fn failure(retry: Retry) -> DialError {
    DialError { text: "failed".into(), retry }
}
