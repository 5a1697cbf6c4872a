//! The journal and its checkpoints: a file that grows by what changes, and now and then a new one that
//! begins where a checkpoint says all there is.
//!
//! | file | content |
//! |---|---|
//! | `checkpoint-N` | an [`envelope`]: all there was when journal N was begun |
//! | `journal-N` | what came after that, in [`frame`]s |
//!
//! The state is checkpoint N and the journals from N on, N being the highest that there is a sound
//! checkpoint of; without any checkpoint, the journals from 1 on. One generation more is kept than is
//! needed: where the newest checkpoint is damaged, the one before it and two journals say the same.
//!
//! A checkpoint is written beside the journal that it begins, and nothing waits for it: a crash before
//! it is there leaves the generation before with two journals. Journal N is begun only when all of
//! journal N - 1 is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weft_gossip::{Saved, Written};

use super::frame::{self, End, Entry};
use super::{Kind, StoreError, envelope};

const JOURNAL: &str = "journal-";
const CHECKPOINT: &str = "checkpoint-";

/// What the journal and its checkpoint say.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Recovered {
    /// What was written of each kind.
    pub(in crate::daemon) saved: BTreeMap<Kind, Saved>,
    /// What was wrong with the files and could be made good, for the operator.
    pub(in crate::daemon) notes: Vec<String>,
    /// Bytes of the journals that were read.
    pub(in crate::daemon) bytes: u64,
}

impl Recovered {
    fn take(&mut self, entries: Vec<Entry>) {
        for (kind, what) in entries {
            self.saved.entry(kind).or_default().write(what);
        }
    }
}

/// The journal that is written to.
#[derive(Debug)]
pub(in crate::daemon) struct Journal {
    dir: PathBuf,
    generation: u64,
    file: File,
    /// Where the next frame goes; what is behind is worth nothing.
    length: u64,
    /// The number of the next frame.
    number: u64,
}

impl Journal {
    /// Reads what there is, and opens the newest journal for writing; what a crash left unfinished at
    /// its end is cut off.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if something that was confirmed cannot be read any more.
    pub(super) fn recover(dir: &Path) -> Result<(Self, Recovered), StoreError> {
        let mut recovered = Recovered::default();
        let journals = generations(dir, JOURNAL)?;
        let base = base(dir, &journals, &mut recovered)?;
        let newest = journals.last().copied().unwrap_or(0).max(base).max(1);
        let mut open = None;
        for generation in base.max(1)..=newest {
            let path = dir.join(name(JOURNAL, generation));
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // On the first start there is nothing; later a journal is made before its checkpoint.
                Err(e) if e.kind() == io::ErrorKind::NotFound && base == 0 && newest == 1 => {
                    Vec::new()
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Err(damaged(dir, path, "it is missing, and newer files are there"));
                }
                Err(source) => return Err(StoreError::Io { action: "read", path, source }),
            };
            let parsed = frame::parse(generation, &bytes);
            match parsed.end {
                End::Whole => {}
                End::Torn(lost) if generation == newest => {
                    if parsed.sound > 0 {
                        recovered.notes.push(format!(
                            "{} ended with {lost} bytes of an entry that was never finished: a crash or a \
                             power failure cut it off before anything depended on it; it was dropped",
                            path.display()
                        ));
                    }
                }
                End::Torn(_) => {
                    return Err(damaged(dir, path, "it is cut short, and newer files are there"));
                }
                End::Damaged(0) => return Err(damaged(dir, path, "not a journal of this version")),
                End::Damaged(_) => {
                    return Err(damaged(
                        dir,
                        path,
                        "an entry in its middle does not match its checksum",
                    ));
                }
            }
            let mut number = 1;
            for body in parsed.bodies {
                let entries = frame::entries(body)
                    .ok_or_else(|| damaged(dir, path.clone(), "an entry is not of this version"))?;
                recovered.take(entries);
                number += 1;
            }
            recovered.bytes += bytes.len() as u64;
            open = Some((generation, parsed.sound, number));
        }
        let (generation, sound, number) =
            open.expect("invariant: the loop runs from 1 at most to 1 at least");
        let journal = Self::open(dir, generation, sound as u64, number).map_err(|source| {
            StoreError::Io { action: "open", path: dir.join(name(JOURNAL, generation)), source }
        })?;
        Ok((journal, recovered))
    }

    /// Opens a journal of which `length` bytes are sound, and makes it end there. Makes it if there is
    /// none.
    fn open(dir: &Path, generation: u64, length: u64, number: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join(name(JOURNAL, generation)))?;
        file.set_len(length)?;
        let mut journal = Self { dir: dir.to_path_buf(), generation, file, length, number };
        if length == 0 {
            journal.file.write_all_at(frame::HEADER, 0)?;
            journal.length = frame::HEADER.len() as u64;
        }
        journal.file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(journal)
    }

    /// Appends a frame. When this returns `Ok` it is on disk; else nothing of it counts, and the same
    /// or another one may be appended in its place.
    pub(super) fn append(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let result = self.try_append(body);
        let result = match result {
            // The generation before is a reserve, and this is what reserves are for.
            Err(e) if e.kind() == io::ErrorKind::StorageFull && self.give_up_reserve() => {
                self.try_append(body)
            }
            result => result,
        };
        result.map_err(|source| {
            // What is left of it would be taken for damage if a later frame came behind it, but that
            // goes in its place. Whether this succeeds makes no difference but to what is logged.
            let _ = self.file.set_len(self.length);
            StoreError::Io { action: "write", path: self.path(), source }
        })
    }

    fn try_append(&mut self, body: &[u8]) -> io::Result<()> {
        let frame = frame::frame(self.generation, self.number, body)
            .ok_or_else(|| io::Error::other("too much for one entry"))?;
        self.file.write_all_at(&frame, self.length)?;
        self.file.sync_data()?;
        self.length += frame.len() as u64;
        self.number += 1;
        Ok(())
    }

    /// Begins the next journal, and answers its generation: [`write_checkpoint`] is to follow.
    pub(super) fn rotate(&mut self) -> Result<u64, StoreError> {
        let generation = self.generation + 1;
        let next = Self::open(&self.dir, generation, 0, 1).map_err(|source| {
            let path = self.dir.join(name(JOURNAL, generation));
            // An empty journal that nobody writes to would do no harm, unless the old one is torn later.
            let _ = fs::remove_file(&path);
            StoreError::Io { action: "create", path, source }
        })?;
        *self = next;
        Ok(generation)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(name(JOURNAL, self.generation))
    }

    /// Removes what only stands in for a damaged checkpoint. Answers whether there was any.
    fn give_up_reserve(&self) -> bool {
        let newest = generations(&self.dir, CHECKPOINT).ok().and_then(|all| all.last().copied());
        newest.is_some_and(|newest| remove_before(&self.dir, newest))
    }
}

