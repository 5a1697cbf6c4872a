//! From policies to lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Action, BASE, Elements, End, Line, Map, Match, Ruleset, Set, prefixes};
use crate::{
    Cluster, Direction, Family, IpBlock, Peer, Pod, PolicyRef, PortMatch, Protocol, Rule, Selector,
    Tier, TierAction, TierPolicy,
};

/// Both families.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The longest comment of a rule in the kernel's user data is 128 bytes, its end included.
const COMMENT_MAX: usize = 127;
/// The digits of a name that is a hash: 128 bits, so that nobody finds two selectors of one name.
const HASH_DIGITS: usize = 32;

impl Ruleset {
    /// The ruleset of a node whose Pods are plugged into `bridge`. `is_local` says which of the
    /// cluster's Pods are its own.
    pub fn compile(cluster: &Cluster, bridge: &str, is_local: impl Fn(&Pod) -> bool) -> Self {
        let mut compiler = Compiler {
            cluster,
            local: cluster.all_pods().map(|pod| pod.is_selectable() && is_local(pod)).collect(),
            by_namespace: BTreeMap::new(),
            ruleset: Self::default(),
        };
        for pod in cluster.all_pods().filter(|pod| pod.is_selectable()) {
            compiler.by_namespace.entry(&pod.namespace).or_default().push(pod);
        }
        compiler.base(bridge);
        for direction in [Direction::Egress, Direction::Ingress] {
            compiler.members(direction);
        }
        compiler.ruleset
    }
}

struct Compiler<'a> {
    cluster: &'a Cluster,
    /// For each Pod of the cluster, whether it is a Pod of this node.
    local: Vec<bool>,
    /// The Pods that selectors see.
    by_namespace: BTreeMap<&'a str, Vec<&'a Pod>>,
    ruleset: Ruleset,
}

/// The policies that apply to a Pod in one direction. Pods for which it is equal share a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Class(Vec<(Tier, PolicyRef)>);

/// Whose named ports a set holds.
enum Named<'a> {
    /// The Pods of this node.
    Local,
    /// All Pods.
    Everywhere,
    /// The Pods that a peer selects.
    Selected(Scope<'a>),
}

/// A selector of Pods and the namespace it stands in.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    own: Option<&'a str>,
    namespaces: Option<&'a Selector>,
    pods: &'a Selector,
}

impl<'a> Compiler<'a> {
    fn base(&mut self, bridge: &str) {
        let line = |matches, action, comment: &str| Line {
            matches,
            counted: false,
            action,
            comment: comment.to_owned(),
        };
        let elsewhere = vec![Match::NotFrom(bridge.to_owned()), Match::NotTo(bridge.to_owned())];
        let mut lines = vec![
            line(elsewhere, Action::Accept, "not a Pod's"),
            line(vec![Match::Established], Action::Accept, "established"),
            line(vec![Match::RelatedError], Action::Accept, "ICMP errors"),
            line(vec![Match::NeighbourDiscovery], Action::Accept, "neighbour discovery"),
        ];
        for family in FAMILIES {
            // A flow that is cut must not be taken up again from its other end.
            for end in [End::Source, End::Destination] {
                let matches =
                    vec![Match::Midway, Match::Address(end, family, isolated_name(family))];
                let comment = "amid no connection".to_owned();
                lines.push(Line { matches, counted: true, action: Action::Drop, comment });
            }
            let none = Set { family, elements: Elements::Addresses(BTreeSet::new()) };
            self.ruleset.sets.insert(isolated_name(family), none);
        }
        for direction in [Direction::Egress, Direction::Ingress] {
            for family in FAMILIES {
                let map = map_name(direction, family);
                let empty = Map { family, elements: BTreeMap::new() };
                self.ruleset.maps.insert(map.clone(), empty);
                let action = Action::Lookup(own_end(direction), family, map);
                lines.push(line(Vec::new(), action, ""));
            }
        }
        self.ruleset.chains.insert(BASE.to_owned(), lines);
    }

    /// Enters the node's Pods in the maps of a direction, and makes the chains that these lead to.
    fn members(&mut self, direction: Direction) {
        let mut chains = BTreeMap::new();
        for (pod, local) in self.cluster.all_pods().zip(self.local.clone()) {
            if !local {
                continue;
            }
            let class = self.class(direction, pod);
            if class.0.is_empty() {
                continue;
            }
            let chain = match chains.get(&class) {
                Some(chain) => String::clone(chain),
                None => {
                    let chain = self.chain(direction, &class);
                    chains.insert(class, chain.clone());
                    chain
                }
            };
            for &address in &pod.addresses {
                let map = self.ruleset.maps.get_mut(&map_name(direction, Family::of(address)));
                map.expect("invariant: base made all maps").elements.insert(address, chain.clone());
                let set = self.ruleset.sets.get_mut(&isolated_name(Family::of(address)));
                if let Some(Set { elements: Elements::Addresses(isolated), .. }) = set {
                    isolated.insert(address);
                }
            }
        }
    }

