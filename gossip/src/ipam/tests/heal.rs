//! Two rings that were founded apart become one.

use proptest::prelude::*;

use super::*;

/// Two clusters of `sizes` nodes each, which never heard of each other.
fn two_rings(sizes: [u8; 2], ranges: &[&str]) -> (World, [Vec<usize>; 2]) {
    let sides = [0..sizes[0], sizes[0]..sizes[0] + sizes[1]];
    let mut world = World::new(sides.iter().flat_map(|side| {
        side.clone().map(|index| match index {
            founder if founder == side.start => config(index, ranges, Init::Founder, 0),
            _ => config(index, ranges, Init::Auto, 1),
        })
    }));
    let sides = sides.map(|side| side.map(usize::from).collect::<Vec<usize>>());
    sides.iter().for_each(|side| world.mingle_among(side));
    (world, sides)
}

/// The sides, the one whose ring stays first.
fn order(world: &World, [a, b]: [Vec<usize>; 2]) -> (Vec<usize>, Vec<usize>) {
    let ring = |side: &[usize]| world.hosts[side[0]].ipam.own.ring;
    if ring(&a) < ring(&b) { (a, b) } else { (b, a) }
}

fn heal(world: &mut World, on: usize, with: usize) -> Result<Healing, HealError> {
    let (peer, now) = (world.hosts[with].config.name, world.now);
    let result = world.hosts[on].ipam.heal(peer, 7, now);
    world.drain(on);
    result
}

fn pods(world: &World, index: usize) -> BTreeMap<String, Vec<IpNet>> {
    let list = world.hosts[index].ipam.allocations();
    list.map(|(key, nets)| (key.to_owned(), nets)).collect()
}

fn fenced(world: &mut World, index: usize) -> Vec<Fenced> {
    std::iter::from_fn(|| world.hosts[index].ipam.poll_fenced()).collect()
}

/// All are in one ring, which covers the range once, and see it alike.
fn check_one_ring(world: &World, size: u64) {
    world.check();
    let first = &world.hosts[0].ipam;
    assert_eq!(world.hosts.iter().map(|host| host.ipam.owned()).sum::<u64>(), size);
    for host in &world.hosts {
        assert_eq!(host.ipam.own.ring, first.own.ring);
        assert_eq!(host.ipam.routes(), first.routes());
        assert_eq!(host.ipam.conflicts(), []);
        assert_eq!(host.ipam.kept(), []);
        assert!(host.ipam.ready());
    }
}

#[test]
fn rings_that_meet_stay_two_until_somebody_says_so() {
    let (mut world, sides) = two_rings([2, 2], &["10.32.0.0/24"]);
    let rings: Vec<RingId> = world.hosts.iter().map(|host| host.ipam.own.ring).collect();
    for index in 0..4 {
        world.ask(index, &format!("before {index}"));
    }
    world.run(Duration::from_secs(60));
    for (index, ring) in rings.iter().enumerate() {
        assert_eq!(world.hosts[index].ipam.own.ring, *ring);
        assert_eq!(pods(&world, index).len(), 1);
        let id = world.ask(index, &format!("after {index}"));
        assert!(matches!(world.answer(index, id), Some(Ok(_))), "each serves its own pods");
        let other = world.hosts[sides[usize::from(index < 2)][0]].config.name;
        let conflicts = world.hosts[index].ipam.conflicts();
        assert!(conflicts.contains(&Conflict::OtherRing { node: other }), "{conflicts:?}");
    }
}

