//! May this connection be opened, and who decided?
//!
//! Both ends are asked: the source's egress and the destination's ingress. For each, what no policy
//! can forbid comes first (an established flow, neighbour discovery, the Pod's own node), then the
//! tiers in their order. A Pod that no tier speaks about is open.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    Cluster, Direction, NetworkPolicy, Peer, Pod, PortMatch, Protocol, Rule, RulePort, Selector,
    Tier, TierAction, TierPolicy, TierRule,
};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A Pod.
    Pod(&'a Pod),
    /// An address that is no Pod's: outside, or another node.
    Address(IpAddr),
    /// The node on which the Pod at the other end runs.
    OwnNode,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// A protocol with ports, to this port of the destination Pod (after any Service's translation).
    Port(Protocol, u16),
    /// Anything else that a policy may allow: ICMP echo, other IP protocols.
    Portless,
    /// IPv6 neighbour discovery and its relatives (ICMPv6 types 133 to 137), or ARP.
    Neighbour,
}

/// Whether a packet asks for something new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlowState {
    /// It opens a connection.
    #[default]
    New,
    /// It belongs to a connection that was allowed, as a reply does, or reports an error of one.
    Established,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Who opens it.
    pub source: Endpoint<'a>,
    /// To whom.
    pub destination: Endpoint<'a>,
    /// Over which addresses of theirs.
    pub family: Family,
    /// What it carries.
    pub traffic: Traffic,
    /// Whether it is new.
    pub state: FlowState,
}

impl<'a> Connection<'a> {
    /// A new connection.
    pub const fn new(
        source: Endpoint<'a>,
        destination: Endpoint<'a>,
        family: Family,
        traffic: Traffic,
    ) -> Self {
        Self { source, destination, family, traffic, state: FlowState::New }
    }
}

/// An answer: a connection needs both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// At the source.
    pub egress: Decision,
    /// At the destination.
    pub ingress: Decision,
}

impl Verdict {
    /// Whether both ends allow it.
    pub const fn is_allowed(&self) -> bool {
        self.egress.allowed && self.ingress.allowed
    }
}

/// What one end says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why an end allows or denies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// The end is no Pod that policies see: an address, a node, a Pod on its node's network.
    NotAPod,
    /// The packet belongs to a connection that was allowed.
    Established,
    /// Neighbour discovery and ARP always pass.
    Neighbour,
    /// The other end is the Pod's own node.
    OwnNode,
    /// No policy isolates the Pod in this direction.
    NotIsolated,
    /// A rule matched.
    Rule {
        /// The tier of the policy.
        tier: Tier,
        /// The policy.
        policy: PolicyRef,
        /// The rule, from 0, among the policy's rules of this direction.
        rule: usize,
    },
    /// Policies isolate the Pod and none of their rules matches.
    NoRule {
        /// The policies, in the order of their names.
        policies: Vec<PolicyRef>,
    },
}

/// The name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyRef {
    /// Its namespace; `None` for a policy of the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl From<&NetworkPolicy> for PolicyRef {
    fn from(policy: &NetworkPolicy) -> Self {
        Self { namespace: Some(policy.namespace.clone()), name: policy.name.clone() }
    }
}

impl From<&TierPolicy> for PolicyRef {
    fn from(policy: &TierPolicy) -> Self {
        Self { namespace: None, name: policy.name.clone() }
    }
}

impl Decision {
    const fn allow(reason: Reason) -> Self {
        Self { allowed: true, reason }
    }

    const fn deny(reason: Reason) -> Self {
        Self { allowed: false, reason }
    }
}

impl Cluster {
    /// Decides a connection. A connection of a Pod to itself is decided like any other, although no
    /// kernel asks.
    pub fn evaluate(&self, connection: &Connection<'_>) -> Verdict {
        Verdict {
            egress: self.decide(Direction::Egress, connection),
            ingress: self.decide(Direction::Ingress, connection),
        }
    }

    fn decide(&self, direction: Direction, connection: &Connection<'_>) -> Decision {
        let (subject, other) = match direction {
            Direction::Ingress => (connection.destination, connection.source),
            Direction::Egress => (connection.source, connection.destination),
        };
        let subject = match subject {
            Endpoint::Pod(pod) if pod.is_selectable() => pod,
            Endpoint::Pod(_) | Endpoint::Address(_) | Endpoint::OwnNode => {
                return Decision::allow(Reason::NotAPod);
            }
        };
        if connection.state == FlowState::Established {
            return Decision::allow(Reason::Established);
        }
        if connection.traffic == Traffic::Neighbour {
            return Decision::allow(Reason::Neighbour);
        }
        if is_node_of(subject, other) {
            return Decision::allow(Reason::OwnNode);
        }
        let asked = Asked { cluster: self, direction, subject, other, connection };
        asked
            .tier(Tier::Admin, &self.admin)
            .or_else(|| asked.namespace())
            .or_else(|| asked.tier(Tier::Baseline, &self.baseline))
            .unwrap_or(Decision::allow(Reason::NotIsolated))
    }
}

/// Whether the other end is the node that the Pod runs on, or a Pod that uses that node's network.
fn is_node_of(pod: &Pod, other: Endpoint<'_>) -> bool {
    match other {
        Endpoint::OwnNode => true,
        Endpoint::Pod(other) => {
            other.host_network && other.node.is_some() && other.node == pod.node
        }
        Endpoint::Address(_) => false,
    }
}

