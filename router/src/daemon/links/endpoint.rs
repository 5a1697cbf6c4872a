//! The QUIC endpoint: one for all control connections, in and out.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use quinn::Runtime as _;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig};
use quinn_proto::HashedConnectionIdGenerator;
use weft_crypto::Identity;
use weft_dataplane::RelaySender;

use super::socket::{SharedWays, WaySocket};

/// Silence after which a control connection is given up. Three keep-alives may be lost.
const IDLE: Duration = Duration::from_secs(10);

/// How often an idle connection says that it lives.
const KEEP_ALIVE: Duration = Duration::from_millis(2500);

/// Why the endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The TLS configuration was refused by the library.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] weft_crypto::TlsError),
    /// The cipher suites do not include what QUIC's first packets need.
    #[error("cannot set up QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The socket could not be registered.
    #[error("cannot serve QUIC on the UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Makes the endpoint on a bound socket. Must be called inside the runtime that serves it.
pub(super) fn bind(
    socket: UdpSocket,
    ways: SharedWays,
    relay: RelaySender,
    identity: &Identity,
) -> Result<Endpoint, EndpointError> {
    let transport = Arc::new(transport());

    let tls = QuicServerConfig::try_from(weft_crypto::server_config(identity)?)?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(transport.clone())
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL)
        // Where a peer is the data path finds out, for both ends alike: a client follows no server (RFC 9000,
        // section 9).
        .migration(false);

    let tls = QuicClientConfig::try_from(weft_crypto::client_config(identity)?)?;
    let mut client = ClientConfig::new(Arc::new(tls));
    client.transport_config(transport);

    // Connection ids and reset tokens come from keys that outlive the process: a daemon that was
    // killed and started again answers packets of its former connections with a stateless reset
    // (RFC 9000, section 10.3), and its peers know at once, not after `IDLE`.
    let reset_key = Key::new(HMAC_SHA256, identity.local_key(b"quic reset")[..].as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let [a, b, c, d, e, f, g, h, ..] = *identity.local_key(b"quic connection id");
    let id_key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    // The bit tells QUIC from data packets on the shared port (RFC 9287 would let peers clear it).
    config.grease_quic_bit(false);
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = Arc::new(WaySocket::new(runtime.wrap_udp_socket(socket)?, ways, relay));
    let mut endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Callers whose first packet was not looked at yet, and what may be kept of what they send meanwhile, bytes: of one,
/// and of all. They are answered in microseconds; this is what a flood can make this node hold.
const MAX_INCOMING: usize = 1024;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL: u64 = 4 << 20;

/// Datagrams that wait for each connection's reader, or to be sent, bytes. What comes beyond takes the place of the
/// oldest; what goes waits in a queue of packets. So small that the stream has its turn among them.
const DATAGRAMS_IN: usize = 256 << 10;
const DATAGRAMS_OUT: usize = 64 << 10;

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).expect("invariant: ten seconds fit")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        // One stream carries everything; a peer has no use for more.
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .datagram_receive_buffer_size(Some(DATAGRAMS_IN))
        .datagram_send_buffer_size(DATAGRAMS_OUT);
    transport
}