#[test]
fn what_does_not_clash_stays_and_what_does_is_named() {
    for on_the_one_that_stays in [false, true] {
        let (mut world, sides) = two_rings([3, 3], &["10.32.0.0/24", "fd00:77::/120"]);
        let (stay, come) = order(&world, sides);
        // Both founders give their pods the same addresses, but for one that is far up.
        for side in [&stay, &come] {
            world.ask(side[0], &format!("clash {}", side[0]));
        }
        let apart = &["10.32.0.99/24", "fd00:77::99/120"];
        let far = world.ask_for(come[0], "far", apart);
        world.mingle_among(&come);
        assert_eq!(world.got(come[0], far), *apart);
        for index in [come[1], come[2], stay[1]] {
            world.ask(index, &format!("pod {index}"));
        }
        let before: Vec<_> = (0..6).map(|index| pods(&world, index)).collect();
        let used: BTreeSet<IpAddr> = stay
            .iter()
            .flat_map(|index| before[*index].values().flatten().map(IpNet::addr))
            .collect();
        world.mingle();
        let said = if on_the_one_that_stays {
            heal(&mut world, stay[1], come[1])
        } else {
            heal(&mut world, come[2], stay[2])
        };
        let expected = if on_the_one_that_stays { Healing::Stays } else { Healing::Moves };
        assert_eq!(said, Ok(expected));
        world.mingle();
        check_one_ring(&world, 256);
        for index in stay {
            assert_eq!(pods(&world, index), before[index], "who stays loses nothing");
            assert_eq!(fenced(&mut world, index), []);
        }
        let mut lost = 0;
        for index in come {
            let gone = fenced(&mut world, index);
            lost += gone.len();
            let now = pods(&world, index);
            for (key, nets) in &before[index] {
                let clashes = nets.iter().any(|net| used.contains(&net.addr()));
                assert_eq!(now.get(key), (!clashes).then_some(nets), "{key}: {nets:?}");
                let by = gone.iter().find(|fenced| fenced.key == *key);
                assert_eq!(by.is_some(), clashes);
                assert!(by.is_none_or(|fenced| fenced.holder.is_some()), "it says who has it");
            }
        }
        assert!(lost >= 1);
        // The ring works: everybody gets addresses.
        for index in 0..6 {
            let id = world.ask(index, &format!("after {index}"));
            world.mingle();
            assert!(matches!(world.answer(index, id), Some(Ok(_))));
        }
        world.check();
    }
}

/// A newcomer that a node of each of two rings takes for its own: it is in the ring of `first`, which does
/// not know yet that it took over, and the grant of `second` is still on its way.
fn wanted_by_two_rings(first_is_lower: bool) -> (World, [usize; 2]) {
    let mut world = World::new((0..3).map(|index| {
        let init = if index < 2 { Init::Founder } else { Init::Auto };
        config(index, &["10.32.0.0/24"], init, 1)
    }));
    let (low, high) = order(&world, [vec![0], vec![1]]);
    let (first, second) = if first_is_lower { (low[0], high[0]) } else { (high[0], low[0]) };
    let near = |world: &mut World, index: usize, other: usize| {
        let other = BTreeSet::from([world.hosts[other].config.name]);
        world.hosts[index].ipam.handle_reachable(&other, world.now);
    };
    for donor in [second, first] {
        near(&mut world, 2, donor);
        near(&mut world, donor, 2);
        world.show(donor, 2);
        world.show(2, donor);
        if donor == second {
            // It asks the other in the next moment, and forgets about this one.
            world.crash(2);
        }
    }
    let grants = |world: &World, index: usize| world.hosts[index].space.clone().unwrap().grants;
    assert_eq!((grants(&world, first).len(), grants(&world, second).len()), (1, 1));
    world.show(first, 2);
    assert!(world.hosts[2].ipam.owned() > 0);
    (world, [first, second])
}

#[test]
fn what_was_granted_to_one_in_a_lower_ring_comes_back() {
    let (mut world, [_, second]) = wanted_by_two_rings(true);
    assert!(world.hosts[second].ipam.owned() < 256);
    world.show(2, second);
    assert_eq!(world.hosts[second].ipam.owned(), 256);
    // It is no owner here, so nobody waits for its word.
    world.hosts[second].ipam.remove(PeerName::from_bytes([9; 32]), false, 7, world.now).unwrap();
    world.drain(second);
    assert_eq!(world.hosts[second].ipam.removals()[0].waits_for, None);
}

