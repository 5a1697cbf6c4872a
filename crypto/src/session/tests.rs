//! The key schedule, and packets that must and must not open.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

const SUITE: Suite = Suite::ChaCha20Poly1305;
const INDEX: ReceiverIndex = ReceiverIndex(0x0102_0304);

/// Made with another implementation of HMAC and of the cipher, from the protocol text.
#[test]
fn golden_packets() {
    let exported = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let sealer = SessionKeys::derive(&exported, Role::Client).sealer(INDEX, SUITE);

    let golden = [
        "0100000004030201000000000000000053f1d9351fd1b1840c996d26c421bd6d57aff61c31",
        "0100000004030201010000000000000008b6a3d07e070224ea53cdef8f3c35db86d0a53215",
    ];
    for golden in golden {
        let mut packet = packet(b"\x01weft");
        sealer.seal(&mut packet).unwrap();
        assert_eq!(packet, crate::hex::decode::<37>(golden).unwrap());
    }
    let keys = SessionKeys::derive(&exported, Role::Server);
    assert_eq!(
        *suite_key(&keys.sending, SUITE),
        crate::hex::decode("8b4eda496fc14f28ccf5aa175b9c696380106e72c0985ec5176217e1b5fe9e5c")
            .unwrap()
    );
}

#[test]
fn each_direction_opens_at_the_other_end_only() {
    let client = SessionKeys::derive(&[9; 32], Role::Client);
    let server = SessionKeys::derive(&[9; 32], Role::Server);
    let stranger = SessionKeys::derive(&[8; 32], Role::Server);

    for (from, to) in [(&client, &server), (&server, &client)] {
        let mut sealed = packet(b"hello");
        assert_eq!(from.sealer(INDEX, SUITE).seal(&mut sealed), Ok(0));

        assert_eq!(from.opener(SUITE).open(&mut sealed.clone()), Err(OpenError::Forged));
        assert_eq!(stranger.opener(SUITE).open(&mut sealed.clone()), Err(OpenError::Forged));
        let (counter, plaintext) = to.opener(SUITE).open(&mut sealed).unwrap();
        assert_eq!((counter, &*plaintext), (0, b"hello".as_slice()));
    }
}

