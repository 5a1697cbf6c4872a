//! Who a node is: its Ed25519 key, the name that is the public half, and signatures over what it says.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::ZeroizeOnDrop;

/// How many bytes of a name its short form shows.
const SHORT_BYTES: usize = 5;

/// Sets [`Identity::local_key`] apart from every other use of HKDF.
const LOCAL_KEY_SALT: &[u8] = b"weft local key v1";

/// The name of a node: its Ed25519 public key.
///
/// A name may be any 32 bytes; whether they are a usable key shows when a signature is verified. Names sort by their
/// bytes, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName([u8; 32]);

impl PeerName {
    /// Takes 32 bytes as a name, without judging them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key as bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form for people: the first five bytes as ten hex digits. Not unique by construction; never used to decide.
    pub fn short(&self) -> String {
        self.0.iter().take(SHORT_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Verifies that the holder of this name signed `message` under `context`.
    ///
    /// Strict in the sense of ed25519-dalek's `verify_strict`: non-canonical encodings and keys of small order fail,
    /// so that every node judges a signature alike.
    ///
    /// # Errors
    /// [`BadSignature`] if the signature does not match, or this name is not a usable Ed25519 key.
    pub fn verify(
        &self,
        context: &'static [u8],
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&framed(context, message), &signature).map_err(|_| BadSignature)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for PeerName {
    type Err = ParsePeerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::hex::decode::<32>(text).map(Self).ok_or(ParsePeerNameError)
    }
}

/// An Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes 64 bytes as a signature, without judging them.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature as bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

/// A node's own key pair. Erased from memory when dropped; `Debug` shows only the name.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Identity {
    // Erases itself: see its `Drop`.
    key: SigningKey,
}

impl Identity {
    /// Derives the key pair from a 32-byte seed (RFC 8032's private key).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = zeroize::Zeroizing::new(seed);
        Self { key: SigningKey::from_bytes(&seed) }
    }

    /// The seed, for the data directory alone.
    pub fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The name of this node.
    pub fn name(&self) -> PeerName {
        PeerName(self.key.verifying_key().to_bytes())
    }

    /// Signs `message` under `context`; a signature of one context never verifies under another.
    pub fn sign(&self, context: &'static [u8], message: &[u8]) -> Signature {
        Signature(self.key.sign(&framed(context, message)).to_bytes())
    }

    /// A secret key that this node has again after a restart, and that no other node knows: HKDF-SHA256 over the seed
    /// (RFC 5869). Keys of different labels say nothing about each other or the seed.
    pub fn local_key(&self, label: &'static [u8]) -> zeroize::Zeroizing<[u8; 32]> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(LOCAL_KEY_SALT), self.key.as_bytes())
            .expand(label, key.as_mut_slice())
            .expect("invariant: HKDF-SHA256 gives up to 8,160 bytes");
        key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A signature does not match the name, the context and the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// A text is not a full peer name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a peer name: expected 64 hex digits")]
pub struct ParsePeerNameError;

/// What is signed: the context's length as a little-endian u64, the context, the message.
///
/// The length keeps a context and a message from being cut elsewhere. It also keeps TLS apart, which signs with the
/// same key: its signed content starts with 64 spaces (RFC 8446, section 4.4.3), which would be a context of 2^61 bytes.
fn framed(context: &'static [u8], message: &[u8]) -> Vec<u8> {
    let length = u64::try_from(context.len()).expect("invariant: a usize fits in 64 bits");
    let mut framed = Vec::with_capacity(8 + context.len() + message.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(context);
    framed.extend_from_slice(message);
    framed
}

#[cfg(test)]
mod tests;
