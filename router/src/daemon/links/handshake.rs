//! From a QUIC connection to an admitted link: the proofs over the exporter, then the hellos.
//!
//! ```text
//! dialler                               answerer
//!    | -- Proof(client) ------------------> |  wrong: close(WRONG_SECRET)
//!    | <------------------ Proof(server) -- |
//!    |    wrong: close(WRONG_SECRET)        |
//!    | -- Hello --------------------------> |
//!    | <------------------------- Hello --- |
//!    | <========= gossip frames ==========> |
//! ```
//!
//! Nothing of gossip is read or written before both proofs are checked.

use std::net::SocketAddr;
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use weft_crypto::{
    ADMISSION_EXPORTER_LABEL, Admission, DATA_EXPORTER_LABEL, EXPORTER_LEN, NoCommonSuite, Offer,
    PeerName, Proof, ReceiverIndex, RekeyTimes, Role, Secrets, SessionKeys, Suite, negotiate,
};
use zeroize::Zeroizing;

use super::frame::{self, FrameError, FrameType, MAX_BEFORE_ADMISSION};
use super::hello::Hello;

/// From the first packet to the hello, all of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// How long the hello to a peer without a common cipher may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a connection is closed, as QUIC application error codes. Frozen.
pub(in crate::daemon) mod close_code {
    use quinn::VarInt;

    /// The daemon stops.
    pub(in crate::daemon) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    /// The proof of the cluster secret is wrong.
    pub(in crate::daemon) const WRONG_SECRET: VarInt = VarInt::from_u32(1);
    /// There is a better connection between the two.
    pub(in crate::daemon) const DUPLICATE: VarInt = VarInt::from_u32(2);
    /// The node has as many connections as it may have.
    pub(in crate::daemon) const LIMIT: VarInt = VarInt::from_u32(3);
    /// The other side broke the protocol.
    pub(in crate::daemon) const PROTOCOL: VarInt = VarInt::from_u32(4);
    /// The operator dropped the target.
    pub(in crate::daemon) const FORGOTTEN: VarInt = VarInt::from_u32(5);
    /// The keys of the data path are too old and could not be changed.
    pub(in crate::daemon) const EXPIRED: VarInt = VarInt::from_u32(6);
}

/// What a node brings to every handshake.
pub(in crate::daemon) struct Local {
    /// Who it is.
    pub(in crate::daemon) name: PeerName,
    /// Drawn at random at each start.
    pub(in crate::daemon) boot_id: u64,
    /// What all members know, or two of it while the cluster changes it.
    pub(in crate::daemon) secrets: ArcSwap<Secrets>,
    /// The cipher suites of the data path.
    pub(in crate::daemon) offer: Offer,
    /// When keys of the data path are changed.
    pub(in crate::daemon) rekey: RekeyTimes,
}

