//! The host's own address, and Pods that wait for it.

use super::*;

fn outbound(container: &str, masquerade: bool, exempt: &[&str]) -> weft_api::attach::AttachRequest {
    let exempt = exempt.iter().map(|range| range.parse().unwrap()).collect();
    let outbound = weft_api::attach::Outbound { masquerade, exempt };
    weft_api::attach::AttachRequest { outbound: Some(outbound), ..request(container) }
}

/// Carries out all but the orders to the host, and answers them with the rest.
fn without_host(engine: &mut Engine, now: Time) -> (Vec<(u64, HostState)>, Vec<Output>) {
    let (mut orders, mut left) = (Vec::new(), Vec::new());
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Save { kind, token, .. } => engine.handle_saved(kind, token, now),
            Output::Host { token, state } => orders.push((token, state)),
            Output::Policy { token, .. } => engine.handle_policy(enforced(token), now),
            other => left.push(other),
        }
    }
    (orders, left)
}

#[test]
fn a_pod_with_a_way_out_waits_for_the_hosts_address() {
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut BTreeMap::new(), at(0));
    engine.attach(1, outbound("c1", true, &[]), at(1));
    engine.attach(2, outbound("c2", true, &["10.32.0.0/12"]), at(1));
    let (orders, left) = without_host(&mut engine, at(1));
    assert!(left.is_empty(), "{left:?}");
    let [(token, state)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(state.addresses, ["10.32.0.1/12".parse().unwrap()]);
    assert!(!state.masquerade, "nobody has an address yet");

    engine.handle_host(*token, Ok(()), at(2));
    let (orders, left) = without_host(&mut engine, at(2));
    assert!(left.is_empty(), "the table is not there yet: {left:?}");
    let (token, state) = orders.last().unwrap();
    assert!(state.masquerade);
    assert_eq!(state.exempt, ["10.32.0.3".parse::<std::net::IpAddr>().unwrap()]);
    engine.handle_host(*token, Ok(()), at(2));
    let (_, left) = without_host(&mut engine, at(2));
    for (output, ip) in left.iter().zip(["10.32.0.2/12", "10.32.0.3/12"]) {
        let Output::Reply { result: Ok(Reply::Attach(reply)), .. } = output else {
            panic!("{output:?}")
        };
        assert_eq!(reply.attachment.ips, [ip.parse().unwrap()]);
        assert_eq!(reply.attachment.gateways, ["10.32.0.1".parse::<std::net::IpAddr>().unwrap()]);
    }
    assert_eq!(left.len(), 2);
    assert_eq!(engine.select(&AttachmentQuery::default())[0].container, "weft:expose");
}

#[test]
fn a_host_that_cannot_be_set_up_fails_the_pod_and_is_tried_again() {
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut BTreeMap::new(), at(0));
    for attempt in [1, 2] {
        engine.attach(attempt, outbound("c1", false, &[]), at(attempt));
        let (orders, _) = without_host(&mut engine, at(attempt));
        engine.handle_host(orders[0].0, Err("no such device".to_owned()), at(attempt));
        let (_, left) = without_host(&mut engine, at(attempt));
        let [Output::Reply { result: Err(body), .. }] = &left[..] else { panic!("{left:?}") };
        assert_eq!(body.message, "no such device");
        assert!(engine.status(at(attempt)).warnings.iter().any(|w| w.contains("no such device")));
    }
    engine.attach(3, outbound("c1", false, &[]), at(3));
    let left = drain(&mut engine, &mut BTreeMap::new(), at(3));
    assert!(matches!(left[..], [Output::Reply { result: Ok(_), .. }]), "{left:?}");
    assert!(engine.status(at(3)).warnings.is_empty());
}

#[test]
fn the_host_stays_exposed_until_it_is_hidden() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.attach(1, outbound("c1", false, &[]), at(1));
    drain(&mut engine, &mut disk, at(1));
    let own = engine.exposed().cloned().unwrap();

    let mut engine = founder(1, restored(&disk));
    assert_eq!(engine.exposed(), Some(&own));
    let (orders, _) = without_host(&mut engine, at(0));
    assert_eq!(orders[0].1.addresses, own.ips);
    engine.handle_host(orders[0].0, Ok(()), at(0));

    let refused = |engine: &mut Engine| {
        engine.hide(2, at(2));
        let (orders, left) = without_host(engine, at(2));
        assert!(orders.is_empty());
        matches!(&left[..], [Output::Reply { result: Err(_), .. }])
    };
    assert!(refused(&mut engine), "a Pod goes out through it");
    // Nor does a detach of everything take it away.
    engine.detach(3, &AttachmentQuery::default(), at(3));
    drain(&mut engine, &mut disk, at(3));
    assert_eq!(engine.exposed(), Some(&own));
    engine.hide(4, at(4));
    let (orders, left) = without_host(&mut engine, at(4));
    assert_eq!(orders[0].1, HostState::default());
    assert!(matches!(left[..], [Output::Reply { result: Ok(Reply::Detach(_)), .. }]), "{left:?}");
    assert_eq!(engine.status(at(4)).ipam.active, 0);
}

#[test]
fn a_detach_answers_who_waits_for_the_hosts_address() {
    let mut engine = founder(1, Restored::default());
    drain(&mut engine, &mut BTreeMap::new(), at(0));
    engine.attach(1, outbound("c1", false, &[]), at(1));
    let (orders, _) = without_host(&mut engine, at(1));
    engine.detach(2, &query("c1"), at(1));
    let (_, left) = without_host(&mut engine, at(1));
    assert_eq!(left.len(), 2, "{left:?}");
    engine.handle_host(orders[0].0, Ok(()), at(1));
    let (_, left) = without_host(&mut engine, at(1));
    assert!(left.is_empty(), "{left:?}");
    assert!(engine.select(&query("c1")).is_empty());
}
