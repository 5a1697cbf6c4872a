//! Every kind of frame, by hand, and then any bytes at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;
use weft_crypto::{Identity, ReceiverIndex, Role, SessionKeys, Suite};

use super::*;
use crate::{PathSize, PeerPath, Route, TablesSpec, mac_for};

const LOCAL: [u8; 4] = [10, 32, 0, 1];
const OTHER_LOCAL: [u8; 4] = [10, 32, 0, 2];
const REMOTE: [u8; 4] = [10, 40, 0, 1];
const NOBODY: [u8; 4] = [10, 47, 0, 1];
const OUTSIDE: [u8; 4] = [198, 51, 100, 1];
const ZERO: [u8; 4] = [0; 4];
const LOCAL_V6: &str = "fd00::1";
const REMOTE_V6: &str = "fd00::8000:1";
const NOBODY_V6: &str = "fd00::f000:1";
const LINK_LOCAL: &str = "fe80::1";
const BROADCAST: [u8; 6] = [0xff; 6];
const PEER: PeerSlot = PeerSlot(0);

#[test]
fn unicast_goes_where_its_address_is() {
    let cases = [
        (LOCAL, REMOTE, Action::Send(PEER)),
        (LOCAL, OTHER_LOCAL, Action::Drop(DropReason::Local)),
        (LOCAL, NOBODY, Action::Drop(DropReason::Unreachable)),
        (LOCAL, OUTSIDE, Action::Drop(DropReason::NoRoute)),
        (OUTSIDE, REMOTE, Action::Send(PEER)),
        (REMOTE, LOCAL, Action::Drop(DropReason::Spoofed)),
        (REMOTE, REMOTE, Action::Drop(DropReason::Spoofed)),
    ];
    for (from, to, expected) in cases {
        let frame = ipv4(from, to, [0x02; 6]);
        assert_eq!(classify(&frame, &tables()), expected, "{from:?} to {to:?}");
    }
    let cases = [
        (REMOTE_V6, Action::Send(PEER)),
        (LOCAL_V6, Action::Drop(DropReason::Local)),
        (NOBODY_V6, Action::Drop(DropReason::Unreachable)),
        ("2001:db8::1", Action::Drop(DropReason::NoRoute)),
    ];
    for (to, expected) in cases {
        let frame = ipv6(LOCAL_V6, to, [0x02; 6], &[17, 0], &[0; 8]);
        assert_eq!(classify(&frame, &tables()), expected, "{to}");
    }
}

#[test]
fn a_pod_can_be_a_gateway() {
    let through = |mac| classify(&ipv4(LOCAL, OUTSIDE, mac), &tables());
    assert_eq!(through(mac(REMOTE)), Action::Send(PEER));
    assert_eq!(through(mac(OTHER_LOCAL)), Action::Drop(DropReason::Local));
    let frame = ipv6("fe80::2", LINK_LOCAL, mac(REMOTE), &[17, 0], &[0; 8]);
    assert_eq!(classify(&frame, &tables()), Action::Send(PEER));
    let other = ethernet(mac(REMOTE), [0x88, 0xb5], &[1, 2, 3]);
    assert_eq!(classify(&other, &tables()), Action::Send(PEER));
}

#[test]
fn groups_are_flooded() {
    let multicast = [0x01, 0x00, 0x5e, 1, 2, 3];
    for frame in [
        ipv4(LOCAL, [239, 1, 2, 3], multicast),
        ipv4(LOCAL, [255; 4], BROADCAST),
        ipv4(ZERO, [255; 4], BROADCAST),
        ethernet(BROADCAST, [0x88, 0xb5], &[]),
        ipv6(LINK_LOCAL, "ff02::fb", [0x33, 0x33, 0, 0, 0, 0xfb], &[17, 0], &[0; 8]),
    ] {
        assert_eq!(classify(&frame, &tables()), Action::Flood, "{frame:02x?}");
    }
    let spoofed = ipv4(REMOTE, [239, 1, 2, 3], multicast);
    assert_eq!(classify(&spoofed, &tables()), Action::Drop(DropReason::Spoofed));
}

