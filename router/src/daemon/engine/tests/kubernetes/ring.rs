//! Nodes as targets, and one ring.

use super::*;

/// Engines that are connected to each other, as far as messages go.
struct Mesh {
    engines: Vec<Engine>,
    disks: Vec<BTreeMap<Kind, Saved>>,
    now: Time,
    cut: BTreeSet<usize>,
    nodes: Vec<NodeInfo>,
}

impl Mesh {
    /// Nodes that have started and heard nothing.
    fn new(count: u8) -> Self {
        let engines = (1..=count).map(|n| in_api_mode(n, Init::Auto, Restored::default()));
        let disks = (0..count).map(|_| BTreeMap::new()).collect();
        let nodes = (1..=count).map(|n| node(n, None)).collect();
        Self { engines: engines.collect(), disks, now: at(0), cut: BTreeSet::new(), nodes }
    }

    /// Connects all that are not cut off.
    fn connect(&mut self) {
        for a in 0..self.engines.len() {
            for b in 0..self.engines.len() {
                if a < b && !self.cut.contains(&a) && !self.cut.contains(&b) {
                    self.link(a, b, true);
                    self.link(b, a, false);
                }
            }
        }
        self.settle();
    }

    fn link(&mut self, at: usize, to: usize, dialled: bool) {
        let peer = u8::try_from(to + 1).unwrap();
        self.engines[at].settings.conn_limit = 100;
        self.engines[at].handle_admitted(&link(to as u64, peer, dialled, 5, 1), self.now);
    }

    /// Delivers all that is said, writes all that is to be written, and answers probes.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..self.engines.len() {
                while let Some(output) = self.engines[at].poll_output() {
                    quiet = false;
                    self.carry_out(at, output);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Save { kind, token, what } => {
                self.disks[at].entry(kind).or_default().write(what);
                self.engines[at].handle_saved(kind, token, now);
            }
            Output::Policy { token, .. } => self.engines[at].handle_policy(enforced(token), now),
            Output::Host { token, .. } => self.engines[at].handle_host(token, Ok(()), now),
            Output::Send { link, bytes } => {
                let to = usize::try_from(link).unwrap();
                if !self.cut.contains(&at) && !self.cut.contains(&to) {
                    self.engines[to].handle_message(at as u64, &bytes, now);
                }
            }
            Output::Probe { peer, token, .. } => {
                self.engines[at].handle_answer(peer, token, now);
            }
            Output::Kubernetes(Word::Present { .. }) => {
                // All Nodes are told of it at once.
                self.nodes[at].peer = Some(self.engines[at].settings.name.to_string());
            }
            _ => {}
        }
    }

    fn list(&mut self, at: usize) {
        let nodes = self.nodes.clone();
        let now = self.now;
        hear(&mut self.engines[at], Event::Nodes(nodes), now);
        self.settle();
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now += Duration::from_millis(500);
            for at in 0..self.engines.len() {
                let now = self.now;
                self.engines[at].handle_timeout(now);
            }
            self.settle();
        }
    }

    fn rings(&self) -> usize {
        let conflicts = |engine: &Engine| engine.node.warnings();
        assert!(self.engines.iter().all(|engine| conflicts(engine).is_empty()));
        let owned: u64 = self.engines.iter().map(|engine| engine.status(self.now).ipam.owned).sum();
        usize::try_from(owned).unwrap() / (1 << 20)
    }
}

#[test]
fn a_fresh_cluster_makes_one_ring_and_not_before_the_nodes_are_known() {
    let mut mesh = Mesh::new(3);
    mesh.connect();
    mesh.run(20);
    assert_eq!(mesh.rings(), 0);
    assert_eq!(mesh.engines[0].node.ipam_state(), "waiting to learn which nodes there are");
    (0..3).for_each(|at| mesh.list(at));
    mesh.run(30);
    assert_eq!(mesh.rings(), 1);
    assert!(mesh.engines.iter().all(|engine| engine.node.ready()));
    assert!(mesh.nodes.iter().all(|node| node.peer.is_some()), "each has said its name");
}

#[test]
fn one_node_alone_founds_at_once_and_two_of_five_do_not() {
    let mut mesh = Mesh::new(1);
    mesh.list(0);
    assert_eq!(mesh.rings(), 1);

    let mut mesh = Mesh::new(5);
    mesh.cut = BTreeSet::from([2, 3, 4]);
    mesh.connect();
    mesh.list(0);
    mesh.list(1);
    mesh.run(30);
    assert_eq!(mesh.rings(), 0, "three of five are needed");
    // Those that never came are deleted.
    mesh.nodes.truncate(2);
    mesh.list(0);
    mesh.list(1);
    mesh.run(30);
    assert_eq!(mesh.rings(), 1);
}

