//! Requests on a node that has space.

use super::*;

fn alone(ranges: &[&str]) -> World {
    World::new([config(0, ranges, Init::Founder, 0)])
}

#[track_caller]
fn got(world: &World, id: RequestId) -> Vec<String> {
    let nets = world.answer(0, id).expect("answered").as_ref().expect("granted");
    nets.iter().map(IpNet::to_string).collect()
}

#[track_caller]
fn refused(world: &World, id: RequestId) -> AllocateError {
    world.answer(0, id).expect("answered").clone().expect_err("refused")
}

#[test]
fn addresses_come_lowest_first_with_the_prefix_of_the_range() {
    let mut world = alone(&["10.32.0.0/12", "fd00:77::/48"]);
    let (a, b) = (world.ask(0, "a"), world.ask(0, "b"));
    assert_eq!(got(&world, a), ["10.32.0.1/12", "fd00:77::1/48"]);
    assert_eq!(got(&world, b), ["10.32.0.2/12", "fd00:77::2/48"]);
    assert_eq!(world.hosts[0].ipam.active(), 2);
    assert_eq!(world.hosts[0].ipam.owned(), 1 << 20);
}

#[test]
fn the_same_owner_gets_the_same_addresses_again() {
    let mut world = alone(&["10.32.0.0/12"]);
    let first = world.ask(0, "a");
    world.ask(0, "b");
    let again = world.ask(0, "a");
    assert_eq!(got(&world, first), got(&world, again));
    let named = world.ask_for(0, "a", &["10.32.0.1/32"]);
    assert_eq!(got(&world, named), ["10.32.0.1/12"]);
    let other = world.ask_for(0, "a", &["10.32.0.9/32"]);
    assert!(matches!(refused(&world, other), AllocateError::HeldOtherwise { .. }));
}

#[test]
fn freed_addresses_cool_down() {
    let mut world = alone(&["10.32.0.0/29"]);
    world.ask(0, "a");
    assert_eq!(world.hosts[0].ipam.release("a", world.now), [ip("10.32.0.1")]);
    assert_eq!(world.hosts[0].ipam.release("a", world.now), Vec::<IpAddr>::new());
    let b = world.ask(0, "b");
    assert_eq!(got(&world, b), ["10.32.0.2/29"]);
    world.run(COOL_DOWN);
    let c = world.ask(0, "c");
    assert_eq!(got(&world, c), ["10.32.0.1/29"]);
}

#[test]
fn a_full_range_serves_who_waits_once_something_has_cooled() {
    let mut world = alone(&["10.32.0.0/29"]);
    (0..6).for_each(|n| {
        world.ask(0, &format!("{n}"));
    });
    assert_eq!(world.hosts[0].ipam.state(&|name| name.short()), Waiting::Full.to_string());
    let late = world.ask(0, "late");
    world.hosts[0].ipam.release("3", world.now);
    let hopeless = {
        world.run(Duration::from_secs(10));
        world.ask(0, "hopeless")
    };
    world.run(Duration::from_secs(20));
    assert_eq!(got(&world, late), ["10.32.0.4/29"]);
    world.run(Duration::from_secs(11));
    let waiting = Waiting::Full;
    assert_eq!(refused(&world, hopeless), AllocateError::Deadline { waiting });
    world.check();
}

