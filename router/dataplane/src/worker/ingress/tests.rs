//! Opening packets without any socket.

use proptest::prelude::*;
use weft_crypto::{
    HEADER_LEN, Identity, Opener, REPLAY_WINDOW, ReceiverIndex, Role, Sealer, SessionKeys, Suite,
};

use super::super::heard::Heard;
use super::*;
use crate::worker::payload::{self, Kind};
use crate::{RxSession, TablesSpec};

const FROM: &str = "192.0.2.1:6783";
const SESSION: ReceiverIndex = ReceiverIndex(7);

#[test]
fn each_failure_has_its_reason_and_leaves_the_window_alone() {
    let side = Side::new(vec![session(SESSION, 1)]);
    let sealer = sealer(SESSION, 1);
    let good = probe(&sealer);
    assert_eq!(side.open(&good[..31]), Err(DropReason::BadHeader));
    let stranger = probe(&self::sealer(ReceiverIndex(8), 1));
    assert_eq!(side.open(&stranger), Err(DropReason::UnknownSession));
    let other_key = probe(&self::sealer(SESSION, 2));
    assert_eq!(side.open(&other_key), Err(DropReason::Forged));
    for at in 8..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        let reason = side.open(&flipped).unwrap_err();
        assert_eq!(reason, DropReason::Forged, "byte {at}");
    }
    assert_eq!(side.open(&good), Ok(Kind::ProbeRequest));
    assert_eq!(side.open(&good), Err(DropReason::Replayed));
}

#[test]
fn packets_may_overtake_each_other_within_the_window() {
    let side = Side::new(vec![session(SESSION, 1)]);
    let sealer = sealer(SESSION, 1);
    let (first, second) = (probe(&sealer), probe(&sealer));
    assert!(side.open(&second).is_ok());
    assert!(side.open(&first).is_ok());
    for _ in 0..REPLAY_WINDOW + 64 {
        probe(&sealer);
    }
    assert!(side.open(&probe(&sealer)).is_ok());
    assert_eq!(side.open(&second), Err(DropReason::TooOld));
}

