//! Rings that become one, and nodes that leave, as it travels in records.

use super::*;
use crate::ipam::Request;

#[test]
fn two_clusters_become_one_and_a_node_leaves_it() {
    let mut cluster = Cluster::new(4);
    cluster.nodes[0] = start(1, Init::Founder, None);
    cluster.nodes[2] = start(3, Init::Founder, None);
    cluster.connect(0, 1);
    cluster.connect(2, 3);
    for at in [0, 2] {
        let deadline = cluster.now + Duration::from_secs(30);
        cluster.nodes[at].allocate(&format!("pod {at}"), Request::default(), deadline, cluster.now);
    }
    cluster.pass(Duration::from_secs(5));
    cluster.connect(1, 2);
    cluster.pass(Duration::from_secs(5));
    let another = |node: &Node| node.warnings().iter().any(|line| line.contains("another ring"));
    assert!(cluster.nodes.iter().all(another), "each says so in words");
    assert!(cluster.nodes.iter().all(|node| node.allocations().count() <= 1));

    let (peer, now) = (cluster.nodes[2].name, cluster.now);
    cluster.nodes[0].heal(peer, 7, now).unwrap();
    cluster.pass(Duration::from_secs(10));
    let routes = cluster.nodes[0].routes();
    for (at, node) in cluster.nodes.iter().enumerate() {
        assert_eq!(node.routes(), routes, "h{at}");
        assert!(node.ready() && !another(node), "h{at}");
    }
    // Both founders gave their first address away: one pod has lost it, and both users are named.
    let lost: Vec<usize> = (0..4)
        .filter(|at| cluster.events[*at].iter().any(|event| matches!(event, Event::Fenced { .. })))
        .collect();
    let [loser] = lost[..] else { panic!("one loses: {lost:?}") };
    let other = 2 - loser;
    let named = |event: &Event| {
        let Event::Warning(text) = event else { return false };
        text.contains(&format!("pod {loser}")) && text.contains(&format!("pod {other}"))
    };
    assert!(cluster.events[loser].iter().any(named), "{:?}", cluster.events[loser]);
    assert_eq!(cluster.nodes[other].allocations().count(), 1);

    let (total, now): (u64, Time) = (cluster.nodes.iter().map(Node::owned).sum(), cluster.now);
    cluster.nodes[loser].leave(now);
    assert!(!cluster.nodes[loser].leaving().unwrap().done, "not before it is on disk and told");
    cluster.pass(Duration::from_secs(5));
    assert!(cluster.nodes[loser].leaving().unwrap().done);
    assert_eq!(cluster.nodes[loser].owned(), 0);
    assert_eq!(cluster.nodes.iter().map(Node::owned).sum::<u64>(), total);
}
