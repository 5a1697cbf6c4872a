//! Network namespaces: opening one, and running code inside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace. The kernel keeps it alive while this value, a process, or a mount holds it.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// Opens the namespace that `path` stands for, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the path cannot be opened. A file that is no network namespace fails later, in [`Netns::run`].
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// Makes a fresh, nameless namespace; it vanishes with the last that holds it. Meant for tests.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn unshared() -> io::Result<Self> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?
    }

    /// Runs `work` on a thread of its own inside the namespace and returns what it returns.
    ///
    /// Sockets, devices and child processes made by `work` belong to the namespace for good; the calling
    /// thread does not move.
    ///
    /// # Errors
    /// When the thread cannot be started or may not enter (`CAP_SYS_ADMIN`), or when this is no network
    /// namespace; `work` has not run then.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_own_thread(|| {
            setns(self, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `work` on a fresh thread, so that a change of namespace ends with it.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("weft-netns".to_owned());
        let handle = thread.spawn_scoped(scope, work)?;
        Ok(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
