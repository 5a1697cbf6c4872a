//! The steps of the packet path, one at a time, for benchmarks and for the gate on their cost
//! (`scripts/gauge`). Not an interface: it changes with what is behind it.

use std::hint::black_box;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weft_crypto::{
    HEADER_LEN, Identity, Opener, ReceiverIndex, Role, Sealer, SessionKeys, Suite, TAG_LEN,
};
use weft_netio::tap::{TapOffload, VNET_HEADER_LEN};

use crate::offload::{Joiner, Undone, open_checksum, split, undone};
use crate::{Hop, PathSize, PeerPath, PeerSlot, Route, RxSession, Tables, TablesSpec, classify};

/// How many peers are in the tables, each with an address range and a session.
pub const PEERS: u16 = 1000;
/// The content of a segment, bytes.
const SEGMENT: usize = 1280;
/// The segments of the super-frame.
const SEGMENTS: usize = 44;
/// The headers of the flow: Ethernet, IPv4, TCP.
const HEADERS: usize = 54;

/// A step of the packet path on fixed input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The peer of an IPv4 address among those of [`PEERS`].
    Route,
    /// What happens to a frame to a Pod of a peer.
    Classify,
    /// A packet of 1,334 bytes sealed with AES-256-GCM.
    SealAes,
    /// The same, opened.
    OpenAes,
    /// A packet of 1,334 bytes sealed with ChaCha20-Poly1305.
    SealChaCha,
    /// The same, opened.
    OpenChaCha,
    /// A super-frame of 44 segments, cut.
    Cut,
    /// 44 segments, joined.
    Join,
}

impl Step {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Step); 8] = [
        ("route", Step::Route),
        ("classify", Step::Classify),
        ("seal-aes-256-gcm", Step::SealAes),
        ("open-aes-256-gcm", Step::OpenAes),
        ("seal-chacha20-poly1305", Step::SealChaCha),
        ("open-chacha20-poly1305", Step::OpenChaCha),
        ("cut", Step::Cut),
        ("join", Step::Join),
    ];
}

/// What the steps work on.
#[derive(Debug)]
pub struct Gauge {
    tables: Tables,
    aes: (Sealer, Opener),
    chacha: (Sealer, Opener),
    packet: Vec<u8>,
    sealed: [Vec<u8>; 2],
    scratch: Vec<u8>,
    super_frame: Vec<u8>,
    segments: Vec<Vec<u8>>,
    pieces: Vec<Vec<u8>>,
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

impl Gauge {
    /// Prepares the input of all steps.
    pub fn new() -> Self {
        let pair = |suite| {
            let us = SessionKeys::derive(&[1; 32], Role::Client);
            let them = SessionKeys::derive(&[1; 32], Role::Server);
            (us.sealer(ReceiverIndex(1), suite), them.opener(suite))
        };
        let (aes, chacha) = (pair(Suite::Aes256Gcm), pair(Suite::ChaCha20Poly1305));
        let packet = vec![0; HEADER_LEN + 1 + VNET_HEADER_LEN + HEADERS + SEGMENT + TAG_LEN];
        let sealed = [&aes.0, &chacha.0].map(|sealer| {
            let mut sealed = packet.clone();
            let _ = sealer.seal(&mut sealed);
            sealed
        });
        let super_frame = super_frame();
        let mut gauge = Self {
            tables: tables(),
            aes,
            chacha,
            scratch: packet.clone(),
            packet,
            sealed,
            super_frame,
            segments: vec![vec![0; VNET_HEADER_LEN + HEADERS + SEGMENT]; SEGMENTS],
            pieces: Vec::new(),
        };
        gauge.cut();
        gauge.pieces.clone_from(&gauge.segments);
        gauge
    }

    /// Does one step once.
    ///
    /// # Panics
    /// Where the step does not do what it is for, so that no cost of a failure is taken for that of a success.
    pub fn run(&mut self, step: Step) {
        match step {
            Step::Route => {
                let hop = self.tables.hop(black_box(IpAddr::V4(Ipv4Addr::new(10, 33, 44, 5))));
                assert!(matches!(black_box(hop), Some(Hop::Peer(_))));
            }
            Step::Classify => {
                let frame = self.segments.first().and_then(|s| s.get(VNET_HEADER_LEN..));
                let action = classify(black_box(frame.unwrap_or_default()), &self.tables);
                assert!(matches!(black_box(action), crate::Action::Send(_)));
            }
            Step::SealAes => assert!(self.aes.0.seal(black_box(&mut self.packet)).is_ok()),
            Step::SealChaCha => assert!(self.chacha.0.seal(black_box(&mut self.packet)).is_ok()),
            Step::OpenAes => {
                self.scratch.copy_from_slice(&self.sealed[0]);
                assert!(self.aes.1.open(black_box(&mut self.scratch)).is_ok());
            }
            Step::OpenChaCha => {
                self.scratch.copy_from_slice(&self.sealed[1]);
                assert!(self.chacha.1.open(black_box(&mut self.scratch)).is_ok());
            }
            Step::Cut => self.cut(),
            Step::Join => self.join(),
        }
    }

