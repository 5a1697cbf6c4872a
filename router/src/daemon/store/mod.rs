//! The data directory: what must survive the daemon's death.
//!
//! | file | content | written |
//! |---|---|---|
//! | `lock` | nothing; held while a daemon runs | at start |
//! | `identity` | the seed of the Ed25519 key, mode 0600 | once |
//! | `checkpoint-N`, `journal-N` | the gossip node (ring space, allocations, versions) and the Pods' interfaces | before anything that depends on it is sent or answered |
//! | `targets` | the targets, JSON | before a `connect` is answered |
//! | `heard` | policies, namespaces and Pods that other nodes told of | some time after they did |
//! | `kubernetes` | what the Kubernetes API told of namespaces, policies and this node's Pods, and which peers its Nodes named, JSON | some time after it did |
//! | `peers` | where the other members were seen last, JSON | when that changes |
//! | `reset` | what a reset keeps, and the new identity; gone when the reset is finished | before anything is forgotten |
//!
//! `identity`, `targets`, `kubernetes`, `peers` and checkpoints are [`envelope`]s: a header with a checksum, then the
//! content. They are replaced as a whole: written beside, fsynced, renamed, and the directory fsynced.
//! A crash at any moment leaves the old content or the new.
//!
//! What changes often goes into the [`journal`]: an allocation costs one append and one sync there,
//! however many addresses are held, and those that come while it syncs share the next one. An address
//! and the interface that it is for are appended in one frame, so either both are there after a crash or
//! neither. Whoever was not answered asks again, or detaches.
//!
//! A full disk refuses what asks for addresses, and loses nothing: what could not be written is kept in
//! memory, in order, and tried again each second.

mod envelope;
mod frame;
mod journal;
mod measure;
mod reset;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use weft_crypto::Identity;

pub(super) use journal::{Journal, Recovered};
pub use measure::Disk;
pub(super) use reset::Kept;
pub(super) use writer::{Outcome, Saved, Write, Writer};

/// What went wrong with the data directory. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory belongs to somebody else.
    #[error(
        "data directory {path} is owned by uid {owner}, the daemon runs as uid {us}: use another --data-dir or chown it"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who the daemon runs as.
        us: u32,
    },
    /// Another daemon uses the directory.
    #[error("data directory {path} is in use by another weft: stop it or use another --data-dir")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error(
        "{path} is damaged ({what}): run `weft reset --force --data-dir {dir}` to start as a new node, and `weft rmpeer` with the former name on another one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// The directory it stands in.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What the daemon writes while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The gossip node.
    Gossip,
    /// The Pods' interfaces.
    Attachments,
    /// The targets.
    Targets,
    /// Where the other members were seen last.
    Peers,
    /// What other nodes told of policies, namespaces and Pods.
    Heard,
    /// What the Kubernetes API told.
    Kubernetes,
}

impl Kind {
    /// All of them.
    const ALL: [Self; 6] = [
        Self::Gossip,
        Self::Attachments,
        Self::Targets,
        Self::Peers,
        Self::Heard,
        Self::Kubernetes,
    ];

    /// Whether it goes into the journal; else it has a file of its own, replaced as a whole.
    pub(super) fn in_journal(self) -> bool {
        matches!(self, Self::Gossip | Self::Attachments)
    }

    /// The name of its file in the directory, if it has one, and of its kind there and in logs.
    fn file_name(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Attachments => "attachments",
            Self::Targets => "targets",
            Self::Peers => "peers",
            Self::Heard => "heard",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// How it is called in the journal.
    fn code(self) -> u8 {
        match self {
            Self::Gossip => 1,
            Self::Attachments => 2,
            Self::Targets => 3,
            Self::Peers => 4,
            Self::Heard => 5,
            Self::Kubernetes => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// An open data directory. Holds its lock until dropped.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// Opens the directory, makes it (mode 0700) where it is missing, and takes its lock.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let fail = |action, path: &Path, source| StoreError::Io {
            action,
            path: path.to_path_buf(),
            source,
        };
        if !dir.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|e| fail("create", dir, e))?;
        }
        let owner = fs::metadata(dir).map_err(|e| fail("read", dir, e))?.uid();
        let us = nix::unistd::geteuid().as_raw();
        if owner != us {
            return Err(StoreError::Owner { path: dir.to_path_buf(), owner, us });
        }
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| fail("open", &path, e))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StoreError::Locked { path: dir.to_path_buf() })?;
        let store = Self { dir: dir.to_path_buf(), _lock: lock };
        store.finish_reset()?;
        Ok(store)
    }

    /// The node's identity; on the first start a new one, on disk before this returns.
    pub(super) fn identity(&self) -> Result<Identity, StoreError> {
        const NAME: &str = "identity";
        if let Some(bytes) = envelope::read(&self.dir, NAME)? {
            let seed: [u8; 32] = bytes.try_into().map_err(|_| StoreError::Damaged {
                path: self.dir.join(NAME),
                what: "not a 32-byte seed",
                dir: self.dir.clone(),
            })?;
            return Ok(Identity::from_seed(seed));
        }
        let identity = Identity::from_seed(super::random());
        envelope::write(&self.dir, NAME, identity.seed())?;
        Ok(identity)
    }

    /// What the journal and its checkpoint say, and the journal to go on with.
    pub(super) fn recover(&self) -> Result<(Journal, Recovered), StoreError> {
        Journal::recover(&self.dir)
    }

    /// What the file of a kind held when it was last written; `None` before that.
    pub(super) fn load(&self, kind: Kind) -> Result<Option<Vec<u8>>, StoreError> {
        envelope::read(&self.dir, kind.file_name())
    }

    /// As [`Store::load`], decoded from JSON.
    pub(super) fn load_json<T: serde::de::DeserializeOwned>(
        &self,
        kind: Kind,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.load(kind)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| self.unreadable(kind))
    }

    /// What was saved of a kind is sound and yet cannot be read.
    pub(super) fn unreadable(&self, kind: Kind) -> StoreError {
        StoreError::Damaged {
            path: self.dir.join(if kind.in_journal() { "journal" } else { kind.file_name() }),
            what: "its JSON does not parse",
            dir: self.dir.clone(),
        }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}
