//! Why wiring failed.

use std::io;
use std::path::PathBuf;

/// Why wiring failed. After an error of [`super::attach()`] nothing that it made is left, but for
/// [`WireError::NotUndone`].
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The path is not a network namespace, or may not be opened.
    #[error("cannot enter the network namespace {}: {source}", .netns.display())]
    Namespace {
        /// The path.
        netns: PathBuf,
        /// What opening or entering it said.
        source: io::Error,
    },
    /// The path is the caller's own namespace, where a Pod's interface has no place.
    #[error("{} is the namespace of the host, not of a Pod", .netns.display())]
    OwnNamespace {
        /// The path.
        netns: PathBuf,
    },
    /// The Pod has an interface of that name. Nothing was changed.
    #[error("interface \"{ifname}\" exists already in {}", .netns.display())]
    InterfaceExists {
        /// The interface.
        ifname: String,
        /// The Pod's namespace.
        netns: PathBuf,
    },
    /// The host's end is left over from an attachment with the same key whose Pod's end is in
    /// another namespace. Nothing was changed.
    #[error("interface \"{name}\" exists already on the host: detach the container first")]
    HostInterfaceExists {
        /// The host's end.
        name: String,
    },
    /// There is no such bridge. Nothing was changed.
    #[error("bridge \"{bridge}\" does not exist: is `weft launch` running?")]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
    /// A check found something missing or different.
    #[error("{0}")]
    Missing(String),
    /// The plan asks for what no interface can have. Nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The kernel refused a step.
    #[error("cannot {step}: {source}")]
    Kernel {
        /// The step, as in "cannot {step}".
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step failed, and then so did removing what the steps before it had made.
    #[error("{cause}; then, removing interface \"{host_ifname}\" failed too: {undo}")]
    NotUndone {
        /// Why the wiring failed.
        cause: Box<WireError>,
        /// What is left on the host.
        host_ifname: String,
        /// Why it could not be removed.
        undo: Box<WireError>,
    },
}
