//! The directory, and the journal on real files: killed at any time, damaged at any byte, and on a disk
//! that is full.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;

use weft_gossip::Written;

use super::*;

#[test]
fn identity_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let first = Store::open(&path).unwrap().identity().unwrap().name();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.identity().unwrap().name(), first);
    let mode = fs::metadata(path.join("identity")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn second_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked { .. })));
}

#[test]
fn damaged_identity_is_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.identity().unwrap();
    let path = dir.path().join("identity");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = store.identity().unwrap_err();
    assert!(error.to_string().contains("identity is damaged"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

fn append(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    frame::put_entry(&mut body, Kind::Gossip, &Written::Append(text.as_bytes().to_vec())).unwrap();
    body
}

/// All that was appended, the checkpoint first, as text.
fn said(recovered: &Recovered) -> Vec<String> {
    let Some(saved) = recovered.saved.get(&Kind::Gossip) else { return Vec::new() };
    let first = String::from_utf8(saved.snapshot.clone()).unwrap();
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let first = first.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    first.into_iter().chain(saved.appended.iter().map(text)).collect()
}

fn checkpoint(dir: &Path, generation: u64, words: &[String]) {
    let all = vec![(Kind::Gossip, words.join(" ").into_bytes())];
    journal::write_checkpoint(dir, generation, &all).unwrap();
}

/// A directory with two checkpoints and three words behind each; answers all words.
fn filled(dir: &Path) -> Vec<String> {
    let (mut journal, _) = Journal::recover(dir).unwrap();
    let mut words = Vec::new();
    for round in 0..3 {
        if round > 0 {
            let generation = journal.rotate().unwrap();
            checkpoint(dir, generation, &words);
        }
        for n in 0..3 {
            words.push(format!("w{round}{n}"));
            journal.append(&append(words.last().unwrap())).unwrap();
        }
    }
    words
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_appended_is_read_again_through_restarts_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let words = filled(dir.path());
    let (_, recovered) = Journal::recover(dir.path()).unwrap();
    assert_eq!(said(&recovered), words);
    assert!(recovered.notes.is_empty());
    assert_eq!(
        files(dir.path()),
        ["checkpoint-00000002", "checkpoint-00000003", "journal-00000002", "journal-00000003"]
    );
}

#[test]
fn a_crash_before_the_checkpoint_is_there_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let words = filled(dir.path());
    fs::remove_file(dir.path().join("checkpoint-00000003")).unwrap();
    assert_eq!(said(&Journal::recover(dir.path()).unwrap().1), words);
    // Nor before the new journal has anything in it.
    let mut journal = Journal::recover(dir.path()).unwrap().0;
    journal.rotate().unwrap();
    fs::write(dir.path().join("journal-00000004"), b"").unwrap();
    assert_eq!(said(&Journal::recover(dir.path()).unwrap().1), words);
}

#[test]
fn a_damaged_checkpoint_is_named_and_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let words = filled(dir.path());
    let path = dir.path().join("checkpoint-00000003");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_, recovered) = Journal::recover(dir.path()).unwrap();
    assert_eq!(said(&recovered), words);
    assert!(recovered.notes[0].contains("checkpoint-00000003 is damaged"), "{:?}", recovered.notes);
}

#[test]
fn a_torn_end_is_named_dropped_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let words = filled(dir.path());
    let path = dir.path().join("journal-00000003");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let (mut journal, recovered) = Journal::recover(dir.path()).unwrap();
    assert_eq!(said(&recovered), words[..8]);
    assert!(recovered.notes[0].contains("never finished"), "{:?}", recovered.notes);
    journal.append(&append("again")).unwrap();
    let (_, recovered) = Journal::recover(dir.path()).unwrap();
    assert_eq!((said(&recovered).len(), said(&recovered)[8].as_str()), (9, "again"));
    assert!(recovered.notes.is_empty());
}