    fn class(&self, direction: Direction, pod: &Pod) -> Class {
        let mut class = Vec::new();
        class.extend(self.tier_class(Tier::Admin, direction, pod));
        let isolating = self.cluster.policies_of(&pod.namespace).filter(|policy| {
            policy.rules(direction).is_some() && policy.subjects.matches(&pod.labels)
        });
        let isolating: Vec<_> = isolating.map(|policy| (Tier::Namespace, policy.into())).collect();
        // The baseline is asked only where NetworkPolicy has said nothing.
        if isolating.is_empty() {
            class.extend(self.tier_class(Tier::Baseline, direction, pod));
        }
        class.extend(isolating);
        Class(class)
    }

    fn tier(&self, tier: Tier) -> &'a [TierPolicy] {
        match tier {
            Tier::Admin => &self.cluster.admin,
            Tier::Baseline => &self.cluster.baseline,
            Tier::Namespace => &[],
        }
    }

    /// The policies of a tier that have rules for the Pod, in the order in which they are asked.
    fn tier_class(&self, tier: Tier, direction: Direction, pod: &Pod) -> Vec<(Tier, PolicyRef)> {
        let mut policies: Vec<_> = self
            .tier(tier)
            .iter()
            .filter(|policy| {
                !policy.rules(direction).is_empty()
                    && self.cluster.selects_namespace(&policy.namespaces, &pod.namespace)
                    && policy.pods.matches(&pod.labels)
            })
            .collect();
        policies.sort_by_key(|policy| (policy.priority, &policy.name));
        policies.into_iter().map(|policy| (tier, policy.into())).collect()
    }

    /// Makes the chain of a class and answers its name.
    fn chain(&mut self, direction: Direction, class: &Class) -> String {
        let prefix = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        let name = format!("{prefix}_{}", hash(class));
        let after_pass = format!("{name}_pass");
        let mut admin = Vec::new();
        let mut rest = Vec::new();
        let mut isolating = Vec::new();
        for (tier, policy) in &class.0 {
            match tier {
                Tier::Admin => self.tier_lines(*tier, policy, direction, &after_pass, &mut admin),
                Tier::Baseline => self.tier_lines(*tier, policy, direction, "", &mut rest),
                Tier::Namespace => {
                    let namespace = policy.namespace.as_deref().unwrap_or_default();
                    isolating.push(format!("{namespace}/{}", policy.name));
                    self.policy_lines(policy, direction, &mut rest);
                }
            }
        }
        if !isolating.is_empty() {
            let chain = if admin.iter().any(|line| line.action == Action::Goto(after_pass.clone()))
            {
                &after_pass
            } else {
                &name
            };
            self.ruleset.isolating.insert(chain.clone(), isolating);
            let comment = comment("isolated", direction, None);
            rest.push(Line { matches: Vec::new(), counted: true, action: Action::Drop, comment });
        }
        let passes = |line: &Line| line.action == Action::Goto(after_pass.clone());
        if admin.iter().any(passes) {
            let action = Action::Goto(after_pass.clone());
            let comment = String::new();
            admin.push(Line { matches: Vec::new(), counted: false, action, comment });
            self.ruleset.chains.insert(after_pass, rest);
        } else {
            admin.append(&mut rest);
        }
        self.ruleset.chains.insert(name.clone(), admin);
        name
    }

    fn policy_lines(&mut self, policy: &PolicyRef, direction: Direction, lines: &mut Vec<Line>) {
        let cluster = self.cluster;
        let key = (policy.namespace.clone().unwrap_or_default(), policy.name.clone());
        let Some(policy) = cluster.policies.get(&key) else { return };
        let name = format!("{}/{}", policy.namespace, policy.name);
        for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            if !rule.usable {
                continue;
            }
            let comment = comment(&name, direction, Some(index));
            for matches in self.conditions(rule, Some(&policy.namespace), direction) {
                // A line that an earlier policy has already is never reached.
                if lines.iter().all(|line| line.matches != matches) {
                    let comment = comment.clone();
                    let action = Action::Return;
                    lines.push(Line { matches, counted: true, action, comment });
                }
            }
        }
    }

    fn tier_lines(
        &mut self,
        tier: Tier,
        policy: &PolicyRef,
        direction: Direction,
        after_pass: &str,
        lines: &mut Vec<Line>,
    ) {
        let Some(policy) = self.tier(tier).iter().find(|known| known.name == policy.name) else {
            return;
        };
        for (index, rule) in policy.rules(direction).iter().enumerate() {
            let action = match rule.action {
                TierAction::Accept => Action::Return,
                TierAction::Deny => Action::Drop,
                TierAction::Pass if tier == Tier::Baseline => Action::Return,
                TierAction::Pass => Action::Goto(after_pass.to_owned()),
            };
            let conditions = if rule.matching.usable {
                self.conditions(&rule.matching, None, direction)
            } else if rule.action == TierAction::Deny {
                vec![Vec::new()]
            } else {
                continue;
            };
            let comment = comment(&policy.name, direction, Some(index));
            lines.extend(conditions.into_iter().map(|matches| Line {
                matches,
                counted: true,
                action: action.clone(),
                comment: comment.clone(),
            }));
        }
    }

    /// The conditions of a rule: it matches where all of one of them hold.
    fn conditions(
        &mut self,
        rule: &'a Rule,
        own: Option<&'a str>,
        direction: Direction,
    ) -> Vec<Vec<Match>> {
        let (fixed, named) = ports(rule);
        let mut conditions = Vec::new();
        if rule.peers.is_empty() {
            conditions.extend(fixed.iter().map(|port| port.iter().cloned().collect()));
            for &(name, protocol) in &named {
                let whose = match direction {
                    Direction::Ingress => Named::Local,
                    Direction::Egress => Named::Everywhere,
                };
                for family in FAMILIES {
                    conditions.push(vec![self.named(&whose, name, protocol, family)]);
                }
            }
        }
        let other = other_end(direction);
        for peer in &rule.peers {
            let scope = match peer {
                Peer::Pods { namespaces, pods } => {
                    // Where namespaces are selected it does not matter whose policy it is: policies
                    // of all namespaces share the set.
                    let own = own.filter(|_| namespaces.is_none());
                    Some(Scope { own, namespaces: namespaces.as_ref(), pods })
                }
                Peer::Block(_) => None,
            };
            // In egress a named port says whose it is, so that the address needs no set of its own.
            let by_address = !fixed.is_empty() || direction == Direction::Ingress;
            for family in FAMILIES {
                let address = match peer {
                    Peer::Block(block) if Family::of(block.cidr.addr()) != family => continue,
                    Peer::Block(block) if by_address => Some(self.block(block, family)),
                    Peer::Pods { .. } if by_address => scope.map(|scope| self.pods(scope, family)),
                    Peer::Block(_) | Peer::Pods { .. } => None,
                };
                let address = address.map(|set| Match::Address(other, family, set));
                for port in &fixed {
                    conditions.push(address.iter().chain(port).cloned().collect());
                }
                for &(name, protocol) in &named {
                    match (direction, scope) {
                        (Direction::Ingress, _) => {
                            let port = self.named(&Named::Local, name, protocol, family);
                            conditions.push(address.iter().cloned().chain([port]).collect());
                        }
                        (Direction::Egress, Some(scope)) => {
                            let whose = Named::Selected(scope);
                            conditions.push(vec![self.named(&whose, name, protocol, family)]);
                        }
                        // Addresses have no names.
                        (Direction::Egress, None) => {}
                    }
                }
            }
        }
        conditions
    }

    /// The set of the addresses of the Pods in a scope.
    fn pods(&mut self, scope: Scope<'_>, family: Family) -> String {
        let name = format!("pods{}_{}", digit(family), hash(&scope));
        if !self.ruleset.sets.contains_key(&name) {
            let addresses = self.selected(scope).flat_map(|pod| addresses(pod, family)).collect();
            let elements = Elements::Addresses(addresses);
            self.ruleset.sets.insert(name.clone(), Set { family, elements });
        }
        name
    }

    /// The set of a block's addresses.
    fn block(&mut self, block: &IpBlock, family: Family) -> String {
        let name = format!("block{}_{}", digit(family), hash(block));
        let set = || Set { family, elements: Elements::Prefixes(prefixes::of(block)) };
        self.ruleset.sets.entry(name.clone()).or_insert_with(set);
        name
    }

    /// A match of the ports that some Pods give a name to.
    fn named(
        &mut self,
        whose: &Named<'_>,
        name: &str,
        protocol: Protocol,
        family: Family,
    ) -> Match {
        let key = match whose {
            Named::Local => hash(&("local", name, protocol)),
            Named::Everywhere => hash(&("everywhere", name, protocol)),
            Named::Selected(scope) => hash(&(scope, name, protocol)),
        };
        let set = format!("ports{}_{key}", digit(family));
        if !self.ruleset.sets.contains_key(&set) {
            let pods: Vec<&Pod> = match whose {
                Named::Local => {
                    let pods = self.cluster.all_pods().zip(&self.local);
                    pods.filter(|(_, local)| **local).map(|(pod, _)| pod).collect()
                }
                Named::Everywhere => self.by_namespace.values().flatten().copied().collect(),
                Named::Selected(scope) => self.selected(*scope).collect(),
            };
            let ports = pods.into_iter().flat_map(|pod| {
                let numbers: Vec<_> = pod.numbers(name, protocol).collect();
                addresses(pod, family).flat_map(move |address| {
                    numbers.clone().into_iter().map(move |number| (address, protocol, number))
                })
            });
            let elements = Elements::Ports(ports.collect());
            self.ruleset.sets.insert(set.clone(), Set { family, elements });
        }
        Match::NamedPort(family, set)
    }

    /// The Pods in a scope.
    fn selected<'s>(&'s self, scope: Scope<'s>) -> impl Iterator<Item = &'a Pod> + 's {
        self.by_namespace
            .iter()
            .filter(move |(namespace, _)| match (scope.namespaces, scope.own) {
                (Some(selector), _) => self.cluster.selects_namespace(selector, namespace),
                (None, Some(own)) => **namespace == own,
                (None, None) => true,
            })
            .flat_map(|(_, pods)| pods.iter().copied())
            .filter(move |pod| scope.pods.matches(&pod.labels))
    }
}

