//! An ephemeral X25519 exchange (RFC 7748).

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

/// The length of a public key in bytes.
pub(crate) const PUBLIC_LEN: usize = 32;

/// One side's key of one exchange. Lives in memory that the C library overwrites when it frees it.
pub(crate) struct Ephemeral(PrivateKey);

impl Ephemeral {
    /// Makes a key of 32 bytes that came from the operating system's random source.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        let key = PrivateKey::from_private_key(&X25519, secret.as_slice())
            .expect("invariant: any 32 bytes are a private key of X25519");
        Self(key)
    }

    /// What the other side needs.
    pub(crate) fn public(&self) -> [u8; PUBLIC_LEN] {
        let public = self.0.compute_public_key().ok();
        public
            .and_then(|public| public.as_ref().try_into().ok())
            .expect("invariant: a private key of X25519 has a public key of 32 bytes")
    }

    /// What both sides share. `None` for a public key of small order, which would make it a constant (RFC 7748,
    /// section 6.1).
    pub(crate) fn agree(&self, theirs: &[u8; PUBLIC_LEN]) -> Option<Zeroizing<[u8; 32]>> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs.as_slice());
        agree(&self.0, theirs, (), |shared| shared.try_into().map(Zeroizing::new).map_err(|_| ()))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 5.2: the first of the iterated results.
    #[test]
    fn known_answer() {
        let mut nine = [0; 32];
        nine[0] = 9;
        let public = Ephemeral::new(&Zeroizing::new(nine)).public();
        let known = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
        assert_eq!(public, crate::hex::decode(known).unwrap());
    }

    #[test]
    fn both_sides_share_the_same() {
        let [a, b, c] = [1, 2, 3].map(|byte| Ephemeral::new(&Zeroizing::new([byte; 32])));
        assert_eq!(a.agree(&b.public()).unwrap(), b.agree(&a.public()).unwrap());
        assert_ne!(a.agree(&b.public()).unwrap(), a.agree(&c.public()).unwrap());
    }

    #[test]
    fn points_of_small_order_are_refused() {
        let key = Ephemeral::new(&Zeroizing::new([7; 32]));
        let mut one = [0; PUBLIC_LEN];
        one[0] = 1;
        for public in [[0; PUBLIC_LEN], one] {
            assert!(key.agree(&public).is_none());
        }
    }
}