#[test]
fn arp_is_answered_for_remote_addresses_alone() {
    let asked = |asker: [u8; 4], target: [u8; 4]| ArpRequest {
        asker_mac: Mac::new(mac(LOCAL)),
        asker: asker.into(),
        target: target.into(),
    };
    let cases = [
        (LOCAL, REMOTE, Action::AnswerArp(asked(LOCAL, REMOTE))),
        (OUTSIDE, REMOTE, Action::AnswerArp(asked(OUTSIDE, REMOTE))),
        // "Is anybody there?" (RFC 5227)
        (ZERO, REMOTE, Action::AnswerArp(asked(ZERO, REMOTE))),
        (ZERO, LOCAL, Action::Drop(DropReason::Gratuitous)),
        (LOCAL, OTHER_LOCAL, Action::Drop(DropReason::Gratuitous)),
        (LOCAL, LOCAL, Action::Drop(DropReason::Gratuitous)),
        (NOBODY, NOBODY, Action::Drop(DropReason::Gratuitous)),
        (LOCAL, NOBODY, Action::Drop(DropReason::Unreachable)),
        (LOCAL, OUTSIDE, Action::Flood),
        (OUTSIDE, OUTSIDE, Action::Flood),
        (REMOTE, LOCAL, Action::Drop(DropReason::Spoofed)),
        (REMOTE, REMOTE, Action::Drop(DropReason::Spoofed)),
    ];
    for (sender, target, expected) in cases {
        for to in [BROADCAST, mac(REMOTE)] {
            // Linux asks a known neighbour again by unicast.
            if to == BROADCAST || expected != Action::Flood {
                let frame = arp(1, sender, target, to);
                assert_eq!(classify(&frame, &tables()), expected, "{sender:?} asks for {target:?}");
            }
        }
    }
    let reply = arp(2, OUTSIDE, REMOTE, mac(REMOTE));
    assert_eq!(classify(&reply, &tables()), Action::Send(PEER), "a reply finds the asker");
}

#[test]
fn neighbours_are_answered_for_remote_addresses_alone() {
    let group = [0x33, 0x33, 0xff, 0, 0, 1];
    let asked = |asker: &str| {
        Action::AnswerNeighbour(Solicitation {
            asker_mac: Mac::new(mac(LOCAL)),
            asker: asker.parse().unwrap(),
            target: REMOTE_V6.parse().unwrap(),
        })
    };
    let cases = [
        (LOCAL_V6, REMOTE_V6, asked(LOCAL_V6)),
        (LINK_LOCAL, REMOTE_V6, asked(LINK_LOCAL)),
        ("::", REMOTE_V6, asked("::")),
        ("::", LOCAL_V6, Action::Drop(DropReason::Gratuitous)),
        (LOCAL_V6, NOBODY_V6, Action::Drop(DropReason::Unreachable)),
        (LOCAL_V6, LINK_LOCAL, Action::Flood),
        (REMOTE_V6, LOCAL_V6, Action::Drop(DropReason::Spoofed)),
    ];
    for (asker, target, expected) in cases {
        let frame = neighbour(135, asker, target, group);
        assert_eq!(classify(&frame, &tables()), expected, "{asker} asks for {target}");
    }
    let all = [0x33, 0x33, 0, 0, 0, 1];
    let said = |target| classify(&neighbour(136, LINK_LOCAL, target, all), &tables());
    assert_eq!(said(LOCAL_V6), Action::Drop(DropReason::Gratuitous));
    assert_eq!(said(REMOTE_V6), Action::Drop(DropReason::Spoofed));
    assert_eq!(said(LINK_LOCAL), Action::Flood);
}

