//! Removal, step by step. All orders are in the package `weft-model`.

use super::*;

/// The hosts that `index` says are removed, and whether completely.
fn removed(world: &World, index: usize) -> Vec<(PeerName, bool)> {
    let removals = world.hosts[index].ipam.removals();
    removals.iter().map(|removal| (removal.name, removal.waits_for.is_none())).collect()
}

fn owned(world: &World, index: usize) -> u64 {
    world.hosts[index].ipam.owned()
}

fn remove(world: &mut World, on: usize, who: usize) {
    let who = world.hosts[who].config.name;
    world.hosts[on].ipam.remove(who, false, 7, world.now).unwrap();
    world.drain(on);
}

/// No address of the range is used or owned twice among `side`, and all of it is owned.
fn check_whole(world: &World, side: &[usize], size: u64) {
    let total: u64 = side.iter().map(|index| owned(world, *index)).sum();
    assert_eq!(total, size);
    let routes = world.hosts[side[0]].ipam.routes();
    for index in side {
        world.hosts[*index].ipam.check_invariants();
        assert_eq!(world.hosts[*index].ipam.routes(), routes);
        assert_eq!(world.hosts[*index].ipam.conflicts(), []);
    }
}

#[test]
fn the_space_of_a_dead_node_falls_to_the_one_before_it() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let (first, dead) = (owned(&world, 1), owned(&world, 2));
    assert!(dead > 0);
    remove(&mut world, 0, 2);
    assert_eq!(removed(&world, 0), [(name(2), false)]);
    let pending = &world.hosts[0].ipam.removals()[0];
    assert_eq!((pending.by, pending.at, pending.forced), (name(0), 7, false));
    assert_eq!(pending.waits_for, Some(vec![name(1)]));
    assert_eq!(owned(&world, 0) + first + dead, 256, "the space rests");
    world.mingle_among(&[0, 1]);
    assert_eq!(removed(&world, 0), [(name(2), true)]);
    assert_eq!(removed(&world, 1), [(name(2), true)]);
    check_whole(&world, &[0, 1], 256);
}

#[test]
fn two_who_remove_the_same_node_agree() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle();
    remove(&mut world, 0, 3);
    remove(&mut world, 1, 3);
    world.mingle_among(&[0, 1, 2]);
    check_whole(&world, &[0, 1, 2], 256);
    for index in 0..3 {
        world.crash(index);
    }
    world.mingle_among(&[0, 1, 2]);
    check_whole(&world, &[0, 1, 2], 256);
}

#[test]
fn a_removal_waits_for_a_site_that_is_offline_and_nobody_waits_for_the_removal() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle();
    remove(&mut world, 0, 3);
    world.mingle_among(&[0, 1]);
    assert_eq!(world.hosts[1].ipam.removals()[0].waits_for, Some(vec![name(2)]));
    // Space goes on changing hands among those who said the same.
    for n in 0..owned(&world, 1) + 10 {
        world.ask(1, &n.to_string());
        world.mingle_among(&[0, 1]);
    }
    let late = world.ask(1, "late");
    world.mingle_among(&[0, 1]);
    assert!(matches!(world.answer(1, late), Some(Ok(_))));
    let kept: Vec<_> = world.hosts[1].ipam.allocations().map(|(key, _)| key.to_owned()).collect();
    world.mingle_among(&[0, 1, 2]);
    check_whole(&world, &[0, 1, 2], 256);
    let still: Vec<_> = world.hosts[1].ipam.allocations().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(kept, still);
}

#[test]
fn force_removes_those_that_do_not_answer_as_well() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle();
    remove(&mut world, 0, 3);
    world.mingle_among(&[0, 1]);
    world.hosts[0].ipam.remove(name(3), true, 9, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 1]);
    assert_eq!(removed(&world, 1), [(name(2), true), (name(3), true)]);
    assert!(world.hosts[1].ipam.removals()[0].forced);
    check_whole(&world, &[0, 1], 256);
}

