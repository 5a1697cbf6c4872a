//! Headers: layout, limits, and any bytes at all.

use super::*;
use proptest::prelude::*;

fn packet(header: [u8; HEADER_LEN]) -> Vec<u8> {
    [header.as_slice(), &[0; TAG_LEN]].concat()
}

#[test]
fn golden_bytes() {
    let header = Header { receiver: ReceiverIndex(0x0102_0304), counter: 0x0506_0708_090a_0b0c };

    let bytes = header.encode();

    assert_eq!(bytes, [1, 0, 0, 0, 4, 3, 2, 1, 0x0c, 0x0b, 0x0a, 9, 8, 7, 6, 5]);
    assert_eq!(Header::parse(&packet(bytes)), Ok(header));
    assert_eq!(bytes[0] & 0x40, 0, "bit 0x40 marks QUIC");
}

#[test]
fn each_refusal() {
    let good = Header { receiver: ReceiverIndex(1), counter: MAX_PACKETS - 1 }.encode();
    assert!(Header::parse(&packet(good)).is_ok());

    for len in 0..HEADER_LEN + TAG_LEN {
        assert_eq!(Header::parse(&packet(good)[..len]), Err(HeaderError::TooShort { len }));
    }
    for kind in (0..=u8::MAX).filter(|kind| *kind != 1) {
        let mut bytes = good;
        bytes[0] = kind;
        assert_eq!(Header::parse(&packet(bytes)), Err(HeaderError::UnknownType { kind }));
    }
    for at in 1..4 {
        let mut bytes = good;
        bytes[at] = 0x80;
        assert_eq!(Header::parse(&packet(bytes)), Err(HeaderError::Reserved));
    }
    let over = Header { receiver: ReceiverIndex(1), counter: MAX_PACKETS }.encode();
    assert_eq!(Header::parse(&packet(over)), Err(HeaderError::Counter));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic_and_back(bytes in any::<Vec<u8>>()) {
        if let Ok(header) = Header::parse(&bytes) {
            let encoded = header.encode();
            prop_assert_eq!(encoded.as_slice(), &bytes[..HEADER_LEN]);
        }
    }

    #[test]
    fn what_is_encoded_is_parsed(receiver: u32, counter in 0..MAX_PACKETS, rest in any::<[u8; 20]>()) {
        let header = Header { receiver: ReceiverIndex(receiver), counter };
        let bytes = [header.encode().as_slice(), &rest].concat();
        prop_assert_eq!(Header::parse(&bytes), Ok(header));
    }
}
