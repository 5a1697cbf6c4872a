//! A data directory on a disk that runs full.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Lab, PATIENCE, eventually};

/// Attaches that can still succeed: the last block of the journal has room for some.
const FIT: usize = 60;

/// A small file system, until it goes out of scope.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).expect("the lab's folder can be written");
        let options = "size=512k,mode=700";
        let mount = ["-t", "tmpfs", "-o", options, "weft-lab-disk"];
        let done = Command::new("mount").args(mount).arg(at).status().expect("mount starts");
        assert!(done.success(), "a tmpfs can be mounted: CAP_SYS_ADMIN");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since the daemon may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The containers that the daemon knows.
fn known(lab: &Lab) -> BTreeSet<String> {
    let rows = lab.ps(1).expect("the daemon answers");
    let rows = rows.as_array().expect("a list");
    rows.iter().filter_map(|row| row["container"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_full_disk_refuses_an_attach_and_loses_nothing() {
    let lab = Lab::up("fulldisk", 1);
    let disk = SmallDisk::mount(&lab.host_dir(1).join("data"));
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let (a, _) = (lab.pod(1, "a"), lab.pod(1, "b"));
    let ballast = disk.0.join("ballast");
    let full = fs::write(&ballast, vec![1; 1 << 20]).expect_err("it is a small disk");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    let refused = (0..FIT).map(|n| lab.lab(["pod", "1", &format!("more{n}")]));
    let refused = refused.into_iter().find(|attach| attach.code != 0).expect("one is refused");
    let said = &refused.stderr;
    assert!(said.contains("No space left on device") && said.contains("make room"), "{said}");
    let status = lab.status(1).expect("the daemon answers");
    assert!(status["warnings"].to_string().contains("nothing can be saved"), "{status}");
    let before = known(&lab);
    lab.await_ping(1, "b", &a);

    fs::remove_file(&ballast).expect("it is there");
    eventually("an attach succeeds", PATIENCE, || {
        let attach = lab.lab(["pod", "1", "new"]);
        if attach.code == 0 {
            return Ok(());
        }
        lab.lab(["unpod", "1", "new"]);
        Err(attach.stderr)
    });
    let after = known(&lab);
    assert!(after.is_superset(&before) && after.len() == before.len() + 1, "{before:?} {after:?}");
    lab.ok(["kill", "1", "-9"]);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    assert_eq!(known(&lab), after);
    lab.await_ping(1, "new", &a);
}