#[test]
fn a_peer_that_a_node_names_and_nobody_reaches_may_have_a_ring() {
    let mut mesh = Mesh::new(3);
    mesh.cut = BTreeSet::from([2]);
    mesh.nodes[2].peer = Some(identity(9).name().to_string());
    mesh.connect();
    mesh.list(0);
    mesh.list(1);
    mesh.run(30);
    assert_eq!(mesh.rings(), 0);
    let short = identity(9).name().short();
    warning(
        &mesh.engines[0],
        &format!("no ring is made here, since {short}, which the Node n3 names"),
        mesh.now,
    );
    mesh.nodes.truncate(2);
    mesh.list(0);
    mesh.list(1);
    mesh.run(30);
    assert_eq!(mesh.rings(), 1);
    assert!(warnings(&mesh.engines[0], mesh.now).iter().all(|text| !text.contains("no ring")));
}

#[test]
fn machines_that_all_lost_their_state_begin_anew() {
    let mut mesh = Mesh::new(3);
    for (at, former) in [(0, 7), (1, 8), (2, 9)] {
        mesh.nodes[at].peer = Some(identity(former).name().to_string());
    }
    mesh.connect();
    // Each sees its own Node with a void name, and says its own.
    (0..3).for_each(|at| mesh.list(at));
    mesh.run(5);
    (0..3).for_each(|at| mesh.list(at));
    mesh.run(30);
    assert_eq!(mesh.rings(), 1);
}

#[test]
fn nodes_are_targets_as_they_come_and_go_beside_those_that_are_given() {
    let mut engine = engine_with(1, Init::Founder, Restored::default(), |settings| {
        settings.kubernetes = Some(KubernetesSettings { node: OWN.into(), service: None });
    });
    let mut disk = BTreeMap::new();
    outcome(&mut engine, &mut disk, at(0));
    let mut dual = node(3, None);
    dual.addresses.push("fd00::3".parse().unwrap());
    hear(&mut engine, Event::Nodes(vec![node(1, Some(1)), node(2, None), dual]), at(1));
    let targets = |engine: &Engine| engine.status(at(1)).router.targets;
    assert_eq!(targets(&engine), ["10.0.0.2:6783", "10.0.0.3:6783", "[fd00::3]:6783", "h9:6783"]);
    assert_eq!(engine.target_list(at(1)).len(), 4);
    // What an operator changes is his, and is all that is remembered.
    engine.connect(1, BTreeSet::from(["h8:6783".to_owned()]), true, at(1));
    hear(&mut engine, Event::Nodes(vec![node(1, Some(1))]), at(2));
    assert_eq!(targets(&engine), ["h8:6783"]);
    outcome(&mut engine, &mut disk, at(2));
    let saved: SavedTargets = serde_json::from_slice(&disk[&Kind::Targets].snapshot).unwrap();
    assert_eq!(saved.targets, BTreeSet::from(["h8:6783".to_owned()]));
}

#[test]
fn a_node_says_its_name_once_it_knows_a_ring_and_whether_pods_are_served() {
    let mut engine = in_api_mode(1, Init::Auto, Restored::default());
    let mut disk = BTreeMap::new();
    hear(&mut engine, Event::Nodes(vec![node(1, None), node(2, None)]), at(1));
    assert!(outcome(&mut engine, &mut disk, at(1)).words.is_empty());
    hear(&mut engine, Event::Nodes(vec![node(1, None)]), at(2));
    let words = outcome(&mut engine, &mut disk, at(2)).words;
    let down = |message: &str| Word::Present { up: false, message: message.into() };
    assert_eq!(words, [down("the NetworkPolicies of this cluster are not known yet")]);
    hear_lists(&mut engine, Vec::new(), Vec::new());
    let words = outcome(&mut engine, &mut disk, at(3)).words;
    let message = "weft gives addresses and enforces policies".to_owned();
    assert_eq!(words, [Word::Present { up: true, message }]);
    engine.handle_data_failure("the data plane has stopped".into());
    engine.handle_timeout(at(4));
    assert_eq!(outcome(&mut engine, &mut disk, at(4)).words, [down("the data plane has stopped")]);
}
