//! The crate `aws-lc-rs`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{Aead, KEY_LEN, NONCE_LEN, OpenError};
use crate::Suite;
use crate::packet::TAG_LEN;

/// A key of either suite. It lives in memory that the C library overwrites when it frees it.
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
}

impl Aead for Key {
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut tag = [0; TAG_LEN];
        self.0
            .seal_in_place_scatter(nonce, Aad::from(aad), buffer, &[], &mut tag)
            .expect("invariant: a packet is shorter than what one nonce may encrypt");
        tag
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
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, buffer)
            .map(|_| ())
            .map_err(|_| OpenError::Forged)
    }
}
