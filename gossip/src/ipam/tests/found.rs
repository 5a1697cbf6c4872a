//! Who makes the ring.

use super::*;

fn rings(world: &World) -> BTreeSet<RingId> {
    let ring = |host: &Host| host.space.as_ref().map(|space| space.ring);
    world.hosts.iter().filter_map(ring).collect()
}

fn total(world: &World) -> u64 {
    world.hosts.iter().map(|host| host.ipam.owned()).sum()
}

#[test]
fn a_founder_serves_alone_and_at_once() {
    for init in [Init::Founder, Init::Auto, Init::Consensus(Some(1))] {
        let mut world = World::new([config(0, &["10.32.0.0/24"], init.clone(), 0)]);
        let id = world.ask(0, "a");
        assert!(matches!(world.answer(0, id), Some(Ok(_))), "{init:?}");
        assert!(world.hosts[0].ipam.ready());
    }
}

#[test]
fn nobody_founds_without_being_told() {
    for (init, text) in [
        (Init::Observer, "waiting for a peer that has a ring"),
        (Init::Auto, "awaiting consensus (quorum: 2, known: 1)"),
        (Init::Consensus(Some(5)), "awaiting consensus (quorum: 3, known: 1)"),
        (Init::Seed(vec![name(7)]), "waiting for a founder: 0808080808"),
    ] {
        let mut world = World::new([config(0, &["10.32.0.0/24"], init, 1)]);
        world.run(Duration::from_secs(100));
        let ipam = &world.hosts[0].ipam;
        assert_eq!((ipam.owned(), ipam.ready()), (0, false));
        assert_eq!(ipam.state(&|n| n.short()), text);
    }
}

#[test]
fn an_observer_asks_only_on_demand() {
    let mut world = World::new([
        config(0, &["10.32.0.0/24"], Init::Founder, 0),
        config(1, &["10.32.0.0/24"], Init::Observer, 1),
    ]);
    world.run(Duration::from_secs(10));
    let observer = &world.hosts[1].ipam;
    assert_eq!((observer.owned(), observer.ready()), (0, true));
    assert_eq!(observer.state(&|n| n.short()), "idle");
    let id = world.ask(1, "a");
    world.mingle();
    assert!(matches!(world.answer(1, id), Some(Ok(_))));
}

#[test]
fn a_vote_founds_one_ring_and_gives_each_founder_a_share() {
    for count in 2..=5 {
        let init = |index| config(index, &["10.32.0.0/16"], Init::Auto, usize::from(count) - 1);
        let mut world = World::new((0..count).map(init));
        world.run(Duration::from_secs(2));
        assert_eq!(total(&world), 0, "a ring may exist that was not heard of yet");
        world.run(Duration::from_secs(8));
        world.check();
        assert_eq!(rings(&world).len(), 1);
        assert_eq!(total(&world), 1 << 16);
        for index in 0..usize::from(count) {
            let id = world.ask(index, "a");
            world.mingle();
            assert!(matches!(world.answer(index, id), Some(Ok(_))), "{index} of {count}");
        }
    }
}

#[test]
fn a_ring_that_exists_is_joined_without_a_vote() {
    let mut world = World::founded(4, &["10.32.0.0/16"]);
    world.run(Duration::from_secs(20));
    assert_eq!(rings(&world).len(), 1);
    assert!(world.hosts.iter().all(|host| host.ipam.ready()));
}

#[test]
fn a_founder_that_was_down_finds_its_share() {
    let init = |index| config(index, &["10.32.0.0/16"], Init::Consensus(None), 2);
    let mut world = World::new((0..3).map(init));
    world.mingle();
    world.run(Duration::from_secs(10));
    let shares: Vec<u64> = world.hosts.iter().map(|host| host.ipam.owned()).collect();
    assert_eq!(shares.iter().sum::<u64>(), 1 << 16);
    (0..3).for_each(|index| world.crash(index));
    world.run(Duration::from_secs(10));
    let after: Vec<u64> = world.hosts.iter().map(|host| host.ipam.owned()).collect();
    assert_eq!(shares, after, "a share is claimed once");
    world.check();
}

#[test]
fn seeds_take_even_shares_without_talking() {
    let list = vec![name(2), name(0), name(1)];
    let init = |index| config(index, &["10.32.0.0/16"], Init::Seed(list.clone()), 3);
    let mut world = World::new((0..4).map(init));
    assert_eq!(total(&world), 1 << 16);
    assert_eq!(world.hosts[3].ipam.owned(), 0);
    world.check();
    world.mingle();
    assert_eq!(rings(&world).len(), 1);
    assert!(world.hosts.iter().all(|host| host.ipam.ready()));
    world.check();
}

#[test]
fn two_rings_do_not_merge_and_say_so() {
    let founder = |index| config(index, &["10.32.0.0/24"], Init::Founder, 0);
    let mut world = World::new([founder(0), founder(1)]);
    world.mingle();
    for (mine, other) in [(0, 1), (1, 0)] {
        let ipam = &mut world.hosts[mine].ipam;
        assert_eq!(ipam.conflicts(), [Conflict::OtherRing { node: name(other) }]);
        assert_eq!(ipam.owner_of(ip("10.32.0.1")), Some(name(u8::try_from(mine).unwrap())));
        assert!(ipam.ready());
    }
}

