//! The cluster's nodes: as targets, as those who vote on a new ring, and as neighbours of the range.
//!
//! A node without a ring takes part in no vote before it has heard which nodes there are, and while a peer that a Node
//! names is out of reach: a node says its name on its Node once it knows of a ring ([`super::presence`]), so such
//! a peer may have one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use weft_crypto::PeerName;
use weft_gossip::Time;
use weft_kubernetes::NodeInfo;

use super::Kubernetes;
use crate::daemon::engine::Engine;

/// Nodes named one by one in a warning.
const MAX_NAMED: usize = 3;

/// The Nodes as they were listed last.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// By name; `None` before the first list.
    pub(super) listed: Option<BTreeMap<String, NodeInfo>>,
    /// How many other nodes the gossip node was told of last; `None` where it was told to wait.
    told: Option<usize>,
    /// Peers that may have a ring and are out of reach, each with its Node's name.
    pub(super) awaited: Vec<(PeerName, String)>,
}

impl Nodes {
    /// The Nodes that are not this one's own.
    fn others<'a>(&'a self, own: &'a str) -> impl Iterator<Item = &'a NodeInfo> {
        self.listed.iter().flat_map(BTreeMap::values).filter(move |node| node.name != own)
    }
}

impl Kubernetes {
    /// This node's Node, if it is listed.
    pub(super) fn own_node(&self) -> Option<&NodeInfo> {
        self.nodes.listed.as_ref()?.get(&self.settings.node)
    }

    /// The peers that Nodes other than this one's name, with the names of these.
    pub(super) fn named_peers(&self) -> impl Iterator<Item = (PeerName, &str)> {
        self.nodes
            .others(&self.settings.node)
            .filter_map(|node| Some((node.peer.as_ref()?.parse().ok()?, node.name.as_str())))
    }

    /// One line for each range that the addresses of nodes, or of the API's Service, are in.
    pub(super) fn overlaps(&self, ranges: &[IpNet]) -> Vec<String> {
        let mut lines = Vec::new();
        for range in ranges {
            let nodes = self.nodes.listed.iter().flat_map(BTreeMap::values);
            let inside = nodes.filter_map(|node| {
                let address = node.addresses.iter().find(|address| range.contains(*address))?;
                Some(format!("{} ({address})", node.name))
            });
            let inside: Vec<String> = inside.collect();
            if !inside.is_empty() {
                let more = inside.len().saturating_sub(MAX_NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let named = inside.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
                lines.push(format!(
                    "the range {range} holds addresses of the cluster's nodes: {named}{more}; Pods may not \
                     reach them: choose another --ipalloc-range"
                ));
            }
            if let Some(service) = self.settings.service.filter(|ip| range.contains(ip)) {
                lines.push(format!(
                    "the range {range} overlaps the cluster's Services: the API server's is {service}; \
                     choose another --ipalloc-range"
                ));
            }
        }
        lines
    }
}

impl Engine {
    /// These are all the Nodes that there are.
    pub(super) fn handle_nodes(&mut self, nodes: Vec<NodeInfo>, now: Time) {
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        kubernetes.nodes.listed = Some(nodes);
        let port = self.settings.port;
        let target = |ip: &IpAddr| SocketAddr::new(*ip, port).to_string();
        let own = &kubernetes.settings.node;
        let found: BTreeSet<String> = kubernetes
            .nodes
            .others(own)
            .flat_map(|node| node.addresses.iter().map(target))
            .collect();
        self.connector.set_found(found, now);
        self.review_former(now);
        self.update_vote(now);
    }

    /// Tells the gossip node how many others there are, or to wait. Answers whether that is news to it.
    pub(super) fn update_vote(&mut self, now: Time) -> bool {
        let Some(kubernetes) = &self.kubernetes else { return false };
        if self.node.knows_ring() {
            if let Some(kubernetes) = &mut self.kubernetes {
                kubernetes.nodes.awaited.clear();
            }
            return false;
        }
        let members = self.node.members();
        let reachable = |peer: PeerName| members.iter().any(|m| m.name == peer && m.reachable);
        let awaited: Vec<(PeerName, String)> = kubernetes
            .named_peers()
            .filter(|(peer, _)| *peer != self.settings.name && !reachable(*peer))
            .map(|(peer, node)| (peer, node.to_owned()))
            .collect();
        let nodes = kubernetes.nodes.others(&kubernetes.settings.node).count();
        let found = self.connector.found();
        let given = self.connector.targets().iter().filter(|target| !found.contains(*target));
        let count = nodes + given.count();
        let known = kubernetes.nodes.listed.is_some() && awaited.is_empty();
        let count = known.then_some(count);
        let told = kubernetes.nodes.told;
        if let Some(kubernetes) = &mut self.kubernetes {
            kubernetes.nodes.awaited = awaited;
            kubernetes.nodes.told = count;
        }
        if told != count {
            self.node.set_targets(count, now);
        }
        told != count
    }
}