#[test]
fn who_moves_takes_over_what_was_granted_to_it_before() {
    let (mut world, [first, second]) = wanted_by_two_rings(false);
    let other = BTreeSet::from([world.hosts[second].config.name]);
    world.hosts[2].ipam.handle_reachable(&other, world.now);
    world.show(second, 2);
    assert_eq!(heal(&mut world, 2, second), Ok(Healing::Moves));
    let ring = world.hosts[second].ipam.own.ring;
    assert_eq!(world.hosts[2].ipam.own.ring, ring, "it needs no other record for that");
    world.mingle();
    assert_eq!(world.hosts[first].ipam.own.ring, ring);
    check_one_ring(&world, 256);
}

#[test]
fn a_newcomer_looks_at_a_ring_that_it_can_reach() {
    let (mut world, sides) = two_rings([1, 1], &["10.32.0.0/24"]);
    let (low, high) = order(&world, sides);
    let mut newcomer = start(config(2, &["10.32.0.0/24"], Init::Auto, 1));
    let now = world.now;
    for index in [low[0], high[0]] {
        let (name, space) = (world.hosts[index].config.name, world.hosts[index].space.clone());
        newcomer.handle_space(name, space, now).unwrap();
    }
    newcomer.handle_reachable(&BTreeSet::from([world.hosts[high[0]].config.name]), now);
    assert_eq!(newcomer.ring_in_view(), Some(world.hosts[high[0]].ipam.own.ring));
    let all = world.hosts.iter().map(|host| host.config.name).collect();
    newcomer.handle_reachable(&all, now);
    assert_eq!(newcomer.ring_in_view(), Some(world.hosts[low[0]].ipam.own.ring));
    world.drain(0);
}

#[test]
fn who_leaves_a_ring_that_is_given_up_has_left_when_its_pods_are_gone() {
    let (mut world, sides) = two_rings([2, 2], &["10.32.0.0/24"]);
    let (stay, come) = order(&world, sides);
    let pod = world.ask(come[0], "pod");
    assert!(world.answer(come[0], pod).is_some());
    for index in &come {
        world.hosts[*index].ipam.leave(world.now);
        world.drain(*index);
    }
    world.mingle();
    let done = |world: &World, index: usize| world.hosts[index].ipam.leaving().unwrap().done;
    assert!(!done(&world, come[0]), "all of its ring leave");
    heal(&mut world, stay[0], come[0]).unwrap();
    world.mingle();
    assert!(!done(&world, come[0]) && done(&world, come[1]));
    assert_eq!(pods(&world, come[0]).len(), 1, "a running pod keeps its address");
    world.hosts[come[0]].ipam.release("pod", world.now);
    world.run(Duration::from_secs(31));
    assert!(done(&world, come[0]));
    world.check();
    assert_eq!(stay.iter().map(|index| world.hosts[*index].ipam.owned()).sum::<u64>(), 256);
}

#[test]
fn nobody_moves_to_a_ring_whose_last_node_left() {
    let (mut world, sides) = two_rings([1, 1], &["10.32.0.0/24"]);
    let (stay, come) = order(&world, sides);
    let (low, high) = (stay[0], come[0]);
    world.show(low, high);
    assert_eq!(heal(&mut world, high, low), Ok(Healing::Moves));
    assert_eq!(world.hosts[high].ipam.owned(), 256, "as soon as it reaches the other");
    world.hosts[low].ipam.leave(world.now);
    world.drain(low);
    assert!(world.hosts[low].ipam.leaving().unwrap().done);
    world.show(low, high);
    world.mingle();
    assert_eq!(world.hosts[high].ipam.owned(), 256);
    let unknown = world.hosts[low].config.name;
    assert_eq!(heal(&mut world, high, low), Err(HealError::Unknown(unknown)));
}

