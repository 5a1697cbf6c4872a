//! The text of secrets: round trip, typos, refusals.

use super::*;
use proptest::prelude::*;

const GENERATED: &str =
    "weft1-000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f8a5521d3";

#[test]
fn golden_text_and_key() {
    let secret = ClusterSecret::from_entropy(std::array::from_fn(|i| u8::try_from(i).unwrap()));

    assert_eq!(*secret.to_text(), GENERATED);
    let key = "62668aaf4acceba503a171ea8b92211abfd4c89faa32f79c151fb1d8329cf674";
    assert_eq!(*secret.key(), hex::decode(key).unwrap());
}

#[test]
fn white_space_and_case_of_a_generated_secret_do_not_count() {
    for text in [format!("  {GENERATED}\r\n"), GENERATED.to_uppercase()] {
        assert_eq!(*ClusterSecret::parse(&text).unwrap().to_text(), GENERATED);
    }
}

#[test]
fn every_typo_in_a_generated_secret_is_reported_as_one() {
    for at in 0..GENERATED.len() {
        for typo in ['0', '7', 'f', 'x', '-'] {
            let mut text = GENERATED.to_owned();
            text.replace_range(at..=at, &typo.to_string());
            if text != GENERATED {
                assert_eq!(error(&text), SecretError::Checksum, "{text}");
            }
        }
        let cut = format!("{}{}", &GENERATED[..at], &GENERATED[at + 1..]);
        // A digit lost from a run of equal ones, or from the prefix, leaves a text of another form.
        if at >= PREFIX.len() {
            assert_eq!(error(&cut), SecretError::Checksum, "{cut}");
        }
    }
    assert_eq!(error("weft1-"), SecretError::Checksum);
    assert_eq!(error(&format!("{GENERATED}00")), SecretError::Checksum);
}

#[test]
fn a_text_of_the_operators_own_is_taken_as_it_is() {
    let own = "Zt9/kQ2v+R7xLw0PbM4sYc8HnE1jUfGd";
    let secret = ClusterSecret::parse(&format!("{own}\n")).unwrap();
    assert_eq!(*secret.to_text(), own);
    assert_ne!(secret.key(), ClusterSecret::parse(&own.replace('Z', "z")).unwrap().key());
}

#[test]
fn refusals_name_the_cure_and_not_the_secret() {
    let refused = [
        ("", SecretError::Empty),
        (" \n\t", SecretError::Empty),
        ("hunter2", SecretError::TooShort { len: 7 }),
        ("0123456789abcdef0123456789abcde", SecretError::TooShort { len: 31 }),
        ("0123456789abcdef0123456789abcdef", SecretError::Guessable { why: Weakness::Repeats }),
    ];
    for (text, expected) in refused {
        let error = error(text);
        if !matches!(expected, SecretError::Guessable { .. }) {
            assert_eq!(error, expected, "{text}");
        }
        let shown = error.to_string();
        assert!(shown.ends_with("generate one with `weft secret new`"), "{shown}");
        assert!(text.trim().is_empty() || !shown.contains(text), "{shown}");
        assert!(!shown.contains('\n'));
    }
}

#[test]
fn a_secret_is_erased_and_not_shown() {
    crate::assert_zeroized_on_drop::<ClusterSecret>();
    assert_eq!(format!("{:?}", ClusterSecret::from_entropy([1; 32])), "ClusterSecret(..)");
}

proptest! {
    #[test]
    fn every_generated_secret_is_read_back(entropy: [u8; 32]) {
        let secret = ClusterSecret::from_entropy(entropy);
        let read = ClusterSecret::parse(&secret.to_text()).unwrap();
        prop_assert_eq!(secret.key(), read.key());
    }

    #[test]
    fn any_text_is_judged_without_panic(text in any::<String>()) {
        let _ = ClusterSecret::parse(&text);
    }
}

fn error(text: &str) -> SecretError {
    ClusterSecret::parse(text).unwrap_err()
}
