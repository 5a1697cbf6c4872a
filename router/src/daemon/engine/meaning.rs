//! What namespaces and policies mean, whoever wrote them, in the form in which all that is enforced shares it.

use std::sync::Arc;

use weft_policy::{Cluster, Namespace, Namespaces, NetworkPolicy, Object, Policies};

/// What an object means here.
#[derive(Debug)]
pub(super) enum Meaning {
    Namespace(Namespace),
    Policy(Arc<NetworkPolicy>),
}

impl Meaning {
    pub(super) fn of(object: Object) -> Option<Self> {
        match object {
            Object::Namespace(namespace) => Some(Self::Namespace(namespace)),
            Object::NetworkPolicy(policy) => Some(Self::Policy(Arc::new(policy))),
            Object::Pod(_) => None,
        }
    }
}

/// All namespaces and policies that are in force.
#[derive(Debug, Clone, Default)]
pub(super) struct InForce {
    namespaces: Arc<Namespaces>,
    policies: Arc<Policies>,
}

impl InForce {
    pub(super) fn of<'a>(meanings: impl Iterator<Item = &'a Meaning>) -> Self {
        let (mut namespaces, mut policies) = (Namespaces::new(), Policies::new());
        for meaning in meanings {
            match meaning {
                Meaning::Namespace(namespace) => {
                    namespaces.insert(namespace.name.clone(), namespace.clone());
                }
                Meaning::Policy(policy) => {
                    let key = (policy.namespace.clone(), policy.name.clone());
                    policies.insert(key, Arc::clone(policy));
                }
            }
        }
        Self { namespaces: Arc::new(namespaces), policies: Arc::new(policies) }
    }

    /// Puts them into what is enforced.
    pub(super) fn enter(&self, cluster: &mut Cluster) {
        cluster.namespaces = Arc::clone(&self.namespaces);
        cluster.policies = Arc::clone(&self.policies);
    }
}
