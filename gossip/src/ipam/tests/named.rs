//! Addresses asked for by name, and from a part of a range.

use super::*;

fn refused(world: &World, index: usize, id: RequestId) -> AllocateError {
    world.answer(index, id).cloned().unwrap().unwrap_err()
}

#[test]
fn an_address_of_a_part_of_the_range() {
    let mut world = World::founded(1, &["10.32.0.0/16", "fd00:77::/64"]);
    for (subnet, expected) in [
        ("10.32.7.0/24", "10.32.7.1/16"),
        ("10.32.7.0/24", "10.32.7.2/16"),
        ("10.32.7.9/32", "10.32.7.9/16"),
        ("10.32.8.0/31", "10.32.8.0/16"),
        ("10.32.0.0/24", "10.32.0.1/16"),
        ("10.32.255.252/30", "10.32.255.253/16"),
    ] {
        let key = format!("{subnet} {expected}");
        let id = world.ask_within(0, &key, subnet);
        let got = world.got(0, id);
        assert_eq!(got[0], expected, "{subnet}");
        assert!(got[1].starts_with("fd00:77::"), "any address of the other family: {got:?}");
        let again = world.ask_within(0, &key, subnet);
        assert_eq!(world.got(0, again), got);
    }
    let id = world.ask_within(0, "six", "fd00:77::7:0/112");
    assert_eq!(world.got(0, id)[1], "fd00:77::7:1/64");
    let within = ["fd00:77::8:0/112", "10.32.9.0/24"].map(net);
    let id = world.request(0, "both", Request { wanted: Vec::new(), within: within.to_vec() });
    assert_eq!(world.got(0, id), ["10.32.9.1/16", "fd00:77::8:1/64"]);
    let within = ["10.32.9.0/24", "10.32.10.0/24"].map(net);
    let id = world.request(0, "two", Request { wanted: Vec::new(), within: within.to_vec() });
    assert_eq!(refused(&world, 0, id), AllocateError::TwoParts(net("10.32.10.0/24")));
    world.check();
}

#[test]
fn a_part_of_the_range_that_has_no_address() {
    let mut world = World::founded(1, &["10.32.0.0/24"]);
    let id = world.ask_within(0, "outside", "10.33.0.0/24");
    let (subnet, ranges) = (net("10.33.0.0/24"), "10.32.0.0/24".into());
    assert_eq!(refused(&world, 0, id), AllocateError::SubnetOutside { subnet, ranges });
    let id = world.ask_within(0, "wider", "10.32.0.0/16");
    assert!(matches!(refused(&world, 0, id), AllocateError::SubnetOutside { .. }));
    let id = world.ask_within(0, "reserved", "10.32.0.0/32");
    let (ip_, subnet) = (ip("10.32.0.0"), net("10.32.0.0/32"));
    assert_eq!(refused(&world, 0, id), AllocateError::NotWithin { ip: ip_, subnet });
    let wanted = vec![net("10.32.0.9/24")];
    let within = vec![net("10.32.0.16/28")];
    let id = world.request(0, "both", Request { wanted, within });
    assert!(matches!(refused(&world, 0, id), AllocateError::NotWithin { .. }));

    // All of the part are in use: the answer names it, and others are served meanwhile.
    world.ask_within(0, "a", "10.32.0.16/30");
    world.ask_within(0, "b", "10.32.0.16/30");
    let full = world.ask_within(0, "c", "10.32.0.16/30");
    let other = world.ask(0, "d");
    assert!(world.answer(0, other).is_some());
    assert_eq!(
        world.hosts[0].ipam.state(&|name| name.short()),
        "waiting for a free address of 10.32.0.16/30"
    );
    world.run(Duration::from_secs(30));
    let waiting = Waiting::Subnet(net("10.32.0.16/30"));
    assert_eq!(refused(&world, 0, full), AllocateError::Deadline { waiting });
    world.hosts[0].ipam.release("b", world.now);
    let other = world.ask_within(0, "a", "10.32.0.20/30");
    assert!(matches!(refused(&world, 0, other), AllocateError::HeldOtherwise { .. }));
    world.check();
}

/// The first address that `index` owns and could hand out.
fn first_of(world: &World, index: usize) -> IpAddr {
    let me = world.hosts[index].config.name;
    let routes = world.hosts[index].ipam.routes();
    routes.iter().find(|route| route.owner == me).unwrap().start
}

