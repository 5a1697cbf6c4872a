//! Authenticated encryption behind one small trait, by whichever library does it fastest here.

use std::fmt;

use zeroize::Zeroizing;

use crate::Suite;
use crate::cpu::AesUnit;
use crate::packet::TAG_LEN;

mod aws_lc;
mod portable;
mod ring;

/// The length of a key in bytes, for every suite.
pub const KEY_LEN: usize = 32;

/// The length of a nonce in bytes, for every suite.
pub const NONCE_LEN: usize = 12;

/// Whether the C libraries have ChaCha20-Poly1305 in assembly for this architecture.
const HAS_ASSEMBLY: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// An AEAD with its key.
///
/// The caller never seals twice with one nonce; [`Sealer`](crate::Sealer) sees to that.
pub trait Aead: Send + Sync {
    /// Encrypts `buffer` in place, authenticates it together with `aad`, and returns the tag.
    ///
    /// `buffer` is at most [`MAX_PACKET_LEN`](crate::MAX_PACKET_LEN) bytes.
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN];

    /// Authenticates `buffer` and `aad` against `tag`, then decrypts `buffer` in place.
    ///
    /// # Errors
    /// [`OpenError::Forged`]; the content of `buffer` is then of no use.
    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError>;
}

/// `suite` under `key`, in the library that [`Backend::for_suite`] names.
pub(crate) fn with_key(suite: Suite, key: &Zeroizing<[u8; KEY_LEN]>) -> Box<dyn Aead> {
    Backend::for_suite(suite)
        .with_key(suite, key)
        .unwrap_or_else(|| Box::new(aws_lc::Key::new(suite, key)))
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

    /// The backend that sealers and openers of `suite` use on this CPU; the same for the life of the process.
    ///
    /// A fixed preference, from the measurements of `docs/decisions/0004-aead-backends.md`, and no benchmark at start:
    /// that would make two starts on one machine differ.
    pub fn for_suite(suite: Suite) -> Self {
        Self::choose(suite, AesUnit::detect())
    }

    const fn choose(suite: Suite, aes: AesUnit) -> Self {
        match (suite, aes) {
            // Where the others have assembly, their speed is the same, and this one erases its keys.
            (Suite::ChaCha20Poly1305, _) if HAS_ASSEMBLY => Self::AwsLc,
            (Suite::ChaCha20Poly1305, _) => Self::Portable,
            // The one case in which `aws-lc-rs` leaves half of the CPU unused: it has no AVX2 code for VAES.
            (Suite::Aes256Gcm, AesUnit::Wide256) => Self::Ring,
            (Suite::Aes256Gcm, AesUnit::Software | AesUnit::Single | AesUnit::Wide512) => {
                Self::AwsLc
            }
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

/// The nonce of a packet: four zero bytes and its counter as a little-endian u64.
pub(crate) fn nonce(counter: u64) -> [u8; NONCE_LEN] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [0, 0, 0, 0, c0, c1, c2, c3, c4, c5, c6, c7]
}

#[cfg(test)]
mod tests;