#[test]
fn one_that_was_removed_and_is_in_another_ring_can_be_healed_with() {
    let (mut world, sides) = two_rings([1, 1], &["10.32.0.0/24"]);
    let (stay, come) = order(&world, sides);
    let (low, high) = (stay[0], come[0]);
    let other = world.hosts[low].config.name;
    world.hosts[high].ipam.remove(other, false, 7, world.now).unwrap();
    world.drain(high);
    world.mingle();
    assert!(world.hosts[high].ipam.conflicts().contains(&Conflict::OtherRing { node: other }));
    assert_eq!(heal(&mut world, high, low), Ok(Healing::Moves));
    world.mingle();
    check_one_ring(&world, 256);
}

#[test]
fn a_newcomer_does_not_wait_for_a_ring_of_which_it_reaches_the_removed_only() {
    let mut world = World::new((0..5).map(|index| {
        let init = if index == 0 || index == 3 { Init::Founder } else { Init::Observer };
        config(index, &["10.32.0.0/24"], init, 1)
    }));
    for index in [1, 2] {
        world.ask(index, "pod");
    }
    world.mingle_among(&[0, 1, 2]);
    world.hosts[0].ipam.remove(name(2), false, 7, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 4]);
    let ring = |world: &World, index: usize| world.hosts[index].ipam.ring_in_view();
    assert_eq!(ring(&world, 4), ring(&world, 0));
    // The removed one has not heard of it.
    world.mingle_among(&[2, 3, 4]);
    assert_eq!(ring(&world, 4), ring(&world, 3));
    let pod = world.ask(4, "pod");
    world.mingle_among(&[2, 3, 4]);
    assert!(matches!(world.answer(4, pod), Some(Ok(_))));
}

#[test]
fn a_newcomer_says_no_second_word_when_it_looks_at_a_ring_again() {
    let mut world = World::new((0..5).map(|index| {
        let init = if index == 0 || index == 3 { Init::Founder } else { Init::Observer };
        config(index, &["10.32.0.0/24"], init, 1)
    }));
    for index in [1, 2] {
        world.ask(index, "pod");
    }
    world.mingle_among(&[0, 1, 2]);
    world.hosts[0].ipam.remove(name(2), false, 7, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 4]);
    let word = world.hosts[4].pending.clone();
    assert!(word.is_some(), "it goes along, and 0 waits for 1");
    world.show(4, 3);
    assert_eq!(world.hosts[3].ipam.removals(), [], "the word is about the other ring");
    // That ring is out of reach, and another one is there.
    world.mingle_among(&[3, 4]);
    assert_eq!(world.hosts[4].pending, None);
    let pod = world.ask(4, "pod");
    world.hosts[4].ipam.cancel(pod);
    world.crash(4);
    world.mingle_among(&[0, 4]);
    assert_eq!(world.hosts[4].pending, word);
}

#[test]
fn a_node_that_was_away_moves_when_it_is_back() {
    let (mut world, sides) = two_rings([2, 3], &["10.32.0.0/24"]);
    let (stay, come) = order(&world, sides);
    let away = *come.last().unwrap();
    let id = world.ask_for(come[0], "pod", &["10.32.0.200/24"]);
    world.mingle_among(&come);
    assert!(matches!(world.answer(come[0], id), Some(Ok(_))));
    let there: Vec<usize> = (0..5).filter(|index| *index != away).collect();
    world.mingle_among(&there);
    heal(&mut world, come[0], stay[0]).unwrap();
    world.mingle_among(&there);
    let old = world.hosts[away].ipam.own.ring;
    let id = world.ask(away, "alone");
    assert!(matches!(world.answer(away, id), Some(Ok(_))), "it serves its pods in its ring");
    // It hears of the word, and reaches only one that moved.
    world.mingle_among(&[come[0], away]);
    assert_ne!(world.hosts[away].ipam.own.ring, old);
    world.mingle();
    check_one_ring(&world, 256);
    assert!(pods(&world, come[0]).contains_key("pod"));
}

