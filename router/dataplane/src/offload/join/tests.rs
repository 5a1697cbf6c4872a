//! Cutting and joining undo each other, and nothing else is ever joined.

use proptest::prelude::*;

use super::*;
use crate::DropReason;
use crate::offload::testing::{Flow, checksum_right, complete};
use crate::offload::{Header, Undone, open_checksum, split, undone};

const ALL: TapOffload = TapOffload { checksum: true, tcp: true, udp: true };
const NO_UDP: TapOffload = TapOffload { checksum: true, tcp: true, udp: false };

#[test]
fn a_super_frame_is_put_back_whole() {
    for flow in Flow::all() {
        let (header, frame) = flow.super_frame(5 * 1000 + 1, 1000);
        let mut segments = cut(header, &frame);
        assert_eq!(segments.len(), 6);
        let written = join(ALL, &mut segments);
        assert_eq!(written.len(), 1, "{flow:?}");
        assert_eq!(written[0].0, [&header[..], &frame].concat(), "{flow:?}");
        assert_eq!(written[0].1.frames, 6);
    }
}

#[test]
fn every_segment_is_a_frame_with_a_checksum_that_completes_to_the_right_one() {
    for flow in Flow::all() {
        let (header, frame) = flow.super_frame(3000, 1300);
        for segment in cut(header, &frame) {
            let (vnet, segment) = segment.split_first_chunk().unwrap();
            assert_eq!(open_checksum(*vnet, segment), Ok(true));
            assert!(checksum_right(&complete(*vnet, segment)), "{flow:?}");
            assert!(Layout::parse(segment).unwrap().is_regular(segment));
        }
    }
}

#[test]
fn a_lost_segment_costs_itself() {
    let (header, frame) = Flow::TCP4.super_frame(10_000, 1000);
    let mut segments = cut(header, &frame);
    segments.remove(4);
    let before = segments.clone();
    let written = join(ALL, &mut segments);
    let frames: Vec<u64> = written.iter().map(|(_, written)| written.frames).collect();
    assert_eq!(frames, [4, 5]);
    for (packet, _) in &written {
        let again = cut(*packet.first_chunk().unwrap(), &packet[VNET_HEADER_LEN..]);
        assert!(again.iter().all(|segment| before.contains(segment)));
    }
}

#[test]
fn flags_stay_with_their_segments() {
    let (mut header, mut frame) = Flow::TCP6.super_frame(3000, 1000);
    let at = Flow::TCP6.flags_at();
    // CWR, ECE, ACK, PSH and FIN.
    frame[at] = 0xd9;
    header[1] |= 0x80;
    let mut segments = cut(header, &frame);
    let flags: Vec<u8> = segments.iter().map(|s| s[VNET_HEADER_LEN + at]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x59]);
    let written = join(ALL, &mut segments);
    assert_eq!(written[0].0, [&header[..], &frame].concat());
}

#[test]
fn what_differs_is_not_joined() {
    for flow in Flow::all() {
        let (header, frame) = flow.super_frame(2000, 1000);
        let good = cut(header, &frame);
        let headers = VNET_HEADER_LEN + good[0].len() - VNET_HEADER_LEN - 1000;
        for at in 0..headers {
            let mut segments = good.clone();
            segments[1][at] ^= 0x04;
            assert_eq!(join(ALL, &mut segments).len(), 2, "{flow:?}, byte {at}");
        }
        let mut segments = good.clone();
        // In UDP over IPv6 nothing counts up: frames are joined in the order in which they came.
        let expected = if flow.counts() { 2 } else { 1 };
        segments.swap(0, 1);
        assert_eq!(join(ALL, &mut segments).len(), expected, "{flow:?}: another order");
        let mut segments = vec![good[0].clone(), good[0].clone()];
        assert_eq!(join(ALL, &mut segments).len(), expected, "{flow:?}: a repetition");
        let mut segments = [good.clone(), good].concat();
        let joined: Vec<_> = join_by(ALL, &mut segments, |index| index / 2);
        assert_eq!(joined.len(), 2, "{flow:?}: another session");
    }
}

