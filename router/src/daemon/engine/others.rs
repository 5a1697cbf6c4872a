//! The Pods of other nodes, as policies see them. Only those that a node tells anew are read anew, and
//! what is enforced shares the rest with what was enforced before.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_crypto::PeerName;
use weft_gossip::{PodChange, PodInfo};
use weft_policy::{NamedPort, Pod, PodGroup, Protocol};

use super::objects::number_of;

/// The Pods of all other nodes.
#[derive(Debug, Default)]
pub(super) struct OtherPods {
    nodes: BTreeMap<PeerName, OtherNode>,
}

#[derive(Debug)]
struct OtherNode {
    /// Its full name.
    name: String,
    /// Its Pods by the numbers that it gave them.
    pods: BTreeMap<u16, Arc<Pod>>,
    /// The same as clusters have them; None since one has changed.
    group: Option<PodGroup>,
}

impl OtherPods {
    /// Takes over what has become of a Pod.
    pub(super) fn change(&mut self, change: PodChange) {
        let PodChange { node, slot, pod } = change;
        let of = self.nodes.entry(node).or_insert_with(|| OtherNode {
            name: node.to_string(),
            pods: BTreeMap::new(),
            group: None,
        });
        match pod.map(|pod| remote_pod(pod, &of.name)) {
            // A ring that has changed and changed back leaves it as it was.
            Some(pod) if of.pods.get(&slot).is_some_and(|known| **known == pod) => return,
            Some(pod) => drop(of.pods.insert(slot, Arc::new(pod))),
            None => drop(of.pods.remove(&slot)),
        }
        of.group = None;
        if of.pods.is_empty() {
            self.nodes.remove(&node);
        }
    }

    /// All of them, node by node.
    pub(super) fn groups(&mut self) -> Vec<PodGroup> {
        let group = |of: &mut OtherNode| {
            let pods = &of.pods;
            of.group.get_or_insert_with(|| pods.values().cloned().collect()).clone()
        };
        self.nodes.values_mut().map(group).collect()
    }
}

/// A Pod of another node as policies see it. A protocol that is not known here names no port.
fn remote_pod(pod: PodInfo, node: &str) -> Pod {
    let ports = pod.ports.into_iter().filter_map(|port| {
        let known = |protocol: &Protocol| number_of(*protocol) == port.protocol;
        let protocol = Protocol::ALL.into_iter().find(known)?;
        Some(NamedPort { name: port.name, protocol, number: port.number })
    });
    Pod {
        namespace: pod.namespace,
        name: pod.name,
        labels: pod.labels.into_iter().collect(),
        ports: ports.collect(),
        addresses: pod.addresses,
        host_network: false,
        finished: false,
        node: Some(node.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use weft_crypto::Identity;

    use super::*;

    fn change(node: u8, slot: u16, app: Option<&str>) -> PodChange {
        let pod = app.map(|app| PodInfo {
            namespace: "default".into(),
            name: format!("p{slot}"),
            labels: vec![("app".into(), app.into())],
            ..PodInfo::default()
        });
        PodChange { node: Identity::from_seed([node; 32]).name(), slot, pod }
    }

    fn apps(groups: &[PodGroup]) -> Vec<String> {
        let pods = groups.iter().flat_map(|group| group.iter());
        let mut apps: Vec<_> =
            pods.map(|pod| format!("{} {}", pod.name, pod.labels["app"])).collect();
        apps.sort();
        apps
    }

    #[test]
    fn one_pod_that_changes_leaves_all_others_as_they_are() {
        let mut others = OtherPods::default();
        for (node, slot) in [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)] {
            others.change(change(node, slot, Some("web")));
        }
        let before = others.groups();
        assert_eq!(before.len(), 2);
        others.change(change(1, 1, Some("db")));
        let after = others.groups();
        assert_eq!(apps(&after), ["p0 web", "p1 db", "p2 web", "p3 web", "p4 web"]);
        let shared = |group: &PodGroup| before.iter().any(|known| Arc::ptr_eq(known, group));
        assert_eq!(after.iter().filter(|group| shared(group)).count(), 1, "the other node's");
        let known: Vec<_> = before.iter().flat_map(|group| group.iter()).collect();
        let read = |pod: &&Arc<Pod>| !known.iter().any(|known| Arc::ptr_eq(known, pod));
        assert_eq!(after.iter().flat_map(|group| group.iter()).filter(read).count(), 1);

        // What was told again is no change, and what is gone leaves nothing.
        others.change(change(2, 3, Some("web")));
        assert!(others.groups().iter().zip(&after).all(|(new, old)| Arc::ptr_eq(new, old)));
        for slot in [3, 4, 5] {
            others.change(change(2, slot, None));
        }
        assert_eq!(apps(&others.groups()), ["p0 web", "p1 db", "p2 web"]);
        assert_eq!(others.groups().len(), 1);
    }
}
