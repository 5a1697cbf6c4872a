//! Answering: everybody may knock, few at a time are let into the hall.

use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;
use weft_crypto::Role;

use super::handshake::{self, HandshakeError};
use super::{Counters, LinkEvent, Shared, canonical};

/// Handshakes under way at once; one more is refused. A handshake costs a few signature checks and
/// some kilobytes, and 300 nodes that start together come back after a backoff.
const MAX_HANDSHAKES: usize = 64;

/// With this many under way, a caller must first show that it owns its address (a QUIC Retry).
const VALIDATE_ABOVE: usize = 16;

/// Answers until the endpoint is closed.
pub(super) async fn run(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    let hall = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        let under_way = MAX_HANDSHAKES - hall.available_permits();
        if under_way >= VALIDATE_ABOVE && incoming.may_retry() {
            // It can only fail for callers that may not retry.
            let _ = incoming.retry();
            Counters::add(&shared.counters.handshakes_validated, 1);
            continue;
        }
        match hall.clone().try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(answer(incoming, shared.clone(), permit));
            }
            Err(_) => {
                Counters::add(&shared.counters.handshakes_refused, 1);
                incoming.refuse();
            }
        }
    }
}

async fn answer(incoming: Incoming, shared: Arc<Shared>, permit: OwnedSemaphorePermit) {
    let address = canonical(incoming.remote_address());
    let handshake = async {
        let connection = incoming.await?;
        let peer = handshake::peer_of(&connection).ok();
        let result = handshake::run(connection, Role::Server, 0, &shared.local).await;
        Ok((peer, result.map_err(|e| e.explain(peer))))
    };
    let outcome: Result<_, HandshakeError> =
        match tokio::time::timeout(handshake::DEADLINE, handshake).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HandshakeError::TimedOut),
        };
    drop(permit);
    let event = match outcome {
        Ok((_, Ok(admitted))) => LinkEvent::Admitted(shared.new_link(admitted, None)),
        Ok((Some(peer), Err(HandshakeError::WrongSecret { .. }))) => {
            Counters::add(&shared.counters.admission_failures, 1);
            LinkEvent::Stranger { peer, address }
        }
        // Only after both have proved that they know the secret.
        Ok((Some(peer), Err(HandshakeError::Suite(e)))) => {
            LinkEvent::Mismatch { peer, address, why: e.to_string() }
        }
        Ok((_, Err(e))) | Err(e) => {
            Counters::add(&shared.counters.handshakes_failed, 1);
            debug!(%address, error = %e, "an incoming connection failed");
            return;
        }
    };
    // The receiver is gone only when the daemon stops.
    let _ = shared.events.send(event).await;
}