#[test]
fn every_flipped_bit_of_a_packet_is_noticed() {
    let (sealer, opener) = pair();
    let mut sealed = packet(b"some plaintext");
    sealer.seal(&mut sealed).unwrap();
    assert!(opener.open(&mut sealed.clone()).is_ok());

    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            assert!(opener.open(&mut flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_cut_or_lengthened_packet_is_noticed() {
    let (sealer, opener) = pair();
    let mut sealed = packet(b"some plaintext");
    sealer.seal(&mut sealed).unwrap();

    for len in 0..sealed.len() {
        assert!(opener.open(&mut sealed[..len].to_vec()).is_err(), "cut to {len}");
    }
    sealed.push(0);
    assert_eq!(opener.open(&mut sealed), Err(OpenError::Forged));
}

#[test]
fn an_empty_plaintext_is_a_packet() {
    let (sealer, opener) = pair();
    let mut sealed = packet(b"");
    sealer.seal(&mut sealed).unwrap();
    let (_, plaintext) = opener.open(&mut sealed).unwrap();
    assert!(plaintext.is_empty());
}

#[test]
fn a_buffer_that_cannot_be_a_packet_is_left_alone() {
    let (sealer, _) = pair();
    for len in 0..HEADER_LEN + TAG_LEN {
        let mut buffer = vec![0x55; len];
        assert_eq!(sealer.seal(&mut buffer), Err(SealError::TooShort { len }));
        assert_eq!(buffer, vec![0x55; len]);
    }
    let len = MAX_PACKET_LEN + 1;
    assert_eq!(sealer.seal(&mut vec![0; len]), Err(SealError::TooLong { len }));
    // None of the refusals took a counter.
    assert_eq!(sealer.seal(&mut vec![0; MAX_PACKET_LEN]), Ok(0));
}

#[test]
fn a_used_up_key_seals_nothing_more() {
    let (sealer, _) = pair();
    sealer.counter.store(MAX_PACKETS - 1, Ordering::Relaxed);
    assert_eq!(sealer.seal(&mut packet(b"last")), Ok(MAX_PACKETS - 1));

    for _ in 0..3 {
        let mut untouched = packet(b"more");
        assert_eq!(sealer.seal(&mut untouched), Err(SealError::Exhausted));
        assert_eq!(untouched, packet(b"more"));
    }
    assert_eq!(sealer.sealed(), MAX_PACKETS);
}

#[test]
fn no_counter_is_used_twice_by_any_number_of_sealers_and_threads() {
    let keys = SessionKeys::derive(&[9; 32], Role::Client);
    let sealers = [keys.sealer(INDEX, SUITE), keys.sealer(ReceiverIndex(7), SUITE)];

    let counters: Vec<u64> = std::thread::scope(|scope| {
        let work = |sealer| {
            move || (0..500).map(|_| Sealer::seal(sealer, &mut packet(b"x")).unwrap()).collect()
        };
        let threads: Vec<_> = [&sealers[0], &sealers[0], &sealers[1], &sealers[1]]
            .map(|sealer| scope.spawn(work(sealer)))
            .into_iter()
            .collect();
        threads.into_iter().flat_map(|thread| -> Vec<u64> { thread.join().unwrap() }).collect()
    });

    assert_eq!(counters.len(), 2000);
    assert_eq!(counters.into_iter().collect::<BTreeSet<_>>(), (0..2000).collect());
}

#[test]
fn secrets_are_erased_and_not_shown() {
    crate::assert_zeroized_on_drop::<SessionKeys>();
    let keys = SessionKeys::derive(&[9; 32], Role::Client);
    assert_eq!(format!("{keys:?} {:?}", keys.opener(SUITE)), "SessionKeys(..) Opener(..)");
    let sealer = format!("{:?}", keys.sealer(INDEX, SUITE));
    assert_eq!(sealer, "Sealer { to: ReceiverIndex(16909060), .. }");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(mut bytes in any::<Vec<u8>>()) {
        let (_, opener) = pair();
        prop_assert!(opener.open(&mut bytes).is_err());
    }

    #[test]
    fn any_payload_behind_a_good_header_is_refused(rest in proptest::collection::vec(any::<u8>(), 16..200), counter in 0..MAX_PACKETS) {
        let (_, opener) = pair();
        let mut bytes = [Header { receiver: INDEX, counter }.encode().as_slice(), &rest].concat();
        prop_assert_eq!(opener.open(&mut bytes), Err(OpenError::Forged));
    }

    #[test]
    fn what_is_sealed_opens(plaintext in any::<Vec<u8>>(), before in 0_u64..1000) {
        let (sealer, opener) = pair();
        sealer.counter.store(before, Ordering::Relaxed);
        let mut sealed = packet(&plaintext);
        sealer.seal(&mut sealed).unwrap();
        let header = Header { receiver: INDEX, counter: before };
        prop_assert_eq!(Header::parse(&sealed), Ok(header));
        let (counter, opened) = opener.open(&mut sealed).unwrap();
        prop_assert_eq!((counter, &*opened), (before, plaintext.as_slice()));
    }
}

fn pair() -> (Sealer, Opener) {
    let client = SessionKeys::derive(&[9; 32], Role::Client);
    let server = SessionKeys::derive(&[9; 32], Role::Server);
    (client.sealer(INDEX, SUITE), server.opener(SUITE))
}

fn packet(plaintext: &[u8]) -> Vec<u8> {
    [[0xaa; HEADER_LEN].as_slice(), plaintext, &[0xbb; TAG_LEN]].concat()
}