#[test]
fn router_discovery_stays_at_home_however_it_is_wrapped() {
    let all = [0x33, 0x33, 0, 0, 0, 1];
    let message = |kind| [kind, 0, 0, 0, 64, 0, 0, 0];
    for kind in [133, 134, 137] {
        let wrapped: [(u8, Vec<u8>); 5] = [
            (58, vec![]),
            (0, vec![58, 0, 1, 4, 0, 0, 0, 0]),
            (60, [&[43, 0, 1, 4, 0, 0, 0, 0], &[58, 0, 0, 0, 0, 0, 0, 0][..]].concat()),
            (44, vec![58, 0, 0, 1, 0, 0, 0, 9]),
            (51, vec![58, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (next, mut extensions) in wrapped {
            extensions.extend_from_slice(&message(kind));
            for to in [all, mac(REMOTE)] {
                let frame = ipv6(LINK_LOCAL, "ff02::1", to, &[next, 255], &extensions);
                let dropped = DropReason::RouterDiscovery;
                assert_eq!(classify(&frame, &tables()), Action::Drop(dropped), "{kind} in {next}");
                assert_eq!(admit(&frame, Some(PEER), &tables()), Err(dropped));
            }
        }
    }
    // A chain that hides where it ends is refused; a later fragment has nothing to judge.
    let endless = [0, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    let frame = ipv6(LOCAL_V6, "ff02::1", all, &[0, 255], &endless);
    assert_eq!(classify(&frame, &tables()), Action::Drop(DropReason::Malformed));
    let later = ipv6(LOCAL_V6, REMOTE_V6, [2; 6], &[44, 64], &[58, 0, 0, 8, 0, 0, 0, 9, 134, 0]);
    assert_eq!(classify(&later, &tables()), Action::Send(PEER));
}

#[test]
fn frames_that_no_mesh_carries_are_refused_both_ways() {
    let stp = ethernet([0x01, 0x80, 0xc2, 0, 0, 0], [0, 38], &[0x42; 38]);
    let tagged = ethernet(BROADCAST, [0x81, 0x00], &[0, 0, 0x08, 0]);
    let short_ipv4 = ethernet(BROADCAST, [0x08, 0x00], &[0x45; 19]);
    let no_ipv4 = ethernet(BROADCAST, [0x08, 0x00], &[0x65; 20]);
    let no_ipv6 = ethernet(BROADCAST, [0x86, 0xdd], &[0x45; 40]);
    let cases = [
        (stp, DropReason::LinkControl),
        (tagged, DropReason::Vlan),
        (short_ipv4, DropReason::Malformed),
        (no_ipv4, DropReason::Malformed),
        (no_ipv6, DropReason::Malformed),
        (vec![0xff; 13], DropReason::Malformed),
        (vec![], DropReason::Malformed),
    ];
    for (frame, reason) in cases {
        assert_eq!(classify(&frame, &tables()), Action::Drop(reason), "{frame:02x?}");
        assert_eq!(admit(&frame, Some(PEER), &tables()), Err(reason), "{frame:02x?}");
    }
}

#[test]
fn a_peer_speaks_for_its_own_addresses_alone() {
    let cases = [
        (REMOTE, Ok(())),
        (OUTSIDE, Ok(())),
        (ZERO, Ok(())),
        (LOCAL, Err(DropReason::Spoofed)),
        (NOBODY, Err(DropReason::Spoofed)),
    ];
    for (source, expected) in cases {
        let outcome = |frame: &[u8]| admit(frame, Some(PEER), &tables()).map(|_| ());
        assert_eq!(outcome(&ipv4(source, LOCAL, mac(LOCAL))), expected, "IP of {source:?}");
        assert_eq!(outcome(&arp(1, source, LOCAL, BROADCAST)), expected, "ARP of {source:?}");
        assert_eq!(outcome(&arp(2, source, LOCAL, mac(LOCAL))), expected, "ARP of {source:?}");
    }
    let remote = ipv4(REMOTE, LOCAL, mac(LOCAL));
    for other in [None, Some(PeerSlot(1))] {
        assert_eq!(admit(&remote, other, &tables()), Err(DropReason::Spoofed));
    }
    let said =
        |source, target| admit(&neighbour(136, source, target, mac(LOCAL)), Some(PEER), &tables());
    assert_eq!(said(REMOTE_V6, LOCAL_V6), Err(DropReason::Spoofed));
    assert!(said(REMOTE_V6, REMOTE_V6).is_ok());
    assert_eq!(said(LOCAL_V6, REMOTE_V6), Err(DropReason::Spoofed));
}

#[test]
fn a_frame_gets_the_mac_that_its_receiver_really_has() {
    let own = Mac::new(mac(LOCAL));
    let v6 = |to, mac| ipv6(REMOTE_V6, to, mac, &[17, 64], &[0; 8]);
    let derived = mac_for(LOCAL_V6.parse().unwrap());
    assert_ne!(derived, own);
    assert_eq!(admit(&v6(LOCAL_V6, derived.octets()), Some(PEER), &tables()), Ok(Some(own)));
    assert_eq!(admit(&v6("fd00::2", derived.octets()), Some(PEER), &tables()), Ok(None));
    assert_eq!(admit(&v6(LOCAL_V6, BROADCAST), Some(PEER), &tables()), Ok(None));
    assert_eq!(admit(&ipv4(REMOTE, LOCAL, mac(LOCAL)), Some(PEER), &tables()), Ok(Some(own)));
}

#[test]
fn a_route_to_a_slot_without_peer_is_unreachable() {
    let mut spec = spec();
    spec.peers.clear();
    let tables = Tables::new(spec);
    assert_eq!(tables.hop(REMOTE.into()), Some(Hop::Unreachable));
    assert_eq!(tables.hop(OUTSIDE.into()), None);
    assert_eq!(Tables::empty().hop(REMOTE.into()), None);
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        classify(&frame, &tables());
        let _ = admit(&frame, Some(PEER), &tables());
    }

    /// Random bytes rarely get past the EtherType; these have a plausible beginning and are changed anywhere.
    #[test]
    fn damaged_frames_are_judged_without_panic(
        which in 0usize..6,
        changes in prop::collection::vec((0usize..100, any::<u8>()), 0..6),
        cut in 0usize..120,
    ) {
        let group = [0x33, 0x33, 0xff, 0, 0, 1];
        let mut frame = match which {
            0 => ipv4(LOCAL, REMOTE, [2; 6]),
            1 => arp(1, LOCAL, REMOTE, BROADCAST),
            2 => neighbour(135, LOCAL_V6, REMOTE_V6, group),
            3 => ipv6(LOCAL_V6, REMOTE_V6, [2; 6], &[0, 64], &[60, 0, 1, 4, 0, 0, 0, 0, 58, 1]),
            4 => ipv6(LOCAL_V6, REMOTE_V6, [2; 6], &[44, 64], &[58, 0, 0, 1, 0, 0, 0, 9, 134]),
            _ => ethernet(BROADCAST, [0x88, 0xb5], &[0; 20]),
        };
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(cut);
        let action = classify(&frame, &tables());
        if frame.len() < 14 {
            prop_assert_eq!(action, Action::Drop(DropReason::Malformed));
        }
        let _ = admit(&frame, Some(PEER), &tables());
    }
}

/// One peer, which has 10.40.0.0/13 up to .46 and the upper half of fd00::/96 but its last sixteenth.
fn spec() -> TablesSpec {
    let keys = SessionKeys::derive(&[1; 32], Role::Client);
    let route = |start: &str, end: &str, to| Route {
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
        to,
    };
    let own = Mac::new(mac(LOCAL));
    TablesSpec {
        routes: vec![
            route("10.32.0.0", "10.39.255.255", Hop::Local),
            route("10.40.0.0", "10.46.255.255", Hop::Peer(PEER)),
            route("fd00::", "fd00::7fff:ffff", Hop::Local),
            route("fd00::8000:0", "fd00::efff:ffff", Hop::Peer(PEER)),
        ],
        peers: vec![PeerPath {
            name: Identity::from_seed([1; 32]).name(),
            sealer: Arc::new(keys.sealer(ReceiverIndex(1), Suite::ChaCha20Poly1305)),
            path: crate::Path::Direct("192.0.2.1:6783".parse().unwrap()),
            size: PathSize::default(),
        }],
        sessions: vec![],
        local: vec![(LOCAL.into(), own), (LOCAL_V6.parse().unwrap(), own)],
        ranges: vec!["10.32.0.0/12".parse().unwrap(), "fd00::/96".parse().unwrap()],
        ..TablesSpec::default()
    }
}

fn tables() -> Tables {
    Tables::new(spec())
}

fn mac(ip: [u8; 4]) -> [u8; 6] {
    mac_for(IpAddr::from(ip)).octets()
}

/// A frame of the local Pod.
fn ethernet(to: [u8; 6], ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to, &mac(LOCAL), &ethertype[..], payload].concat()
}

fn ipv4(from: [u8; 4], to: [u8; 4], to_mac: [u8; 6]) -> Vec<u8> {
    let mut packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0].to_vec();
    packet.extend(Ipv4Addr::from(from).octets());
    packet.extend(Ipv4Addr::from(to).octets());
    ethernet(to_mac, [0x08, 0x00], &packet)
}

/// `next` is the next header and the hop limit.
fn ipv6(from: &str, to: &str, to_mac: [u8; 6], next: &[u8; 2], payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = [&[0x60, 0, 0, 0], &len[..], next].concat();
    for ip in [from, to] {
        packet.extend(ip.parse::<Ipv6Addr>().unwrap().octets());
    }
    packet.extend_from_slice(payload);
    ethernet(to_mac, [0x86, 0xdd], &packet)
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4], to_mac: [u8; 6]) -> Vec<u8> {
    let head = [0, 1, 0x08, 0, 6, 4, 0, operation];
    ethernet(to_mac, [0x08, 0x06], &[&head[..], &mac(LOCAL), &sender, &[0; 6], &target].concat())
}

/// A neighbour solicitation or advertisement.
fn neighbour(kind: u8, from: &str, target: &str, to_mac: [u8; 6]) -> Vec<u8> {
    let target = target.parse::<Ipv6Addr>().unwrap().octets();
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], &target[..]].concat();
    ipv6(from, "ff02::1:ff00:1", to_mac, &[58, 255], &message)
}
