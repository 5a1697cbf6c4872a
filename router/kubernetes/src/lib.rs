//! The Kubernetes API as a node of Weft needs it: nodes, namespaces, NetworkPolicies and this node's own Pods, watched;
//! and the few things that a node says there.
//!
//! The crate knows nothing of rings or rules. What it hears comes out as [`Event`]s, in the order in which the API
//! server told it for each [`Resource`]; what is to be said goes in as a [`Word`]. Neither direction ever blocks what
//! Pods run on: an API server that is away is one more [`Event`].
//!
//! # Rights
//!
//! All that the service account needs, cluster-wide; `deploy/kubernetes/weft.yaml` grants it, and the tests run with no more:
//!
//! | group | resources | verbs | for |
//! |---|---|---|---|
//! | core | `nodes`, `namespaces`, `pods` | `list`, `watch` | [`Event`] |
//! | `networking.k8s.io` | `networkpolicies` | `list`, `watch` | [`Event`] |
//! | core | `nodes/status` | `patch` | [`Word::Present`]: annotation and condition |
//! | core | `events` | `create` | [`Word::Note`] |
//!
//! # Failures
//!
//! Each watch is a task over [`kube::runtime::watcher`] and a connection of its own. It resumes where it was; where the API
//! server has forgotten that version, or sent what cannot be read, it lists again. Attempts are spread over seconds
//! and never further apart than five, so that an API server that is back is in use within ten. A connection that is open
//! and dead is found within a minute: the API server is asked to end an idle watch after 40 to 48 s, and where that end does
//! not come in five seconds more the connection is given up; a new one has five seconds to stand, TLS included. Tokens and
//! authorities that come from files are read again each minute, and everything is after the API server refused it.
//!
//! Kube's own log of each attempt is silenced in here; what is logged is what changes.

mod access;
mod backoff;
mod event;
#[cfg(test)]
mod fake;
mod kubernetes;
mod node;
mod objects;
mod opening;
mod settings;
mod speak;
mod trouble;
mod watch;
mod words;

pub use access::StartError;
pub use event::{Event, NodeInfo, Object, ObjectId, Resource, Word};
pub use kubernetes::Kubernetes;
pub use node::PEER_ANNOTATION;
pub use settings::{Access, Settings};