    fn cut(&mut self) {
        const HEADER: [u8; VNET_HEADER_LEN] = [1, 1, 54, 0, 0, 5, 34, 0, 16, 0];
        let mut places = self.segments.iter_mut();
        let cut = undone(HEADER, black_box(&mut self.super_frame));
        let Ok(Undone::Segments(size)) = cut else { panic!("not a super-frame") };
        for segment in split(&self.super_frame, size) {
            let place = places.next().expect("room for each segment");
            let (header, frame) = place.split_at_mut(VNET_HEADER_LEN);
            header.copy_from_slice(&segment.write(frame).expect("a segment"));
        }
        assert!(places.next().is_none(), "too few segments");
    }

    fn join(&mut self) {
        for (place, piece) in self.pieces.iter_mut().zip(&self.segments) {
            let headers = VNET_HEADER_LEN + HEADERS;
            if let (Some(to), Some(from)) = (place.get_mut(..headers), piece.get(..headers)) {
                to.copy_from_slice(from);
            }
        }
        let mut joiner = Joiner::new(TapOffload { checksum: true, tcp: true, udp: true });
        for piece in black_box(&mut self.pieces) {
            let Err(piece) = joiner.extend(0, piece) else { continue };
            let (header, frame) =
                piece.split_first_chunk_mut::<VNET_HEADER_LEN>().expect("a header");
            assert!(open_checksum(*header, frame).is_ok());
            let destination = *frame.first_chunk().expect("a frame");
            assert!(joiner.begin(0, piece, destination).is_ok(), "nothing can be joined");
        }
        let written = joiner.flush(|parts: &[IoSlice<'_>]| Ok(black_box(parts).len()));
        assert_eq!(written.map(|written| written.frames), Some(SEGMENTS as u64));
    }
}

/// A peer for each `/24` from `10.32.0.0` on, with IPv6 likewise.
fn tables() -> Tables {
    let keys = SessionKeys::derive(&[2; 32], Role::Client);
    let mut spec = TablesSpec::default();
    spec.ranges.extend("10.32.0.0/12".parse::<ipnet::IpNet>());
    for index in 0..PEERS {
        let [high, low] = index.to_be_bytes();
        let mut seed = [3; 32];
        [seed[0], seed[1]] = [high, low];
        let name = Identity::from_seed(seed).name();
        let receiver = ReceiverIndex(u32::from(index) * 7919);
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 32 + high, low, last));
        let to = Hop::Peer(PeerSlot(usize::from(index)));
        spec.routes.push(Route { start: address(0), end: address(255), to });
        spec.peers.push(PeerPath {
            name,
            sealer: Arc::new(keys.sealer(receiver, Suite::ChaCha20Poly1305)),
            path: crate::Path::Direct(([192, 0, high, low], 6783).into()),
            size: PathSize::default(),
        });
        let opener = Arc::new(keys.opener(Suite::ChaCha20Poly1305));
        spec.sessions.push(RxSession { receiver, opener, peer: name });
    }
    Tables::new(spec)
}

/// A TCP super-frame from the outside to a Pod of a peer, its checksum open.
fn super_frame() -> Vec<u8> {
    let total = HEADERS - 14 + SEGMENT * SEGMENTS;
    let total = u16::try_from(total).expect("it was chosen to fit");
    let mut frame = vec![0x0a, 0x58, 10, 33, 44, 5, 0x0a, 0x58, 10, 47, 0, 1, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 47, 0, 1, 10, 33, 44, 5]);
    let sum = ones(frame.get(14..34).unwrap_or_default());
    if let Some(place) = frame.get_mut(24..26) {
        place.copy_from_slice(&(!sum).to_be_bytes());
    }
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0]);
    let pseudo = [&[10, 47, 0, 1, 10, 33, 44, 5, 0, 6][..], &(total - 20).to_be_bytes()].concat();
    frame.extend(ones(&pseudo).to_be_bytes());
    frame.resize(HEADERS + SEGMENT * SEGMENTS, 0x5a);
    frame
}

/// The one's complement sum of 16-bit words (RFC 1071), not complemented.
fn ones(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_does_what_it_is_for() {
        let mut gauge = Gauge::new();
        for (_, step) in Step::ALL {
            gauge.run(step);
            gauge.run(step);
        }
    }
}
