//! Small changes of a cluster, of the kinds that a node hears of.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use weft_policy::{Cluster, Labels, Namespace, NetworkPolicy, Pod, Rule, TierPolicy, TierRule};

use super::cluster::{NAMESPACES, labels, pod, policy, rule, tier_policy, tier_rule};

/// A change. An index is one into what there is, and changes nothing where there is none.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    PodComes(Pod),
    PodGoes(Index),
    PodIsLabelled(Index, Labels),
    NamespaceIsLabelled(&'static str, Labels),
    PolicyComes(NetworkPolicy),
    PolicyGoes(Index),
    IngressRuleComes(Index, Rule),
    EgressRuleComes(Index, Rule),
    IngressRuleGoes(Index),
    AdminComes(TierPolicy),
    AdminGoes,
    /// A rule of all policies of the administrator's tier; the first or the last.
    AdminRuleComes(bool, TierRule),
    AdminRuleGoes(bool),
    BaselineComes(TierPolicy),
}

pub(crate) fn arbitrary_edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        4 => pod().prop_map(Edit::PodComes),
        4 => index().prop_map(Edit::PodGoes),
        3 => (index(), labels()).prop_map(|(index, labels)| Edit::PodIsLabelled(index, labels)),
        3 => (select(&NAMESPACES[..]), labels())
            .prop_map(|(name, labels)| Edit::NamespaceIsLabelled(name, labels)),
        3 => policy().prop_map(Edit::PolicyComes),
        3 => index().prop_map(Edit::PolicyGoes),
        3 => (index(), rule()).prop_map(|(index, rule)| Edit::IngressRuleComes(index, rule)),
        3 => (index(), rule()).prop_map(|(index, rule)| Edit::EgressRuleComes(index, rule)),
        3 => index().prop_map(Edit::IngressRuleGoes),
        1 => tier_policy().prop_map(Edit::AdminComes),
        1 => Just(Edit::AdminGoes),
        2 => (any::<bool>(), tier_rule())
            .prop_map(|(first, rule)| Edit::AdminRuleComes(first, rule)),
        2 => any::<bool>().prop_map(Edit::AdminRuleGoes),
        1 => tier_policy().prop_map(Edit::BaselineComes),
    ]
}

impl Edit {
    pub(crate) fn apply(self, cluster: &mut Cluster) {
        match self {
            Self::PodComes(mut pod) => {
                pod.name = "new".to_owned();
                for address in &mut pod.addresses {
                    let new = if address.is_ipv4() { "10.0.0.9" } else { "fd00::9" };
                    *address = new.parse().unwrap();
                }
                cluster.pods.retain(|pod| pod.name != "new");
                cluster.pods.push(pod);
            }
            Self::PodGoes(index) => {
                if !cluster.pods.is_empty() {
                    cluster.pods.remove(index.index(cluster.pods.len()));
                }
            }
            Self::PodIsLabelled(index, labels) => {
                if !cluster.pods.is_empty() {
                    let index = index.index(cluster.pods.len());
                    cluster.pods[index].labels = labels;
                }
            }
            Self::NamespaceIsLabelled(name, labels) => {
                let namespace = Namespace::new(name, labels);
                Arc::make_mut(&mut cluster.namespaces).insert(name.to_owned(), namespace);
            }
            Self::PolicyComes(mut policy) => {
                policy.name = "new".to_owned();
                let key = (policy.namespace.clone(), policy.name.clone());
                Arc::make_mut(&mut cluster.policies).insert(key, Arc::new(policy));
            }
            Self::PolicyGoes(index) => {
                let policies = Arc::make_mut(&mut cluster.policies);
                if let Some(key) = policies.keys().nth(index.index(policies.len().max(1))).cloned()
                {
                    policies.remove(&key);
                }
            }
            Self::IngressRuleComes(index, rule) => {
                policy_at(cluster, index, |policy| {
                    policy.ingress.iter_mut().for_each(|rules| rules.push(rule.clone()))
                });
            }
            Self::EgressRuleComes(index, rule) => {
                policy_at(cluster, index, |policy| {
                    policy.egress.iter_mut().for_each(|rules| rules.insert(0, rule.clone()))
                });
            }
            Self::IngressRuleGoes(index) => {
                policy_at(cluster, index, |policy| {
                    policy.ingress.iter_mut().for_each(|rules| drop(rules.pop()))
                });
            }
            Self::AdminComes(mut policy) => {
                policy.name = "new".to_owned();
                cluster.admin.retain(|policy| policy.name != "new");
                cluster.admin.push(policy);
            }
            Self::AdminGoes => drop(cluster.admin.pop()),
            Self::AdminRuleComes(first, rule) => {
                for rules in cluster.admin.iter_mut().flat_map(rules_of) {
                    rules.insert(if first { 0 } else { rules.len() }, rule.clone());
                }
            }
            Self::AdminRuleGoes(first) => {
                for rules in cluster.admin.iter_mut().flat_map(rules_of) {
                    if !rules.is_empty() {
                        rules.remove(if first { 0 } else { rules.len() - 1 });
                    }
                }
            }
            Self::BaselineComes(mut policy) => {
                policy.name = "new".to_owned();
                cluster.baseline.retain(|policy| policy.name != "new");
                cluster.baseline.push(policy);
            }
        }
    }
}

fn rules_of(policy: &mut TierPolicy) -> [&mut Vec<TierRule>; 2] {
    [&mut policy.ingress, &mut policy.egress]
}

fn policy_at(cluster: &mut Cluster, index: Index, change: impl Fn(&mut NetworkPolicy)) {
    let policies = Arc::make_mut(&mut cluster.policies);
    let index = index.index(policies.len().max(1));
    if let Some(policy) = policies.values_mut().nth(index) {
        change(Arc::make_mut(policy));
    }
}
