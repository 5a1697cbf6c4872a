//! The key schedule, and packets that must and must not open.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

const SUITE: Suite = Suite::ChaCha20Poly1305;
const INDEX: ReceiverIndex = ReceiverIndex(0x0102_0304);

/// Made with another implementation of HMAC and of the ciphers, from the protocol text: two packets from the client,
/// and the server's key.
#[test]
fn golden_packets() {
    let golden = [
        (
            Suite::ChaCha20Poly1305,
            "0100000004030201000000000000000053f1d9351fd1b1840c996d26c421bd6d57aff61c31",
            "0100000004030201010000000000000008b6a3d07e070224ea53cdef8f3c35db86d0a53215",
            "8b4eda496fc14f28ccf5aa175b9c696380106e72c0985ec5176217e1b5fe9e5c",
        ),
        (
            Suite::Aes256Gcm,
            "010000000403020100000000000000004fc568d40205f8ee89a12ab6358e04a1626b665678",
            "01000000040302010100000000000000f57ee0034bb1797ac13e9b4d6ee8ad84dca807cd5c",
            "254897fc9383e934746146ed4bed6f8045812919d41dd4107556d9cd19aede0c",
        ),
    ];
    let exported = std::array::from_fn(|i| u8::try_from(i).unwrap());
    for (suite, first, second, key) in golden {
        let sealer = SessionKeys::derive(&exported, Role::Client).sealer(INDEX, suite);
        for golden in [first, second] {
            let mut packet = packet(b"\x01weft");
            sealer.seal(&mut packet).unwrap();
            assert_eq!(packet, crate::hex::decode::<37>(golden).unwrap());
        }
        let keys = SessionKeys::derive(&exported, Role::Server);
        assert_eq!(*suite_key(&keys.sending, suite), crate::hex::decode(key).unwrap());
    }
}

#[test]
fn a_packet_of_one_suite_does_not_open_under_the_other() {
    let client = SessionKeys::derive(&[9; 32], Role::Client);
    let server = SessionKeys::derive(&[9; 32], Role::Server);
    for suite in Suite::ALL {
        let mut sealed = packet(b"hello");
        client.sealer(INDEX, suite).seal(&mut sealed).unwrap();
        for other in Suite::ALL {
            let opened = server.opener(other).open(&mut sealed.clone()).is_ok();
            assert_eq!(opened, suite == other, "{suite} opened as {other}");
        }
    }
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
fn a_packet_sealed_from_parts_is_the_same_packet() {
    for suite in Suite::ALL {
        let keys = || SessionKeys::derive(&[9; 32], Role::Client).sealer(INDEX, suite);
        let mut whole = packet(b"head and body");
        keys().seal(&mut whole).unwrap();

        let mut out = [0x55; HEADER_LEN + 13 + TAG_LEN + 3];
        let sealer = keys();
        let parts: [&[u8]; 4] = [b"head", b"", b" and ", b"body"];
        let (counter, made) = sealer.seal_into(&parts, &mut out).unwrap();
        assert_eq!((counter, &*made), (0, &*whole));
        assert_eq!(out[whole.len()..], [0x55; 3]);

        // What does not fit is refused, and takes no counter.
        for len in 0..whole.len() {
            let refused = sealer.seal_into(&parts, &mut vec![0; len]).map(|_| ());
            assert_eq!(refused, Err(SealError::TooShort { len }));
        }
        let long = vec![0; MAX_PACKET_LEN - HEADER_LEN - TAG_LEN];
        let mut out = vec![0; MAX_PACKET_LEN + 1];
        let refused = sealer.seal_into(&[b"x", &long], &mut out).map(|_| ());
        assert_eq!(refused, Err(SealError::TooLong { len: MAX_PACKET_LEN + 1 }));
        assert_eq!(sealer.seal_into(&[&long], &mut out).unwrap().0, 1);
        assert_eq!(sealer.seal_into(&[], &mut out).unwrap().1.len(), HEADER_LEN + TAG_LEN);
    }
}

#[test]
fn a_used_up_key_seals_nothing_more() {
    let (sealer, _) = pair();
    sealer.counts.next.store(MAX_PACKETS - 1, Ordering::Relaxed);
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
    fn any_bytes_are_refused_without_panic(bytes in any::<Vec<u8>>()) {
        for suite in Suite::ALL {
            prop_assert!(pair_of(suite).1.open(&mut bytes.clone()).is_err());
        }
    }

    #[test]
    fn any_payload_behind_a_good_header_is_refused(rest in proptest::collection::vec(any::<u8>(), 16..200), counter in 0..MAX_PACKETS) {
        let bytes = [Header { receiver: INDEX, counter }.encode().as_slice(), &rest].concat();
        for suite in Suite::ALL {
            let mut bytes = bytes.clone();
            prop_assert_eq!(pair_of(suite).1.open(&mut bytes), Err(OpenError::Forged));
        }
    }

    #[test]
    fn what_is_sealed_opens(plaintext in any::<Vec<u8>>(), before in 0_u64..1000) {
        for suite in Suite::ALL {
            let (sealer, opener) = pair_of(suite);
            sealer.counts.next.store(before, Ordering::Relaxed);
            let mut sealed = packet(&plaintext);
            sealer.seal(&mut sealed).unwrap();
            let header = Header { receiver: INDEX, counter: before };
            prop_assert_eq!(Header::parse(&sealed), Ok(header));
            let (counter, opened) = opener.open(&mut sealed).unwrap();
            prop_assert_eq!((counter, &*opened), (before, plaintext.as_slice()));
        }
    }
}

fn pair() -> (Sealer, Opener) {
    pair_of(SUITE)
}

fn pair_of(suite: Suite) -> (Sealer, Opener) {
    let client = SessionKeys::derive(&[9; 32], Role::Client);
    let server = SessionKeys::derive(&[9; 32], Role::Server);
    (client.sealer(INDEX, suite), server.opener(suite))
}

fn packet(plaintext: &[u8]) -> Vec<u8> {
    [[0xaa; HEADER_LEN].as_slice(), plaintext, &[0xbb; TAG_LEN]].concat()
}
