//! Kubernetes NetworkPolicy: objects read from manifests, connections decided by them.
//!
//! [`parse()`] reads `NetworkPolicy`, `Namespace` and `Pod` from YAML or JSON, with the validation of the
//! Kubernetes API. A [`Cluster`] holds what was read; [`Cluster::evaluate`] answers for one
//! [`Connection`] whether it may be opened, and which policy and rule decided. [`Matrix`] asks that of
//! every pair of Pods. [`nft::Ruleset`] is the same for the kernel of one node, as nftables.
//!
//! The crate is pure: no files, no sockets, no clock. It changes nothing anywhere, it answers
//! questions. What cannot be understood never widens what is allowed: see [`Fault`].
//!
//! ```
//! use weft_policy::{Cluster, Matrix, PortSpec, parse};
//!
//! let manifests = "
//! {apiVersion: v1, kind: Pod, metadata: {name: a}}
//! ---
//! {apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: web}}}
//! ---
//! apiVersion: networking.k8s.io/v1
//! kind: NetworkPolicy
//! metadata: {name: closed}
//! spec: {podSelector: {matchLabels: {app: web}}}
//! ";
//! let mut cluster = Cluster::default();
//! cluster.add(parse("manifests.yaml", manifests)?.objects)?;
//! let port: PortSpec = "80/tcp".parse()?;
//! assert_eq!(Matrix::new(&cluster, &port).rows(), [".I", ".I"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod evaluate;
mod matrix;
mod model;
pub mod nft;
mod object;
mod parse;
mod port;
mod selector;

pub use evaluate::{
    Connection, Decision, Endpoint, Family, FlowState, PolicyRef, Reason, Traffic, Verdict,
};
pub use matrix::{Cell, Matrix};
pub use model::{
    Cluster, Duplicate, Namespaces, PodGroup, Policies, Tier, TierAction, TierPolicy, TierRule,
};
pub use object::{
    Direction, IpBlock, NamedPort, Namespace, NetworkPolicy, Object, Peer, Pod, PortMatch,
    Protocol, Rule, RulePort,
};
pub use parse::{
    Fault, Manifest, Parsed, SERVER_METADATA, Severity, SyntaxError, manifests, parse, parse_value,
};
pub use port::{InvalidPort, PortSpec};
pub use selector::{Expression, Labels, Operator, Selector};