#[test]
fn unknown_and_broken_payloads_are_told_apart() {
    let side = Side::new(vec![session(SESSION, 1)]);
    let sealer = sealer(SESSION, 1);
    let sealed = |plaintext: &[u8]| {
        let mut packet = vec![0; HEADER_LEN];
        packet.extend_from_slice(plaintext);
        packet.extend_from_slice(&[0; 16]);
        sealer.seal(&mut packet).unwrap();
        side.open(&packet)
    };
    assert_eq!(sealed(&[]), Err(DropReason::UnknownKind));
    for kind in [0, 7, 0xff] {
        assert_eq!(sealed(&[kind, 1, 2, 3]), Err(DropReason::UnknownKind));
    }
    for len in [0, 7, 9] {
        assert_eq!(sealed(&[&[2], &vec![0; len][..]].concat()), Err(DropReason::Malformed));
    }
    assert_eq!(sealed(&[1]), Ok(Kind::Frame));
    assert_eq!(sealed(&[3, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(Kind::ProbeReply));
    assert_eq!(sealed(&[4, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(Kind::UrgentRequest));
    assert_eq!(sealed(&[6, 0, 0, 0, 0, 0, 0, 0]), Err(DropReason::Malformed));
    assert_eq!(sealed(&[&[6][..], &[0; 100]].concat()), Ok(Kind::SizeRequest));
}

#[test]
fn a_window_lives_as_long_as_its_session_is_named() {
    let (kept, sealer) = (session(SESSION, 1), sealer(SESSION, 1));
    let mut side = Side::new(vec![kept.clone()]);
    let packet = probe(&sealer);
    assert!(side.open(&packet).is_ok());
    // Neighbours in the table come and go on both sides.
    let others = [1, 9].map(|index| session(ReceiverIndex(index), 3));
    side.publish([vec![kept.clone()], others.to_vec()].concat());
    assert_eq!(side.open(&packet), Err(DropReason::Replayed));
    side.publish(vec![others[1].clone(), kept]);
    assert_eq!(side.open(&packet), Err(DropReason::Replayed));
    // The same index under another key is another session.
    side.publish(vec![session(SESSION, 2)]);
    assert_eq!(side.open(&packet), Err(DropReason::Forged));
    assert!(side.open(&probe(&self::sealer(SESSION, 2))).is_ok());
    side.publish(vec![]);
    assert_eq!(side.open(&packet), Err(DropReason::UnknownSession));
}

#[test]
fn a_change_of_address_is_told_once() {
    let mut side = Side::new(vec![session(SESSION, 1)]);
    let sealer = sealer(SESSION, 1);
    let mut moved = |from: &str| {
        let mut packet = probe(&sealer);
        let place = open(&mut packet, &side.tables).unwrap().place;
        side.listener.moved(&side.heard, place, from.parse().unwrap())
    };
    assert!(moved(FROM));
    assert!(!moved(FROM));
    assert!(moved("198.51.100.1:1"));
    assert!(!moved("198.51.100.1:1"));
}

#[test]
fn a_change_of_address_is_told_once_by_all_workers_together() {
    let side = Side::new(vec![session(SESSION, 1)]);
    let mut listeners = [Listener::default(), Listener::default()];
    listeners.iter_mut().for_each(|listener| listener.follow(&side.tables));
    let mut moved =
        |worker: usize, from: &str| listeners[worker].moved(&side.heard, 0, from.parse().unwrap());
    assert!(moved(0, FROM));
    assert!(!moved(1, FROM));
    assert!(moved(1, "198.51.100.1:1"));
    assert!(moved(0, FROM), "it has not heard of the change itself");
    assert!(!moved(0, FROM));
    assert!(!moved(1, FROM));
}

proptest! {
    #[test]
    fn any_datagram_is_refused_without_panic(
        mut packet in prop::collection::vec(any::<u8>(), 0..200),
        plausible in any::<bool>(),
    ) {
        let side = Side::new(vec![session(SESSION, 1)]);
        if plausible && packet.len() > HEADER_LEN {
            packet[..8].copy_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0]);
        }
        prop_assert!(side.open(&packet).is_err());
    }

    /// Whatever a member seals is judged without panic.
    #[test]
    fn any_plaintext_is_judged_without_panic(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        framed in any::<bool>(),
    ) {
        let side = Side::new(vec![session(SESSION, 1)]);
        let mut plaintext = plaintext;
        if framed && plaintext.len() > 11 {
            plaintext[..11].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Ok(Payload::Frame(frame)) = Payload::parse(&mut plaintext) {
            let _ = check_frame(frame, &side.tables.sessions()[0], &side.tables);
        }
    }
}

/// The receiving side.
struct Side {
    tables: Tables,
    heard: Heard,
    listener: Listener,
}

impl Side {
    fn new(sessions: Vec<RxSession>) -> Self {
        let mut side = Self {
            tables: Tables::empty(),
            heard: Heard::default(),
            listener: Listener::default(),
        };
        side.publish(sessions);
        side
    }

    fn publish(&mut self, sessions: Vec<RxSession>) {
        self.tables = Tables::new(TablesSpec { sessions, ..TablesSpec::default() });
        self.listener.follow(&self.tables);
    }

    fn open(&self, packet: &[u8]) -> Result<Kind, DropReason> {
        let mut packet = packet.to_vec();
        let opened = open(&mut packet, &self.tables)?;
        Ok(match opened.payload {
            Payload::Frame(_) => Kind::Frame,
            Payload::ProbeRequest { urgent: false, .. } => Kind::ProbeRequest,
            Payload::ProbeRequest { urgent: true, .. } => Kind::UrgentRequest,
            Payload::ProbeReply(_) => Kind::ProbeReply,
            Payload::Relay(_) => Kind::Relay,
            Payload::SizeRequest(_) => Kind::SizeRequest,
        })
    }
}

fn session(receiver: ReceiverIndex, key: u8) -> RxSession {
    let opener: Opener =
        SessionKeys::derive(&[key; 32], Role::Server).opener(Suite::ChaCha20Poly1305);
    let peer = Identity::from_seed([key; 32]).name();
    RxSession { receiver, opener: Arc::new(opener), peer }
}

fn sealer(receiver: ReceiverIndex, key: u8) -> Sealer {
    SessionKeys::derive(&[key; 32], Role::Client).sealer(receiver, Suite::ChaCha20Poly1305)
}

fn probe(sealer: &Sealer) -> Vec<u8> {
    let mut packet = payload::probe(Kind::ProbeRequest, 42).to_vec();
    sealer.seal(&mut packet).unwrap();
    packet
}
