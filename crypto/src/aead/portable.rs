//! The crate `chacha20poly1305`.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use zeroize::Zeroizing;

use super::{Aead, KEY_LEN, NONCE_LEN, OpenError};
use crate::packet::TAG_LEN;

/// ChaCha20-Poly1305. Its key erases itself.
pub(super) struct ChaCha20Poly1305(chacha20poly1305::ChaCha20Poly1305);

impl ChaCha20Poly1305 {
    pub(super) fn new(key: &Zeroizing<[u8; KEY_LEN]>) -> Self {
        Self(chacha20poly1305::ChaCha20Poly1305::new((&**key).into()))
    }
}

impl Aead for ChaCha20Poly1305 {
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce.into(), aad, buffer.into())
            .expect("invariant: a packet is shorter than the 256 GiB one nonce may encrypt")
            .into()
    }

    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        self.0
            .decrypt_inout_detached(&nonce.into(), aad, buffer.into(), tag.into())
            .map_err(|_| OpenError::Forged)
    }
}
