//! Weft's cryptography: who a node is, who may join, and how packets between nodes are sealed.
//!
//! Pure: no sockets, no clock, no randomness of its own; seeds and entropy are arguments. (TLS draws its own randomness
//! inside the TLS library.) Normative text: `docs/protocol/crypto.md`.
//!
//! In reading order: [`Identity`] and [`PeerName`]; [`ClusterSecret`]; [`client_config`] and [`server_config`] for the
//! control connections, on which [`Admission`] proves membership; [`negotiate`], by which two nodes agree on a
//! [`Suite`]; [`SessionKeys`], from which come a [`Sealer`] and an [`Opener`] for data packets; [`ReplayWindow`], which
//! each opened packet must pass; [`Epochs`], which changes the keys of a session that lives on.
//!
//! ```
//! use weft_crypto::{
//!     HEADER_LEN, Offer, ReceiverIndex, Role, SessionKeys, SuitePolicy, TAG_LEN, negotiate,
//! };
//!
//! // The peers tell each other which ciphers they allow; both find the same one.
//! let ours = SuitePolicy::Auto.offer();
//! let theirs = Offer::decode(&SuitePolicy::Auto.offer().encode());
//! let suite = negotiate(ours, theirs)?;
//!
//! // Both sides export the same bytes from their TLS connection.
//! let exported = [7; 32];
//! let client = SessionKeys::derive(&exported, Role::Client);
//! let server = SessionKeys::derive(&exported, Role::Server);
//!
//! let mut packet = vec![0; HEADER_LEN + 5 + TAG_LEN];
//! packet[HEADER_LEN..HEADER_LEN + 5].copy_from_slice(b"hello");
//! let sealer = client.sealer(ReceiverIndex(42), suite);
//! sealer.seal(&mut packet)?;
//!
//! let opener = server.opener(suite);
//! let (counter, plaintext) = opener.open(&mut packet)?;
//! opener.replay().accept(counter)?;
//! assert_eq!(plaintext, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod aead;
mod cpu;
mod exchange;
mod hex;
mod identity;
mod packet;
mod rekey;
mod replay;
mod secret;
mod session;
mod suite;
mod tls;

pub use admission::{ADMISSION_EXPORTER_LABEL, Admission, EXPORTER_LEN, Proof, Role, WrongSecret};
pub use aead::{Aead, Backend, KEY_LEN, NONCE_LEN, OpenError};
pub use identity::{BadSignature, Identity, ParsePeerNameError, PeerName, Signature};
pub use packet::{
    HEADER_LEN, Header, HeaderError, MAX_PACKET_LEN, MAX_PACKETS, ReceiverIndex, TAG_LEN,
};
pub use rekey::{Epochs, Expired, Fresh, Indices, RekeyError, RekeyTimes};
pub use replay::{REPLAY_WINDOW, ReplayWindow, Replayed};
pub use secret::{ClusterSecret, SecretError, Secrets, SecretsError, Weakness};
pub use session::{DATA_EXPORTER_LABEL, Opener, SealError, Sealer, SessionKeys};
pub use suite::{NoCommonSuite, Offer, Suite, SuitePolicy, Suites, UnknownSuite, negotiate};
pub use tls::{ALPN, SERVER_NAME, TlsError, client_config, peer_name, server_config};

/// Compiles for types that erase their secrets when dropped.
#[cfg(test)]
fn assert_zeroized_on_drop<T: zeroize::ZeroizeOnDrop>() {}