/// One direction of a question.
struct Asked<'a> {
    cluster: &'a Cluster,
    direction: Direction,
    subject: &'a Pod,
    other: Endpoint<'a>,
    connection: &'a Connection<'a>,
}

impl Asked<'_> {
    /// What NetworkPolicy says: nothing if none isolates the Pod.
    fn namespace(&self) -> Option<Decision> {
        let mut isolating = Vec::new();
        for policy in self.cluster.policies_of(&self.subject.namespace) {
            let Some(rules) = policy.rules(self.direction) else { continue };
            if !policy.subjects.matches(&self.subject.labels) {
                continue;
            }
            let own = Some(policy.namespace.as_str());
            let matching = |rule: &Rule| rule.usable && self.rule_matches(rule, own);
            if let Some(rule) = rules.iter().position(matching) {
                let policy = policy.into();
                return Some(Decision::allow(Reason::Rule { tier: Tier::Namespace, policy, rule }));
            }
            isolating.push(policy.into());
        }
        (!isolating.is_empty()).then(|| Decision::deny(Reason::NoRule { policies: isolating }))
    }

    /// What the policies of the whole cluster say: nothing if none matches or the first that does
    /// passes.
    fn tier(&self, tier: Tier, policies: &[TierPolicy]) -> Option<Decision> {
        let mut ordered: Vec<_> = policies
            .iter()
            .filter(|policy| self.selects(&policy.namespaces, &policy.pods, self.subject))
            .collect();
        ordered.sort_by_key(|policy| (policy.priority, &policy.name));
        for policy in ordered {
            let rules = match self.direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            let Some(index) = rules.iter().position(|rule| self.tier_rule_matches(rule)) else {
                continue;
            };
            let reason = Reason::Rule { tier, policy: policy.into(), rule: index };
            match rules.get(index)?.action {
                TierAction::Accept => return Some(Decision::allow(reason)),
                TierAction::Deny => return Some(Decision::deny(reason)),
                TierAction::Pass => return None,
            }
        }
        None
    }

    fn tier_rule_matches(&self, rule: &TierRule) -> bool {
        if rule.matching.usable {
            self.rule_matches(&rule.matching, None)
        } else {
            rule.action == TierAction::Deny
        }
    }

    fn selects(&self, namespaces: &Selector, pods: &Selector, pod: &Pod) -> bool {
        self.cluster.selects_namespace(namespaces, &pod.namespace) && pods.matches(&pod.labels)
    }

    /// Whether a rule of a policy in namespace `own` matches: any peer on any port.
    fn rule_matches(&self, rule: &Rule, own: Option<&str>) -> bool {
        if rule.peers.is_empty() {
            return self.ports_match(rule, self.destination_pod());
        }
        rule.peers.iter().any(|peer| {
            self.peer_matches(peer, own) && self.ports_match(rule, self.named_through(peer))
        })
    }

    fn peer_matches(&self, peer: &Peer, own: Option<&str>) -> bool {
        match (peer, self.other) {
            (Peer::Pods { namespaces, pods }, Endpoint::Pod(other)) => {
                let in_namespace = match (namespaces, own) {
                    (Some(selector), _) => {
                        self.cluster.selects_namespace(selector, &other.namespace)
                    }
                    (None, Some(own)) => other.namespace == own,
                    (None, None) => true,
                };
                other.is_selectable() && in_namespace && pods.matches(&other.labels)
            }
            (Peer::Block(block), Endpoint::Pod(other)) => {
                let family = self.connection.family;
                let address =
                    other.addresses.iter().find(|&&address| Family::of(address) == family);
                address.is_some_and(|&address| block.contains(address))
            }
            (Peer::Block(block), Endpoint::Address(address)) => block.contains(address),
            (Peer::Pods { .. }, Endpoint::Address(_)) | (_, Endpoint::OwnNode) => false,
        }
    }

    /// The Pod whose named ports count: the destination, if policies see it as a Pod.
    fn destination_pod(&self) -> Option<&Pod> {
        match self.connection.destination {
            Endpoint::Pod(pod) if pod.is_selectable() => Some(pod),
            Endpoint::Pod(_) | Endpoint::Address(_) | Endpoint::OwnNode => None,
        }
    }

    /// The Pod whose named ports count if the other end matched through this peer: a block of
    /// addresses as the destination has no names.
    fn named_through(&self, peer: &Peer) -> Option<&Pod> {
        match (self.direction, peer) {
            (Direction::Egress, Peer::Block(_)) => None,
            (Direction::Egress, Peer::Pods { .. }) | (Direction::Ingress, _) => {
                self.destination_pod()
            }
        }
    }

    fn ports_match(&self, rule: &Rule, named: Option<&Pod>) -> bool {
        match self.connection.traffic {
            Traffic::Port(protocol, number) => {
                let matching = |port: &RulePort| port_matches(port, protocol, number, named);
                rule.ports.is_empty() || rule.ports.iter().any(matching)
            }
            Traffic::Portless | Traffic::Neighbour => rule.ports.is_empty(),
        }
    }
}

fn port_matches(port: &RulePort, protocol: Protocol, number: u16, named: Option<&Pod>) -> bool {
    port.protocol == protocol
        && match &port.port {
            PortMatch::Any => true,
            PortMatch::Range(first, last) => (*first..=*last).contains(&number),
            PortMatch::Named(name) => {
                named.is_some_and(|pod| pod.numbers(name, protocol).any(|known| known == number))
            }
        }
}

#[cfg(test)]
mod tests;
