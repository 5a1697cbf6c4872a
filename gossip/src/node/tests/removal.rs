//! Removal as it travels in records.

use super::*;
use crate::ipam::{AllocateError, Request, RequestId};

fn founded(count: u8) -> Cluster {
    let mut cluster = Cluster::new(count);
    cluster.nodes[0] = start(1, Init::Founder, None);
    for (a, b) in (0..usize::from(count)).flat_map(|b| (0..b).map(move |a| (a, b))) {
        cluster.connect(a, b);
    }
    cluster.pass(Duration::from_secs(1));
    cluster
}

fn ask(cluster: &mut Cluster, at: usize) -> RequestId {
    let deadline = cluster.now + Duration::from_secs(30);
    cluster.nodes[at].allocate("pod", Request::default(), deadline, cluster.now)
}

fn fenced(cluster: &Cluster, at: usize) -> bool {
    cluster.events[at].iter().any(|event| matches!(event, Event::Fenced { .. }))
}

#[test]
fn a_removal_waits_in_words_survives_restarts_and_fences_who_returns() {
    let mut cluster = founded(4);
    (1..4).for_each(|at| {
        ask(&mut cluster, at);
    });
    cluster.pass(Duration::from_secs(5));
    assert!(cluster.nodes.iter().skip(1).all(|node| node.owned() > 0));
    let total: u64 = cluster.nodes.iter().map(Node::owned).sum();

    // Two and three are cut off, from each other as well; three is removed.
    for (a, b) in [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
        cluster.disconnect(a, b);
    }
    let gone = cluster.nodes[3].name;
    cluster.nodes[0].remove(gone, false, 7, cluster.now).unwrap();
    cluster.pass(Duration::from_secs(5));
    let waits = |node: &Node| node.removals().iter().any(|r| r.waits_for.is_some());
    assert!(waits(&cluster.nodes[0]) && waits(&cluster.nodes[1]));
    let missing = cluster.nodes[2].name;
    assert_eq!(cluster.nodes[1].removals()[0].waits_for, Some(vec![missing]));

    // The node that was asked first starts again from its disk.
    let saved = cluster.disks[1].clone();
    cluster.disconnect(0, 1);
    cluster.nodes[1] = start(2, Init::Observer, Some(&saved));
    cluster.connect(0, 1);
    cluster.connect(2, 0);
    cluster.pass(Duration::from_secs(10));
    let routes = cluster.nodes[0].routes();
    for at in 0..3 {
        let node = &cluster.nodes[at];
        assert!(!waits(node) && node.removals()[0].waits_for.is_none(), "h{at}");
        assert_eq!(node.routes(), routes);
        assert!(node.owners().iter().all(|owner| owner.name != gone));
        assert!(!fenced(&cluster, at));
    }
    let after: u64 = cluster.nodes.iter().take(3).map(Node::owned).sum();
    assert_eq!(after, total);

    cluster.connect(3, 1);
    cluster.pass(Duration::from_secs(10));
    assert!(fenced(&cluster, 3));
    let back = &cluster.nodes[3];
    assert_eq!((back.owned(), back.removed_by()), (0, Some(cluster.nodes[0].name)));
    let own = back.own_removal().unwrap();
    assert_eq!((own.name, own.by, own.at), (gone, cluster.nodes[0].name, 7));
    assert_eq!(cluster.nodes[0].routes(), routes);
}

#[test]
fn who_is_fenced_before_the_disk_has_its_address_is_not_told_that_it_has_one() {
    let mut cluster = founded(3);
    ask(&mut cluster, 2);
    cluster.pass(Duration::from_secs(5));
    cluster.disconnect(0, 2);
    cluster.disconnect(1, 2);
    let (gone, now) = (cluster.nodes[2].name, cluster.now);
    cluster.nodes[0].remove(gone, false, 7, now).unwrap();
    cluster.pass(Duration::from_secs(5));
    cluster.connect(1, 2);

    // Each message finds an address that the disk does not have yet.
    let mut serial = 0;
    let (id, key) = 'heard: loop {
        let timeout = cluster.nodes[1].poll_timeout().expect("there always is one");
        cluster.now = cluster.now.max(timeout);
        let now = cluster.now;
        cluster.nodes[1].handle_timeout(now);
        while let Some(persist) = cluster.nodes[1].poll_persist() {
            cluster.nodes[1].persisted(persist.token, now);
        }
        while let Some(transmit) = cluster.nodes[1].poll_transmit() {
            if transmit.to != gone {
                continue;
            }
            serial += 1;
            assert!(serial < 100, "it is never told");
            let (from, node) = (cluster.nodes[1].name, &mut cluster.nodes[2]);
            let key = format!("late {serial}");
            let id = node.allocate(&key, Request::default(), now, now);
            assert!(!node.allocated(&key).is_empty(), "it has free addresses");
            node.handle_message(from, &transmit.bytes, now).unwrap();
            if node.allocated(&key).is_empty() {
                break 'heard (id, key);
            }
            while let Some(persist) = node.poll_persist() {
                node.persisted(persist.token, now);
            }
            while let Some(transmit) = cluster.nodes[2].poll_transmit() {
                if transmit.to == from {
                    cluster.nodes[1].handle_message(gone, &transmit.bytes, now).unwrap();
                }
            }
        }
    };
    let node = &mut cluster.nodes[2];
    let early: Vec<Event> = std::iter::from_fn(|| node.poll_event()).collect();
    let fenced = |event: &Event| matches!(event, Event::Fenced { key: of, .. } if *of == key);
    let told = |event: &Event| matches!(event, Event::Allocated { id: of, .. } if *of == id);
    assert!(early.iter().any(fenced) && !early.iter().any(told), "{early:?}");
    while let Some(persist) = node.poll_persist() {
        node.persisted(persist.token, now);
    }
    let late: Vec<Event> = std::iter::from_fn(|| node.poll_event()).collect();
    let released = Event::Allocated { id, result: Err(AllocateError::Released) };
    assert!(late.contains(&released), "{late:?}");
}
