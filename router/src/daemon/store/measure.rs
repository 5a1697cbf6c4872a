//! The journal alone, for the benchmark.

use std::path::Path;

use weft_gossip::Written;

use super::journal::{Journal, write_checkpoint};
use super::{Kind, StoreError, frame};

/// A journal that is written in the caller's thread, one frame and one sync per call.
#[derive(Debug)]
pub struct Disk {
    journal: Journal,
    /// Bytes of entries since the last checkpoint.
    grown: u64,
}

impl Disk {
    /// Opens the journal in a directory that is there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { journal: Journal::recover(dir)?.0, grown: 0 })
    }

    /// Appends what a gossip node wants written. Answers the bytes since the last checkpoint.
    ///
    /// # Errors
    /// The disk refuses. See [`StoreError`].
    pub fn write(&mut self, all: &[Written]) -> Result<u64, StoreError> {
        let mut body = Vec::new();
        for what in all {
            // What is too long for an entry is not what this measures.
            let _ = frame::put_entry(&mut body, Kind::Gossip, what);
        }
        self.journal.append(&body)?;
        self.grown += body.len() as u64;
        Ok(self.grown)
    }

    /// Begins a new journal behind a checkpoint of this content, and waits for both.
    ///
    /// # Errors
    /// The disk refuses. See [`StoreError`].
    pub fn checkpoint(&mut self, dir: &Path, all: Vec<u8>) -> Result<(), StoreError> {
        let generation = self.journal.rotate()?;
        self.grown = 0;
        write_checkpoint(dir, generation, &[(Kind::Gossip, all)])
    }
}