#[test]
fn a_tap_without_udp_segments_gets_single_datagrams() {
    for (flow, expected) in [(Flow::UDP4, 3), (Flow::TCP4, 1)] {
        let (header, frame) = flow.super_frame(3000, 1000);
        assert_eq!(join(NO_UDP, &mut cut(header, &frame)).len(), expected);
    }
}

#[test]
fn a_super_frame_never_exceeds_an_ip_packet() {
    let (header, frame) = Flow::TCP4.super_frame(60_000, 1400);
    let (_, next) = Flow::TCP4.super_frame_at(60_000, 1400, 60_000);
    let mut segments = [cut(header, &frame), cut(header, &next)].concat();
    let written = join(ALL, &mut segments);
    assert!(written.iter().all(|(packet, _)| packet.len() <= VNET_HEADER_LEN + MAX_LEN));
    let frames: u64 = written.iter().map(|(_, written)| written.frames).sum();
    assert_eq!(frames, segments.len() as u64);
}

proptest! {
    #[test]
    fn cutting_and_joining_is_the_identity(
        flow in prop::sample::select(Flow::all()),
        size in 100_usize..2000,
        len in 1_usize..60_000,
    ) {
        let (header, frame) = flow.super_frame(len, size);
        let mut segments = cut(header, &frame);
        let contents: usize = segments.iter().map(|s| s.len() - segments[0].len().min(s.len())).sum();
        prop_assert_eq!(contents, 0);
        let before = segments.clone();
        let mut again = Vec::new();
        for (packet, _) in join(ALL, &mut segments) {
            again.extend(cut(*packet.first_chunk().unwrap(), &packet[VNET_HEADER_LEN..]));
        }
        prop_assert_eq!(again, before);
    }

    /// Any bytes at all, also behind plausible headers: no panic, and what is accepted stays within the frame.
    #[test]
    fn hostile_headers_are_judged_without_panic(
        flow in prop::sample::select(Flow::all()),
        header in any::<Header>(),
        plausible in any::<bool>(),
        changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..6),
        cut_at in 0_usize..400,
        len in 0_usize..400,
    ) {
        let (good, mut frame) = flow.super_frame(len.max(1), 100);
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(cut_at.max(20));
        let header = if plausible { good } else { header };
        let _ = open_checksum(header, &frame);
        if let Ok(Undone::Segments(size)) = undone(header, &mut frame) {
            for segment in split(&frame, size) {
                let mut out = vec![0; segment.len()];
                prop_assert!(segment.write(&mut out).is_some());
                prop_assert!(segment.len() <= frame.len());
            }
        }
        let packet = [&header[..], &frame].concat();
        let mut packets = [packet.clone(), packet];
        let frames: u64 = join(ALL, &mut packets).iter().map(|(_, written)| written.frames).sum();
        prop_assert_eq!(frames, 2);
    }
}

#[test]
fn only_the_checksum_of_the_packet_itself_may_be_open() {
    for flow in Flow::all() {
        let (_, frame) = flow.super_frame(100, 100);
        let segment = flow.open_header();
        assert_eq!(open_checksum([0; VNET_HEADER_LEN], &frame), Ok(false));
        assert_eq!(open_checksum(segment, &frame), Ok(true));
        for at in 0..VNET_HEADER_LEN {
            for bit in 0..8 {
                let mut other = segment;
                other[at] ^= 1 << bit;
                let expected = Err(DropReason::Offload);
                assert_eq!(open_checksum(other, &frame), expected, "{flow:?} byte {at} bit {bit}");
            }
        }
        assert_eq!(open_checksum(segment, &frame[..30]), Err(DropReason::Offload));
    }
}

