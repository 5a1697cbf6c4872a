//! Handshakes in memory, between our own configurations and against peers that must not get through.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConnection, Error, HandshakeKind, NamedGroup, PeerIncompatible,
    ProtocolVersion, ServerConnection,
};

use super::*;
use crate::{ADMISSION_EXPORTER_LABEL, DATA_EXPORTER_LABEL};

#[test]
fn both_sides_learn_each_others_name_and_share_exporters() {
    let (alice, bob) = (identity(1), identity(2));

    let (client, server) =
        handshake(client_config(&alice).unwrap(), server_config(&bob).unwrap()).unwrap();

    assert_eq!(peer_name(client.peer_certificates().unwrap()), Ok(bob.name()));
    assert_eq!(peer_name(server.peer_certificates().unwrap()), Ok(alice.name()));
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    // The server name stays off the wire.
    assert_eq!(server.server_name(), None);

    let mut seen = std::collections::BTreeSet::new();
    for label in [ADMISSION_EXPORTER_LABEL, DATA_EXPORTER_LABEL] {
        let at_client = client.export_keying_material([0; 32], label, None).unwrap();
        let at_server = server.export_keying_material([0; 32], label, None).unwrap();
        assert_eq!(at_client, at_server);
        assert!(seen.insert(at_client), "labels must differ in output");
    }
}

#[test]
fn two_connections_export_different_keys_and_none_is_resumed() {
    let client = Arc::new(client_config(&identity(1)).unwrap());
    let server = Arc::new(server_config(&identity(2)).unwrap());
    let exported = |_| {
        let (client, server) = connect(Arc::clone(&client), Arc::clone(&server)).unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
        client.export_keying_material([0; 32], DATA_EXPORTER_LABEL, None).unwrap()
    };
    let [first, second] = [0, 1].map(exported);
    assert_ne!(first, second);
}

#[test]
fn a_peer_without_the_hybrid_group_is_served_with_x25519() {
    let mut old = provider();
    old.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut client = raw_key_client(old);
    client.alpn_protocols = vec![ALPN.to_vec()];

    let (client, _) = handshake(client, server_config(&identity(2)).unwrap()).unwrap();

    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519);
}

#[test]
fn a_peer_with_another_key_exchange_is_refused() {
    let mut other = provider();
    other.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1];
    let error = refused(raw_key_client(other), server_config(&identity(2)).unwrap());
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error:?}");
}

#[test]
fn another_application_protocol_is_refused() {
    let mut client = client_config(&identity(1)).unwrap();
    client.alpn_protocols = vec![b"weft/0".to_vec()];
    let error = refused(client, server_config(&identity(2)).unwrap());
    assert_eq!(error, Error::NoApplicationProtocol);
}

#[test]
fn a_client_without_a_key_is_refused() {
    let client = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_no_client_auth();
    let error = refused(client, server_config(&identity(2)).unwrap());
    assert!(
        matches!(error, Error::PeerIncompatible(_) | Error::NoCertificatesPresented),
        "{error:?}"
    );
}

#[test]
fn a_client_with_an_x509_certificate_is_refused() {
    let client = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(x509())));
    let error = refused(client, server_config(&identity(2)).unwrap());
    let expected = PeerIncompatible::IncorrectCertificateTypeExtension;
    assert_eq!(error, Error::PeerIncompatible(expected));
}

#[test]
fn a_server_with_an_x509_certificate_is_refused() {
    let server = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(x509())));
    let error = refused(client_config(&identity(1)).unwrap(), server);
    let alert = Error::AlertReceived(AlertDescription::UnsupportedCertificate);
    assert!(matches!(error, Error::PeerIncompatible(_)) || error == alert, "{error:?}");
}

#[test]
fn a_raw_key_of_another_algorithm_is_refused() {
    let (key, spki) = ecdsa();
    let key = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key));
    let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    client.alpn_protocols = vec![ALPN.to_vec()];
    let error = refused(client, server_config(&identity(2)).unwrap());
    // We offer Ed25519 alone, so the client finds nothing to sign with and shows no key.
    assert_eq!(error, Error::NoCertificatesPresented);
}

