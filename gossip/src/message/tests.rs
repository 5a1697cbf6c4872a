//! The wire form, and that no bytes break the reader of it.

use proptest::prelude::*;
use weft_crypto::Identity;

use super::*;
use crate::{
    limits::MAX_VALUE,
    record::{Key, Kind, Record},
};

/// The wire form of version 1. If this test fails, nodes of two builds no longer understand each
/// other: make a version 2 instead.
#[test]
fn golden_bytes() {
    let identity = Identity::from_seed([7; 32]);
    let record = Record::sign(&identity, Key::of(Kind::NODE), 300, Some(vec![1, 2, 3]));
    let body = format!("01{}0100fb2c010103010203", identity.name());
    assert_eq!(hex(&record.signed().body), body);
    assert_eq!(
        hex(&Message::Push(Push { records: vec![record.signed().clone()] }).encode()),
        format!("0104012b{body}{}", hex(&record.signed().signature))
    );
    assert_eq!(
        hex(&Message::Digest(Digest::equal()).encode()),
        format!("010200{}{}0000", "00".repeat(32), "ff".repeat(32))
    );
    let mut buckets = [0; BUCKETS];
    buckets[1] = 251;
    assert_eq!(
        hex(&Message::Summary(Summary { buckets }).encode()),
        format!("010100fbfb00{}", "00".repeat(30))
    );
    let delta =
        Delta { more: true, spans: vec![Span { origin: [9; 32], from: 5, records: Vec::new() }] };
    assert_eq!(hex(&Message::Delta(delta).encode()), format!("01030101{}0500", "09".repeat(32)));
}

#[test]
fn bad_messages_say_what_is_wrong() {
    assert_eq!(Message::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Message::decode(&[1]), Err(DecodeError::Empty));
    assert_eq!(Message::decode(&[2, 1]), Err(DecodeError::Version(2)));
    assert_eq!(Message::decode(&[1, 99, 1, 2, 3]), Ok(Message::Unknown(99)));
    let mut long = Message::Digest(Digest::equal()).encode();
    long.extend([0; 3]);
    assert_eq!(Message::decode(&long), Err(DecodeError::Trailing(3)));
    // A length that promises more than there is costs no memory.
    let greedy = [1, 4, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(Message::decode(&greedy), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_digest_must_be_in_order_and_about_what_it_covers() {
    let entry = |origin| DigestEntry { origin: [origin; 32], watermark: 1, fingerprint: 1 };
    let digest = |mask, entries| Digest { mask, entries, ..Digest::equal() };
    assert_eq!(digest(0b11, vec![entry(1), entry(9)]).check(), Ok(()));
    assert!(digest(0b11, vec![entry(9), entry(1)]).check().is_err());
    assert!(digest(0b11, vec![entry(1), entry(1)]).check().is_err());
    assert!(digest(0b01, vec![entry(1), entry(9)]).check().is_err());
    let narrow = Digest { low: [2; 32], ..digest(0b11, vec![entry(1)]) };
    assert!(narrow.check().is_err());
    let many = (0..=MAX_DIGEST_ENTRIES).map(|_| entry(1)).collect();
    assert!(digest(0b1, many).check().is_err());
}

#[test]
fn the_largest_record_fits_into_a_message() {
    let identity = Identity::from_seed([1; 32]);
    let key = Key { kind: Kind(u16::MAX), name: vec![0xff; crate::limits::MAX_NAME] };
    let record = Record::sign(&identity, key, u64::MAX, Some(vec![0; MAX_VALUE]));
    assert!(record.size() <= crate::limits::MESSAGE_BUDGET);
    let bytes = Message::Push(Push { records: vec![record.signed().clone()] }).encode();
    assert!(bytes.len() <= MAX_MESSAGE);
    assert!(bytes.len() <= record.size() + 8);
    let Ok(Message::Push(push)) = Message::decode(&bytes) else { panic!("{bytes:?}") };
    assert_eq!(Record::decode(push.records[0].clone()), Ok(record));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_a_panic(kind in 0..6_u8, bytes: Vec<u8>) {
        let message = [&[1, kind], &bytes[..]].concat();
        if let Ok(Message::Digest(digest)) = Message::decode(&message) {
            let _ = digest.check();
        }
        let _ = Message::decode(&bytes);
        let _ = Record::decode(SignedRecord { body: bytes, signature: [0; 64] });
    }

    #[test]
    fn a_changed_byte_is_decoded_without_a_panic(at: prop::sample::Index, to: u8) {
        let identity = Identity::from_seed([7; 32]);
        let record = Record::sign(&identity, Key::of(Kind::LINKS), 9, Some(vec![5; 40]));
        let spans = vec![Span { origin: [3; 32], from: 1, records: vec![record.signed().clone()] }];
        let mut bytes = Message::Delta(Delta { more: false, spans }).encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(Message::Delta(delta)) = Message::decode(&bytes) {
            for signed in delta.spans.into_iter().flat_map(|span| span.records) {
                if let Ok(read) = Record::decode(signed) {
                    prop_assert!(read == record || read.verify().is_err());
                }
            }
        }
    }

    #[test]
    fn messages_survive_the_wire(
        buckets: [u64; BUCKETS], mask: u32, low: [u8; 32], high: [u8; 32], answer: bool,
        entries in prop::collection::vec(any::<([u8; 32], u64, u64)>(), 0..4),
        more: bool, from: u64, body: Vec<u8>,
    ) {
        let entries = entries
            .into_iter()
            .map(|(origin, watermark, fingerprint)| DigestEntry { origin, watermark, fingerprint })
            .collect();
        let record = SignedRecord { body, signature: [from.to_le_bytes()[0]; 64] };
        let span = Span { origin: low, from, records: vec![record.clone()] };
        for message in [
            Message::Summary(Summary { buckets }),
            Message::Digest(Digest { mask, low, high, answer, entries }),
            Message::Delta(Delta { more, spans: vec![span] }),
            Message::Push(Push { records: vec![record] }),
        ] {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