impl TierPolicy {
    fn rules(&self, direction: Direction) -> &[crate::TierRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// The ports of a rule: what is known by number (`None` is any port of any protocol), one match for a
/// protocol, and names with their protocols.
fn ports(rule: &Rule) -> (Vec<Option<Match>>, Vec<(&str, Protocol)>) {
    if rule.ports.is_empty() {
        return (vec![None], Vec::new());
    }
    let mut fixed = Vec::new();
    let mut named = BTreeSet::new();
    for protocol in Protocol::ALL {
        let mut all = false;
        let mut ranges = Vec::new();
        for port in rule.ports.iter().filter(|port| port.protocol == protocol) {
            match &port.port {
                PortMatch::Any => all = true,
                PortMatch::Range(first, last) => ranges.push((*first, *last)),
                PortMatch::Named(name) => {
                    named.insert((name.as_str(), protocol));
                }
            }
        }
        if all {
            fixed.push(Some(Match::Protocol(protocol)));
        } else if !ranges.is_empty() {
            fixed.push(Some(Match::Ports(protocol, merged(ranges))));
        }
    }
    (fixed, named.into_iter().collect())
}

/// The ranges in order, those that touch or overlap made one.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn addresses(pod: &Pod, family: Family) -> impl Iterator<Item = std::net::IpAddr> + '_ {
    pod.addresses.iter().copied().filter(move |&address| Family::of(address) == family)
}

/// The end at which a direction finds the Pod that policies select.
const fn own_end(direction: Direction) -> End {
    match direction {
        Direction::Ingress => End::Destination,
        Direction::Egress => End::Source,
    }
}

const fn other_end(direction: Direction) -> End {
    match direction {
        Direction::Ingress => End::Source,
        Direction::Egress => End::Destination,
    }
}

fn map_name(direction: Direction, family: Family) -> String {
    match direction {
        Direction::Ingress => format!("ingress{}", digit(family)),
        Direction::Egress => format!("egress{}", digit(family)),
    }
}

fn isolated_name(family: Family) -> String {
    format!("isolated{}", digit(family))
}

const fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// `default/web ingress[0]`, cut to what the kernel keeps.
fn comment(name: &str, direction: Direction, index: Option<usize>) -> String {
    let direction = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
    let end = format!(" {direction}{index}");
    let room = COMMENT_MAX.saturating_sub(end.len());
    let mut text: String = name.chars().filter(char::is_ascii).take(room).collect();
    text.push_str(&end);
    text
}

/// A name for a value. `Debug` quotes texts, so that different values have different texts.
fn hash(value: &impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(format!("{value:?}")) {
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(HASH_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(merged(vec![(80, 80), (1, 9), (10, 20)]), [(1, 20), (80, 80)]);
        assert_eq!(merged(vec![(1, 100), (5, 6), (101, 101)]), [(1, 101)]);
        assert_eq!(merged(vec![(1, 1), (3, 3)]), [(1, 1), (3, 3)]);
        assert_eq!(merged(vec![(65535, 65535), (1, 65535)]), [(1, 65535)]);
    }
}