#[test]
fn addresses_asked_for_by_name() {
    let mut world = alone(&["10.32.0.0/24", "fd00:77::/64"]);
    type Row<'a> = (&'a [&'a str], Result<&'a [&'a str], AllocateError>);
    let table: &[Row<'_>] = &[
        (&["10.32.0.7/24"], Ok(&["10.32.0.7/24"])),
        (&["fd00:77::7/128", "10.32.0.8/8"], Ok(&["fd00:77::7/64", "10.32.0.8/24"])),
        (&["10.32.0.0/24"], Err(AllocateError::Reserved(ip("10.32.0.0")))),
        (&["10.32.0.255/24"], Err(AllocateError::Reserved(ip("10.32.0.255")))),
        (&["fd00:77::/64"], Err(AllocateError::Reserved(ip("fd00:77::")))),
        (
            &["10.32.1.1/24"],
            Err(AllocateError::OutsideRange {
                ip: ip("10.32.1.1"),
                ranges: "10.32.0.0/24,fd00:77::/64".into(),
            }),
        ),
        (&["10.32.0.9/24", "10.32.0.10/24"], Err(AllocateError::Twice(ip("10.32.0.10")))),
        (&["10.32.0.7/24"], Err(AllocateError::InUse { ip: ip("10.32.0.7"), key: "0".into() })),
    ];
    for (index, (wanted, expected)) in table.iter().enumerate() {
        let id = world.ask_for(0, &index.to_string(), wanted);
        match expected {
            Ok(nets) => assert_eq!(got(&world, id), *nets, "{wanted:?}"),
            Err(error) => assert_eq!(refused(&world, id), *error, "{wanted:?}"),
        }
    }
    // One that is cooling can be had back by name.
    world.hosts[0].ipam.release("0", world.now);
    let back = world.ask_for(0, "back", &["10.32.0.7/24"]);
    assert_eq!(got(&world, back), ["10.32.0.7/24"]);
    world.check();
}

#[test]
fn a_crash_keeps_what_was_answered() {
    let mut world = alone(&["10.32.0.0/24"]);
    let a = world.ask(0, "a");
    let before = got(&world, a);
    world.ask(0, "b");
    world.hosts[0].ipam.release("b", world.now);
    world.drain(0);
    // Not drained, so neither on the disk nor answered.
    let now = world.now;
    world.hosts[0].ipam.allocate("lost", Request::default(), now + COOL_DOWN, now);
    world.crash(0);
    assert_eq!(world.hosts[0].ipam.allocations().count(), 1);
    let again = world.ask(0, "a");
    assert_eq!(got(&world, again), before);
    let c = world.ask(0, "c");
    assert_eq!(got(&world, c), ["10.32.0.3/24"], "what cooled before the crash still does");
}

#[test]
fn cancelled_and_released_requests_get_nothing() {
    let mut world = World::new([config(0, &["10.32.0.0/24"], Init::Observer, 1)]);
    let cancelled = world.ask(0, "a");
    world.hosts[0].ipam.cancel(cancelled);
    let released = world.ask(0, "b");
    world.hosts[0].ipam.release("b", world.now);
    world.drain(0);
    assert_eq!(world.answer(0, cancelled), None);
    assert_eq!(refused(&world, released), AllocateError::Released);
    assert_eq!(world.hosts[0].ipam.poll_timeout(), None);
}

#[test]
fn the_deadline_says_what_was_waited_for() {
    let mut world = World::new([config(0, &["10.32.0.0/24"], Init::Auto, 2)]);
    let id = world.ask(0, "a");
    assert_eq!(
        world.hosts[0].ipam.state(&|n| n.short()),
        "awaiting consensus (quorum: 2, known: 1)"
    );
    world.run(Duration::from_secs(30));
    let text = refused(&world, id).to_string();
    assert_eq!(text, "no address in time: awaiting consensus (quorum: 2, known: 1)");
}

#[test]
fn a_range_that_changed_is_refused_with_the_cure() {
    let mut world = alone(&["10.32.0.0/24"]);
    world.ask(0, "a");
    let disk = world.hosts[0].disk.clone();
    let other = config(0, &["10.40.0.0/24"], Init::Founder, 0);
    let error = Ipam::new(other, disk, [0; 32], Time::START).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("10.32.0.0/24") && text.contains("10.40.0.0/24"), "{text}");
    assert!(text.contains("weft reset"), "{text}");
}

#[test]
fn ranges_that_cannot_be_used_are_refused() {
    for ranges in [
        &[][..],
        &["10.0.0.0/31"],
        &["fd00::/127"],
        &["::/0"],
        &["::ffff:10.0.0.0/104"],
        &["10.0.0.0/24", "10.1.0.0/24"],
    ] {
        let error = Ipam::new(config(0, ranges, Init::Founder, 0), None, [0; 32], Time::START);
        assert!(matches!(error, Err(RestoreError::BadRange { .. })), "{ranges:?}");
    }
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut world = alone(&["10.32.0.0/24"]);
    world.ask(0, "a");
    let Some(IpamSnapshot::V1(good)) = world.hosts[0].disk.clone() else { panic!("saved") };
    type Damage = fn(&mut SnapshotV1);
    let damages: [Damage; 5] = [
        |saved| saved.space.owned.clear(),
        |saved| saved.allocations.push(saved.allocations[0].clone()),
        |saved| saved.allocations[0].1[0] += 1 << 32,
        |saved| saved.cooling.push(saved.allocations[0].1[0]),
        |saved| saved.space.owned[0].end = 0,
    ];
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        let config = config(0, &["10.32.0.0/24"], Init::Founder, 0);
        let result = Ipam::new(config, Some(IpamSnapshot::V1(bad)), [0; 32], Time::START);
        assert!(matches!(result, Err(RestoreError::Damaged(_))));
    }
}