#[test]
fn an_owner_that_cannot_be_reached_is_waited_for() {
    let (mut world, sides) = two_rings([2, 2], &["10.32.0.0/24"]);
    let (stay, come) = order(&world, sides);
    let (owner, other, mover) = (stay[0], stay[1], come[0]);
    let theirs = world.hosts[owner].ipam.own.owned.iter().next().unwrap();
    let address = universe::address(theirs.start + 9).to_string();
    let id = world.ask_for(mover, "pod", &[&format!("{address}/24")]);
    world.mingle_among(&come);
    assert!(matches!(world.answer(mover, id), Some(Ok(_))));
    world.mingle();
    heal(&mut world, mover, other).unwrap();
    world.mingle_among(&[mover, other]);
    for crash in [false, true] {
        if crash {
            world.crash(mover);
            world.mingle_among(&[mover, other]);
            // Gossip keeps the records of those who are away.
            world.show(owner, mover);
        }
        let kept = world.hosts[mover].ipam.kept();
        assert_eq!(kept.len(), 1, "crash: {crash}");
        assert_eq!(kept[0].owners, [world.hosts[owner].config.name]);
        assert_eq!(pods(&world, mover).len(), 1, "the pod runs on");
        let state = world.hosts[mover].ipam.state(&|name| name.short());
        let name = world.hosts[owner].config.name.short();
        assert!(state.contains(&name) && state.starts_with("moving to another ring"), "{state}");
    }
    // New pods get addresses of the new ring meanwhile.
    let id = world.ask(mover, "new");
    world.mingle_among(&[mover, other]);
    assert!(matches!(world.answer(mover, id), Some(Ok(_))));
    world.mingle();
    check_one_ring(&world, 256);
    assert!(pods(&world, mover).contains_key("pod"));
}

#[test]
fn what_cannot_be_healed() {
    let (mut world, sides) = two_rings([2, 2], &["10.32.0.0/24"]);
    let [a, b] = sides.map(|side| side[0]);
    assert_eq!(heal(&mut world, a, b), Err(HealError::Unknown(name(2))));
    assert_eq!(heal(&mut world, a, a + 1), Err(HealError::SameRing(name(1))));
    world.mingle();
    heal(&mut world, a, b).unwrap();
    world.mingle();
    assert_eq!(heal(&mut world, a, b), Err(HealError::SameRing(name(2))));
    check_one_ring(&world, 256);
}

