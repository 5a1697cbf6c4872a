//! Sessions: the keys that two nodes seal their data packets with, one for each direction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::aead::{self, Aead, KEY_LEN, OpenError, nonce};
use crate::packet::{HEADER_LEN, Header, MAX_PACKET_LEN, MAX_PACKETS, ReceiverIndex, TAG_LEN};
use crate::{HeaderError, ReplayWindow, Role, Suite};

/// The TLS exporter label (RFC 8446, section 7.5) whose output [`SessionKeys::derive`] takes. Its context is empty.
pub const DATA_EXPORTER_LABEL: &[u8] = b"EXPORTER-weft/1 data";

const EXTRACT_SALT: &[u8] = b"weft/1 data keys";
const CLIENT_TO_SERVER: &[u8] = b"client to server";
const SERVER_TO_CLIENT: &[u8] = b"server to client";
const NEXT_EPOCH: &[u8] = b"next epoch";

/// The keys of one session. Erased from memory when dropped.
///
/// Derive them **once** for each connection: a second derivation from the same exporter output would count from zero
/// again under the same key. All sealers of one `SessionKeys` share one counter, so making several is safe.
#[derive(ZeroizeOnDrop)]
pub struct SessionKeys {
    sending: Zeroizing<[u8; KEY_LEN]>,
    receiving: Zeroizing<[u8; KEY_LEN]>,
    /// What the keys of the next epoch come from, with a fresh exchange.
    chain: Zeroizing<[u8; KEY_LEN]>,
    #[zeroize(skip)]
    counts: Arc<Counts>,
}

/// What was sealed under one key.
#[derive(Default)]
struct Counts {
    /// The next counter.
    next: AtomicU64,
    /// How many of them went into packets that keep the session up, not to use.
    upkeep: AtomicU64,
}

impl SessionKeys {
    /// Derives both directions' secrets from the exporter output under [`DATA_EXPORTER_LABEL`], by HKDF-SHA256
    /// (RFC 5869). `role` is our own side of the connection.
    pub fn derive(exported: &[u8; 32], role: Role) -> Self {
        Self::expand(&Hkdf::new(Some(EXTRACT_SALT), exported), role)
    }

    /// The keys of the next epoch: of a chain secret, which ties them to all epochs before, and of `fresh`, what an
    /// exchange of new keys yielded. `role` is our own side of the connection.
    pub(crate) fn next(chain: &Zeroizing<[u8; KEY_LEN]>, fresh: &[u8], role: Role) -> Self {
        Self::expand(&Hkdf::new(Some(chain.as_slice()), fresh), role)
    }

    /// What [`SessionKeys::next`] takes.
    pub(crate) fn chain(&self) -> Zeroizing<[u8; KEY_LEN]> {
        self.chain.clone()
    }

    fn expand(keys: &Hkdf<Sha256>, role: Role) -> Self {
        let (sending, receiving) = match role {
            Role::Client => (CLIENT_TO_SERVER, SERVER_TO_CLIENT),
            Role::Server => (SERVER_TO_CLIENT, CLIENT_TO_SERVER),
        };
        Self {
            sending: expand(keys, sending),
            receiving: expand(keys, receiving),
            chain: expand(keys, NEXT_EPOCH),
            counts: Arc::default(),
        }
    }

    /// What seals our packets to the peer, which wants to see the index `to` in them.
    pub fn sealer(&self, to: ReceiverIndex, suite: Suite) -> Sealer {
        Sealer { aead: keyed(&self.sending, suite), to, counts: Arc::clone(&self.counts) }
    }

