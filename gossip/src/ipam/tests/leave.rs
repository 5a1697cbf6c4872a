//! A node leaves for good.

use super::*;

fn leave(world: &mut World, index: usize) {
    world.hosts[index].ipam.leave(world.now);
    world.drain(index);
}

fn leaving(world: &World, index: usize) -> Leaving {
    world.hosts[index].ipam.leaving().unwrap()
}

fn check_whole(world: &World, side: &[usize], size: u64) {
    world.check();
    let total: u64 = side.iter().map(|index| world.hosts[*index].ipam.owned()).sum();
    assert_eq!(total, size, "the ones who stay own all");
}

#[test]
fn space_goes_to_those_who_stay() {
    for leaver in 0..3 {
        let mut world = World::founded(3, &["10.32.0.0/24", "fd00:77::/120"]);
        world.mingle();
        leave(&mut world, leaver);
        world.mingle();
        let progress = leaving(&world, leaver);
        assert!(progress.done, "{leaver}: {progress:?}");
        let rest: Vec<usize> = (0..3).filter(|index| *index != leaver).collect();
        check_whole(&world, &rest, 256);
        let refused = world.ask(leaver, "late");
        assert_eq!(world.answer(leaver, refused), Some(&Err(AllocateError::Leaving)));
        assert!(!world.hosts[leaver].ipam.ready());
        // It is gone for good, also by its disk.
        world.crash(leaver);
        world.run(Duration::from_secs(60));
        assert!(leaving(&world, leaver).done);
        check_whole(&world, &rest, 256);
        // Nobody waits for its word later on.
        let dead = rest[1];
        let who = world.hosts[dead].config.name;
        world.hosts[rest[0]].ipam.remove(who, false, 7, world.now).unwrap();
        world.drain(rest[0]);
        assert_eq!(world.hosts[rest[0]].ipam.owned(), 256);
    }
}

#[test]
fn addresses_in_use_follow_when_they_are_free() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let pod = world.ask(1, "pod");
    assert!(world.answer(1, pod).is_some());
    leave(&mut world, 1);
    world.mingle();
    let progress = leaving(&world, 1);
    assert_eq!((progress.owned, progress.in_use, progress.done), (1, 1, false));
    assert_eq!(
        world.hosts[1].ipam.state(&|name| name.short()),
        "leaving the ring: 1 addresses are in use, detach their pods"
    );
    world.crash(1);
    world.mingle();
    assert_eq!(world.hosts[1].ipam.allocations().count(), 1, "a running pod keeps its address");
    world.hosts[1].ipam.release("pod", world.now);
    world.run(Duration::from_secs(29));
    assert!(!leaving(&world, 1).done, "it cools down");
    world.run(Duration::from_secs(2));
    assert!(leaving(&world, 1).done);
    check_whole(&world, &[0, 2], 256);
}

#[test]
fn who_is_cut_off_waits_for_somebody_to_take_over() {
    let mut world = World::founded(2, &["10.32.0.0/24"]);
    world.mingle();
    world.mingle_among(&[1]);
    leave(&mut world, 1);
    let progress = leaving(&world, 1);
    assert!(progress.nobody && !progress.done, "{progress:?}");
    world.mingle();
    assert!(leaving(&world, 1).done);
    check_whole(&world, &[0], 256);
}

#[test]
fn who_is_alone_leaves_at_once() {
    let mut world = World::founded(1, &["10.32.0.0/24"]);
    let id = world.ask(0, "pod");
    assert!(world.answer(0, id).is_some());
    leave(&mut world, 0);
    assert!(!leaving(&world, 0).done);
    world.hosts[0].ipam.release("pod", world.now);
    world.drain(0);
    assert!(leaving(&world, 0).done);
    world.check();
}

#[test]
fn who_leaves_removes_nobody() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let pod = world.ask(1, "pod");
    assert!(world.answer(1, pod).is_some());
    leave(&mut world, 1);
    world.mingle_among(&[1]);
    let now = world.now;
    for force in [false, true] {
        let removed = world.hosts[1].ipam.remove(name(2), force, 7, now);
        assert_eq!(removed, Err(RemoveError::Leaving));
    }
}

#[test]
fn a_founder_that_leaves_before_it_claims_its_share_hands_it_over() {
    let mut world = World::new(
        (0..3).map(|index| config(index, &["10.32.0.0/24"], Init::Consensus(Some(3)), 2)),
    );
    // All promise, and 2 hears nothing of what is decided.
    for index in 0..3 {
        let others = (0..3).filter(|other| *other != index).map(name).collect();
        world.hosts[usize::from(index)].ipam.handle_reachable(&others, world.now);
        world.drain(usize::from(index));
    }
    for (from, to) in [(2, 0), (0, 2), (2, 0), (0, 1), (1, 0)] {
        world.show(from, to);
    }
    leave(&mut world, 2);
    let progress = leaving(&world, 2);
    assert!(progress.vote && !progress.done, "{progress:?}");
    assert!(progress.describe(&|name| name.short()).ends_with("the vote on who founds the ring"));
    world.crash(2);
    world.mingle();
    assert!(leaving(&world, 2).done);
    check_whole(&world, &[0, 1], 256);
}

