//! Authenticated encryption behind one small trait.

use std::fmt;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use zeroize::Zeroizing;

use crate::packet::TAG_LEN;

/// The length of a key in bytes, for every suite.
pub(crate) const KEY_LEN: usize = 32;

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

/// An algorithm for data packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439), which every node has.
    ChaCha20Poly1305,
}

impl Suite {
    /// The name in the contract's spelling; also part of the key schedule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// This suite under `key`.
    pub(crate) fn with_key(self, key: &Zeroizing<[u8; KEY_LEN]>) -> Box<dyn Aead> {
        match self {
            Self::ChaCha20Poly1305 => Box::new(ChaCha20Poly1305::new(key)),
        }
    }
}

impl fmt::Display for Suite {
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

/// ChaCha20-Poly1305. Its key erases itself.
struct ChaCha20Poly1305(chacha20poly1305::ChaCha20Poly1305);

impl ChaCha20Poly1305 {
    fn new(key: &Zeroizing<[u8; KEY_LEN]>) -> Self {
        Self(chacha20poly1305::ChaCha20Poly1305::new((&**key).into()))
    }
}

impl Aead for ChaCha20Poly1305 {
    fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce(counter).into(), aad, buffer.into())
            .expect("invariant: a packet is shorter than the 256 GiB one nonce may encrypt")
            .into()
    }

    fn open(
        &self,
        counter: u64,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        self.0
            .decrypt_inout_detached(&nonce(counter).into(), aad, buffer.into(), tag.into())
            .map_err(|_| OpenError::Forged)
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [0, 0, 0, 0, c0, c1, c2, c3, c4, c5, c6, c7]
}

#[cfg(test)]
mod tests;
