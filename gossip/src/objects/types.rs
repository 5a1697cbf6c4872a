//! What objects and Pods look like from outside.

use std::{fmt, net::IpAddr, sync::Arc};

use bincode::{Decode, Encode};
use thiserror::Error;
use weft_crypto::PeerName;

use crate::limits::{
    MAX_OBJECT, MAX_OBJECT_BYTES, MAX_OBJECTS, MAX_POD_ADDRESSES, MAX_POD_ENTRIES, MAX_TEXT,
};

/// Which object one is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ObjectKey {
    /// What it is, such as `NetworkPolicy`.
    pub kind: String,
    /// The namespace it is in; empty where it is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// What no writer may use. The texts are printed on terminals.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.kind.is_empty() || self.name.is_empty() {
            return Err("an object without kind or name");
        }
        for text in [&self.kind, &self.namespace, &self.name] {
            check_text(text)?;
        }
        Ok(())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// When an object was written, on the hybrid logical clock: the writer's time of day, or what comes
/// right after the stamp that the write replaced, where that was not in the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch.
    pub millis: u64,
    /// Tells apart what was written in one millisecond.
    pub counter: u32,
}

impl Stamp {
    /// A stamp for what is written at `wall`, milliseconds since the Unix epoch, over `replaced`.
    pub(crate) fn next(wall: u64, replaced: Option<Self>) -> Self {
        match replaced {
            Some(Self { millis, counter }) if millis >= wall => match counter.checked_add(1) {
                Some(counter) => Self { millis, counter },
                None => Self { millis: millis.saturating_add(1), counter: 0 },
            },
            _ => Self { millis: wall, counter: 0 },
        }
    }
}

/// An object as the cluster holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// Which one.
    pub key: ObjectKey,
    /// What it says. Whoever wrote it may have written anything.
    pub body: Arc<[u8]>,
    /// When it was written.
    pub stamp: Stamp,
    /// Who wrote it.
    pub writer: PeerName,
}

/// Names a call of [`crate::Node::write_objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub(crate) u64);

/// Why objects were not written. None of them was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// The key cannot be one.
    #[error("{key}: {why}")]
    Key {
        /// The key.
        key: ObjectKey,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The body is over [`MAX_OBJECT`].
    #[error("{key} has {bytes} bytes, more than {MAX_OBJECT}: split it into several")]
    TooLong {
        /// Which object.
        key: ObjectKey,
        /// Its length.
        bytes: usize,
    },
    /// This node has written [`MAX_OBJECTS`] that still count.
    #[error(
        "this node holds {MAX_OBJECTS} objects of its own writing, deleted ones of the last days included: \
         write further ones on another node"
    )]
    TooMany,
    /// What this node has written would take more than [`MAX_OBJECT_BYTES`].
    #[error(
        "objects written on this node would take more than {MAX_OBJECT_BYTES} bytes: \
         write further ones on another node"
    )]
    NoRoom,
    /// The cluster's state as a whole is at its limit.
    #[error("the cluster's shared state is full: delete what is not needed first")]
    Full,
}

/// What policies need to know of a Pod, as the node that it runs on tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PodInfo {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels, ascending.
    pub labels: Vec<(String, String)>,
    /// The ports it names.
    pub ports: Vec<PodPort>,
    /// Its addresses. That they are the origin's to give is for the reader to check, by the ring.
    pub addresses: Vec<IpAddr>,
}

/// A port that a Pod names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PodPort {
    /// The name.
    pub name: String,
    /// The number of the protocol in IP: 6 for TCP, 17 for UDP, 132 for SCTP.
    pub protocol: u8,
    /// The number of the port.
    pub number: u16,
}

/// A Pod of another node that came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodChange {
    /// The node that tells of it.
    pub node: PeerName,
    /// The number that the node has for it, which stays the same while the Pod lives.
    pub slot: u16,
    /// What it is, with those of its addresses that are believed; `None` where it is gone.
    pub pod: Option<PodInfo>,
}

impl PodInfo {
    /// Whether a node may say this of a Pod.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        check_text(&self.namespace)?;
        check_text(&self.name)?;
        if self.labels.len() > MAX_POD_ENTRIES || self.ports.len() > MAX_POD_ENTRIES {
            return Err("too many labels or ports");
        }
        if self.addresses.len() > MAX_POD_ADDRESSES {
            return Err("too many addresses");
        }
        if !self.labels.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("labels out of order");
        }
        let labels = self.labels.iter().flat_map(|(key, value)| [key, value]);
        labels.chain(self.ports.iter().map(|port| &port.name)).try_for_each(|text| check_text(text))
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    // A label's key may have 253 bytes before its slash and 63 after it.
    if text.len() > MAX_TEXT + 64 {
        return Err("text too long");
    }
    if text.chars().any(char::is_control) {
        return Err("control characters");
    }
    Ok(())
}
