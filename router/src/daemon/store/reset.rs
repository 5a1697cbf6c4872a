//! Emptying the data directory, to begin anew under another identity.
//!
//! What is to be kept, and the new identity, are written to one file first. From that moment on the
//! reset has happened: whoever opens the directory after a crash finishes it. In no state are the old
//! identity and an empty ring together: numbers of grants would repeat.

use std::fs;
use std::io;

use weft_api::attach::Attachment;
use weft_crypto::{Identity, PeerName};

use super::journal::{Journal, write_checkpoint};
use super::{Kind, Store, StoreError, envelope};
use crate::daemon::engine::{SavedPeers, SavedTargets};

const NAME: &str = "reset";

/// What outlives a reset.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(in crate::daemon) struct Kept {
    /// Pods that are cut off, so that they can be detached.
    pub(in crate::daemon) attachments: Vec<Attachment>,
    pub(in crate::daemon) targets: Option<SavedTargets>,
    pub(in crate::daemon) peers: SavedPeers,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Reset {
    identity: [u8; 32],
    kept: Kept,
}

impl Store {
    /// Forgets everything but what is kept, and makes a new identity. Answers its name.
    ///
    /// # Errors
    /// The directory cannot be written. It is as before, or the next [`Store::open`] goes on with it.
    pub(in crate::daemon) fn reset(&self, kept: Kept) -> Result<PeerName, StoreError> {
        let identity = Identity::from_seed(crate::daemon::random());
        let reset = Reset { identity: *identity.seed(), kept };
        envelope::write(&self.dir, NAME, &json(&reset))?;
        self.finish_reset()?;
        Ok(identity.name())
    }

    /// Goes on with a reset that a crash interrupted, if there is one.
    pub(super) fn finish_reset(&self) -> Result<(), StoreError> {
        let Some(bytes) = envelope::read(&self.dir, NAME)? else { return Ok(()) };
        let Reset { identity, kept } =
            serde_json::from_slice(&bytes).map_err(|_| StoreError::Damaged {
                path: self.dir.join(NAME),
                what: "its JSON does not parse",
                dir: self.dir.clone(),
            })?;
        let fail = |source| StoreError::Io { action: "empty", path: self.dir.clone(), source };
        for entry in fs::read_dir(&self.dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let ours = entry.file_type().map_err(fail)?.is_file();
            if ours && entry.file_name() != NAME && entry.file_name() != "lock" {
                fs::remove_file(entry.path()).map_err(fail)?;
            }
        }
        envelope::write(&self.dir, "identity", &identity)?;
        envelope::write(&self.dir, Kind::Peers.file_name(), &json(&kept.peers))?;
        if let Some(targets) = &kept.targets {
            envelope::write(&self.dir, Kind::Targets.file_name(), &json(targets))?;
        }
        let generation = Journal::recover(&self.dir)?.0.rotate()?;
        let attachments = vec![(Kind::Attachments, json(&kept.attachments))];
        write_checkpoint(&self.dir, generation, &attachments)?;
        fs::remove_file(self.dir.join(NAME)).map_err(fail)?;
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(fail)
    }

    /// The name of the node whose directory this is; `None` if no node was ever started on it.
    pub(in crate::daemon) fn existing_name(&self) -> Result<Option<PeerName>, StoreError> {
        match fs::symlink_metadata(self.dir.join("identity")) {
            Ok(_) => self.identity().map(|identity| Some(identity.name())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                Err(StoreError::Io { action: "read", path: self.dir.join("identity"), source })
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: maps of strings and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weft_gossip::Written;

    use super::*;
    use crate::daemon::engine::read_attachments;
    use crate::daemon::store::frame;

    /// A journal with something of the former node in it.
    fn write_old(dir: &std::path::Path) {
        let mut body = Vec::new();
        frame::put_entry(&mut body, Kind::Gossip, &Written::Snapshot(b"old".to_vec())).unwrap();
        Journal::recover(dir).unwrap().0.append(&body).unwrap();
    }

    fn kept() -> Kept {
        let attachment = Attachment {
            container: "c1".to_owned(),
            fenced: Some("given up".to_owned()),
            ..Attachment::default()
        };
        let targets = BTreeSet::from(["h1:6783".to_owned()]);
        Kept {
            attachments: vec![attachment],
            targets: Some(SavedTargets { launch: targets.clone(), targets }),
            peers: SavedPeers::from([("ab".to_owned(), BTreeSet::new())]),
        }
    }

    fn check(store: &Store, former: PeerName, now: PeerName) {
        assert_ne!(store.identity().unwrap().name(), former);
        assert_eq!(store.identity().unwrap().name(), now);
        let (_, recovered) = store.recover().unwrap();
        assert!(!recovered.saved.contains_key(&Kind::Gossip));
        let attachments = read_attachments(&recovered.saved[&Kind::Attachments]).unwrap();
        assert_eq!(attachments, kept().attachments);
        let targets: Option<SavedTargets> = store.load_json(Kind::Targets).unwrap();
        assert_eq!(targets, kept().targets);
        let peers: Option<SavedPeers> = store.load_json(Kind::Peers).unwrap();
        assert_eq!(peers, Some(kept().peers));
        assert!(!store.dir().join(NAME).exists());
    }

    #[test]
    fn a_reset_keeps_what_it_is_told_and_forgets_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.existing_name().unwrap(), None);
        let former = store.identity().unwrap().name();
        assert_eq!(store.existing_name().unwrap(), Some(former));
        write_old(dir.path());
        let now = store.reset(kept()).unwrap();
        check(&store, former, now);
    }

    #[test]
    fn a_reset_that_was_cut_off_is_finished_by_whoever_opens_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let former = store.identity().unwrap().name();
        write_old(dir.path());
        let identity = Identity::from_seed([7; 32]);
        let reset = Reset { identity: *identity.seed(), kept: kept() };
        envelope::write(dir.path(), NAME, &json(&reset)).unwrap();
        // The identity is gone already, the rest is not.
        fs::remove_file(dir.path().join("identity")).unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        check(&store, former, identity.name());
    }
}
