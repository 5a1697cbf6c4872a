//! How the API server is reached, and as whom.

use std::path::PathBuf;

/// How the API server is found, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the service account of the Pod that this process runs in, as the kubelet mounts it.
    InCluster,
    /// By this kubeconfig and its current context.
    Kubeconfig(PathBuf),
}

/// What a node needs to know before it can ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is found.
    pub access: Access,
    /// The API server's URL, where it is not the one that [`Access`] names: on a node whose Services do not work yet, or
    /// in a mesh that reaches it by another way.
    pub server: Option<String>,
    /// The name of this node's Node object.
    pub node: String,
    /// The full name of this node in the mesh.
    pub peer: String,
}
