//! Authenticated encryption behind one small trait, by whichever library does it fastest here.

use std::fmt;

use zeroize::Zeroizing;

use crate::Suite;
use crate::packet::TAG_LEN;

mod aws_lc;
mod portable;
mod ring;

/// The length of a key in bytes, for every suite.
pub const KEY_LEN: usize = 32;

/// An AEAD with its key, whose nonce is four zero bytes and the counter as a little-endian u64.
///
/// The caller never seals twice with one counter; [`Sealer`](crate::Sealer) sees to that.
pub trait Aead: Send + Sync {
    /// Encrypts `buffer` in place, authenticates it together with `aad`, and returns the tag.
    ///
    /// `buffer` is at most [`MAX_PACKET_LEN`](crate::MAX_PACKET_LEN) bytes.
    fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN];

    /// Authenticates `buffer` and `aad` against `tag`, then decrypts `buffer` in place.
    ///
    /// # Errors
    /// [`OpenError::Forged`]; the content of `buffer` is then of no use.
    fn open(
        &self,
        counter: u64,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError>;
}

/// `suite` under `key`, in the library that [`Backend::for_suite`] names.
pub(crate) fn with_key(suite: Suite, key: &Zeroizing<[u8; KEY_LEN]>) -> Box<dyn Aead> {
    Backend::for_suite(suite)
        .with_key(suite, key)
        .expect("invariant: a backend is chosen only for suites it has")
}

/// A library that implements suites. All give the same bytes; they differ in speed and in where they run.
///
/// [`SessionKeys`](crate::SessionKeys) uses [`Self::for_suite`]; the others are there for benchmarks and for tests
/// that hold them against each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Backend {
    /// `chacha20poly1305`: pure Rust for any CPU, and the reference. Has no AES-256-GCM.
    Portable,
    /// `ring`: assembly for x86-64, AArch64 and 32-bit Arm.
    Ring,
    /// `aws-lc-rs`: assembly for x86-64 and AArch64.
    AwsLc,
}

impl Backend {
    /// All backends.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Ring, Self::AwsLc];

    /// The backend that sealers and openers of `suite` use. Fixed when the program is built: which implementation is
    /// best differs between architectures, and what a CPU has beyond its architecture's base each library finds out
    /// itself, once. The choice rests on `docs/decisions/0001-aead-backends.md`.
    pub const fn for_suite(suite: Suite) -> Self {
        match suite {
            Suite::ChaCha20Poly1305 => Self::AwsLc,
            Suite::Aes256Gcm => Self::Ring,
        }
    }

    /// The name of the library's crate.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "chacha20poly1305",
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc-rs",
        }
    }

    /// `suite` under `key` in this library, or `None` where it does not implement the suite.
    pub fn with_key(self, suite: Suite, key: &Zeroizing<[u8; KEY_LEN]>) -> Option<Box<dyn Aead>> {
        Some(match (self, suite) {
            (Self::Portable, Suite::ChaCha20Poly1305) => {
                Box::new(portable::ChaCha20Poly1305::new(key))
            }
            (Self::Portable, Suite::Aes256Gcm) => return None,
            (Self::Ring, suite) => Box::new(ring::Key::new(suite, key)),
            (Self::AwsLc, suite) => Box::new(aws_lc::Key::new(suite, key)),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a packet did not open. It is to be dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The packet is no data packet.
    #[error(transparent)]
    Header(#[from] crate::HeaderError),
    /// The packet was altered, or sealed under another key.
    #[error("packet does not authenticate")]
    Forged,
}

fn nonce(counter: u64) -> [u8; 12] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [0, 0, 0, 0, c0, c1, c2, c3, c4, c5, c6, c7]
}

#[cfg(test)]
mod tests;
