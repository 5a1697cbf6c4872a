//! Entry points for the fuzz targets in `fuzz/`. Not an interface: it changes with what is behind it.
//!
//! Each panics where a promise is broken that any input must keep, so that a fuzzer, or the replay of its corpus, can
//! tell.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_crypto::{Identity, PeerName, ReceiverIndex, Role, SessionKeys, Suite};
use weft_netio::tap::{TapOffload, VNET_HEADER_LEN};

use crate::offload::{Joiner, Undone, open_checksum, split, undone};
use crate::too_big;
use crate::worker::fuzzing::{Joining, check, open_packet};
use crate::{
    Hop, Path, PathSize, PeerPath, PeerSlot, Route, RxSession, Tables, TablesSpec, classify,
    mac_for,
};

/// The receiver index of the one session in the tables of the targets.
pub const RECEIVER: ReceiverIndex = ReceiverIndex(7);

/// Tables with one peer, `10.1.0.0/16` and `fd00:1::/32` being its, `10.2.0.0/16` and `fd00:2::/32` local.
fn tables() -> Tables {
    let name = peer();
    let keys = SessionKeys::derive(&[1; 32], Role::Client);
    let theirs = SessionKeys::derive(&[1; 32], Role::Server);
    let route = |start: IpAddr, end: IpAddr, to| Route { start, end, to };
    let v4 = |second, last| IpAddr::V4(Ipv4Addr::new(10, second, last, last));
    let v6 = |second, last| IpAddr::V6(Ipv6Addr::new(0xfd00, second, last, 0, 0, 0, 0, last));
    let local = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2));
    Tables::new(TablesSpec {
        routes: vec![
            route(v4(1, 0), v4(1, 255), Hop::Peer(PeerSlot(0))),
            route(v4(2, 0), v4(2, 255), Hop::Local),
            route(v6(1, 0), v6(1, 0xffff), Hop::Peer(PeerSlot(0))),
            route(v6(2, 0), v6(2, 0xffff), Hop::Local),
        ],
        peers: vec![PeerPath {
            name,
            sealer: Arc::new(keys.sealer(RECEIVER, Suite::ChaCha20Poly1305)),
            path: Path::Direct(([192, 0, 2, 1], 6783).into()),
            size: PathSize::default(),
        }],
        sessions: vec![RxSession {
            receiver: RECEIVER,
            opener: Arc::new(theirs.opener(Suite::ChaCha20Poly1305)),
            peer: name,
        }],
        local: vec![(local, mac_for(local))],
        ranges: ["10.0.0.0/8", "fd00::/16"].iter().filter_map(|range| range.parse().ok()).collect(),
        ..TablesSpec::default()
    })
}

fn peer() -> PeerName {
    Identity::from_seed([2; 32]).name()
}

/// The offloads of a kernel that has all.
const ALL: TapOffload = TapOffload { checksum: true, tcp: true, udp: true };

/// The input as a row of byte strings, each behind its length (`u16`, little-endian); what is left is the last.
fn strings(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (string, rest) = rest.split_at(len);
        all.push(string.to_vec());
        data = rest;
    }
    all
}

/// Datagrams from anybody: nothing but what the session's other end sealed is ever opened.
pub fn datagrams(data: &[u8]) {
    let tables = tables();
    for mut packet in strings(data) {
        // The key never leaves the tables, so a packet of the fuzzer's that opens is a forgery.
        assert!(!open_packet(&mut packet, &tables), "a forged packet was opened");
    }
}

/// Unsealed payloads of one batch, from a member that may be hostile. Pieces are joined. What reaches the TAP has a header that the
/// kernel may rely on, and a super-frame is cut into as many frames as went into it.
pub fn payloads(data: &[u8]) {
    let tables = tables();
    let Some(session) = tables.sessions().first() else { return };
    let mut payloads = strings(data);
    let mut joiner = Joiner::new(ALL);
    let write = |joiner: &mut Joiner<'_>| {
        let mut whole = Vec::new();
        let written = joiner.flush(|parts: &[IoSlice<'_>]| {
            whole = parts.iter().flat_map(|part| part.iter().copied()).collect();
            Ok(whole.len())
        });
        if let Some(written) = written {
            assert!(written.taken, "a super-frame could not be finished");
            assert_eq!(to_kernel(&whole), written.frames, "{whole:02x?}");
        }
    };
    let mut joining = Joining::default();
    for (number, payload) in (0..).zip(&mut payloads) {
        let Some(frame) = joining.parse(payload, number) else { continue };
        let Err(frame) = joiner.extend(0, frame) else { continue };
        write(&mut joiner);
        let Some((open, destination)) = check(frame, session, &tables) else { continue };
        if open {
            let Err(frame) = joiner.begin(0, frame, destination) else { continue };
            assert_eq!(to_kernel(frame), 1);
        } else {
            assert_eq!(frame.first_chunk(), Some(&[0; VNET_HEADER_LEN]));
        }
    }
    write(&mut joiner);
}

/// Into how many frames a kernel would cut this; checks that it may.
fn to_kernel(with_header: &[u8]) -> u64 {
    let (header, frame) = with_header.split_first_chunk::<VNET_HEADER_LEN>().expect("a header");
    cut(*header, frame).expect("a header that the kernel may rely on").len() as u64
}

/// The frames that this one is cut into, each with its header.
fn cut(header: [u8; VNET_HEADER_LEN], frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut frame = frame.to_vec();
    let size = match undone(header, &mut frame).ok()? {
        Undone::Nothing(header) => return Some(vec![[&header[..], &frame].concat()]),
        Undone::Segments(size) => size,
    };
    split(&frame, size)
        .map(|segment| {
            let mut place = vec![0; segment.len()];
            let header = segment.write(&mut place)?;
            Some([&header[..], &place].concat())
        })
        .collect()
}

/// A frame with its virtio-net header from the TAP, where Pods write what they like: it is classified, cut, and what is
/// sent passes the checks of the other side. What its sender may be told has its bounds.
pub fn bridge_frame(data: &[u8]) {
    let Some((header, frame)) = data.split_first_chunk::<VNET_HEADER_LEN>() else { return };
    let _ = classify(frame, &tables());
    for room in [0, 700, 1400] {
        let notice = too_big::notice(frame, frame.len(), room, |_| None);
        assert!(notice.is_none_or(|notice| notice.len() <= too_big::MAX_LEN));
    }
    let Some(pieces) = cut(*header, frame) else { return };
    for piece in pieces {
        let (header, frame) = piece.split_first_chunk().expect("cut() puts a header first");
        assert!(open_checksum(*header, frame).is_ok(), "{piece:02x?}");
    }
}