#[derive(Clone, Debug)]
enum Op {
    /// `to` hears the records of `from` of some time ago.
    Hear {
        from: usize,
        to: usize,
        back: usize,
    },
    Ask {
        host: usize,
        key: u8,
    },
    AskFor {
        host: usize,
        key: u8,
        number: u8,
    },
    Release {
        host: usize,
        key: u8,
    },
    Pass {
        seconds: u64,
    },
    Reach {
        host: usize,
        mask: u8,
    },
    Heal {
        host: usize,
        peer: usize,
    },
    Crash {
        host: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (host, key) = (0..4_usize, 0..4_u8);
    prop_oneof![
        10 => (host.clone(), host.clone(), 0..4_usize)
            .prop_map(|(from, to, back)| Op::Hear { from, to, back }),
        4 => (host.clone(), key.clone()).prop_map(|(host, key)| Op::Ask { host, key }),
        2 => (host.clone(), key.clone(), 1..31_u8)
            .prop_map(|(host, key, number)| Op::AskFor { host, key, number }),
        2 => (host.clone(), key).prop_map(|(host, key)| Op::Release { host, key }),
        1 => (0..20_u64).prop_map(|seconds| Op::Pass { seconds }),
        2 => (host.clone(), any::<u8>()).prop_map(|(host, mask)| Op::Reach { host, mask }),
        2 => (host.clone(), host.clone()).prop_map(|(host, peer)| Op::Heal { host, peer }),
        1 => host.prop_map(|host| Op::Crash { host }),
    ]
}

/// No address is owned by two nodes of one ring, or in use and owned by two.
fn check_each_ring(world: &World) {
    let mut owned: Vec<(RingId, u128, u128, usize)> = Vec::new();
    let mut used: BTreeMap<(RingId, IpAddr), usize> = BTreeMap::new();
    for (index, host) in world.hosts.iter().enumerate() {
        host.ipam.check_invariants();
        let own = &host.ipam.own;
        owned.extend(own.owned.iter().map(|span| (own.ring, span.start, span.end, index)));
        for net in host.ipam.allocations().flat_map(|(_, nets)| nets) {
            if !host.ipam.kept.contains(&universe::number(net.addr())) {
                let other = used.insert((own.ring, net.addr()), index);
                assert_eq!(other, None, "{} is in use twice in one ring", net.addr());
            }
        }
    }
    owned.sort_unstable();
    for (a, b) in owned.iter().zip(owned.iter().skip(1)) {
        assert!(a.0 != b.0 || a.2 < b.1, "owned twice: {a:?} {b:?}");
    }
}

fn apply(world: &mut World, history: &[Vec<Records>], op: &Op) {
    let now = world.now;
    match *op {
        Op::Hear { from, to, back } if from != to => {
            let past = &history[from];
            let records = past[past.len().saturating_sub(1 + back)].clone();
            let origin = world.hosts[from].config.name;
            let ipam = &mut world.hosts[to].ipam;
            if records.space.is_some() {
                ipam.handle_space(origin, records.space, now).unwrap();
            }
            ipam.handle_want(origin, records.want, now).unwrap();
        }
        Op::Hear { .. } => {}
        Op::Ask { host, key } => {
            world.ask(host, &format!("{host}/{key}"));
        }
        Op::AskFor { host, key, number } => {
            world.ask_for(host, &format!("{host}/{key}"), &[&format!("10.32.0.{number}/27")]);
        }
        Op::Release { host, key } => {
            world.hosts[host].ipam.release(&format!("{host}/{key}"), now);
        }
        Op::Pass { seconds } => {
            world.now = now + Duration::from_secs(seconds);
            for host in &mut world.hosts {
                host.ipam.handle_timeout(world.now);
            }
        }
        Op::Reach { host, mask } => {
            let me = world.hosts[host].config.name;
            let all = (0..4_u8).filter(|bit| mask >> bit & 1 == 1).map(name);
            let others: BTreeSet<PeerName> = all.filter(|name| *name != me).collect();
            world.hosts[host].ipam.handle_reachable(&others, now);
        }
        // Refused where the two are of one ring or do not know of each other.
        Op::Heal { host, peer } => drop(heal(world, host, peer)),
        Op::Crash { host } => world.crash(host),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rings_become_one_in_any_order(
        ops in prop::collection::vec((op(), prop::bool::weighted(0.8)), 0..100),
    ) {
        let (mut world, sides) = two_rings([2, 2], &["10.32.0.0/27"]);
        let mut history: Vec<Vec<Records>> =
            world.records().into_iter().map(|records| vec![records]).collect();
        for (op, drain) in &ops {
            apply(&mut world, &history, op);
            if *drain {
                (0..4).for_each(|index| world.drain(index));
            }
            for (past, records) in history.iter_mut().zip(world.records()) {
                if past.last() != Some(&records) {
                    past.push(records);
                }
            }
            check_each_ring(&world);
        }
        // In the end all talk, and somebody says the word if nobody did.
        (0..4).for_each(|index| world.drain(index));
        world.run(Duration::from_secs(1));
        let _ = heal(&mut world, sides[0][0], sides[1][0]);
        world.run(Duration::from_secs(40));
        check_one_ring(&world, 32);
    }
}
