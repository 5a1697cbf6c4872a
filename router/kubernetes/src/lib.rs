//! The Kubernetes API as a node of Weft needs it: nodes, namespaces, NetworkPolicies and this node's own Pods, watched;
//! and the few things that a node says there.
//!
//! The crate knows nothing of rings or rules. What it hears comes out as [`Event`]s, in the order in which the API
//! server told it for each [`Resource`]; what is to be said goes in as a [`Word`]. Neither direction ever blocks what
//! Pods run on: an API server that is away is one more [`Event`].

mod access;
mod backoff;
mod event;
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
