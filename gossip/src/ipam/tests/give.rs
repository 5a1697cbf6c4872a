//! Space changes hands.

use super::*;
use crate::ipam::universe;

fn owned(world: &World, index: usize) -> u64 {
    world.hosts[index].ipam.owned()
}

#[test]
fn a_newcomer_asks_before_anybody_needs_an_address() {
    let mut world = World::founded(3, &["10.32.0.0/12", "fd00:77::/48"]);
    world.mingle();
    assert_eq!([owned(&world, 1), owned(&world, 2)], [256, 256]);
    for host in &world.hosts {
        assert_eq!(host.ipam.state(&|n| n.short()), "ready");
        assert!(host.ipam.ready());
        assert_eq!(host.want, None, "what was served is taken back");
        assert_eq!(host.ipam.routes(), world.hosts[0].ipam.routes());
        assert!(host.space.as_ref().unwrap().grants.is_empty());
        assert_eq!(host.ipam.conflicts(), []);
    }
    let id = world.ask(1, "a");
    let nets = world.answer(1, id).unwrap().as_ref().unwrap();
    assert_eq!(world.hosts[2].ipam.owner_of(nets[0].addr()), Some(name(1)));
    assert_eq!(world.hosts[0].ipam.owner_of(nets[1].addr()), Some(name(1)));
    world.check();
}

#[test]
fn blocks_double_as_the_need_grows() {
    let mut world = World::founded(2, &["10.32.0.0/12"]);
    world.mingle();
    let mut sizes = vec![owned(&world, 1)];
    for n in 0..1000 {
        let id = world.ask(1, &n.to_string());
        world.mingle();
        assert!(matches!(world.answer(1, id), Some(Ok(_))));
        if sizes.last() != Some(&owned(&world, 1)) {
            sizes.push(owned(&world, 1));
        }
    }
    assert_eq!(sizes, [256, 512, 1024, 2048][..sizes.len()]);
    assert_eq!(world.hosts[1].ipam.routes().len(), 2, "what is adjacent is one span");
}

#[test]
fn a_tiny_range_is_used_to_the_last_address() {
    for ranges in [["10.32.0.0/28"], ["fd00:77::/124"]] {
        let mut world = World::founded(4, &ranges);
        let mut ids = Vec::new();
        for n in 0..14 {
            ids.push((n % 4, world.ask(n % 4, &n.to_string())));
            world.mingle();
        }
        world.run(Duration::from_secs(20));
        for (host, id) in ids {
            assert!(matches!(world.answer(host, id), Some(Ok(_))), "{id:?}");
        }
        world.check();
        let one_more = world.ask(3, "more");
        world.run(Duration::from_secs(31));
        let answer = world.answer(3, one_more).unwrap().clone();
        assert_eq!(answer, Err(AllocateError::Deadline { waiting: Waiting::Full }));
    }
}

#[test]
fn a_donor_that_does_not_answer_is_passed_over() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    // Host 2 needs more; host 0 has most and says nothing.
    let needs = owned(&world, 2);
    for n in 0..needs {
        world.ask(2, &n.to_string());
    }
    let id = world.ask(2, "more");
    assert_eq!(world.answer(2, id), None);
    let state = world.hosts[2].ipam.state(&|n| format!("{}(h)", n.short()));
    assert_eq!(state, format!("waiting for space from {}(h)", name(0).short()));
    let first = world.hosts[2].want.clone().unwrap();
    world.now += Duration::from_secs(2);
    let now = world.now;
    world.hosts[2].ipam.handle_timeout(now);
    world.drain(2);
    let second = world.hosts[2].want.clone().unwrap();
    assert_eq!((first.donor, second.donor), (raw(0), raw(1)));
    assert!(second.seq > first.seq);
    world.show(2, 1);
    world.show(1, 2);
    assert!(matches!(world.answer(2, id), Some(Ok(_))));
    world.mingle();
    world.check();
}

#[test]
fn a_want_is_served_once_however_often_it_is_heard() {
    let mut world = World::founded(2, &["10.32.0.0/12"]);
    world.hosts[1].ipam.handle_reachable(&BTreeSet::from([name(0)]), world.now);
    world.show(0, 1);
    for _ in 0..5 {
        world.show(1, 0);
    }
    world.crash(0);
    world.show(1, 0);
    let space = world.hosts[0].space.clone().unwrap();
    assert_eq!(space.grants.len(), 1);
    assert_eq!(space.next_grant, 2);
}

