//! Single frames of Pods, byte by byte: between two bridges, each with the data plane's TAP and another one through
//! which the test is the Pod. Needs root, /dev/net/tun and the command `ip`.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod lab;

use lab::{Host, Workers, hosts, hosts_with, ip, until};
use weft_dataplane::DropReason;
use weft_netio::tap::{Tap, VNET_HEADER_LEN};
use weft_netio::wait::{Waker, readable_or_raised};

// Not the addresses of the hosts' own TAPs, which their bridges would keep.
const A: [u8; 6] = [0x0a, 0x58, 10, 32, 0, 2];
const B: [u8; 6] = [0x0a, 0x58, 10, 40, 0, 2];

#[test]
fn frames_arrive_byte_by_byte() {
    let [a, b] = hosts();
    let (from, to) = (pod(&a), pod(&b));
    let mut frames = Vec::new();
    // Other protocols than IP, of every length.
    for len in 14..1414 {
        let mut frame = [&B[..], &A, &[0x88, 0xb5]].concat();
        frame.extend((14..len).map(|at: usize| at.to_le_bytes()[0]));
        frames.push(frame);
    }
    // TCP and UDP with checksums that the Pod computed itself, and got wrong.
    for protocol in [6, 17] {
        for len in 0..100 {
            frames.push(ipv4(protocol, len));
        }
    }
    for frame in &frames {
        from.send(&[&[0; VNET_HEADER_LEN], &frame[..]].concat()).unwrap();
        assert_eq!(next(&to), ([0; VNET_HEADER_LEN], frame.clone()));
    }
}

#[test]
fn super_frames_arrive_as_super_frames() {
    let [a, b] = hosts();
    let (from, to) = (pod(&a), pod(&b));
    for (protocol, kind, offset) in [(6_u8, 1_u8, 16_u8), (17, 5, 6)] {
        let (header, frame) = super_frame(protocol, kind, offset, 20 * 1300 + 7);
        from.send(&[&header, &frame[..]].concat()).unwrap();
        let (arrived, bytes) = next(&to);
        assert_eq!((arrived[..2].to_vec(), &arrived[4..]), (vec![1, kind], &header[4..]));
        assert!(bytes == frame, "protocol {protocol}");
    }
    for reason in [DropReason::Offload, DropReason::TapFailed] {
        assert_eq!(b.drops(reason), 0, "{reason:?}");
    }
    assert!(b.counters().received.packets >= 42);
}

/// To the longest that IP has, 65,535 bytes: every 61st length, all of them where `WEFT_BULK_LONG` is set.
#[test]
fn super_frames_of_any_length_lose_no_byte() {
    [Workers::One, Workers::BySession].into_iter().for_each(super_frames_of_any_length);
}

fn super_frames_of_any_length(workers: Workers) {
    let [a, b] = hosts_with(workers);
    let (from, to) = (pod(&a), pod(&b));
    let step = if std::env::var_os("WEFT_BULK_LONG").is_some() { 1 } else { 61 };
    let longest = 65_535 - 40;
    for len in (1301..longest).step_by(step).chain([longest]) {
        let (header, frame) = super_frame(6, 1, 16, len);
        from.send(&[&header, &frame[..]].concat()).unwrap();
        // What needs more than one datagram train may arrive in more than one piece, in order.
        let mut arrived = Vec::new();
        while arrived.len() < len {
            let (_, piece) = next(&to);
            let sequence = u32::from_be_bytes(piece[38..42].try_into().unwrap());
            assert_eq!(sequence - 0x0102_0304, u32::try_from(arrived.len()).unwrap(), "{len}");
            assert_eq!((&piece[26..38], &piece[42..48]), (&frame[26..38], &frame[42..48]), "{len}");
            arrived.extend_from_slice(&piece[54..]);
        }
        assert!(arrived == frame[54..], "{len} bytes");
    }
    assert_eq!(a.drops(DropReason::Offload) + b.drops(DropReason::TapFailed), 0);
}

#[test]
fn tagged_frames_are_dropped_and_counted() {
    let [a, b] = hosts();
    let (from, to) = (pod(&a), pod(&b));
    let plain = ipv4(17, 10);
    for tag in [[0x81, 0, 0, 5], [0x88, 0xa8, 0, 5]] {
        let tagged = [&plain[..12], &tag, &plain[12..]].concat();
        from.send(&[&[0; VNET_HEADER_LEN], &tagged[..]].concat()).unwrap();
    }
    until("both are counted", || a.drops(DropReason::Vlan) == 2);
    from.send(&[&[0; VNET_HEADER_LEN], &plain[..]].concat()).unwrap();
    assert_eq!(next(&to).1, plain, "the first to arrive");
}