#[test]
fn two_who_leave_at_once_do_not_pass_space_back_and_forth() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    leave(&mut world, 0);
    leave(&mut world, 1);
    world.mingle();
    assert!(leaving(&world, 0).done && leaving(&world, 1).done);
    check_whole(&world, &[2], 256);
}

#[test]
fn what_is_on_its_way_to_one_who_left_comes_back() {
    let mut world = World::founded(2, &["10.32.0.0/24"]);
    world.hosts[1].ipam.handle_reachable(&BTreeSet::from([name(0)]), world.now);
    world.show(0, 1);
    world.show(1, 0);
    assert_eq!(world.hosts[0].space.as_ref().unwrap().grants.len(), 1, "in flight");
    let granted = world.hosts[0].space.clone();
    leave(&mut world, 1);
    assert!(leaving(&world, 1).done, "it has nothing, and does not know of the grant");
    // The grant arrives too late, again and again, also after a crash.
    for _ in 0..2 {
        world.hosts[1].ipam.handle_space(name(0), granted.clone(), world.now).unwrap();
        world.drain(1);
        assert_eq!(world.hosts[1].ipam.owned(), 0);
        world.crash(1);
    }
    assert_eq!(world.hosts[0].ipam.owned(), 192);
    world.mingle();
    check_whole(&world, &[0], 256);
}

/// Four nodes, of which 3 is gone: 2 leaves once 0 and 2 have completed its removal, and 1 has said its
/// word and hears of 2 only that it left.
fn one_heard_that_it_left_and_nothing_before() -> World {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle();
    assert!(world.hosts[2].ipam.owned() > 0);
    world.hosts[0].ipam.remove(name(3), false, 7, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 2]);
    leave(&mut world, 2);
    let progress = leaving(&world, 2);
    assert!(progress.removal && !progress.done, "its word is needed");
    world.show(0, 1);
    world.show(1, 0);
    world.show(1, 2);
    world.mingle_among(&[0, 2]);
    assert!(leaving(&world, 2).done);
    let space = world.hosts[2].space.clone();
    let left = space.as_ref().is_some_and(|space| space.left && space.last_word.len() == 1);
    assert!(left, "{space:?}");
    world.hosts[1].ipam.handle_space(name(2), space, world.now).unwrap();
    world.drain(1);
    world
}

#[test]
fn a_removal_waits_for_the_word_of_one_who_left_where_others_completed_it_with_that_word() {
    let mut world = one_heard_that_it_left_and_nothing_before();
    assert_eq!(world.hosts[1].ipam.removals()[0].waits_for, Some(vec![name(2)]));
    world.crash(1);
    world.mingle();
    check_whole(&world, &[0, 1], 256);
    let routes = world.hosts[0].ipam.routes();
    assert_eq!(world.hosts[1].ipam.routes(), routes, "one verdict");
}

#[test]
fn one_who_left_and_is_not_heard_any_more_can_be_removed() {
    let mut world = one_heard_that_it_left_and_nothing_before();
    world.mingle_among(&[0, 1]);
    assert_eq!(world.hosts[1].ipam.removals()[0].waits_for, Some(vec![name(2)]));
    world.hosts[1].ipam.remove(name(2), false, 8, world.now).unwrap();
    world.drain(1);
    world.mingle_among(&[0, 1]);
    assert!(world.hosts[1].ipam.removals().iter().all(|removal| removal.waits_for.is_none()));
    // The removed one hears of it and gives up what it had.
    world.mingle();
    check_whole(&world, &[0, 1], 256);
    assert_eq!(world.hosts[1].ipam.routes(), world.hosts[0].ipam.routes());
}

/// 0 does not know that 2 took over what it granted, and passed it on to 1, when it says its word on 3.
#[test]
fn what_one_who_left_passed_on_is_not_still_on_its_way_to_it() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle_among(&[0, 1, 3]);
    world.hosts[2].ipam.handle_reachable(&BTreeSet::from([name(0)]), world.now);
    world.show(0, 2);
    world.hosts[0].ipam.handle_reachable(&[1, 2, 3].into_iter().map(name).collect(), world.now);
    world.show(2, 0);
    assert!(!world.hosts[0].space.as_ref().unwrap().grants.is_empty(), "in flight");
    world.show(0, 2);
    assert!(world.hosts[2].ipam.owned() > 0);
    world.mingle_among(&[1, 2]);
    leave(&mut world, 2);
    world.mingle_among(&[1, 2]);
    assert!(leaving(&world, 2).done);
    world.hosts[0].ipam.remove(name(3), false, 7, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 1, 2]);
    assert!(world.hosts[0].ipam.removals()[0].waits_for.is_none());
    world.mingle();
    check_whole(&world, &[0, 1], 256);
    assert_eq!(world.hosts[1].ipam.routes(), world.hosts[0].ipam.routes());
}
