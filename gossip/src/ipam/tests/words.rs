//! One word of each node on each set of removals.

use super::*;

/// 3 took 2 in, and only 2 knows that. 2 says its word on the removal of 3 and 4. Then it hears that the
/// others completed the removal of 3 alone, without it, and they have heard its word meanwhile.
fn one_hears_of_fewer_removals_after_its_word() -> (World, Option<Ack>) {
    let mut world = World::founded(6, &["10.32.0.0/24"]);
    world.mingle_among(&[0, 1, 3, 4]);
    world.mingle_among(&[2, 3]);
    assert!(world.hosts[2].ipam.owned() > 0);
    // On its way to 5 when the word is said.
    world.hosts[2].ipam.handle_reachable(&BTreeSet::from([name(5)]), world.now);
    world.hosts[5].ipam.handle_reachable(&BTreeSet::from([name(2)]), world.now);
    world.show(2, 5);
    world.show(5, 2);
    assert_eq!(world.hosts[2].space.as_ref().unwrap().grants.len(), 1, "in flight");
    world.show(0, 2);
    let pod = world.ask(2, "pod");
    assert!(matches!(world.answer(2, pod), Some(Ok(_))));
    for who in [3, 4] {
        world.hosts[2].ipam.remove(name(who), false, 7, world.now).unwrap();
        world.drain(2);
    }
    world.hosts[0].ipam.remove(name(3), false, 7, world.now).unwrap();
    world.drain(0);
    world.mingle_among(&[0, 1, 4]);
    let fewer = world.hosts[0].completed.clone();
    assert_eq!(fewer.as_ref().unwrap().removed.len(), 1);
    // The others say the same as 2, and do not know yet that all have.
    world.show(2, 0);
    world.show(2, 1);
    let word = world.hosts[2].pending.clone();
    world.hosts[2].ipam.handle_completed(name(0), fewer, world.now).unwrap();
    world.drain(2);
    assert_eq!(world.hosts[2].ipam.poll_fenced().unwrap().key, "pod", "void by what is complete");
    (world, word)
}

#[test]
fn nobody_says_two_words_on_the_same_removals() {
    for crashes in [false, true] {
        let (mut world, word) = one_hears_of_fewer_removals_after_its_word();
        assert!(word.is_some());
        if crashes {
            world.crash(2);
        }
        assert_eq!(world.hosts[2].pending, word, "the word stands");
        world.mingle_among(&[0, 1, 5]);
        world.mingle_among(&[0, 1, 2, 5]);
        let view = |index: usize| world.hosts[index].space.as_ref().unwrap().view;
        assert_eq!((view(1), view(2)), (view(0), view(0)), "one verdict");
    }
}

#[test]
fn what_is_void_before_the_word_is_judged_comes_back_by_the_word() {
    for crashes in [false, true] {
        let (mut world, _) = one_hears_of_fewer_removals_after_its_word();
        assert_eq!(world.hosts[2].ipam.owned(), 0, "it rests");
        assert_eq!(world.hosts[2].space.as_ref().unwrap().grants, []);
        if crashes {
            world.crash(2);
        }
        world.mingle_among(&[0, 1, 5]);
        // The removed hear of it as well.
        world.mingle();
        world.check();
        let total: u64 = [0, 1, 2, 5].map(|index| world.hosts[index].ipam.owned()).iter().sum();
        assert_eq!(total, 256, "nothing is lost");
        assert_eq!(world.hosts[0].ipam.conflicts(), []);
        assert_eq!(world.hosts[5].ipam.routes(), world.hosts[0].ipam.routes());
    }
}