/// A connection whose both ends have proved that they are of the cluster.
pub(super) struct Admitted {
    pub(super) peer: PeerName,
    pub(super) address: SocketAddr,
    pub(super) hello: Hello,
    pub(super) dial_number: u64,
    pub(super) receiver: ReceiverIndex,
    pub(super) role: Role,
    pub(super) suite: Suite,
    pub(super) keys: SessionKeys,
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

/// Why a handshake failed. The texts are shown in `weft status connections`.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("that address is this node itself")]
    Ourselves,
    #[error(
        "the cluster secret of {peer} differs from ours: give both nodes the same --secret-file"
    )]
    WrongSecret { peer: String },
    #[error("{peer} has as many connections as its --conn-limit allows")]
    Limit { peer: String },
    #[error("the peer has a better connection to us")]
    Duplicate,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Suite(#[from] NoCommonSuite),
    #[error("no valid identity: {0}")]
    Identity(weft_crypto::TlsError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Write(#[from] quinn::WriteError),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("cannot resolve {target}: {source}")]
    Resolve { target: String, source: std::io::Error },
    #[error("the name has no address")]
    NoAddress,
    #[error("cannot dial: {0}")]
    Dial(#[from] quinn::ConnectError),
}

impl HandshakeError {
    /// What the close of the other side means, where it is one of ours.
    pub(super) fn explain(self, peer: Option<PeerName>) -> Self {
        let code = match &self {
            Self::Connection(e)
            | Self::Frame(FrameError::Read(quinn::ReadError::ConnectionLost(e)))
            | Self::Write(quinn::WriteError::ConnectionLost(e)) => application_code(e),
            _ => None,
        };
        let who = || peer.map_or_else(|| "the peer".to_owned(), |p| p.short());
        match code {
            Some(close_code::WRONG_SECRET) => Self::WrongSecret { peer: who() },
            Some(close_code::LIMIT) => Self::Limit { peer: who() },
            Some(close_code::DUPLICATE) => Self::Duplicate,
            _ => self,
        }
    }
}

/// The code with which the other side closed the connection, if it did.
pub(super) fn application_code(error: &quinn::ConnectionError) -> Option<VarInt> {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

/// Who is at the other end, by its TLS key.
pub(super) fn peer_of(connection: &Connection) -> Result<PeerName, HandshakeError> {
    use rustls::pki_types::CertificateDer;
    let certificates = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(HandshakeError::Protocol("no key was presented"))?;
    weft_crypto::peer_name(&certificates).map_err(HandshakeError::Identity)
}

/// Carries out the handshake. On an error the connection has been closed with its code.
pub(super) async fn run(
    connection: Connection,
    role: Role,
    dial_number: u64,
    local: &Local,
) -> Result<Admitted, HandshakeError> {
    let result = admit(&connection, role, dial_number, local).await;
    if let Err(e) = &result {
        let code = match e {
            HandshakeError::WrongSecret { .. } => close_code::WRONG_SECRET,
            _ => close_code::PROTOCOL,
        };
        connection.close(code, b"");
    }
    result
}

async fn admit(
    connection: &Connection,
    role: Role,
    dial_number: u64,
    local: &Local,
) -> Result<Admitted, HandshakeError> {
    let peer = peer_of(connection)?;
    if peer == local.name {
        return Err(HandshakeError::Ourselves);
    }
    let (client, server) = match role {
        Role::Client => (local.name, peer),
        Role::Server => (peer, local.name),
    };
    let exporter = export(connection, ADMISSION_EXPORTER_LABEL)?;
    let secrets = local.secrets.load_full();
    let admissions: Vec<_> =
        secrets.iter().map(|secret| Admission::new(secret, &exporter, client, server)).collect();

    let (send, recv) = match role {
        Role::Client => {
            let (mut send, mut recv) = connection.open_bi().await?;
            // A proof of each secret: the answerer may know but one of them.
            let ours: Vec<u8> = admissions
                .iter()
                .flat_map(|admission| *admission.proof(Role::Client).as_bytes())
                .collect();
            frame::write(&mut send, FrameType::Proof, &ours).await?;
            verify(&mut recv, &admissions, Role::Server, peer).await?;
            (send, recv)
        }
        Role::Server => {
            let (mut send, mut recv) = connection.accept_bi().await?;
            let admission = verify(&mut recv, &admissions, Role::Client, peer).await?;
            let ours = admission.proof(Role::Server);
            frame::write(&mut send, FrameType::Proof, ours.as_bytes()).await?;
            (send, recv)
        }
    };
    greet(connection, role, dial_number, local, peer, send, recv).await
}

/// Reads proofs and answers by which of our secrets one of them is right.
async fn verify<'a>(
    recv: &mut RecvStream,
    admissions: &'a [Admission],
    by: Role,
    peer: PeerName,
) -> Result<&'a Admission, HandshakeError> {
    let (kind, body) = frame::read(recv, MAX_BEFORE_ADMISSION).await?;
    if kind != FrameType::Proof {
        return Err(HandshakeError::Protocol("a frame before the proof"));
    }
    // Only who dials has reason to prove several.
    let most = if by == Role::Client { Secrets::MAX } else { 1 };
    let (proofs, rest) = body.as_chunks::<32>();
    if !rest.is_empty() || proofs.is_empty() || proofs.len() > most {
        return Err(HandshakeError::Protocol("a proof of the wrong length"));
    }
    let is_right = |admission: &&Admission| {
        proofs.iter().any(|proof| admission.verify(by, &Proof::from_bytes(*proof)).is_ok())
    };
    admissions
        .iter()
        .find(is_right)
        .ok_or_else(|| HandshakeError::WrongSecret { peer: peer.short() })
}

async fn greet(
    connection: &Connection,
    role: Role,
    dial_number: u64,
    local: &Local,
    peer: PeerName,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<Admitted, HandshakeError> {
    let receiver = ReceiverIndex(u32::from_le_bytes(super::super::random()));
    let ours = Hello { boot_id: local.boot_id, dial_number, receiver, offer: local.offer };
    frame::write(&mut send, FrameType::Hello, &ours.encode()).await?;
    let (kind, body) = frame::read(&mut recv, MAX_BEFORE_ADMISSION).await?;
    let hello = match (kind, Hello::decode(&body)) {
        (FrameType::Hello, Some(hello)) => hello,
        _ => return Err(HandshakeError::Protocol("no hello after the proof")),
    };
    let suite = match negotiate(local.offer, hello.offer) {
        Ok(suite) => suite,
        Err(error) => {
            // What is under way would be lost with the connection, and the other side is to know why, too.
            let _ = send.finish();
            let _ = tokio::time::timeout(LAST_WORDS, send.stopped()).await;
            return Err(error.into());
        }
    };
    let keys = SessionKeys::derive(&*export(connection, DATA_EXPORTER_LABEL)?, role);
    Ok(Admitted {
        peer,
        address: super::canonical(connection.remote_address()),
        hello,
        // The same number on both ends: the dialler's.
        dial_number: if role == Role::Client { dial_number } else { hello.dial_number },
        receiver,
        role,
        suite,
        keys,
        connection: connection.clone(),
        send,
        recv,
    })
}

fn export(
    connection: &Connection,
    label: &[u8],
) -> Result<Zeroizing<[u8; EXPORTER_LEN]>, HandshakeError> {
    let mut bytes = Zeroizing::new([0; EXPORTER_LEN]);
    connection
        .export_keying_material(bytes.as_mut_slice(), label, b"")
        .map_err(|_| HandshakeError::Protocol("TLS exports no keys"))?;
    Ok(bytes)
}
