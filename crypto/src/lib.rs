//! Weft's cryptography.
mod hex;
mod identity;

pub use identity::{BadSignature, Identity, ParsePeerNameError, PeerName, Signature};
