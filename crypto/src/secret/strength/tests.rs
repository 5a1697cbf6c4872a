//! What passes for a secret and what does not.

use super::*;
use proptest::prelude::*;

#[test]
fn what_people_make_up_is_refused_for_what_it_is() {
    use Weakness::{FewCharacters, Repeats, Runs, Short, Words};
    let refused = [
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", FewCharacters),
        ("abcabcabcabcabcabcabcabcabcabcabcabcabc", FewCharacters),
        ("0101010101010101010101010101010101010101", FewCharacters),
        ("x7Kp2mQ9x7Kp2mQ9x7Kp2mQ9x7Kp2mQ9x7Kp2mQ9", Repeats),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", Runs),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", Runs),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", Runs),
        ("0123456789abcdef0123456789abcdef", Repeats),
        ("passwordsecretkubernetesclusteradmin", Words),
        ("P4ssw0rd-S3cr3t-Kub3rn3t3s-Clust3r-Adm1n", Words),
        ("the quick brown fox jumps over the lazy dog", Words),
        ("correct horse battery staple over there", Words),
        ("thisisthesecretofmyclusterintheoffice", Words),
        ("31415926535897932384626433832795", Short),
    ];
    for (text, why) in refused {
        assert_eq!(weakness(text), Some(why), "{text}");
    }
}

#[test]
fn a_long_series_of_random_words_is_taken() {
    let words = "unwieldy cornmeal tapestry jawless prodigal ambush skillet overgrown velcro \
                 mistletoe hacksaw dragonfly quicken";
    assert_eq!(weakness(words), None);
}

#[test]
fn the_work_is_bounded() {
    let long: String = ('a'..='z').cycle().take(1_000_000).collect();
    assert_eq!(weakness(&long), Some(Weakness::Repeats));
}

/// Random text in the usual spellings. One of some hundred texts at the very limit of 128 bits holds a pattern by
/// chance and is refused; with a few bits more, hardly any.
#[test]
fn random_text_is_taken() {
    let digits: String = ('0'..='9').collect();
    let hex = format!("{digits}abcdef");
    let lower: String = ('a'..='z').collect();
    let base64 = format!("{digits}{lower}{}+/", lower.to_uppercase());
    let printable: String = ('!'..='~').collect();
    let least = [
        (&hex, 32, 380),
        (&hex, 36, 398),
        (&hex.to_uppercase(), 48, 398),
        (&hex, 64, 398),
        (&digits, 48, 398),
        (&lower, 36, 398),
        (&base64, 32, 398),
        (&base64, 44, 398),
        (&printable, 32, 398),
    ];
    let mut random = Random(1);
    for (alphabet, len, least) in least {
        let taken = (0..400).filter(|_| weakness(&random.text(alphabet, len)).is_none()).count();
        assert!(taken >= least, "{taken} of 400 texts of {len} from {alphabet}");
    }
}

proptest! {
    #[test]
    fn a_short_text_repeated_is_refused(part in "[!-~]{1,10}", times in 32_usize..40) {
        prop_assert!(weakness(&part.repeat(times)).is_some());
    }
}

/// SplitMix64: the same texts in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn text(&mut self, alphabet: &str, len: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let size = u64::try_from(alphabet.len()).unwrap();
        (0..len).map(|_| alphabet[usize::try_from(self.next() % size).unwrap()]).collect()
    }
}