#[test]
fn a_peer_that_shows_anothers_key_is_refused() {
    let (mallory, bob) = (certified_key(&identity(3)).unwrap(), identity(2));
    let stolen = CertifiedKey::new(
        vec![CertificateDer::from(public_key_der(identity(1).name()))],
        mallory.key,
    );
    let mut client = raw_key_client(provider());
    client.client_auth_cert_resolver =
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(stolen)));
    client.alpn_protocols = vec![ALPN.to_vec()];
    let error = refused(client, server_config(&bob).unwrap());
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
}

#[test]
fn names_of_keys() {
    let name = identity(1).name();
    let good = CertificateDer::from(public_key_der(name));
    let with = |change: fn(&mut Vec<u8>)| {
        let mut der = good.to_vec();
        change(&mut der);
        peer_name(&[CertificateDer::from(der)])
    };

    assert_eq!(peer_name(std::slice::from_ref(&good)), Ok(name));
    assert_eq!(peer_name(&[]), Err(TlsError::KeyCount { count: 0 }));
    assert_eq!(peer_name(&[good.clone(), good.clone()]), Err(TlsError::KeyCount { count: 2 }));
    assert_eq!(with(Vec::clear), Err(TlsError::NotEd25519));
    assert_eq!(with(|der| der.push(0)), Err(TlsError::NotEd25519));
    assert_eq!(with(|der| der.truncate(43)), Err(TlsError::NotEd25519));
    // Ed448 in place of Ed25519.
    assert_eq!(with(|der| der[8] = 0x71), Err(TlsError::NotEd25519));
    // The neutral element, and a y that is on no point.
    let neutral = with(|der| der[12..].copy_from_slice(&[&[1], [0; 31].as_slice()].concat()));
    assert_eq!(neutral, Err(TlsError::UnusableKey));
    let off_curve = with(|der| der[12..].copy_from_slice(&[&[2], [0; 31].as_slice()].concat()));
    assert_eq!(off_curve, Err(TlsError::UnusableKey));
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed([seed; 32])
}

fn verifier() -> Arc<dyn ServerCertVerifier> {
    Arc::new(RawKeyVerifier::new(&provider()).unwrap())
}

/// A client of ours but for its provider.
fn raw_key_client(provider: CryptoProvider) -> ClientConfig {
    let key = Arc::new(certified_key(&identity(1)).unwrap());
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)))
}

/// Stands for an X.509 certificate: the refusal comes before anybody reads it.
fn x509() -> CertifiedKey {
    let key = certified_key(&identity(3)).unwrap().key;
    CertifiedKey::new(vec![CertificateDer::from(vec![0x30, 0x00])], key)
}

/// A P-256 key: any scalar will do.
fn ecdsa() -> (Arc<dyn rustls::sign::SigningKey>, Vec<u8>) {
    let mut der = vec![
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
        0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25,
        0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    der.extend([7; 32]);
    let key =
        aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()).into()).unwrap();
    let spki = key.public_key().unwrap().to_vec();
    (key, spki)
}

fn handshake(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(ClientConnection, ServerConnection), Error> {
    connect(Arc::new(client), Arc::new(server))
}

fn refused(client: ClientConfig, server: ServerConfig) -> Error {
    match handshake(client, server) {
        Ok(_) => panic!("the handshake went through"),
        Err(error) => error,
    }
}

/// Carries bytes to and fro until both sides are done, or one of them fails.
fn connect(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut to_server = wire.as_slice();
        while !to_server.is_empty() {
            server.read_tls(&mut to_server).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut to_client = wire.as_slice();
        while !to_client.is_empty() {
            client.read_tls(&mut to_client).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "the handshake hangs");
    Ok((client, server))
}
