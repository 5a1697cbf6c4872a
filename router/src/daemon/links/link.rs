//! One admitted connection: its reader, its writer, its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tracing::trace;
use weft_crypto::{Epochs, Indices};
use weft_dataplane::Tunnel;

use super::super::random;
use super::frame::{self, FrameError, FrameType, MAX_FRAME};
use super::handshake::{Admitted, application_code, close_code};
use super::{Counters, LinkEvent, LinkId, Shared, tunnel};

/// Messages that wait for a peer that does not read. A gossip round is a few messages; what is
/// dropped beyond that, anti-entropy brings later.
const QUEUE: usize = 256;

/// A live link. Dropping it without [`Link::close`] leaves the connection to its idle timeout.
pub(super) struct Link {
    connection: Connection,
    queue: mpsc::Sender<(FrameType, Bytes)>,
    /// The keys of the data path.
    pub(super) epochs: Epochs,
    /// The way of sealed packets into the connection.
    pub(super) tunnel: Tunnel,
}

impl Link {
    /// Starts its tasks. Exactly one [`LinkEvent::Closed`] follows, unless it is closed here.
    pub(super) fn start(
        id: LinkId,
        admitted: Admitted,
        shared: &Arc<Shared>,
        now: Duration,
    ) -> Self {
        let Admitted { hello, receiver, role, suite, keys, connection, send, recv, .. } = admitted;
        let indices = Indices { ours: receiver, theirs: hello.receiver };
        let jitter = u16::from_le_bytes(random());
        let epochs = Epochs::new(&keys, role, suite, indices, shared.local.rekey, jitter, now);
        let (queue, messages) = mpsc::channel(QUEUE);
        tokio::spawn(write(send, messages, shared.counters.clone()));
        let tunnel = tunnel::start(&connection, shared.receiver.clone());
        tokio::spawn(read(id, recv, connection.clone(), shared.clone()));
        Self { connection, queue, epochs, tunnel }
    }

    pub(super) fn send(&self, kind: FrameType, bytes: Bytes, counters: &Counters) {
        if self.queue.try_send((kind, bytes)).is_err() {
            Counters::add(&counters.queue_drops, 1);
        }
    }

    pub(super) fn close(self, code: VarInt) {
        self.connection.close(code, b"");
    }

    /// Where the connection leads, in the form that QUIC knows.
    pub(super) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(super) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }
}

async fn write(
    mut stream: SendStream,
    mut messages: mpsc::Receiver<(FrameType, Bytes)>,
    counters: Arc<Counters>,
) {
    while let Some((kind, message)) = messages.recv().await {
        let length = message.len();
        // The reader reports the end of the connection, with its reason.
        if frame::write(&mut stream, kind, &message).await.is_err() {
            return;
        }
        if kind == FrameType::Gossip {
            Counters::add(&counters.messages_out, 1);
            Counters::add(&counters.bytes_out, length);
        }
    }
}

async fn read(id: LinkId, mut stream: RecvStream, connection: Connection, shared: Arc<Shared>) {
    let reason = loop {
        match frame::read(&mut stream, MAX_FRAME).await {
            Ok((FrameType::Gossip, bytes)) => {
                Counters::add(&shared.counters.messages_in, 1);
                Counters::add(&shared.counters.bytes_in, bytes.len());
                if shared.events.send(LinkEvent::Message { id, bytes }).await.is_err() {
                    return;
                }
            }
            Ok((FrameType::Rekey, bytes)) => {
                if shared.events.send(LinkEvent::Rekey { id, bytes }).await.is_err() {
                    return;
                }
            }
            Ok((FrameType::Unknown(kind), _)) => {
                trace!(kind, "a frame of an unknown type");
                Counters::add(&shared.counters.unknown_frames, 1);
            }
            Ok((FrameType::Proof | FrameType::Hello, _)) => {
                connection.close(close_code::PROTOCOL, b"");
                break "the peer repeated the handshake".to_owned();
            }
            Err(e) => {
                connection.close(close_code::PROTOCOL, b"");
                break describe(&e);
            }
        }
    };
    // The receiver is gone only when the daemon stops.
    let _ = shared.events.send(LinkEvent::Closed { id, reason }).await;
}

fn describe(error: &FrameError) -> String {
    let code = match error {
        FrameError::Read(quinn::ReadError::ConnectionLost(e)) => application_code(e),
        _ => None,
    };
    match code {
        Some(close_code::SHUTDOWN) => "the peer stopped".into(),
        Some(close_code::DUPLICATE) => "the peer has a better connection to us".into(),
        Some(close_code::FORGOTTEN) => "the peer's operator dropped us".into(),
        Some(close_code::EXPIRED) => "the peer could not change the keys with us".into(),
        Some(close_code::LIMIT) => "the peer has reached its --conn-limit".into(),
        _ => error.to_string(),
    }
}