#[test]
fn a_grant_is_taken_over_once_however_often_it_is_heard() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.hosts[1].ipam.handle_reachable(&BTreeSet::from([name(0)]), world.now);
    world.show(0, 1);
    world.show(1, 0);
    let old = world.hosts[0].space.clone().unwrap();
    assert_eq!(old.grants.len(), 1);
    world.mingle();
    // Host 1 gives it all away, then hears the record that once granted it.
    let accepted = world.hosts[1].ipam.stats().accepted;
    for n in 0..100 {
        world.ask(2, &n.to_string());
    }
    world.mingle();
    world.crash(1);
    world.hosts[1].ipam.handle_space(name(0), Some(old), world.now).unwrap();
    assert_eq!(world.hosts[1].ipam.stats().accepted, 0, "after {accepted}");
    world.check();
    world.crash(1);
    world.mingle();
    world.check();
}

#[test]
fn used_and_cooling_addresses_are_never_given_away() {
    let mut world = World::founded(2, &["10.32.0.0/28"]);
    for n in 0..14 {
        world.ask(0, &n.to_string());
    }
    world.ask(1, "early");
    world.mingle();
    assert_eq!(owned(&world, 1), 0);
    world.hosts[0].ipam.release("7", world.now);
    world.drain(0);
    world.run(Duration::from_secs(20));
    world.hosts[1].ipam.release("early", world.now);
    let id = world.ask(1, "x");
    world.run(Duration::from_secs(9));
    assert_eq!(owned(&world, 1), 0);
    world.run(Duration::from_secs(1));
    let expected = vec![net("10.32.0.8/28")];
    assert_eq!(world.answer(1, id), Some(&Ok(expected)));
    world.check();
}

#[test]
fn a_grant_of_what_is_not_the_granter_s_is_refused() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let mut forged = world.hosts[2].space.clone().unwrap();
    let theirs = world.hosts[1].space.clone().unwrap().owned[0];
    forged.revision += 1;
    forged.grants =
        vec![Grant { number: forged.next_grant, to: raw(0), span: theirs, root: raw(2) }];
    forged.next_grant += 1;
    let ipam = &mut world.hosts[0].ipam;
    let refused = ipam.handle_space(name(2), Some(forged), world.now);
    assert_eq!(refused, Err(Misbehaved::ForeignGrant(name(2))));
    assert_eq!(ipam.stats().misbehaved, 1);
    world.check();
}

#[test]
fn nobody_takes_an_address_by_claiming_it() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let victim = world.hosts[0].space.clone().unwrap().owned[0];
    let mut forged = world.hosts[2].space.clone().unwrap();
    forged.revision += 1;
    forged.owned = vec![Span { version: 1000, ..victim }];
    world.hosts[0].ipam.handle_space(name(2), Some(forged), world.now).unwrap();
    let first = universe::address(victim.start);
    assert_eq!(world.hosts[0].ipam.owner_of(first), Some(name(0)));
    let conflicts = world.hosts[0].ipam.conflicts();
    assert!(matches!(conflicts[..], [Conflict::Claimed { shown, other, .. }]
        if shown == name(0) && other == name(2)));
    let id = world.ask(0, "a");
    assert!(matches!(world.answer(0, id), Some(Ok(_))));
}

#[test]
fn counts_for_display_cost_no_record_each() {
    let mut world = World::founded(2, &["10.32.0.0/12"]);
    world.mingle();
    let before = world.hosts[0].space.clone().unwrap();
    (0..50).for_each(|n| {
        world.ask(0, &n.to_string());
    });
    assert_eq!(world.hosts[0].space.as_ref(), Some(&before));
    world.run(Duration::from_secs(10));
    let after = world.hosts[0].space.clone().unwrap();
    assert_eq!((after.revision, after.active), (before.revision + 1, 50));
    assert_eq!(world.hosts[1].ipam.owners()[0].active, 50);
}

