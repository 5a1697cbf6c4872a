//! A rough estimate of how hard an operator's own secret is to guess.
//!
//! The text is read from left to right as a series of parts, each of which costs a guesser some bits:
//!
//! - a repeat of four or more characters that stood earlier: [`REPEAT_BITS`];
//! - a run of four or more along the alphabet, the digits or a keyboard row, either way: [`RUN_BITS`];
//! - a word that people put into passwords: [`WORD_BITS`];
//! - any other character: the logarithm of the number of characters to choose from, which is that of the classes in use
//!   (digits, letters, hex digits ...), but at most twice the number of different characters seen;
//! - in a text whose letters follow each other as in English, or that is nothing but letters with separators between
//!   them, any other letter: [`PROSE_BITS`].
//!
//! Random text of 128 bits passes with a probability near one; texts that people make up mostly fail. An estimate
//! cannot see where a text comes from: a quotation of several lines passes.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

/// What a secret must be worth at least.
const NEEDED_BITS: f64 = 128.0;
/// Fewer different characters than this are refused at any length.
const MIN_DISTINCT: usize = 8;
/// What follows this many characters counts for nothing; bounds the work, which is quadratic.
const MAX_CHARS: usize = 512;
/// The shortest repeat or run that counts as one: random hex digits hold one of three in every third secret.
const MIN_PATTERN: usize = 4;

/// A choice of place and length within some hundred characters.
const REPEAT_BITS: f64 = 8.0;
/// A choice of row, start, direction and length.
const RUN_BITS: f64 = 8.0;
/// A choice among a few hundred words, in some spelling.
const WORD_BITS: f64 = 9.0;
/// A letter of running English is worth 0.6 to 1.3 bits (Shannon 1951), of random dictionary words about 2.
const PROSE_BITS: f64 = 1.5;
/// Random letters of one case follow each other as in [`PAIRS`] one time in seven, English three times in four.
const PROSE_SHARE: f64 = 0.45;
/// With fewer pairs of letters the share says nothing.
const PROSE_MIN_PAIRS: usize = 12;
/// Letters with this many separators between them are taken for words, however odd.
const PROSE_MIN_SEPARATORS: usize = 3;

/// The size of the pool of hexadecimal digits, whose six letters make no words.
const HEX_DIGITS: usize = 16;

const ROWS: [&str; 5] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
];

const WORDS: [&str; 28] = [
    "password",
    "passwort",
    "passphrase",
    "secret",
    "cluster",
    "kubernetes",
    "container",
    "docker",
    "weave",
    "weft",
    "mesh",
    "network",
    "admin",
    "root",
    "login",
    "letmein",
    "welcome",
    "changeme",
    "default",
    "example",
    "test",
    "prod",
    "staging",
    "dragon",
    "monkey",
    "master",
    "server",
    "please",
];

/// The commonest pairs of letters in English.
const PAIRS: &str = "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as te et ng of al de se le \
                     sa si ar ve ra ld ur ro ri me li ne no ll io el ic ma om ce ta us ho ec la di ns co be fo wa il \
                     ch em ot ee wh we ut pe rs ss ac sh wo ca ge so mo ts ie po lo un ow id ay ai tr ul ad ct ni da";

/// What makes a secret guessable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// Fewer than eight different characters.
    FewCharacters,
    /// Mostly repeats of itself.
    Repeats,
    /// Mostly runs along the alphabet, the digits or a keyboard row.
    Runs,
    /// Mostly words.
    Words,
    /// No pattern, but too short for the kind of characters in it.
    Short,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewCharacters => "it has very few different characters",
            Self::Repeats => "it repeats itself",
            Self::Runs => "it follows the alphabet, the digits or the keyboard",
            Self::Words => "it is made of words",
            Self::Short => "it is too short for the kind of characters in it",
        })
    }
}

/// What is wrong with a secret, or `None` if it is worth 128 bits.
pub(super) fn weakness(text: &str) -> Option<Weakness> {
    let original: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().take(MAX_CHARS).collect());
    let distinct = original.iter().collect::<BTreeSet<_>>().len();
    if distinct < MIN_DISTINCT {
        return Some(Weakness::FewCharacters);
    }
    let lower = Zeroizing::new(original.iter().map(char::to_ascii_lowercase).collect::<Vec<_>>());
    let plain = Zeroizing::new(lower.iter().map(|c| without_leet(*c)).collect::<Vec<_>>());
    let pool = pool(&original);
    let character_bits = bits_of_choice(pool.min(2 * distinct));
    let is_prose = pool > HEX_DIGITS && (reads_as_prose(&original) || is_separated(&original));
    let letter_bits = if is_prose { PROSE_BITS } else { character_bits };

    let mut bits = 0.0;
    let mut saved = Saved::default();
    let mut at = 0;
    while let Some(character) = lower.get(at) {
        let patterns = [
            (repeat_len(&lower, at), REPEAT_BITS, Weakness::Repeats),
            (run_len(&lower, at), RUN_BITS, Weakness::Runs),
            (word_len(&plain, at), WORD_BITS, Weakness::Words),
        ];
        let longest = patterns.into_iter().filter(|(len, ..)| *len >= MIN_PATTERN);
        let (len, cost, why) = longest.max_by_key(|(len, ..)| *len).unwrap_or_else(|| {
            let letter = character.is_ascii_alphabetic();
            (1, if letter { letter_bits } else { character_bits }, Weakness::Words)
        });
        bits += cost;
        saved.add(why, as_f64(len) * character_bits - cost);
        at += len;
    }
    if bits >= NEEDED_BITS { None } else { Some(saved.most()) }
}

