//! What a Pod is told, read as its kernel reads it.

use super::*;

const POD: [u8; 4] = [10, 32, 0, 1];
const OTHER: [u8; 4] = [10, 40, 0, 1];
const POD_MAC: [u8; 6] = [0x0a, 0x58, 10, 32, 0, 1];
const OTHER_MAC: [u8; 6] = [0x0a, 0x58, 10, 40, 0, 1];

/// A UDP packet of the Pod's with these flags and this offset.
fn v4(len: usize, flags: u16) -> Vec<u8> {
    let total = u16::try_from(len - ETHERNET_LEN).unwrap().to_be_bytes();
    let flags = flags.to_be_bytes();
    let mut frame = [&OTHER_MAC[..], &POD_MAC, &[0x08, 0]].concat();
    frame.extend([0x45, 0, total[0], total[1], 7, 7, flags[0], flags[1], 64, 17, 0, 0]);
    frame.extend(POD);
    frame.extend(OTHER);
    frame.extend((0..len - frame.len()).map(|n| n.to_le_bytes()[0]));
    frame
}

fn v6(len: usize) -> Vec<u8> {
    let payload = u16::try_from(len - ETHERNET_LEN - IPV6_LEN).unwrap().to_be_bytes();
    let mut frame = [&OTHER_MAC[..], &POD_MAC, &[0x86, 0xdd]].concat();
    frame.extend([0x60, 0, 0, 0, payload[0], payload[1], 17, 64]);
    for last in [1, 2] {
        let ip: Ipv6Addr = format!("fd00::{last}").parse().unwrap();
        frame.extend(ip.octets());
    }
    frame.resize(len, 7);
    frame
}

fn told(frame: &[u8], room: usize) -> Option<Vec<u8>> {
    notice(frame, frame.len(), room, |_| None)
}

#[test]
fn fragmentation_needed_says_how_long_a_packet_may_be() {
    let frame = v4(1400, 0x4000);
    let notice = told(&frame, 1014).unwrap();
    let (ethernet, packet) = notice.split_at(ETHERNET_LEN);
    assert_eq!(ethernet, [&POD_MAC[..], &OTHER_MAC, &[0x08, 0]].concat());
    assert_eq!(packet.len(), 576);
    assert_eq!(packet[2..4], 576_u16.to_be_bytes());
    assert_eq!(sum(&packet[..20], 0), 0xffff, "the header's checksum");
    assert_eq!((packet[9], &packet[12..16], &packet[16..20]), (ICMP, &OTHER[..], &POD[..]));
    let message = &packet[20..];
    assert_eq!(sum(message, 0), 0xffff, "the message's checksum");
    assert_eq!((message[0], message[1]), (3, 4));
    assert_eq!(message[6..8], 1000_u16.to_be_bytes());
    assert_eq!(message[8..], frame[ETHERNET_LEN..][..QUOTE]);

    let gateway = |v6: bool| (!v6).then(|| IpAddr::from([10, 32, 0, 9]));
    let notice = super::notice(&frame, 1400, 1014, gateway).unwrap();
    assert_eq!(notice[ETHERNET_LEN + 12..][..4], [10, 32, 0, 9]);
}

#[test]
fn packet_too_big_says_how_long_a_packet_may_be() {
    let notice = told(&v6(1400), 1314).unwrap();
    let packet = &notice[ETHERNET_LEN..];
    assert_eq!((packet[6], packet[7]), (ICMPV6, HOPS));
    assert_eq!((&packet[8..24], packet[39]), (&v6(1400)[38..54], 1));
    let message = &packet[IPV6_LEN..];
    assert_eq!((message[0], message[1]), (2, 0));
    assert_eq!(message[4..8], 1300_u32.to_be_bytes());
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    assert_eq!(packet[4..6], len);
    let pseudo = [&packet[8..40], &[0, 0, len[0], len[1], 0, 0, 0, ICMPV6], message].concat();
    assert_eq!(sum(&pseudo, 0), 0xffff, "the checksum");
    assert!(notice.len() <= MAX_LEN);
}

#[test]
fn no_less_is_told_than_a_host_or_a_link_must_take() {
    let mtu_of = |notice: Vec<u8>, at| u16::from_be_bytes([notice[at], notice[at + 1]]);
    assert_eq!(mtu_of(told(&v4(700, 0x4000), 300).unwrap(), ETHERNET_LEN + 26), 576);
    assert_eq!(told(&v4(590, 0x4000), 300), None);
    assert_eq!(mtu_of(told(&v6(1400), 300).unwrap(), ETHERNET_LEN + 46), 1280);
    assert_eq!(told(&v6(1294), 300), None);
}

#[test]
fn who_did_not_ask_or_must_not_be_answered_is_not_told() {
    for flags in [0x0000, 0x2000, 0x4001] {
        assert_eq!(told(&v4(1400, flags), 1014), None, "{flags:x}");
    }
    let change = |at: usize, bytes: &[u8]| {
        let mut frame = v4(1400, 0x4000);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        told(&frame, 1014)
    };
    assert!(change(0, &[]).is_some());
    assert_eq!(change(0, &[1]), None, "a group's MAC");
    assert_eq!(change(26, &[0, 0, 0, 0]), None, "no source");
    assert_eq!(change(30, &[224, 0, 0, 1]), None, "a group");
    for (kind, answered) in [(8, true), (0, true), (3, false), (11, false)] {
        let mut frame = v4(1400, 0x4000);
        frame[23] = ICMP;
        frame[34] = kind;
        assert_eq!(told(&frame, 1014).is_some(), answered, "ICMP type {kind}");
    }
    let mut error = v6(1400);
    error[20] = ICMPV6;
    error[54] = 1;
    assert_eq!(told(&error, 1014), None, "an error of ICMPv6");
    error[54] = 128;
    assert!(told(&error, 1014).is_some());
    for len in 0..60 {
        let _ = told(&v4(1400, 0x4000)[..len], 10);
    }
}

#[test]
fn notices_are_few_and_the_clock_is_read_once_a_batch() {
    let mut notices = Notices::default();
    let mut looks = 0;
    let mut allowed = |notices: &mut Notices, now| {
        let looks = &mut looks;
        (0..1000)
            .filter(|_| {
                notices.allow(|| {
                    *looks += 1;
                    now
                })
            })
            .count()
    };
    notices.next_batch();
    assert_eq!(allowed(&mut notices, Duration::ZERO), 50);
    notices.next_batch();
    assert_eq!(allowed(&mut notices, Duration::from_millis(9)), 0);
    notices.next_batch();
    assert_eq!(allowed(&mut notices, Duration::from_millis(105)), 10);
    notices.next_batch();
    assert_eq!(allowed(&mut notices, Duration::from_secs(60)), 50);
    assert_eq!(looks, 4);
}