#[test]
fn an_open_checksum_elsewhere_is_computed_by_the_sender() {
    // As of a tunnel that a Pod runs itself: the packet within the UDP datagram has the open checksum.
    let (_, inner) = Flow::UDP4.super_frame(100, 100);
    let (_, mut frame) = Flow::UDP4.super_frame(inner.len(), inner.len());
    let start = frame.len() - inner.len();
    frame[start..].copy_from_slice(&inner);
    let mut header = Flow::UDP4.open_header();
    let l4 = u16::try_from(start + 34).unwrap();
    header[6..8].copy_from_slice(&l4.to_le_bytes());
    let done = undone(header, &mut frame);
    assert_eq!(done, Ok(Undone::Nothing([0; VNET_HEADER_LEN])));
    assert!(checksum_right(&frame[start..]));
    // One beyond the frame is refused.
    header[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(undone(header, &mut frame), Err(DropReason::Offload));
}

#[test]
fn super_frames_that_contradict_themselves_are_refused() {
    for flow in Flow::all() {
        let (header, mut frame) = flow.super_frame(3000, 1000);
        assert!(matches!(undone(header, &mut frame.clone()), Ok(Undone::Segments(_))));
        // No open checksum, another protocol, no segment size, another checksum.
        for (at, byte) in [(0, 0), (1, 3), (1, header[1] ^ 2), (6, 0), (8, 0)] {
            let mut other = header;
            other[at] = byte;
            assert_eq!(
                undone(other, &mut frame.clone()),
                Err(DropReason::Offload),
                "{flow:?} {at}"
            );
        }
        let mut other = header;
        other[4..6].fill(0);
        assert_eq!(undone(other, &mut frame.clone()), Err(DropReason::Offload));
        frame.push(0);
        assert_eq!(undone(header, &mut frame), Err(DropReason::Offload), "padding");
    }
}

/// The segments of a super-frame, each behind its virtio-net header.
fn cut(header: Header, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut frame = frame.to_vec();
    match undone(header, &mut frame).unwrap() {
        Undone::Nothing(header) => vec![[&header[..], &frame].concat()],
        Undone::Segments(size) => split(&frame, size)
            .map(|segment| {
                let mut out = vec![0; VNET_HEADER_LEN + segment.len()];
                let header = segment.write(&mut out[VNET_HEADER_LEN..]).unwrap();
                out[..VNET_HEADER_LEN].copy_from_slice(&header);
                out
            })
            .collect(),
    }
}

fn join(offload: TapOffload, packets: &mut [Vec<u8>]) -> Vec<(Vec<u8>, Written)> {
    join_by(offload, packets, |_| 0)
}

/// Joins as the receiving worker does; `session` names that of the packet with this index.
fn join_by(
    offload: TapOffload,
    packets: &mut [Vec<u8>],
    session: impl Fn(usize) -> usize,
) -> Vec<(Vec<u8>, Written)> {
    let mut written = Vec::new();
    let mut flush = |joiner: &mut Joiner<'_>| {
        let mut out = Vec::new();
        let flushed = joiner.flush(|parts| {
            out = parts.iter().flat_map(|part| part.iter().copied()).collect();
            Ok(out.len())
        });
        written.extend(flushed.map(|flushed| (out, flushed)));
    };
    let mut alone = Vec::new();
    let mut joiner = Joiner::new(offload);
    for (index, packet) in packets.iter_mut().map(Vec::as_mut_slice).enumerate() {
        let Err(packet) = joiner.extend(session(index), packet) else { continue };
        flush(&mut joiner);
        let destination = packet[VNET_HEADER_LEN..].first_chunk().copied().unwrap_or_default();
        if let Err(packet) = joiner.begin(session(index), packet, destination) {
            alone.push((packet.to_vec(), Written { frames: 1, bytes: 0, taken: true }));
        }
    }
    flush(&mut joiner);
    written.extend(alone);
    written
}
