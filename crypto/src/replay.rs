//! The replay window: which packet counters of a session were already accepted.
//!
//! A ring of blocks as in RFC 6479, which moves forward without shifting. Here each block also says for which round of
//! the ring its bits are, in one word with them. So a counter is taken by changing one word atomically, whoever else
//! does so at the time: many threads open packets of one session without a lock, and of all of them that hold the same
//! packet one is told that it is new.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::MAX_PACKETS;

/// How far back a counter may lie from the newest and still be accepted, in packets.
///
/// At a million packets a second, packets of one session may overtake each other by 8 ms.
pub const REPLAY_WINDOW: u64 = 8_128;

/// Blocks in the ring, of 8 bytes each: 4 KiB for a session.
const BLOCKS: usize = 512;
/// Counters to a block. What is left of a word is for the round: 48 bits, enough for all that a key may seal.
const BLOCK_BITS: u64 = 16;
/// Counters to a round of the ring.
const ROUND: u64 = BLOCKS as u64 * BLOCK_BITS;

const _: () = assert!(REPLAY_WINDOW <= ROUND - BLOCK_BITS, "a block of the window is not kept");
const _: () = assert!(MAX_PACKETS / ROUND + 1 < 1 << (64 - BLOCK_BITS), "rounds overflow");

/// Remembers the counters accepted from one sender under one key.
pub struct ReplayWindow {
    /// One more than the highest counter accepted.
    next: AtomicU64,
    /// In each word the round of the ring, counted from 1, above a bit for each counter; 0 is a block that was never
    /// used. The round of a block never goes back, and a bit is never cleared within a round: what was accepted is
    /// either remembered or of a round that is over.
    blocks: [AtomicU64; BLOCKS],
}

impl ReplayWindow {
    /// A window that has seen nothing.
    pub fn new() -> Self {
        Self { next: AtomicU64::new(0), blocks: [const { AtomicU64::new(0) }; BLOCKS] }
    }

    /// Whether `counter` could still be accepted. Changes nothing; use it to skip decryption of what is stale.
    ///
    /// # Errors
    /// [`Replayed`], see there.
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        let (block, mark) = self.place(counter)?;
        mark.on(block.load(Ordering::Relaxed)).map(|_| ())
    }

    /// Records `counter`. Only for packets that were authenticated: a forged counter would push out honest ones.
    ///
    /// # Errors
    /// [`Replayed`] as from [`check`](Self::check); the window is unchanged and the packet is to be dropped.
    pub fn accept(&self, counter: u64) -> Result<(), Replayed> {
        let (block, mark) = self.place(counter)?;
        // Relaxed: nothing but the word itself is handed over, and each change of it is seen by the next.
        let mut seen = block.load(Ordering::Relaxed);
        loop {
            let marked = mark.on(seen)?;
            match block.compare_exchange_weak(seen, marked, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(changed) => seen = changed,
            }
        }
        self.next.fetch_max(counter + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Where a counter is remembered, if it lies in the window or ahead of it.
    fn place(&self, counter: u64) -> Result<(&AtomicU64, Mark), Replayed> {
        // No key seals so many.
        if counter >= MAX_PACKETS || self.next.load(Ordering::Relaxed) > counter + REPLAY_WINDOW {
            return Err(Replayed::TooOld);
        }
        let at = usize::try_from(counter / BLOCK_BITS).unwrap_or(usize::MAX) % BLOCKS;
        let mark = Mark { round: counter / ROUND + 1, bit: 1 << (counter % BLOCK_BITS) };
        Ok((&self.blocks[at], mark))
    }
}

/// One counter in its block.
struct Mark {
    round: u64,
    bit: u64,
}

impl Mark {
    /// The block's word with the mark on it.
    fn on(&self, word: u64) -> Result<u64, Replayed> {
        match (word >> BLOCK_BITS).cmp(&self.round) {
            Less => Ok(self.round << BLOCK_BITS | self.bit),
            Equal if word & self.bit == 0 => Ok(word | self.bit),
            Equal => Err(Replayed::Duplicate),
            Greater => Err(Replayed::TooOld),
        }
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayWindow").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Why a counter is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replayed {
    /// This counter was accepted before.
    #[error("packet counter was accepted before")]
    Duplicate,
    /// The counter lies behind the window, so whether it was accepted is not known; or beyond what one key may seal.
    #[error("packet counter lies behind the replay window")]
    TooOld,
}

#[cfg(test)]
mod tests;