/// A super-frame of segments of 1,300 bytes, with the sum of the pseudo-header alone, and its virtio-net header.
fn super_frame(protocol: u8, kind: u8, offset: u8, len: usize) -> ([u8; VNET_HEADER_LEN], Vec<u8>) {
    let header_len: u8 = if protocol == 6 { 54 } else { 42 };
    let mut frame = ipv4(protocol, len);
    let l4_len = u16::try_from(frame.len() - 34).unwrap();
    let addresses: u32 = [0x0a20, 2, 0x0a28, 2].into_iter().sum();
    let sum = addresses + u32::from(protocol) + u32::from(l4_len);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[34 + usize::from(offset)..][..2].copy_from_slice(&sum.to_be_bytes());
    let [low, high] = 1300_u16.to_le_bytes();
    ([1, kind, header_len, 0, low, high, 34, 0, offset, 0], frame)
}

/// Plugs the host's TAP into a bridge with another TAP, through which the test is a Pod.
fn pod(host: &Host) -> Tap {
    host.netns
        .run(|| {
            ip("addr flush dev weft-tap");
            ip("link add bridge0 type bridge mcast_snooping 0");
            ip("link set bridge0 mtu 1400 up");
            ip("link set weft-tap master bridge0");
            let pod = Tap::open("pod").unwrap();
            ip("link set pod mtu 1400 master bridge0 up");
            for port in ["pod", "weft-tap"] {
                until("the bridge forwards", || {
                    ip(&format!("-d link show {port}")).contains("state forwarding")
                });
            }
            pod
        })
        .unwrap()
}

#[test]
fn kernels_take_super_frames_behind_extension_headers() {
    let [a, b] = hosts();
    let (from, to) = (pod(&a), pod(&b));
    for (protocol, kind, offset) in [(6_u8, 4_u8, 16_u8), (17, 5, 6)] {
        let l4_len = u16::try_from(if protocol == 6 { 20 } else { 8 } + 5007).unwrap();
        let mut frame = [&B[..], &A, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        frame.extend((8 + l4_len).to_be_bytes());
        frame.extend([0, 64]);
        let ends = [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]].concat();
        frame.extend(ends.iter().chain(&ends));
        frame.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
        let sum = 2 * (0x2001 + 0x0db8 + 1) + u32::from(protocol) + u32::from(l4_len);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap().to_be_bytes();
        frame.extend([0x12, 0x34, 0x56, 0x78]);
        if protocol == 6 {
            frame.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, sum[0], sum[1], 0, 0]);
        } else {
            frame.extend(l4_len.to_be_bytes());
            frame.extend(sum);
        }
        frame.extend((0..5007_usize).map(|at| at.to_le_bytes()[0]));
        let header_len = u8::try_from(frame.len() - 5007).unwrap();
        let [low, high] = 1000_u16.to_le_bytes();
        let header = [1, kind, header_len, 0, low, high, 62, 0, offset, 0];
        from.send(&[&header, &frame[..]].concat()).unwrap();
        let (arrived, bytes) = next(&to);
        assert_eq!((arrived[1], &arrived[4..]), (kind, &header[4..]), "protocol {protocol}");
        assert!(bytes == frame, "protocol {protocol}");
    }
    assert_eq!(b.drops(DropReason::TapFailed), 0);
}

/// The next frame that the other Pod sent.
fn next(pod: &Tap) -> ([u8; VNET_HEADER_LEN], Vec<u8>) {
    let waker = Waker::new().unwrap();
    loop {
        assert!(readable_or_raised(pod, &waker).unwrap().source);
        let mut buffer = vec![0; 70_000];
        let len = pod.recv(&mut buffer).unwrap();
        let (header, frame) = buffer[..len].split_first_chunk().unwrap();
        // The kernel of the host says things of its own.
        if frame[6..12] == A {
            return (*header, frame.to_vec());
        }
    }
}

/// An IPv4 packet from A to B with `len` bytes of content and a checksum that is wrong.
fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let transport = if protocol == 6 { 20 } else { 8 };
    let total = u16::try_from(20 + transport + len).unwrap();
    let mut frame = [&B[..], &A, &[0x08, 0, 0x45, 0]].concat();
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 32, 0, 2, 10, 40, 0, 2]);
    let words = frame[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
    frame.extend([0x12, 0x34, 0x56, 0x78]);
    if protocol == 6 {
        frame.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, 0xba, 0xad, 0, 0]);
    } else {
        frame.extend((total - 20).to_be_bytes());
        frame.extend([0xba, 0xad]);
    }
    frame.extend((0..len).map(|at| at.to_le_bytes()[0]));
    frame
}
