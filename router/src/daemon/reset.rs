//! `weft reset` where no daemon runs: on the data directory alone.

use std::path::{Path, PathBuf};

use weft_api::attach::{Attachment, EXPOSED};
use weft_crypto::PeerName;

use super::engine::{given_up_text, name_some, read_attachments};
use super::store::{Kept, Kind, Store, StoreError};

/// Why a data directory is not reset. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing in it.
    #[error("there is no node's state in {0}: give the right directory with --data-dir")]
    NoState(PathBuf),
    /// Pods have addresses from this node.
    #[error(
        "{0} attached: delete them first, with the daemon running, or use --force, which leaves them \
         without addresses"
    )]
    Pods(String),
    /// It cannot be told whether there are any.
    #[error("{0}; nobody can tell which Pods are attached: use --force to go on all the same")]
    Unreadable(StoreError),
}

/// A data directory after its reset.
#[derive(Debug, Clone, Copy)]
pub struct OfflineReset {
    /// Whose it was, if that could be read.
    pub former: Option<PeerName>,
    /// Whose it is.
    pub name: PeerName,
}

/// Makes a data directory that of a new node. Targets are kept; Pods that the former one had are known
/// as cut off, so that they can be detached. What the former one owned is for `weft rmpeer` on another
/// node.
///
/// # Errors
/// See [`ResetError`].
pub fn reset_data_dir(dir: &Path, force: bool) -> Result<OfflineReset, ResetError> {
    if !dir.is_dir() {
        return Err(ResetError::NoState(dir.to_path_buf()));
    }
    let store = Store::open(dir)?;
    let former = match store.existing_name() {
        Ok(None) => return Err(ResetError::NoState(dir.to_path_buf())),
        Ok(name) => name,
        // Damage is a reason to begin anew.
        Err(StoreError::Damaged { .. }) => None,
        Err(e) => return Err(e.into()),
    };
    let mut attachments = match saved_attachments(&store) {
        Ok(attachments) => attachments,
        Err(StoreError::Damaged { .. }) if force => Vec::new(),
        Err(e @ StoreError::Damaged { .. }) => return Err(ResetError::Unreadable(e)),
        Err(e) => return Err(e.into()),
    };
    let pods = name_some(attachments.iter());
    if !force && !pods.is_empty() {
        return Err(ResetError::Pods(pods.join(", ")));
    }
    attachments.retain(|attachment| attachment.container != EXPOSED);
    for attachment in &mut attachments {
        let why = given_up_text(attachment);
        attachment.fenced.get_or_insert(why);
    }
    let kept = Kept {
        attachments,
        // Without them the node is told of its peers by its command line.
        targets: store.load_json(Kind::Targets).unwrap_or_default(),
        peers: store.load_json(Kind::Peers).ok().flatten().unwrap_or_default(),
    };
    Ok(OfflineReset { former, name: store.reset(kept)? })
}

fn saved_attachments(store: &Store) -> Result<Vec<Attachment>, StoreError> {
    let (_, mut recovered) = store.recover()?;
    let saved = recovered.saved.remove(&Kind::Attachments).unwrap_or_default();
    read_attachments(&saved).map_err(|_| store.unreadable(Kind::Attachments))
}
