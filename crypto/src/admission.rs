//! Admission: each side of a control connection proves that it knows the cluster secret.
//!
//! A proof is an HMAC over the connection's TLS exporter, so it is good on that one connection only: whoever sits in
//! the middle has two connections with two exporters and can pass none on. It names both peers and the side that makes
//! it, so it cannot be sent back to its maker.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::ZeroizeOnDrop;

use crate::{ClusterSecret, PeerName};

/// The TLS exporter label (RFC 8446, section 7.5) whose output [`Admission::new`] takes. Its context is empty.
pub const ADMISSION_EXPORTER_LABEL: &[u8] = b"EXPORTER-weft/1 admission";

/// The length in bytes of every TLS exporter output that Weft uses.
pub const EXPORTER_LEN: usize = 32;

const PROOF_LABEL: &[u8] = b"weft/1 admission proof";

/// The two sides of a control connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The side that dialled.
    Client,
    /// The side that was dialled.
    Server,
}

impl Role {
    /// The opposite side.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Client => 0x01,
            Self::Server => 0x02,
        }
    }
}

/// A proof that its maker knows the cluster secret, on one connection, in one role.
#[derive(Clone, Copy)]
pub struct Proof([u8; 32]);

impl Proof {
    /// Takes 32 bytes as a proof, without judging them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The proof as bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// The two proofs of one connection.
#[derive(ZeroizeOnDrop)]
pub struct Admission {
    client: [u8; 32],
    server: [u8; 32],
}

impl Admission {
    /// Prepares the proofs for the connection whose exporter output under [`ADMISSION_EXPORTER_LABEL`] is `exporter`.
    ///
    /// `client` dialled and `server` was dialled; both names come from the TLS handshake, never from a message.
    pub fn new(
        secret: &ClusterSecret,
        exporter: &[u8; 32],
        client: PeerName,
        server: PeerName,
    ) -> Self {
        let proof = |by: Role| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.key())
                .expect("invariant: HMAC takes keys of any length");
            mac.update(PROOF_LABEL);
            mac.update(&[by.byte()]);
            mac.update(exporter);
            mac.update(client.as_bytes());
            mac.update(server.as_bytes());
            mac.finalize().into_bytes().into()
        };
        Self { client: proof(Role::Client), server: proof(Role::Server) }
    }

    /// The proof that the side `by` sends.
    pub fn proof(&self, by: Role) -> Proof {
        Proof(*self.expected(by))
    }

    /// Checks the proof that the side `by` sent, in constant time.
    ///
    /// # Errors
    /// [`WrongSecret`] if the sender does not know the secret, or made the proof for another connection or role. The
    /// connection is to be closed without reading anything else from it.
    pub fn verify(&self, by: Role, proof: &Proof) -> Result<(), WrongSecret> {
        if bool::from(self.expected(by).ct_eq(&proof.0)) { Ok(()) } else { Err(WrongSecret) }
    }

    fn expected(&self, by: Role) -> &[u8; 32] {
        match by {
            Role::Client => &self.client,
            Role::Server => &self.server,
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission(..)")
    }
}

/// The other side did not prove knowledge of our cluster secret on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not hold the same cluster secret; give all nodes of a cluster the same one")]
pub struct WrongSecret;

#[cfg(test)]
mod tests;