#[test]
fn any_changed_byte_of_any_file_leaves_a_prefix_or_is_refused_by_name() {
    let original = tempfile::tempdir().unwrap();
    let words = filled(original.path());
    for file in files(original.path()) {
        let good = fs::read(original.path().join(&file)).unwrap();
        for at in 0..good.len() {
            let dir = tempfile::tempdir().unwrap();
            for other in files(original.path()) {
                fs::copy(original.path().join(&other), dir.path().join(&other)).unwrap();
            }
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(dir.path().join(&file), &bad).unwrap();
            match Journal::recover(dir.path()) {
                Ok((_, recovered)) => {
                    let said = said(&recovered);
                    assert!(words.starts_with(&said) && said.len() >= 8, "{file} {at}: {said:?}");
                    // Whatever is missing is named; the older files are not even read.
                    assert!(said == words || !recovered.notes.is_empty(), "{file} {at}");
                }
                Err(StoreError::Damaged { path, .. }) => {
                    assert!(path.ends_with(&file), "{file} {at}");
                    assert_eq!(fs::read(dir.path().join(&file)).unwrap(), bad, "it is kept");
                }
                Err(e) => panic!("{file} {at}: {e}"),
            }
        }
    }
}

#[test]
fn a_missing_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    fs::remove_file(dir.path().join("journal-00000003")).unwrap();
    assert!(matches!(Journal::recover(dir.path()), Err(StoreError::Damaged { .. })));
}

fn write(token: u64, text: &str) -> Write {
    Write { kind: Kind::Gossip, token, what: Written::Append(text.as_bytes().to_vec()) }
}

/// A writer, and what it reports.
fn writer(dir: &Path) -> (Store, Writer, mpsc::Receiver<Outcome>) {
    let store = Store::open(dir).unwrap();
    let (journal, _) = store.recover().unwrap();
    let (sender, outcomes) = mpsc::channel();
    let writer = Writer::start(&store, journal, move |outcome| drop(sender.send(outcome)));
    (store, writer, outcomes)
}

#[test]
fn what_is_no_journals_has_a_file_whatever_kind_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer, outcomes) = writer(dir.path());
    let files: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kind.in_journal()).collect();
    for kind in &files {
        let what = Written::Snapshot(format!("{kind:?}").into_bytes());
        writer.save(vec![Write { kind: *kind, token: 1, what }]);
    }
    writer.finish();
    assert_eq!(outcomes.iter().count(), files.len());
    for kind in files {
        assert_eq!(store.load(kind).unwrap(), Some(format!("{kind:?}").into_bytes()));
    }
}

#[test]
fn the_writer_keeps_order_reports_all_and_shares_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer, outcomes) = writer(dir.path());
    for token in 1..=200 {
        writer.save(vec![write(token, &token.to_string())]);
        if token == 100 {
            let all: Vec<String> = (1..=100).map(|n: u64| n.to_string()).collect();
            writer.checkpoint(vec![(Kind::Gossip, all.join(" ").into_bytes())]);
        }
        let bytes = token.to_string().into_bytes();
        let what = Written::Snapshot(bytes);
        writer.save(vec![Write { kind: Kind::Targets, token, what }]);
    }
    writer.finish();
    let mut newest: [u64; 2] = [0; 2];
    let mut syncs = 0;
    for outcome in outcomes {
        let Outcome::Saved(all) = outcome else { panic!("{outcome:?}") };
        for Saved { kind, token } in all {
            let place = usize::from(kind == Kind::Targets);
            assert!(token > newest[place]);
            newest[place] = token;
            syncs += 1 - place;
        }
    }
    assert_eq!(newest, [200, 200]);
    assert!(syncs < 200, "{syncs} syncs for 200 writes");
    let expected: Vec<String> = (1..=200).map(|n: u64| n.to_string()).collect();
    assert_eq!(said(&store.recover().unwrap().1), expected);
    assert_eq!(store.load_json::<u64>(Kind::Targets).unwrap(), Some(200));
    assert!(dir.path().join("checkpoint-00000002").exists());
}

struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // The namespace takes it along otherwise.
        let _ = nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A file system of 64 KiB, in a mount namespace of this thread's own. Needs root.
fn tiny_disk() -> TinyDisk {
    use nix::mount::{MsFlags, mount};
    let dir = tempfile::tempdir().unwrap();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .expect("a mount namespace can be made: CAP_SYS_ADMIN");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("CAP_SYS_ADMIN");
    mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
        .expect("tmpfs can be mounted");
    TinyDisk(dir)
}

