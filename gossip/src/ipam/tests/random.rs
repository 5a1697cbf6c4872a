//! Several nodes that hear records in any order, old ones again, and crash.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// `to` hears a record of `from`, counted back from the newest, as far as it may go.
    Hear {
        from: usize,
        to: usize,
        back: usize,
    },
    Ask {
        host: usize,
        key: u8,
    },
    /// An address by name if `part` is 32, else any of the part of the range around it.
    AskFor {
        host: usize,
        key: u8,
        number: u8,
        part: u8,
    },
    Release {
        host: usize,
        key: u8,
    },
    Pass {
        seconds: u64,
    },
    Reach {
        host: usize,
        mask: u8,
    },
    /// Stops, with or without having written and published what it last did.
    Crash {
        host: usize,
    },
}

fn op(hosts: usize) -> impl Strategy<Value = Op> {
    let host = 0..hosts;
    prop_oneof![
        8 => (host.clone(), host.clone(), 0..4_usize)
            .prop_map(|(from, to, back)| Op::Hear { from, to, back }),
        4 => (host.clone(), 0..5_u8).prop_map(|(host, key)| Op::Ask { host, key }),
        2 => (host.clone(), 0..5_u8, 0..32_u8, 29..33_u8)
            .prop_map(|(host, key, number, part)| Op::AskFor { host, key, number, part }),
        2 => (host.clone(), 0..5_u8).prop_map(|(host, key)| Op::Release { host, key }),
        2 => (0..20_u64).prop_map(|seconds| Op::Pass { seconds }),
        2 => (host.clone(), any::<u8>()).prop_map(|(host, mask)| Op::Reach { host, mask }),
        1 => host.prop_map(|host| Op::Crash { host }),
    ]
}

/// What was ever published, by host.
type History = Vec<Vec<Records>>;

fn apply(world: &mut World, history: &History, op: &Op) {
    let now = world.now;
    match *op {
        Op::Hear { from, to, back } => {
            let past = &history[from];
            let Some(Records { space, want, paxos, .. }) =
                past.get(past.len().saturating_sub(1 + back))
            else {
                return;
            };
            if from != to {
                let origin = world.hosts[from].config.name;
                let ipam = &mut world.hosts[to].ipam;
                if space.is_some() {
                    ipam.handle_space(origin, space.clone(), now).unwrap();
                }
                ipam.handle_want(origin, want.clone(), now).unwrap();
                ipam.handle_paxos(origin, paxos.clone(), now).unwrap();
            }
        }
        Op::Ask { host, key } => {
            let deadline = now + Duration::from_secs(30);
            let ipam = &mut world.hosts[host].ipam;
            ipam.allocate(&format!("{host}/{key}"), Request::default(), deadline, now);
        }
        Op::AskFor { host, key, number, part } => {
            let deadline = now + Duration::from_secs(30);
            let near = net(&format!("10.32.0.{number}/{part}"));
            let request = match part {
                32 => Request { wanted: vec![near], within: Vec::new() },
                _ => Request { wanted: Vec::new(), within: vec![near] },
            };
            world.hosts[host].ipam.allocate(&format!("{host}/{key}"), request, deadline, now);
        }
        Op::Release { host, key } => {
            world.hosts[host].ipam.release(&format!("{host}/{key}"), now);
        }
        Op::Pass { seconds } => {
            world.now = now + Duration::from_secs(seconds);
            for host in &mut world.hosts {
                host.ipam.handle_timeout(world.now);
            }
        }
        Op::Reach { host, mask } => {
            let me = world.hosts[host].config.name;
            let all = (0..8_u8).filter(|bit| mask >> bit & 1 == 1).map(name);
            let others: BTreeSet<PeerName> = all.filter(|name| *name != me).collect();
            world.hosts[host].ipam.handle_reachable(&others, now);
        }
        Op::Crash { host } => world.crash(host),
    }
}

fn play(mut world: World, ops: &[(Op, bool)], pods: usize) {
    let hosts = world.hosts.len();
    let mut history: History = world.records().into_iter().map(|records| vec![records]).collect();
    for (op, drain) in ops {
        apply(&mut world, &history, op);
        world.hosts.iter().for_each(|host| host.ipam.check_invariants());
        if *drain {
            (0..hosts).for_each(|index| world.drain(index));
        }
        for (past, records) in history.iter_mut().zip(world.records()) {
            if past.last() != Some(&records) {
                past.push(records);
            }
        }
        world.check();
    }
    // In the end all reach all: whoever asks is served, as far as there are addresses.
    for index in 0..hosts {
        (0..5).for_each(|key| {
            world.hosts[index].ipam.release(&format!("{index}/{key}"), world.now);
        });
        world.drain(index);
    }
    world.run(Duration::from_secs(100));
    let ids: Vec<(usize, RequestId)> =
        (0..pods).map(|n| (n % hosts, world.ask(n % hosts, &format!("end{n}")))).collect();
    world.run(Duration::from_secs(29));
    world.check();
    for (host, id) in ids {
        let answer = world.answer(host, id);
        assert!(matches!(answer, Some(Ok(_))), "host {host}: {answer:?}");
    }
    let routes = world.hosts[0].ipam.routes();
    world.hosts.iter().for_each(|host| assert_eq!(host.ipam.routes(), routes));
}

fn script(hosts: usize) -> impl Strategy<Value = Vec<(Op, bool)>> {
    prop::collection::vec((op(hosts), prop::bool::weighted(0.8)), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_nodes_in_a_tiny_range(ops in script(3)) {
        play(World::founded(3, &["10.32.0.0/28"]), &ops, 14);
    }

    #[test]
    fn five_nodes_in_both_families(ops in script(5)) {
        play(World::founded(5, &["10.32.0.0/27", "fd00:77::/122"]), &ops, 30);
    }

    #[test]
    fn four_nodes_that_start_by_a_vote(ops in script(4)) {
        let init = |index| config(index, &["10.32.0.0/28"], Init::Consensus(Some(4)), 0);
        play(World::new((0..4).map(init)), &ops, 8);
    }

    #[test]
    fn three_seeds(ops in script(4)) {
        let list = vec![name(0), name(1), name(2)];
        let init = |index| config(index, &["fd00:77::/124"], Init::Seed(list.clone()), 3);
        play(World::new((0..4).map(init)), &ops, 14);
    }
}
