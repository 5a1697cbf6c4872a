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
    let within = Some(net("10.32.0.16/28"));
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
