//! A Pod's network namespace, and doing something inside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::WireError;

/// An open network namespace. Holding it keeps the namespace alive.
#[derive(Debug)]
pub(super) struct Namespace {
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// [`WireError::Namespace`] if it cannot be opened, [`WireError::OwnNamespace`] if it is the
    /// one that the caller runs in. That it is a namespace at all shows on entering it.
    pub(super) fn open(path: &Path) -> Result<Self, WireError> {
        let failed = |source| WireError::Namespace { netns: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let theirs = file.metadata().map_err(failed)?;
        let ours = std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?;
        if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
            return Err(WireError::OwnNamespace { netns: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// The path it was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, for netlink messages that name a namespace by it. Valid while `self` lives.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `job` inside the namespace, on a thread of its own that ends with it: a thread of the
    /// caller's runtime that had once changed its namespace could not be trusted again. `job` may
    /// use the caller's runtime, for sockets that outlive it.
    ///
    /// # Errors
    /// [`WireError::Namespace`] if the namespace cannot be entered or `job` fails.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, WireError> {
        let failed = |source| WireError::Namespace { netns: self.path.clone(), source };
        let file = self.file.try_clone().map_err(failed)?;
        let runtime = tokio::runtime::Handle::current();
        let (done, outcome) = oneshot::channel();
        thread::Builder::new()
            .name("weft-netns".into())
            .spawn(move || {
                let result = setns(&file, CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| {
                        let _context = runtime.enter();
                        job()
                    });
                // The caller may have been dropped; then nobody wants the result.
                drop(done.send(result));
            })
            .map_err(failed)?;
        outcome
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside it died")))
            .map_err(failed)
    }
}