#[test]
fn force_on_a_node_that_resigns_meanwhile_names_nobody() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle();
    remove(&mut world, 0, 1);
    world.show(0, 1);
    assert_eq!(world.hosts[1].ipam.removed_by(), None, "it does not remove anybody yet");
    // That closes the circle: 0 removes 1, and 1 waits for 0 and 2.
    world.hosts[1].ipam.remove(name(3), true, 9, world.now).unwrap();
    world.drain(1);
    assert_eq!(world.hosts[1].ipam.removed_by(), Some(name(0)));
    let removals = world.hosts[1].ipam.removals();
    let named: Vec<_> = removals.iter().map(|of| (of.name, of.forced)).collect();
    assert!(named.contains(&(name(3), false)), "{named:?}");
    assert!(removals.iter().all(|of| of.name != name(0) && of.name != name(2)), "{named:?}");
    world.mingle();
    assert_eq!(removed(&world, 0), [(name(1), true)]);
    check_whole(&world, &[0, 2, 3], 256);
}

#[test]
fn a_removed_node_that_was_alive_fences_all_and_says_so() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let id = world.ask(2, "pod");
    let nets = world.answer(2, id).unwrap().clone().unwrap();
    remove(&mut world, 0, 2);
    world.mingle_among(&[0, 1]);
    world.mingle();
    let ipam = &mut world.hosts[2].ipam;
    assert_eq!(
        ipam.poll_fenced(),
        Some(Fenced { key: "pod".into(), addresses: nets, holder: None })
    );
    assert_eq!(ipam.removed_by(), Some(name(0)));
    assert_eq!((ipam.owned(), ipam.ready()), (0, false));
    assert!(ipam.state(&|n| n.short()).contains("join anew"));
    let id = world.ask(2, "again");
    world.crash(2);
    world.mingle();
    assert_eq!(world.hosts[2].ipam.removed_by(), Some(name(0)));
    world.run(Duration::from_secs(31));
    assert!(!matches!(world.answer(2, id), Some(Ok(_))));
    check_whole(&world, &[0, 1], 256);
}

#[test]
fn a_newcomer_that_only_the_removed_knew_keeps_what_is_valid() {
    let mut world = World::founded(5, &["10.32.0.0/24"]);
    world.mingle_among(&[0, 1, 2]);
    // 2 is cut off, and takes 3 in. Meanwhile it is removed, and 0 takes 4 in.
    world.mingle_among(&[2, 3]);
    let void = world.ask(3, "pod");
    assert!(matches!(world.answer(3, void), Some(Ok(_))));
    remove(&mut world, 0, 2);
    world.mingle_among(&[0, 4]);
    let valid = world.ask(4, "pod");
    assert!(matches!(world.answer(4, valid), Some(Ok(_))));
    world.mingle_among(&[0, 1, 4]);
    check_whole(&world, &[0, 1, 4], 256);
    assert_eq!(world.hosts[4].ipam.poll_fenced(), None, "it joined after the word");
    world.mingle();
    assert_eq!(world.hosts[3].ipam.poll_fenced().unwrap().key, "pod");
    assert_eq!(world.hosts[3].ipam.removed_by(), None);
    world.run(Duration::from_secs(10));
    let again = world.ask(3, "pod");
    world.mingle();
    assert!(matches!(world.answer(3, again), Some(Ok(_))));
    check_whole(&world, &[0, 1, 3, 4], 256);
}

#[test]
fn of_two_camps_that_remove_each_other_the_one_that_removes_more_stays() {
    let mut world = World::founded(5, &["10.32.0.0/24"]);
    world.mingle();
    for index in 0..5 {
        world.ask(index, "pod");
    }
    world.mingle();
    for (on, who) in [(0, 3), (0, 4), (3, 0), (4, 1), (3, 2)] {
        remove(&mut world, on, who);
    }
    world.mingle_among(&[0, 1, 2]);
    world.mingle_among(&[3, 4]);
    check_whole(&world, &[0, 1, 2], 256);
    check_whole(&world, &[3, 4], 256);
    world.mingle();
    check_whole(&world, &[3, 4], 256);
    for index in 0..5 {
        let ipam = &mut world.hosts[index].ipam;
        assert_eq!(ipam.removed_by().is_some(), index < 3);
        assert_eq!(ipam.poll_fenced().is_some(), index < 3, "{index}");
    }
}

