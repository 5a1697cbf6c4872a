//! A cluster as policies see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Labels, Namespace, NetworkPolicy, Object, Pod, Rule, Selector};

/// Namespaces by name.
pub type Namespaces = BTreeMap<String, Namespace>;

/// Policies by namespace and name.
pub type Policies = BTreeMap<(String, String), Arc<NetworkPolicy>>;

/// Pods that came from one place.
pub type PodGroup = Arc<[Arc<Pod>]>;

/// Namespaces, Pods and policies, in three tiers: those of the administrator decide first, then
/// NetworkPolicy, then the baseline.
///
/// Only NetworkPolicy has an API. The other two tiers are what AdminNetworkPolicy will be read into.
///
/// What one of many clusters that differ in little has in common with the others, it shares with
/// them: a copy costs what differs, and so does a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Namespaces by name. A namespace that is not here has its name's label and no other.
    pub namespaces: Arc<Namespaces>,
    /// The Pods, in the order in which they were added.
    pub pods: Vec<Pod>,
    /// Further Pods, which come after those.
    pub others: Vec<PodGroup>,
    /// The policies, by namespace and name.
    pub policies: Arc<Policies>,
    /// What is asked before NetworkPolicy.
    pub admin: Vec<TierPolicy>,
    /// What is asked where no NetworkPolicy isolates.
    pub baseline: Vec<TierPolicy>,
}

/// An object that is there twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name} is given twice: remove one of them")]
pub struct Duplicate {
    /// Its kind.
    pub kind: &'static str,
    /// Its name, with the namespace where it is in one.
    pub name: String,
}

impl Cluster {
    /// Adds objects.
    ///
    /// # Errors
    /// One of them is here already; those before it have been added.
    pub fn add(&mut self, objects: impl IntoIterator<Item = Object>) -> Result<(), Duplicate> {
        let name = |pod: &Pod| (pod.namespace.clone(), pod.name.clone());
        let mut pods: BTreeSet<_> = self.all_pods().map(name).collect();
        for object in objects {
            match object {
                Object::Namespace(namespace) => {
                    if self.namespaces.contains_key(&namespace.name) {
                        return Err(Duplicate { kind: "Namespace", name: namespace.name });
                    }
                    Arc::make_mut(&mut self.namespaces).insert(namespace.name.clone(), namespace);
                }
                Object::Pod(pod) => {
                    if !pods.insert(name(&pod)) {
                        return Err(Duplicate { kind: "Pod", name: pod.full_name() });
                    }
                    self.pods.push(pod);
                }
                Object::NetworkPolicy(policy) => {
                    let key = (policy.namespace.clone(), policy.name.clone());
                    if self.policies.contains_key(&key) {
                        let name = format!("{}/{}", key.0, key.1);
                        return Err(Duplicate { kind: "NetworkPolicy", name });
                    }
                    Arc::make_mut(&mut self.policies).insert(key, Arc::new(policy));
                }
            }
        }
        Ok(())
    }

    /// All Pods, in order.
    pub fn all_pods(&self) -> impl Iterator<Item = &Pod> + Clone {
        self.pods.iter().chain(self.others.iter().flat_map(|group| group.iter().map(Arc::as_ref)))
    }

    /// The policies of a namespace, in the order of their names.
    pub fn policies_of<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a NetworkPolicy> + 'a {
        self.policies
            .range((namespace.to_owned(), String::new())..)
            .take_while(move |((of, _), _)| of == namespace)
            .map(|(_, policy)| policy.as_ref())
    }

    /// Whether a namespace's labels are selected.
    pub(crate) fn selects_namespace(&self, selector: &Selector, name: &str) -> bool {
        match self.namespaces.get(name) {
            Some(namespace) => selector.matches(&namespace.labels),
            None => selector.matches(&Namespace::new(name, Labels::new()).labels),
        }
    }
}

/// One of the three tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The administrator's, asked first.
    Admin,
    /// NetworkPolicy.
    Namespace,
    /// The baseline, asked last.
    Baseline,
}

/// A policy of the whole cluster, in the admin or the baseline tier. Its rules are ordered: the first
/// that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierPolicy {
    /// Its name.
    pub name: String,
    /// Lower is asked earlier; equals are asked in the order of their names.
    pub priority: u32,
    /// The namespaces of its subjects.
    pub namespaces: Selector,
    /// Which of their Pods.
    pub pods: Selector,
    /// What comes in.
    pub ingress: Vec<TierRule>,
    /// What goes out.
    pub egress: Vec<TierRule>,
}

/// A rule with an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRule {
    /// What happens to what matches.
    pub action: TierAction,
    /// What matches. An unusable rule matches all if it denies, and nothing otherwise.
    pub matching: Rule,
}

/// What a rule of a tier does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierAction {
    /// Allow; nobody else is asked.
    Accept,
    /// Deny; nobody else is asked.
    Deny,
    /// Ask the next tier.
    Pass,
}
