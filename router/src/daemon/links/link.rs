//! One admitted connection: its reader, its writer, its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::Instant;
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
    deaf: Arc<AtomicBool>,
    /// The keys of the data path.
    pub(super) epochs: Epochs,
    /// The way of sealed packets into the connection.
    pub(super) tunnel: Tunnel,
    /// Set by whoever sends a long datagram to the peer.
    pub(super) size_used: Arc<AtomicBool>,
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
        let deaf = Arc::new(AtomicBool::new(false));
        tokio::spawn(read(id, recv, connection.clone(), shared.clone(), deaf.clone()));
        Self { connection, queue, deaf, epochs, tunnel, size_used: Arc::default() }
    }

    pub(super) fn send(&self, kind: FrameType, bytes: Bytes, counters: &Counters) {
        if self.queue.try_send((kind, bytes)).is_err() {
            Counters::add(&counters.queue_drops, 1);
        }
    }

    /// Reads gossip from here on, or passes it over.
    pub(super) fn listen(&self, listening: bool) {
        self.deaf.store(!listening, Ordering::Relaxed);
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

async fn read(
    id: LinkId,
    mut stream: RecvStream,
    connection: Connection,
    shared: Arc<Shared>,
    deaf: Arc<AtomicBool>,
) {
    let mut pace = Pace::default();
    let (reason, broken) = loop {
        let frame = frame::read(&mut stream, MAX_FRAME).await;
        if let Ok((_, bytes)) = &frame {
            pace.keep(bytes.len()).await;
        }
        match frame {
            Ok((FrameType::Gossip, _)) if deaf.load(Ordering::Relaxed) => {
                Counters::add(&shared.counters.messages_ignored, 1);
            }
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
            Ok((FrameType::Punch, _)) => {
                if shared.events.send(LinkEvent::Punch { id }).await.is_err() {
                    return;
                }
            }
            Ok((FrameType::Unknown(kind), _)) => {
                trace!(kind, "a frame of an unknown type");
                Counters::add(&shared.counters.unknown_frames, 1);
            }
            Ok((FrameType::Proof | FrameType::Hello, _)) => {
                connection.close(close_code::PROTOCOL, b"");
                break ("the peer repeated the handshake".to_owned(), true);
            }
            Err(e) => {
                connection.close(close_code::PROTOCOL, b"");
                break (describe(&e), matches!(e, FrameError::Length { .. }));
            }
        }
    };
    // The receiver is gone only when the daemon stops.
    let _ = shared.events.send(LinkEvent::Closed { id, reason, broken }).await;
}

/// What one peer may make this node read: far above what gossip needs, even at a start with much to catch up, and far
/// below what a core can check. Beyond it QUIC's flow control slows the peer down; nothing is lost.
const MESSAGE_TIME: Duration = Duration::from_millis(1);
const BYTES_PER_SECOND: u64 = 16 << 20;
const BURST: Duration = Duration::from_secs(2);

/// Keeps a peer to that pace (a leaky bucket, as the virtual scheduling algorithm of ITU-T I.371 has it).
struct Pace {
    /// When all that was read would have been read at the pace.
    due: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { due: Instant::now() }
    }
}

impl Pace {
    /// Waits until a message of that many bytes is within the pace.
    async fn keep(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let micros = bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND;
        let now = Instant::now();
        self.due = self.due.max(now) + MESSAGE_TIME + Duration::from_micros(micros);
        let ahead = self.due.saturating_duration_since(now);
        if let Some(wait) = ahead.checked_sub(BURST) {
            tokio::time::sleep(wait).await;
        }
    }
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
