//! The cluster secret: what every member knows and no stranger does.

use std::fmt;

use hkdf::HkdfExtract;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::hex;

mod pair;
mod strength;

pub use pair::{Secrets, SecretsError};
pub use strength::Weakness;

/// What a generated secret begins with.
const PREFIX: &str = "weft1-";
/// Bytes of entropy in a generated secret.
const ENTROPY_LEN: usize = 32;
/// Bytes of the check value that ends a generated secret: one typo in 2^32 goes unnoticed.
const CHECK_LEN: usize = 4;
/// The hex digits after the prefix.
const DIGITS: usize = 2 * (ENTROPY_LEN + CHECK_LEN);
/// The shortest text taken as a secret, in bytes: 128 bits at the four bits of a hex digit.
const MIN_LEN: usize = 32;

const CHECK_LABEL: &[u8] = b"weft/1 secret check";
const KEY_LABEL: &[u8] = b"weft/1 cluster secret";

/// The secret that all members of one cluster share. Erased from memory when dropped.
///
/// Two secrets are the same when their texts are; a generated one may be written in either case.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ClusterSecret {
    text: Zeroizing<String>,
    key: Zeroizing<[u8; 32]>,
}

impl ClusterSecret {
    /// Makes a secret from 32 bytes that came from the operating system's random source.
    pub fn from_entropy(mut entropy: [u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + DIGITS));
        text.push_str(PREFIX);
        for byte in entropy.iter().chain(&check_value(&entropy)) {
            hex::push(&mut text, *byte);
        }
        entropy.zeroize();
        Self::from_text(text)
    }

    /// Reads a secret as an operator wrote it; white space around it does not count.
    ///
    /// A generated secret is checked for typos. Any other text must be at least 32 bytes and not look guessable, see
    /// [`Weakness`].
    ///
    /// # Errors
    /// [`SecretError`], whose text names the cure and never repeats the secret.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if looks_generated(text) {
            return Self::parse_generated(text).ok_or(SecretError::Checksum);
        }
        if text.len() < MIN_LEN {
            return Err(SecretError::TooShort { len: text.len() });
        }
        if let Some(why) = strength::weakness(text) {
            return Err(SecretError::Guessable { why });
        }
        Ok(Self::from_text(Zeroizing::new(text.to_owned())))
    }

    /// The text that [`parse`](Self::parse) reads back. For the operator's eyes or a file of mode 0600 alone.
    pub fn to_text(&self) -> Zeroizing<String> {
        self.text.clone()
    }

    /// The key that proofs of admission are made with.
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    fn parse_generated(text: &str) -> Option<Self> {
        let digits = text.get(PREFIX.len()..)?;
        if !text.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let bytes = Zeroizing::new(hex::decode::<{ ENTROPY_LEN + CHECK_LEN }>(digits)?);
        let (entropy, check) = bytes.split_first_chunk::<ENTROPY_LEN>()?;
        (check == check_value(entropy)).then(|| Self::from_entropy(*entropy))
    }

    fn from_text(text: Zeroizing<String>) -> Self {
        let mut extract = HkdfExtract::<Sha256>::new(Some(KEY_LABEL));
        extract.input_ikm(text.as_bytes());
        let (mut output, _) = extract.finalize();
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&output);
        output.as_mut_slice().zeroize();
        Self { text, key }
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

/// Why a text is not taken as a cluster secret. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no text, or only white space.
    #[error("cluster secret is empty; generate one with `weft secret new`")]
    Empty,
    /// The text has fewer than 32 bytes.
    #[error(
        "cluster secret is too short ({len} bytes, at least {MIN_LEN} needed); generate one with `weft secret new`"
    )]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The text has less than about 128 bits of entropy.
    #[error("cluster secret is guessable ({why}); generate one with `weft secret new`")]
    Guessable {
        /// What makes it so.
        why: Weakness,
    },
    /// The text looks generated, but was altered or cut.
    #[error(
        "cluster secret has a typo or is cut short (its check digits do not match); copy it again or generate one with `weft secret new`"
    )]
    Checksum,
}

/// Whether a text is, or was before a typo, a generated secret.
///
/// A typo in the prefix must not turn it into a secret of the operator's own, so the length and the digits count too.
fn looks_generated(text: &str) -> bool {
    let has_prefix = text.get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX));
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_digits = text.len() == PREFIX.len() + DIGITS
        && text
            .split_at_checked(PREFIX.len())
            .is_some_and(|(head, digits)| !is_hex(head) && is_hex(digits));
    has_prefix || has_digits
}

fn check_value(entropy: &[u8; ENTROPY_LEN]) -> [u8; CHECK_LEN] {
    let digest = Sha256::new().chain_update(CHECK_LABEL).chain_update(entropy).finalize();
    let mut check = [0; CHECK_LEN];
    check.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    check
}

#[cfg(test)]
mod tests;