/// How many bits each kind of pattern took off.
#[derive(Default)]
struct Saved {
    repeats: f64,
    runs: f64,
    words: f64,
}

impl Saved {
    fn add(&mut self, why: Weakness, bits: f64) {
        match why {
            Weakness::Repeats => self.repeats += bits,
            Weakness::Runs => self.runs += bits,
            Weakness::Words => self.words += bits,
            Weakness::FewCharacters | Weakness::Short => {}
        }
    }

    fn most(&self) -> Weakness {
        let mut most = (0.0, Weakness::Short);
        for next in [
            (self.repeats, Weakness::Repeats),
            (self.runs, Weakness::Runs),
            (self.words, Weakness::Words),
        ] {
            if next.0 > most.0 {
                most = next;
            }
        }
        most.1
    }
}

/// The longest part from `at` on that also stands, or began, before `at`.
fn repeat_len(text: &[char], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let starts = (0..at).filter_map(|start| text.get(start..));
    starts.map(|earlier| shared(earlier.iter(), rest.iter())).max().unwrap_or(0)
}

/// The longest part from `at` on that follows a row forwards or backwards.
fn run_len(text: &[char], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let mut longest = 0;
    for row in ROWS {
        for (start, _) in row.char_indices() {
            let (before, after) = row.split_at(start);
            let forwards = shared(after.chars(), rest.iter().copied());
            let backwards = shared(before.chars().rev(), rest.iter().copied());
            longest = longest.max(forwards).max(backwards);
        }
    }
    longest
}

fn word_len(text: &[char], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let here = |word: &&str| shared(word.chars(), rest.iter().copied()) == word.len();
    WORDS.into_iter().filter(here).map(str::len).max().unwrap_or(0)
}

/// How many elements two sequences have in common from their starts.
fn shared<T: PartialEq>(left: impl Iterator<Item = T>, right: impl Iterator<Item = T>) -> usize {
    left.zip(right).take_while(|(left, right)| left == right).count()
}

/// Whether the letters follow each other as in English, where no capital comes after a small letter.
fn reads_as_prose(text: &[char]) -> bool {
    let mut pairs = 0_usize;
    let mut common = 0_usize;
    for pair in text.windows(2) {
        if let [first, second] = *pair
            && first.is_ascii_alphabetic()
            && second.is_ascii_alphabetic()
        {
            pairs += 1;
            let lower = [first.to_ascii_lowercase(), second.to_ascii_lowercase()];
            let in_case = first.is_ascii_uppercase() || second.is_ascii_lowercase();
            if in_case && PAIRS.split_ascii_whitespace().any(|known| known.chars().eq(lower)) {
                common += 1;
            }
        }
    }
    pairs >= PROSE_MIN_PAIRS && as_f64(common) >= PROSE_SHARE * as_f64(pairs)
}

/// Whether the text is letters and a few separators, as when words are strung together.
fn is_separated(text: &[char]) -> bool {
    let separators = text.iter().filter(|c| matches!(c, ' ' | '-' | '_' | '.' | ',')).count();
    let letters = text.iter().filter(|c| c.is_ascii_alphabetic()).count();
    separators >= PROSE_MIN_SEPARATORS && separators + letters == text.len()
}

/// How many characters the text seems to be drawn from.
fn pool(text: &[char]) -> usize {
    let any = |class: fn(&char) -> bool| text.iter().any(class);
    let all = |class: fn(&char) -> bool| text.iter().all(class);
    if all(char::is_ascii_digit) {
        return 10;
    }
    if all(|c| matches!(c, '0'..='9' | 'a'..='f')) || all(|c| matches!(c, '0'..='9' | 'A'..='F')) {
        return HEX_DIGITS;
    }
    let size = |present: bool, size: usize| if present { size } else { 0 };
    size(any(char::is_ascii_digit), 10)
        + size(any(char::is_ascii_lowercase), 26)
        + size(any(char::is_ascii_uppercase), 26)
        + size(any(|c| c.is_ascii() && !c.is_ascii_alphanumeric()), 32)
        + size(any(|c| !c.is_ascii()), 64)
}

/// A letter that is commonly written as a digit or sign, back as a letter.
fn without_leet(character: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

fn bits_of_choice(choices: usize) -> f64 {
    as_f64(choices).log2()
}

/// Exact: every count here is at most a few thousand.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
