//! The replay window: which packet counters of a session were already accepted.
//!
//! A ring of 64-bit blocks as in RFC 6479: moving forward clears whole blocks and never shifts, at the price of one
//! block that the window cannot use.

/// Blocks in the ring: a choice. 1 KiB for each session.
const BLOCKS: u8 = 128;
const BLOCK_BITS: u64 = 64;

/// How far back a counter may lie from the newest and still be accepted, in packets.
///
/// At a million packets a second, packets of one session may overtake each other by 8 ms.
pub const REPLAY_WINDOW: u64 = (BLOCKS as u64 - 1) * BLOCK_BITS;

/// Remembers the counters accepted from one sender under one key.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The highest counter accepted.
    newest: Option<u64>,
    /// One bit for each counter. Invariant: bits of counters above the newest within its block, and of blocks that
    /// the window has not reached, are zero or belong to counters older than the window.
    blocks: [u64; BLOCKS as usize],
}

impl ReplayWindow {
    /// A window that has seen nothing.
    pub fn new() -> Self {
        Self { newest: None, blocks: [0; BLOCKS as usize] }
    }

    /// Whether `counter` could still be accepted. Changes nothing; use it to skip decryption of what is stale.
    ///
    /// # Errors
    /// [`Replayed`], see there.
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        match self.newest {
            Some(newest) if counter <= newest => {
                if newest - counter >= REPLAY_WINDOW {
                    Err(Replayed::TooOld)
                } else if self.blocks[slot(counter)] & bit(counter) != 0 {
                    Err(Replayed::Duplicate)
                } else {
                    Ok(())
                }
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Records `counter`. Only for packets that were authenticated: a forged counter would push out honest ones.
    ///
    /// # Errors
    /// [`Replayed`] as from [`check`](Self::check); the window is unchanged and the packet is to be dropped.
    pub fn accept(&mut self, counter: u64) -> Result<(), Replayed> {
        self.check(counter)?;
        match self.newest {
            Some(newest) if counter > newest => {
                let entered = counter / BLOCK_BITS - newest / BLOCK_BITS;
                // After a full round every block is clear.
                for step in 1..=entered.min(u64::from(BLOCKS)) {
                    // Cannot overflow: at most the block of `counter`, times its bits at most `counter`.
                    self.blocks[slot((newest / BLOCK_BITS + step) * BLOCK_BITS)] = 0;
                }
                self.newest = Some(counter);
            }
            Some(_) => {}
            None => self.newest = Some(counter),
        }
        self.blocks[slot(counter)] |= bit(counter);
        Ok(())
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a counter is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replayed {
    /// This counter was accepted before.
    #[error("packet counter was accepted before")]
    Duplicate,
    /// The counter lies behind the window, so whether it was accepted is not known.
    #[error("packet counter lies behind the replay window")]
    TooOld,
}

/// The block of a counter. Always below [`BLOCKS`].
fn slot(counter: u64) -> usize {
    let [low, ..] = (counter / BLOCK_BITS).to_le_bytes();
    usize::from(low % BLOCKS)
}

fn bit(counter: u64) -> u64 {
    1 << (counter % BLOCK_BITS)
}

#[cfg(test)]
mod tests;