#[test]
fn nodes_started_without_a_word_about_each_other_become_one_cluster() {
    let auto = |index| config(index, &["10.32.0.0/24"], Init::Auto, 0);
    for (count, user) in [(2, None), (3, None), (2, Some(0)), (2, Some(1))] {
        let mut world = World::new((0..count).map(auto));
        let id = user.map(|user| world.ask(user, "a"));
        world.run(Duration::from_secs(1));
        assert_eq!(rings(&world).len(), 1, "{user:?}");
        assert!(world.hosts.iter().all(|host| host.ipam.ready()));
        assert_eq!(total(&world), 256);
        assert_eq!(world.hosts[0].ipam.conflicts(), []);
        world.check();
        if let (Some(user), Some(id)) = (user, id) {
            assert!(matches!(world.answer(user, id), Some(Ok(_))));
        }
        // Whoever gave its ring up does not make another.
        (0..usize::from(count)).for_each(|index| world.crash(index));
        world.run(Duration::from_secs(1));
        assert_eq!(rings(&world).len(), 1, "{user:?}");
    }
}

#[test]
fn rings_in_use_are_not_given_up() {
    let auto = |index| config(index, &["10.32.0.0/24"], Init::Auto, 0);
    let mut world = World::new((0..2).map(auto));
    world.ask(0, "a");
    world.ask(1, "b");
    world.hosts[1].ipam.release("b", world.now);
    world.drain(1);
    world.run(Duration::from_secs(60));
    assert_eq!(rings(&world).len(), 2, "what was used once stays");
    assert_eq!(world.hosts[0].ipam.conflicts(), [Conflict::OtherRing { node: name(1) }]);
}

#[test]
fn a_node_with_other_ranges_is_shown_and_changes_nothing() {
    let founder = config(0, &["10.32.0.0/24"], Init::Founder, 0);
    let stranger = config(1, &["10.99.0.0/24"], Init::Founder, 0);
    let world = World::new([founder, stranger]);
    let mut ipam = world.hosts[0].ipam.clone();
    let routes = ipam.routes();
    let space = world.hosts[1].space.clone();
    let result = ipam.handle_space(name(1), space, Time::START);
    assert!(matches!(result, Err(Misbehaved::OtherRanges { .. })));
    assert_eq!(ipam.routes(), routes);
    let theirs = "10.99.0.0/24".into();
    assert_eq!(ipam.conflicts(), [Conflict::OtherRanges { node: name(1), theirs }]);
}

/// Tells a host how many others there are.
fn tell(world: &mut World, index: usize, targets: Option<usize>) {
    let now = world.now;
    world.hosts[index].ipam.set_targets(targets, now);
    world.drain(index);
}

/// Hosts that are to wait until they are told.
fn waiting(count: u8) -> World {
    let init = |index| config(index, &["10.32.0.0/16"], Init::Auto, 1);
    let mut world = World::new((0..count).map(init));
    (0..usize::from(count)).for_each(|index| tell(&mut world, index, None));
    world
}

#[test]
fn nobody_votes_before_it_knows_who_takes_part() {
    let mut world = waiting(4);
    world.run(Duration::from_secs(20));
    assert_eq!(total(&world), 0);
    let state = world.hosts[0].ipam.state(&|n| n.short());
    assert_eq!(state, "waiting to learn which nodes there are");
    assert!(
        world.hosts.iter().all(|host| host.paxos.as_ref().is_none_or(|p| p.promised.round == 0))
    );
    // Of four, two are no majority; a third is.
    tell(&mut world, 0, Some(3));
    tell(&mut world, 1, Some(3));
    world.run(Duration::from_secs(20));
    assert_eq!(total(&world), 0, "what is held back gives no promise");
    tell(&mut world, 2, Some(3));
    world.run(Duration::from_secs(20));
    assert_eq!((rings(&world).len(), total(&world)), (1, 1 << 16));
    // The one that waits joins, and asks nobody for a vote later.
    assert!(world.hosts[3].ipam.ready());
    tell(&mut world, 3, Some(0));
    world.run(Duration::from_secs(20));
    world.check();
    assert_eq!((rings(&world).len(), total(&world)), (1, 1 << 16));
}

#[test]
fn who_learns_that_it_is_alone_founds_at_once_and_only_then() {
    let mut world = waiting(1);
    tell(&mut world, 0, Some(0));
    assert!(world.hosts[0].ipam.ready());
    // Not where somebody has a part in a vote.
    let mut world = waiting(2);
    tell(&mut world, 1, Some(1));
    world.mingle();
    tell(&mut world, 0, Some(0));
    assert!(!world.hosts[0].ipam.ready());
    world.run(Duration::from_secs(20));
    assert_eq!((rings(&world).len(), total(&world)), (1, 1 << 16));
}

#[test]
fn the_number_of_those_that_take_part_only_grows_once_a_promise_is_given() {
    let mut world = waiting(3);
    // Before, it may also shrink: nodes that never came are no more.
    for targets in [6, 2, 4] {
        (0..3).for_each(|index| tell(&mut world, index, Some(targets)));
        let electorate = world.hosts[0].paxos.as_ref().map(|paxos| paxos.electorate);
        assert_eq!(electorate, u32::try_from(targets + 1).ok());
    }
    // A vote that two of three hosts answered is called.
    world.mingle_among(&[0, 1, 2]);
    world.now += Duration::from_secs(4);
    let now = world.now;
    world.hosts[0].ipam.handle_timeout(now);
    world.drain(0);
    assert!(world.hosts[0].paxos.as_ref().is_some_and(|paxos| paxos.promised.round > 0));
    tell(&mut world, 0, Some(0));
    assert_eq!(world.hosts[0].paxos.as_ref().map(|paxos| paxos.electorate), Some(5));
    tell(&mut world, 0, Some(8));
    assert_eq!(world.hosts[0].paxos.as_ref().map(|paxos| paxos.electorate), Some(9));
}
