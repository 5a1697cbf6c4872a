//! TLS for control connections: version 1.3, raw Ed25519 public keys on both sides (RFC 7250), post-quantum hybrid key
//! exchange preferred, no resumption, no early data.
//!
//! TLS proves that the peer holds the key it is named by, and nothing else: any key is accepted here. Whether that
//! peer belongs to the cluster is for [`Admission`](crate::Admission) to decide, before any other byte of it is read.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use zeroize::Zeroizing;

use crate::{Identity, PeerName};

mod verifier;

use verifier::RawKeyVerifier;

/// The application protocol that both sides must name in the handshake.
pub const ALPN: &[u8] = b"weft/1";

/// The server name to dial with. Peers are known by key; the name is never sent nor checked.
pub const SERVER_NAME: &str = "weft.invalid";

/// The DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The DER of an Ed25519 PKCS #8 key up to the 32 bytes of the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The configuration for connections that this node dials.
///
/// # Errors
/// [`TlsError::Library`] if the TLS library refuses the key or the algorithms.
pub fn client_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let key = Arc::new(certified_key(identity)?);
    let verifier = Arc::new(RawKeyVerifier::new(&provider)?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// The configuration for connections that this node accepts.
///
/// # Errors
/// [`TlsError::Library`] if the TLS library refuses the key or the algorithms.
pub fn server_config(identity: &Identity) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let key = Arc::new(certified_key(identity)?);
    let verifier = Arc::new(RawKeyVerifier::new(&provider)?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The name of the peer whose TLS "certificates" these are: exactly one, the DER of an Ed25519 public key.
///
/// # Errors
/// [`TlsError::KeyCount`], [`TlsError::NotEd25519`] or [`TlsError::UnusableKey`]; the connection is to be closed.
pub fn peer_name(certs: &[CertificateDer<'_>]) -> Result<PeerName, TlsError> {
    let [key] = certs else {
        return Err(TlsError::KeyCount { count: certs.len() });
    };
    let key = key.as_ref().strip_prefix(SPKI_PREFIX.as_slice()).ok_or(TlsError::NotEd25519)?;
    let key: [u8; 32] = key.try_into().map_err(|_| TlsError::NotEd25519)?;
    // Under a key of small order anyone can sign, so the name would belong to nobody.
    let usable = VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak());
    if usable { Ok(PeerName::from_bytes(key)) } else { Err(TlsError::UnusableKey) }
}

/// Why TLS cannot be set up, or the peer's key cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer showed no key, or a chain of several.
    #[error("peer shows {count} public keys where one is expected")]
    KeyCount {
        /// How many it showed.
        count: usize,
    },
    /// The peer's key is an X.509 certificate or of another algorithm.
    #[error("peer's key is not a raw Ed25519 public key")]
    NotEd25519,
    /// The bytes are no point of the curve, or one of small order.
    #[error("peer's Ed25519 public key is unusable")]
    UnusableKey,
    /// The TLS library refused our own configuration.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// The library's provider, with TLS 1.3 suites and two groups only.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            // QUIC protects its first packets with this one (RFC 9001, section 5.2).
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

fn certified_key(identity: &Identity) -> Result<CertifiedKey, TlsError> {
    let mut private = Zeroizing::new([0; PKCS8_PREFIX.len() + 32]);
    let bytes = PKCS8_PREFIX.iter().chain(identity.seed());
    private.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(private.as_slice()))?;
    Ok(CertifiedKey::new(vec![CertificateDer::from(public_key_der(identity.name()))], key))
}

fn public_key_der(name: PeerName) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
