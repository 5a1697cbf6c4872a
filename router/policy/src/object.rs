//! The objects that decide: policies, namespaces, Pods. Only what bears on a verdict is kept.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{Labels, Selector};

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A `NetworkPolicy` of `networking.k8s.io/v1`.
    NetworkPolicy(NetworkPolicy),
    /// A `Namespace`.
    Namespace(Namespace),
    /// A `Pod`.
    Pod(Pod),
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels. `kubernetes.io/metadata.name` is always among them, as the API server sees to it.
    pub labels: Labels,
}

/// The label that the API server gives to every namespace.
pub(crate) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Namespace {
    /// A namespace with the label of its name and these others.
    pub fn new(name: &str, mut labels: Labels) -> Self {
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        Self { name: name.to_owned(), labels }
    }
}

/// A Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// The namespace it is in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// `status.podIPs`, at most one of each family is looked at.
    pub addresses: Vec<IpAddr>,
    /// The named ports of its containers, restartable init containers included.
    pub ports: Vec<NamedPort>,
    /// Whether it uses its node's network: then policies see a node, not a Pod.
    pub host_network: bool,
    /// Whether it has ended (phase `Succeeded` or `Failed`): then its address is another's to have.
    pub finished: bool,
    /// The node it is bound to, where known.
    pub node: Option<String>,
}

impl Pod {
    /// Whether policies see it as a Pod: it runs and has a network of its own.
    pub fn is_selectable(&self) -> bool {
        !self.host_network && !self.finished
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The numbers that a named port stands for at this Pod, in the order of its containers.
    pub fn numbers<'a>(
        &'a self,
        name: &'a str,
        protocol: Protocol,
    ) -> impl Iterator<Item = u16> + 'a {
        let named = move |port: &&NamedPort| port.name == name && port.protocol == protocol;
        self.ports.iter().filter(named).map(|port| port.number)
    }
}

/// A port of a container that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number at the Pod.
    pub number: u16,
}

/// A NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// The namespace whose Pods it may select.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which Pods of the namespace it isolates.
    pub subjects: Selector,
    /// What may come in; `None` where the policy says nothing about ingress.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out; `None` where the policy says nothing about egress.
    pub egress: Option<Vec<Rule>>,
}

impl NetworkPolicy {
    /// The rules of a direction; `None` where the policy does not isolate in it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A rule: any of the peers, on any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The other end; empty is anyone.
    pub peers: Vec<Peer>,
    /// The ports; empty is any port of any protocol.
    pub ports: Vec<RulePort>,
    /// False if the rule could not be understood: it allows nothing.
    pub usable: bool,
}

/// Who the other end of a rule is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods.
    Pods {
        /// Their namespaces; `None` is the policy's own (or, in a tier of the whole cluster, all).
        namespaces: Option<Selector>,
        /// Which of their Pods.
        pods: Selector,
    },
    /// Addresses.
    Block(IpBlock),
}

/// A range of addresses with holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// The range, without host bits.
    pub cidr: IpNet,
    /// What is taken out of it, without host bits.
    pub except: Vec<IpNet>,
}

impl IpBlock {
    /// Whether the address is in the range and in no hole. A range has no address of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address) && !self.except.iter().any(|hole| hole.contains(&address))
    }
}

/// A port of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RulePort {
    /// The protocol; TCP where the manifest says none.
    pub protocol: Protocol,
    /// Which ports of it.
    pub port: PortMatch,
}

/// Which ports of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// All.
    Any,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// Those that the destination Pod calls so.
    Named(String),
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As the Kubernetes API writes it: `TCP`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The protocol that the Kubernetes API writes so, in capitals only.
    pub(crate) fn from_api(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A direction, as seen from the Pod that a policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the Pod.
    Ingress,
    /// Out of the Pod.
    Egress,
}