    /// What opens the peer's packets to us.
    pub fn opener(&self, suite: Suite) -> Opener {
        Opener { aead: keyed(&self.receiving, suite), replay: ReplayWindow::new() }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// Seals packets of one session in one direction. Workers may share it: each packet gets a counter of its own.
pub struct Sealer {
    aead: Box<dyn Aead>,
    to: ReceiverIndex,
    /// Shared with every other sealer under the same key.
    counts: Arc<Counts>,
}

impl Sealer {
    /// Seals one packet in place and returns its counter.
    ///
    /// On entry `packet` is [`HEADER_LEN`] bytes of any content, the plaintext, and [`TAG_LEN`] bytes of any content;
    /// on success it is the packet to send.
    ///
    /// # Errors
    /// [`SealError`]; `packet` is then unchanged and must not be sent.
    pub fn seal(&self, packet: &mut [u8]) -> Result<u64, SealError> {
        let len = packet.len();
        if len > MAX_PACKET_LEN {
            return Err(SealError::TooLong { len });
        }
        let too_short = SealError::TooShort { len };
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>().ok_or(too_short)?;
        let (buffer, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(too_short)?;
        let counter = self.next_counter()?;
        *header = Header { receiver: self.to, counter }.encode();
        *tag = self.aead.seal(nonce(counter), header, buffer);
        Ok(counter)
    }

    /// [`Self::seal`] for a packet that keeps the session up, such as a probe: it does not count as use of the keys.
    ///
    /// # Errors
    /// [`SealError`], as there.
    pub fn seal_upkeep(&self, packet: &mut [u8]) -> Result<u64, SealError> {
        let counter = self.seal(packet)?;
        self.counts.upkeep.fetch_add(1, Ordering::Relaxed);
        Ok(counter)
    }

    /// Seals one packet whose plaintext is the `parts` one after the other; returns its counter and the packet, the
    /// start of `out`.
    ///
    /// For plaintext that lies elsewhere, such as a segment of a larger frame behind a header of its own; it is copied
    /// once.
    ///
    /// # Errors
    /// [`SealError`]; nothing must be sent.
    pub fn seal_into<'a>(
        &self,
        parts: &[&[u8]],
        out: &'a mut [u8],
    ) -> Result<(u64, &'a mut [u8]), SealError> {
        let plaintext = parts.iter().fold(0_usize, |len, part| len.saturating_add(part.len()));
        let needed = plaintext.saturating_add(HEADER_LEN + TAG_LEN);
        if needed > MAX_PACKET_LEN {
            return Err(SealError::TooLong { len: needed });
        }
        let too_short = SealError::TooShort { len: out.len() };
        let packet = out.get_mut(..needed).ok_or(too_short)?;
        let (_, mut room) = packet.split_at_mut_checked(HEADER_LEN).ok_or(too_short)?;
        for part in parts {
            let (to, rest) = room.split_at_mut_checked(part.len()).ok_or(too_short)?;
            to.copy_from_slice(part);
            room = rest;
        }
        let counter = self.seal(packet)?;
        Ok((counter, packet))
    }

    /// The index that the receiver sees in each packet.
    pub fn receiver(&self) -> ReceiverIndex {
        self.to
    }

    /// How many packets were sealed under this key, for deciding when to change it.
    pub fn sealed(&self) -> u64 {
        self.counts.next.load(Ordering::Relaxed).min(MAX_PACKETS)
    }

    /// Whether any packet was sealed but for those of [`Self::seal_upkeep`].
    pub fn is_used(&self) -> bool {
        self.sealed() > self.counts.upkeep.load(Ordering::Relaxed)
    }

    fn next_counter(&self) -> Result<u64, SealError> {
        // Relaxed: nothing but the number itself is handed over, and each addition yields another one.
        let counter = self.counts.next.fetch_add(1, Ordering::Relaxed);
        if counter < MAX_PACKETS {
            return Ok(counter);
        }
        // Keeps refusals from ever wrapping round to zero.
        self.counts.next.store(MAX_PACKETS, Ordering::Relaxed);
        Err(SealError::Exhausted)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("to", &self.to).finish_non_exhaustive()
    }
}

/// Opens packets of one session in one direction.
pub struct Opener {
    aead: Box<dyn Aead>,
    replay: ReplayWindow,
}

impl Opener {
    /// Authenticates and decrypts one packet in place; returns its counter and its plaintext, a part of `packet`.
    ///
    /// Replay is not checked here: pass the counter to [`ReplayWindow::accept`] of [`Self::replay`] before using the
    /// plaintext.
    ///
    /// # Errors
    /// [`OpenError`]; the content of `packet` is then of no use.
    pub fn open<'a>(&self, packet: &'a mut [u8]) -> Result<(u64, &'a mut [u8]), OpenError> {
        let too_short = HeaderError::TooShort { len: packet.len() };
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>().ok_or(too_short)?;
        let (buffer, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(too_short)?;
        let Header { receiver: _, counter } = Header::decode(header)?;
        self.aead.open(nonce(counter), header, buffer, tag)?;
        Ok((counter, buffer))
    }

    /// Which counters were accepted under this key. It lives as long as the key, whoever opens its packets.
    pub fn replay(&self) -> &ReplayWindow {
        &self.replay
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(..)")
    }
}

/// Why a packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No room for a header, the plaintext and a tag.
    #[error("buffer of {len} bytes has no room for a header, the plaintext and a tag")]
    TooShort {
        /// The buffer's length in bytes.
        len: usize,
    },
    /// Longer than [`MAX_PACKET_LEN`].
    #[error("packet of {len} bytes is longer than a datagram can be")]
    TooLong {
        /// The buffer's length in bytes.
        len: usize,
    },
    /// The key sealed 2^60 packets. The session needs new keys.
    #[error("session key is used up")]
    Exhausted,
}

/// One direction's cipher, in the library that is best for it.
fn keyed(secret: &Zeroizing<[u8; KEY_LEN]>, suite: Suite) -> Box<dyn Aead> {
    aead::with_key(suite, &suite_key(secret, suite))
}

/// One direction's secret under one suite, so that no key is ever used with two algorithms.
fn suite_key(secret: &Zeroizing<[u8; KEY_LEN]>, suite: Suite) -> Zeroizing<[u8; KEY_LEN]> {
    let keys = Hkdf::<Sha256>::from_prk(secret.as_slice())
        .expect("invariant: the secret is as long as a SHA-256 output");
    expand(&keys, suite.name().as_bytes())
}

fn expand(keys: &Hkdf<Sha256>, info: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    keys.expand(info, key.as_mut_slice())
        .expect("invariant: a key is shorter than 255 SHA-256 outputs");
    key
}

#[cfg(test)]
mod tests;
