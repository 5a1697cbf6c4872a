//! What is heard from the API server, and what is said there.

use std::net::IpAddr;

/// What is watched, each by a watch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// All Nodes.
    Nodes,
    /// All Namespaces.
    Namespaces,
    /// All NetworkPolicies.
    NetworkPolicies,
    /// The Pods of this node.
    Pods,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nodes, Self::Namespaces, Self::NetworkPolicies, Self::Pods];

    /// As the API server's rules of access call it: `networkpolicies`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::NetworkPolicies => "networkpolicies",
            Self::Pods => "pods",
        }
    }
}

/// Which object one is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its namespace; empty for a Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A Namespace, a NetworkPolicy or a Pod, as the API server sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which one.
    pub id: ObjectId,
    /// Its `metadata.uid`: another one under the same name is another object.
    pub uid: String,
    /// The whole object, with `apiVersion` and `kind`; of a Namespace only its metadata.
    pub value: serde_json::Value,
}

/// A Node, as far as it concerns the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Where it is reached: its addresses of type `InternalIP`, or where it has none those of type `ExternalIP`.
    pub addresses: Vec<IpAddr>,
    /// The full name in the mesh of the daemon that runs there, if it has said so ([`Word::Present`]).
    pub peer: Option<String>,
}

/// Something that was heard from the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These are all the Nodes that there are. Comes after the first list, after each list that replaces a watch that
    /// could not be resumed, and whenever one of them has changed in what is told here.
    Nodes(Vec<NodeInfo>),
    /// These are all objects of a kind that there are: after a list, as above. Never of [`Resource::Nodes`].
    Listed(Resource, Vec<Object>),
    /// An object is new or has changed.
    Applied(Resource, Object),
    /// An object is gone.
    Deleted(Resource, ObjectId),
    /// The watch of a resource works (again).
    Watching(Resource),
    /// The watch of a resource has failed and is tried again until it works. Repeated only when the words change.
    Failing {
        /// Which.
        resource: Resource,
        /// What is wrong and what to do, in words for an operator: `the service account may not list nodes: grant ...`.
        why: String,
        /// Whether the API server answered at all. Where it did, waiting alone does not help; one that answers that it
        /// cannot at present (429 or 5xx) has not.
        answered: bool,
    },
    /// A [`Word`] could not be said, for good or so far; in words for an operator. `None`: all that was to be said has been.
    Unsaid(Option<String>),
}

/// Something to say to the API server. The newest of each kind counts (of [`Word::Note`], of each object and reason);
/// what could not be said is tried again until it is, or is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// This node's mesh name and whether its Pods have a network: the annotation [`NodeInfo::peer`] is read from, and the
    /// condition `NetworkUnavailable` of its Node. Said again when somebody else has changed them.
    Present {
        /// Whether Pods can be served.
        up: bool,
        /// For people: what it waits for where it is not up.
        message: String,
    },
    /// An Event of type `Warning` on an object, once for as long as what it says stays the same.
    Note {
        /// What kind of object: [`Resource::NetworkPolicies`], [`Resource::Nodes`], [`Resource::Pods`].
        resource: Resource,
        /// Which.
        id: ObjectId,
        /// Its uid, where known.
        uid: Option<String>,
        /// One word in CamelCase for programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
}