/// Writes all there was when the journal of that generation was begun, and removes what that makes
/// superfluous.
pub(super) fn write_checkpoint(
    dir: &Path,
    generation: u64,
    all: &[(Kind, Vec<u8>)],
) -> Result<(), StoreError> {
    let path = name(CHECKPOINT, generation);
    let mut body = Vec::new();
    for (kind, bytes) in all {
        frame::put_entry(&mut body, *kind, &Written::Snapshot(bytes.clone())).ok_or_else(|| {
            let source = io::Error::other("too much for one entry");
            StoreError::Io { action: "write", path: dir.join(&path), source }
        })?;
    }
    envelope::write(dir, &path, &body)?;
    let older = generations(dir, CHECKPOINT)?.into_iter().rev().find(|other| *other < generation);
    remove_before(dir, older.unwrap_or(0));
    Ok(())
}

/// The generation to begin with: that of the newest sound checkpoint, whose content is taken; 0 if
/// there is none and all journals are there.
fn base(
    dir: &Path,
    journals: &BTreeSet<u64>,
    recovered: &mut Recovered,
) -> Result<u64, StoreError> {
    let mut damage = None;
    for generation in generations(dir, CHECKPOINT)?.into_iter().rev() {
        let file = name(CHECKPOINT, generation);
        let outcome = match envelope::read(dir, &file) {
            Ok(body) => body
                .and_then(|body| frame::entries(&body))
                .ok_or_else(|| damaged(dir, dir.join(&file), "its content is not of this version")),
            Err(e @ StoreError::Io { .. }) => return Err(e),
            Err(e) => Err(e),
        };
        match outcome {
            Ok(entries) => {
                recovered.take(entries);
                recovered.notes.extend(damage.map(made_good));
                return Ok(generation);
            }
            Err(e) => damage = damage.or(Some(e)),
        }
    }
    match damage {
        Some(e) if !journals.contains(&1) => Err(e),
        damage => {
            recovered.notes.extend(damage.map(made_good));
            Ok(0)
        }
    }
}

fn made_good(damage: StoreError) -> String {
    match damage {
        StoreError::Damaged { path, what, .. } => format!(
            "{} is damaged ({what}): what came before it was used, and nothing is lost; check the disk",
            path.display()
        ),
        other => other.to_string(),
    }
}

fn damaged(dir: &Path, path: PathBuf, what: &'static str) -> StoreError {
    StoreError::Damaged { path, what, dir: dir.to_path_buf() }
}

/// Removes checkpoints and journals of generations before that one. Answers whether there were any.
fn remove_before(dir: &Path, generation: u64) -> bool {
    let mut any = false;
    for prefix in [CHECKPOINT, JOURNAL] {
        let all = generations(dir, prefix).unwrap_or_default();
        for old in all.into_iter().take_while(|other| *other < generation) {
            // One that cannot be removed is ignored at the next start, and tried again.
            any |= fs::remove_file(dir.join(name(prefix, old))).is_ok();
        }
    }
    any
}

fn name(prefix: &str, generation: u64) -> String {
    format!("{prefix}{generation:08}")
}

fn generations(dir: &Path, prefix: &str) -> Result<BTreeSet<u64>, StoreError> {
    let fail = |source| StoreError::Io { action: "read", path: dir.to_path_buf(), source };
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let file = entry.map_err(fail)?.file_name();
        let number = file.to_str().and_then(|file| file.strip_prefix(prefix));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}