#[test]
fn two_nodes_that_remove_each_other_do_not_both_go() {
    let mut world = World::founded(2, &["10.32.0.0/24"]);
    world.mingle();
    remove(&mut world, 0, 1);
    remove(&mut world, 1, 0);
    world.mingle();
    assert_eq!(owned(&world, 0) + owned(&world, 1), 256);
    let out: Vec<_> = world.hosts.iter().map(|host| host.ipam.removed_by().is_some()).collect();
    assert_ne!(out[0], out[1]);
}

#[test]
fn a_share_that_was_never_claimed_falls_to_an_heir() {
    let list = vec![name(0), name(1), name(2)];
    let init = |index| config(index, &["10.32.0.0/24"], Init::Seed(list.clone()), 3);
    let mut world = World::new((0..2).map(init));
    world.mingle();
    assert!(owned(&world, 0) + owned(&world, 1) < 256);
    world.hosts[1].ipam.remove(name(2), false, 0, world.now).unwrap();
    world.drain(1);
    world.mingle();
    check_whole(&world, &[0, 1], 256);
}

#[test]
fn one_removal_after_another() {
    let mut world = World::founded(5, &["10.32.0.0/24", "fd00:77::/120"]);
    world.mingle();
    let mut side = vec![0, 1, 2, 3, 4];
    while let Some(last) = side.pop().filter(|last| *last > 0) {
        remove(&mut world, 0, last);
        world.mingle_among(&side);
        check_whole(&world, &side, 256);
        assert!(removed(&world, 0).iter().all(|(_, done)| *done));
    }
}

#[test]
fn what_one_published_counts_again_when_it_is_not_removed_any_more() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle_among(&[0, 1, 3]);
    world.mingle_among(&[0, 1, 2]);
    // 3 is cut off, knows nothing of 2, and removes the others.
    world.mingle_among(&[3]);
    world.hosts[3].ipam.remove(name(0), true, 9, world.now).unwrap();
    world.drain(3);
    assert_eq!(owned(&world, 3), 256);
    remove(&mut world, 0, 3);
    world.mingle_among(&[0, 1, 2]);
    assert_eq!(removed(&world, 2), [(name(3), true)]);
    // 2 hears the record of 3's space before the word that it is no longer removed, and only once.
    world.show(3, 2);
    assert_eq!(removed(&world, 2), [(name(0), true), (name(1), true)]);
    assert_eq!(world.hosts[2].ipam.routes(), world.hosts[3].ipam.routes());
}

#[test]
fn what_cannot_be_removed() {
    let mut world = World::founded(2, &["10.32.0.0/24"]);
    let now = world.now;
    assert_eq!(world.hosts[0].ipam.remove(name(0), false, 0, now), Err(RemoveError::Myself));
    assert_eq!(world.hosts[1].ipam.remove(name(0), false, 0, now), Err(RemoveError::NoRing));
    world.mingle();
    remove(&mut world, 0, 1);
    world.mingle();
    assert_eq!(world.hosts[1].ipam.remove(name(0), false, 0, now), Err(RemoveError::Out));
}

#[test]
fn a_newcomer_may_hear_of_a_removal_before_it_hears_of_the_ring() {
    let mut world = World::founded(4, &["10.32.0.0/24"]);
    world.mingle_among(&[0, 1, 2]);
    remove(&mut world, 0, 2);
    world.mingle_among(&[0, 1]);
    let word = world.hosts[0].completed.clone();
    assert!(word.is_some());
    let now = world.now;
    world.hosts[3].ipam.handle_completed(name(0), word, now).unwrap();
    assert_eq!(removed(&world, 3), [], "it is in no ring, and knows of none");
    world.mingle_among(&[0, 3]);
    assert_eq!(removed(&world, 3), [(name(2), true)]);
    let request = world.ask(3, "pod");
    world.mingle_among(&[0, 3]);
    assert!(matches!(world.answer(3, request), Some(Ok(_))));
}