#[test]
fn a_disk_that_went_back_takes_the_newer_record_as_the_truth() {
    let mut world = World::founded(2, &["10.32.0.0/28"]);
    let old = world.hosts[0].disk.clone();
    world.mingle();
    let given = world.hosts[1].ipam.owned();
    assert!(given > 0);
    let newer = world.hosts[0].space.clone().unwrap();
    world.hosts[0].disk = old;
    world.crash(0);
    (0..12).for_each(|n| {
        world.ask(0, &n.to_string());
    });
    let dropped = world.hosts[0].ipam.adopt(newer.clone(), world.now);
    assert!(!dropped.is_empty());
    world.drain(0);
    world.check();
    assert!(world.hosts[0].space.as_ref().unwrap().revision > newer.revision);
    assert_eq!(world.hosts[0].ipam.adopt(newer, world.now), []);
}

/// Space goes to host 1 and back to host 0; then host 1 crashes and hears the first grant again.
fn there_and_back(fault: Option<Fault>) {
    let mut world = World::founded(2, &["10.32.0.0/29"]);
    world.hosts[1].ipam.handle_reachable(&BTreeSet::from([name(0)]), world.now);
    world.show(0, 1);
    world.show(1, 0);
    let old = world.hosts[0].space.clone().unwrap();
    assert_eq!(old.grants.len(), 1);
    world.show(0, 1);
    world.show(1, 0);
    // It would ask again.
    world.hosts[1].ipam.handle_reachable(&BTreeSet::new(), world.now);
    let spare = old.grants[0].span;
    let own = &mut world.hosts[1].ipam.own;
    own.owned.remove(spare.start, spare.end);
    let span = Span { version: spare.version + 1, ..spare };
    own.grants.push(Grant { number: own.next_grant, to: raw(0), span, root: raw(1) });
    own.next_grant += 1;
    world.hosts[1].ipam.touched = true;
    world.hosts[1].ipam.handle_timeout(world.now);
    world.drain(1);
    world.show(1, 0);
    world.show(0, 1);
    assert_eq!((owned(&world, 0), owned(&world, 1)), (8, 0));
    world.fault = fault;
    world.crash(1);
    world.hosts[1].ipam.handle_space(name(0), Some(old), world.now).unwrap();
    world.check();
}

#[test]
fn an_old_grant_is_not_taken_over_again_after_the_space_went_back() {
    there_and_back(None);
}

#[test]
#[should_panic(expected = "owned twice")]
fn a_node_that_forgets_what_it_took_over_is_found_out() {
    there_and_back(Some(Fault::NoNumbers));
}

#[test]
fn what_comes_back_before_it_is_known_to_have_arrived_is_waited_for() {
    let mut world = World::founded(3, &["10.32.0.0/12"]);
    world.mingle();
    // Host 0 grants to host 1, and does not hear that it was taken over.
    for n in 0..owned(&world, 1) {
        world.ask(1, &n.to_string());
    }
    world.show(1, 0);
    world.show(0, 1);
    let granted = world.hosts[0].space.as_ref().unwrap().grants[0].span;
    let there = universe::address(granted.start + 5);
    assert_eq!(world.hosts[1].ipam.owner_of(there), Some(name(1)));
    // An address of that goes on to host 2, and from there back to host 0.
    let wanted = format!("{there}/32");
    world.show(0, 2);
    world.show(1, 2);
    let id = world.ask_for(2, "b", &[&wanted]);
    world.show(2, 1);
    world.show(1, 2);
    assert_eq!(world.got(2, id), [format!("{there}/12")]);
    let now = world.now;
    world.hosts[2].ipam.release("b", now);
    world.now += Duration::from_secs(31);
    let now = world.now;
    world.hosts[2].ipam.handle_timeout(now);
    world.drain(2);
    world.show(2, 0);
    let number = granted.start + 5;
    let range = RangeWant { range: 0, count: 1, urgent: true, within: Some((number, number)) };
    let donor = raw(2);
    let seq = world.hosts[0].want.as_ref().map_or(1, |want| want.seq + 1);
    world.hosts[0].want = Some(Want { seq, donor, ranges: vec![range] });
    world.show(0, 2);
    let back = world.hosts[2].space.as_ref().unwrap().grants[0];
    assert_eq!((back.to, back.span.start), (raw(0), number));
    world.show(2, 0);
    world.check();
    assert!(!world.hosts[0].ipam.own.owned.contains(number), "the record of host 1 is missing");
    world.show(1, 0);
    world.check();
    assert!(world.hosts[0].ipam.own.owned.contains(number));
    world.mingle();
    world.check();
}
