//! The crate `ring`.

use std::hint::black_box;

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::Zeroizing;

use super::{Aead, KEY_LEN, NONCE_LEN, OpenError};
use crate::Suite;
use crate::packet::TAG_LEN;

/// A key of either suite.
///
/// The library does not erase keys, so dropping this one writes another over it. What the library left on the stack
/// while it made the key is beyond reach.
pub(super) struct Key(LessSafeKey);

impl Key {
    pub(super) fn new(suite: Suite, key: &Zeroizing<[u8; KEY_LEN]>) -> Self {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key.as_slice())
            .expect("invariant: the key is as long as both algorithms want it");
        Self(LessSafeKey::new(key))
    }

    fn erase(&mut self) {
        let zero = UnboundKey::new(self.0.algorithm(), &[0; KEY_LEN])
            .expect("invariant: the key is as long as both algorithms want it");
        self.0 = LessSafeKey::new(zero);
        // Without an observer the compiler might leave out a write to memory that is about to be freed.
        black_box(&self.0);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.erase();
    }
}

impl Aead for Key {
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), buffer)
            .expect("invariant: a packet is shorter than what one nonce may encrypt");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), buffer, 0..)
            .map(|_| ())
            .map_err(|_| OpenError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erased_key_is_the_zero_key() {
        for suite in Suite::ALL {
            let mut key = Key::new(suite, &Zeroizing::new([7; KEY_LEN]));
            let zero = Key::new(suite, &Zeroizing::new([0; KEY_LEN]));
            let tag = |key: &Key| key.seal([1; NONCE_LEN], b"", &mut [0; 100]);
            assert_ne!(tag(&key), tag(&zero));
            key.erase();
            assert_eq!(tag(&key), tag(&zero));
        }
    }
}
