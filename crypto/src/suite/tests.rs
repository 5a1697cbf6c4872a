//! Names, the wire form of offers, and every pair of offers there is.

use super::*;
use proptest::prelude::*;

const CHACHA: Suite = Suite::ChaCha20Poly1305;
const AES: Suite = Suite::Aes256Gcm;

#[test]
fn names_are_the_contracts() {
    assert_eq!(CHACHA.to_string(), "chacha20-poly1305");
    assert_eq!(AES.to_string(), "aes-256-gcm");
    for suite in Suite::ALL {
        assert_eq!(suite.name().parse(), Ok(suite));
        assert_eq!(suite.name().parse(), Ok(SuitePolicy::Force(suite)));
        assert_eq!(SuitePolicy::Force(suite).to_string(), suite.name());
    }
    assert_eq!("auto".parse(), Ok(SuitePolicy::Auto));
    assert_eq!(SuitePolicy::Auto.to_string(), "auto");
    for text in ["", "AUTO", "aes-256-gcm ", "aes-128-gcm", "none"] {
        assert_eq!(text.parse::<SuitePolicy>(), Err(UnknownSuite), "{text:?}");
    }
    assert_eq!("auto".parse::<Suite>(), Err(UnknownSuite));
}

#[test]
fn the_wire_form_is_frozen() {
    assert_eq!(SuitePolicy::Auto.offer_on(true).encode(), [0b11, 0b11]);
    assert_eq!(SuitePolicy::Auto.offer_on(false).encode(), [0b11, 0b01]);
    for fast_aes in [false, true] {
        assert_eq!(SuitePolicy::Force(CHACHA).offer_on(fast_aes).encode(), [0b01, 0b01]);
        assert_eq!(SuitePolicy::Force(AES).offer_on(fast_aes).encode(), [0b10, 0b10]);
    }
    assert_eq!(Offer::ABSENT.encode(), [0b01, 0b01]);
    assert_eq!(Offer::decode(&[]), Offer::ABSENT);
    assert_eq!(Offer::decode(&[0b10]), Offer::ABSENT);
    // Further bytes and further bits are for later versions.
    assert_eq!(Offer::decode(&[0b11, 0b11, 0xff]), SuitePolicy::Auto.offer_on(true));
    assert_eq!(Offer::decode(&[0xff, 0xfd]), SuitePolicy::Auto.offer_on(false));
}

#[test]
fn every_pair_of_policies() {
    use SuitePolicy::{Auto, Force};
    let fast = Auto.offer_on(true);
    let slow = Auto.offer_on(false);
    let (chacha, aes) = (Force(CHACHA).offer(), Force(AES).offer());

    let table = [
        (fast, fast, Some(AES)),
        (fast, slow, Some(CHACHA)),
        (slow, slow, Some(CHACHA)),
        (fast, chacha, Some(CHACHA)),
        (slow, chacha, Some(CHACHA)),
        (fast, aes, Some(AES)),
        (slow, aes, Some(AES)),
        (chacha, chacha, Some(CHACHA)),
        (aes, aes, Some(AES)),
        (aes, chacha, None),
        (fast, Offer::ABSENT, Some(CHACHA)),
        (slow, Offer::ABSENT, Some(CHACHA)),
        (aes, Offer::ABSENT, None),
    ];
    for (one, other, expected) in table {
        assert_eq!(negotiate(one, other).ok(), expected, "{one:?} {other:?}");
        assert_eq!(negotiate(other, one).ok(), expected, "{other:?} {one:?}");
    }
}

#[test]
fn a_refusal_names_both_sides_and_the_cure() {
    let (ours, theirs) =
        (SuitePolicy::Force(AES).offer().supported, SuitePolicy::Force(CHACHA).offer().supported);
    let refusal = negotiate(SuitePolicy::Force(AES).offer(), Offer::ABSENT).unwrap_err();
    assert_eq!(refusal, NoCommonSuite { ours, theirs });
    assert_eq!(
        refusal.to_string(),
        "no common cipher: this node allows aes-256-gcm, the peer chacha20-poly1305; give both the same --cipher, \
         or auto"
    );
    assert_eq!(Suites::NONE.to_string(), "no known cipher");
    assert_eq!(Suites::ALL.to_string(), "chacha20-poly1305 and aes-256-gcm");
    assert_eq!(format!("{:?}", Suites::ALL), "{ChaCha20Poly1305, Aes256Gcm}");
}

#[test]
fn what_this_node_offers_is_one_of_the_two() {
    let offer = SuitePolicy::Auto.offer();
    assert!([true, false].map(|fast| SuitePolicy::Auto.offer_on(fast)).contains(&offer));
    assert_eq!(offer, SuitePolicy::Auto.offer());
}

proptest! {
    #[test]
    fn any_two_offers_agree_from_both_ends(ours: [u8; 2], theirs: [u8; 2]) {
        let (ours, theirs) = (Offer::decode(&ours), Offer::decode(&theirs));
        match (negotiate(ours, theirs), negotiate(theirs, ours)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(one, other);
                prop_assert!(ours.supported.contains(one) && theirs.supported.contains(one));
            }
            (Err(one), Err(other)) => {
                prop_assert_eq!((one.ours, one.theirs), (other.theirs, other.ours));
                prop_assert_eq!(ours.supported.common(theirs.supported), Suites::NONE);
            }
            (one, other) => prop_assert!(false, "{one:?} and {other:?}"),
        }
    }

    #[test]
    fn any_bytes_are_an_offer(bytes: Vec<u8>) {
        let offer = Offer::decode(&bytes);
        prop_assert_eq!(Offer::decode(&offer.encode()), offer);
    }
}