#[test]
fn an_address_of_another_node_is_asked_for() {
    let mut world = World::founded(3, &["10.32.0.0/24", "fd00:77::/120"]);
    world.mingle();
    let (v4, owner) = (first_of(&world, 1), name(1));
    let before = world.hosts[1].ipam.owned();
    let id = world.ask_for(2, "pod", &[&format!("{v4}/24"), "fd00:77::9/120"]);
    assert_eq!(world.answer(2, id), None);
    let state = world.hosts[2].ipam.state(&|name| name.short());
    assert_eq!(state, format!("waiting for {v4} from its owner {}", owner.short()));
    world.mingle();
    assert_eq!(world.got(2, id), [format!("{v4}/24"), "fd00:77::9/120".into()]);
    assert_eq!(world.hosts[1].ipam.owned(), before - 1, "no more than that address");
    assert_eq!(world.hosts[0].ipam.owner_of(v4), Some(name(2)));
    assert_eq!(world.hosts[2].want, None, "what was served is taken back");
    world.check();
}

#[test]
fn an_address_that_its_owner_uses_is_refused_with_its_user() {
    let mut world = World::founded(2, &["10.32.0.0/24"]);
    world.mingle();
    let taken = world.ask(1, "pod of host 1");
    let address = world.got(1, taken)[0].clone();
    let id = world.ask_for(0, "pod", &[&address]);
    let patient = world.ask(0, "other");
    assert!(world.answer(0, patient).is_some(), "others are served meanwhile");
    world.mingle();
    let error = refused(&world, 0, id);
    let holder = "pod of host 1".into();
    let ip = net(&address).addr();
    assert_eq!(error, AllocateError::OwnedElsewhere { ip, owner: name(1), holder });
    let text = error.to_string();
    assert!(text.contains("pod of host 1") && text.contains(&name(1).short()), "{text}");
    assert_eq!(world.hosts[1].space.as_ref().unwrap().refused, [], "said until it is heard");
    // Asked again when it is free, the old answer does not count, and cooling down is waited for.
    world.hosts[1].ipam.release("pod of host 1", world.now);
    world.run(Duration::from_secs(5));
    let id = world.ask_for(0, "pod", &[&address]);
    world.run(Duration::from_secs(20));
    assert_eq!(world.answer(0, id), None);
    world.run(Duration::from_secs(6));
    assert_eq!(world.got(0, id), [address]);
    world.check();
}

#[test]
fn an_address_whose_owner_cannot_be_reached() {
    let mut world = World::founded(3, &["10.32.0.0/24"]);
    world.mingle();
    let address = first_of(&world, 2);
    world.mingle_among(&[0, 1]);
    let id = world.ask_for(0, "pod", &[&format!("{address}/24")]);
    // Another one, which can be had, is not kept waiting by it.
    let free = first_of(&world, 1);
    let other = world.ask_for(0, "other", &[&format!("{free}/24")]);
    world.mingle_among(&[0, 1]);
    assert!(matches!(world.answer(0, other), Some(Ok(_))));
    world.now += Duration::from_secs(31);
    let now = world.now;
    world.hosts[0].ipam.handle_timeout(now);
    world.drain(0);
    let waiting = Waiting::OwnerUnreachable { ip: address, owner: name(2) };
    assert_eq!(refused(&world, 0, id), AllocateError::Deadline { waiting });
}

#[test]
fn an_observer_gets_the_address_it_names() {
    let observer = config(1, &["10.32.0.0/24"], Init::Observer, 1);
    let mut world = World::new([config(0, &["10.32.0.0/24"], Init::Founder, 0), observer]);
    world.mingle();
    let id = world.ask_for(1, "pod", &["10.32.0.77/24"]);
    world.mingle();
    assert_eq!(world.got(1, id), ["10.32.0.77/24"]);
    world.check();
}

#[test]
fn a_part_of_the_range_that_others_own() {
    let mut world = World::founded(3, &["10.32.0.0/16"]);
    world.mingle();
    // A network of six addresses, all of which get used, by all nodes in turn.
    for n in 0..6 {
        let id = world.ask_within(n % 3, &n.to_string(), "10.32.9.0/29");
        world.run(Duration::from_secs(20));
        let got = world.got(n % 3, id);
        assert!(net("10.32.9.0/29").contains(&net(&got[0]).addr()), "{got:?}");
    }
    world.check();
    let id = world.ask_within(1, "more", "10.32.9.0/29");
    let other = world.ask(1, "other");
    assert!(world.answer(1, other).is_some());
    world.run(Duration::from_secs(31));
    let waiting = Waiting::Subnet(net("10.32.9.0/29"));
    assert_eq!(refused(&world, 1, id), AllocateError::Deadline { waiting });
    // One that is given back comes to whoever waits, wherever that is.
    let late = world.ask_within(2, "late", "10.32.9.0/29");
    world.hosts[0].ipam.release("0", world.now);
    world.run(Duration::from_secs(10));
    world.hosts[2].ipam.cancel(late);
    let late = world.ask_within(2, "late", "10.32.9.0/29");
    world.run(Duration::from_secs(29));
    assert!(matches!(world.answer(2, late), Some(Ok(_))), "{:?}", world.answer(2, late));
    world.check();
}