#[test]
fn a_full_disk_fails_loses_nothing_and_goes_on_when_there_is_room() {
    let dir = tiny_disk();
    let ballast = dir.path().join("ballast");
    let (store, writer, outcomes) = writer(dir.path());
    writer.save(vec![write(1, "before")]);
    assert!(matches!(outcomes.recv().unwrap(), Outcome::Saved(_)));
    let _ = fs::write(&ballast, vec![1; 1 << 20]);
    let long = "x".repeat(8 << 10);
    writer.save(vec![write(2, &long)]);
    let Outcome::Failed { kind: Kind::Gossip, error } = outcomes.recv().unwrap() else {
        panic!("nothing was written")
    };
    assert!(error.to_string().contains("No space left"), "{error}");
    // Whoever starts from this disk finds what was confirmed, and no damage.
    assert_eq!(said(&store.recover().unwrap().1), ["before"]);
    writer.save(vec![write(3, "after")]);
    fs::remove_file(&ballast).unwrap();
    let saved = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Saved(all) => Some(all),
        Outcome::Failed { .. } => None,
    });
    assert_eq!(saved.unwrap(), [Saved { kind: Kind::Gossip, token: 3 }]);
    writer.finish();
    assert_eq!(said(&store.recover().unwrap().1), ["before", long.as_str(), "after"]);
}

#[test]
fn a_full_disk_costs_the_generation_before_first() {
    let dir = tiny_disk();
    let (mut journal, _) = Journal::recover(dir.path()).unwrap();
    let words: Vec<String> = (0..3).map(|n| format!("{n}{}", "x".repeat(12 << 10))).collect();
    for (word, generation) in words.iter().zip(2..) {
        journal.append(&append(word)).unwrap();
        assert_eq!(journal.rotate().unwrap(), generation);
        checkpoint(dir.path(), generation, &["all".to_owned()]);
    }
    let mut grown = 0;
    while journal.append(&append(&words[0])).is_ok() {
        grown += 1;
    }
    assert!(grown >= 3, "{grown}: only 28 KiB are left beside the generation before");
    assert!(!dir.path().join("checkpoint-00000003").exists());
    assert_eq!(said(&Journal::recover(dir.path()).unwrap().1).len(), 1 + grown);
}

/// Set in the process that is to be killed: where it writes.
const VICTIM: &str = "WEFT_TEST_STORE_VICTIM";

/// Writes numbers until it is killed, and prints each one that is confirmed. Does nothing unless
/// [`killed_at_any_time_it_loses_nothing_that_was_confirmed`] started it.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let (_store, writer, outcomes) = writer(Path::new(&dir));
    let first = said(&Journal::recover(Path::new(&dir)).unwrap().1).len() as u64;
    for token in first.. {
        writer.save(vec![write(token, &token.to_string())]);
        if token % 7 == 0 {
            let all: Vec<String> = (0..=token).map(|n| n.to_string()).collect();
            writer.checkpoint(vec![(Kind::Gossip, all.join(" ").into_bytes())]);
        }
        let Outcome::Saved(_) = outcomes.recv().unwrap() else { panic!("a write failed") };
        println!("confirmed {token}");
    }
}

#[test]
fn killed_at_any_time_it_loses_nothing_that_was_confirmed() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20_usize {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "daemon::store::tests::victim", "--nocapture"]);
        command.env(VICTIM, dir.path()).stdout(std::process::Stdio::piped()).process_group(0);
        let mut victim = command.spawn().unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let confirmed = |line: io::Result<String>| {
            line.unwrap().rsplit_once("confirmed ").map(|(_, n)| n.parse::<u64>().unwrap())
        };
        let mut last = lines.by_ref().filter_map(confirmed).nth(round * 2).unwrap();
        victim.kill().unwrap();
        last = lines.filter_map(confirmed).last().unwrap_or(last);
        victim.wait().unwrap();
        let said = said(&Journal::recover(dir.path()).unwrap().1);
        let expected: Vec<String> = (0..said.len()).map(|n| n.to_string()).collect();
        assert_eq!(said, expected);
        assert!(said.len() as u64 > last, "{} of {last}", said.len());
    }
}
