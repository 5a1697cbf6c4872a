//! A node that was removed while it was cut off: what it does with its Pods when it is told.

use super::*;

/// The link between the two engines of a [`Pair`], as each end knows it.
const LINK: u64 = 1;

/// Two engines with a link between them.
struct Pair {
    engines: [Engine; 2],
    disks: [BTreeMap<Kind, Saved>; 2],
    /// Messages under way to each.
    inbox: [VecDeque<Vec<u8>>; 2],
    second: u64,
}

impl Pair {
    /// A founder and a node that has got space from it and given addresses to `pods`.
    fn with_pods(pods: &[&str]) -> Self {
        let engines = [founder(1, Restored::default()), engine(2, Init::Auto, Restored::default())];
        let mut pair =
            Self { engines, disks: Default::default(), inbox: Default::default(), second: 0 };
        pair.connect();
        pair.pass(5);
        for pod in pods {
            pair.engines[1].attach(1, request(pod), at(pair.second));
            pair.pass(5);
        }
        assert_eq!(pair.engines[1].select(&AttachmentQuery::default()).len(), pods.len());
        pair
    }

    fn connect(&mut self) {
        let now = at(self.second);
        let boot = self.second;
        self.engines[0].handle_admitted(&link(LINK, 2, true, boot, 1), now);
        self.engines[1].handle_admitted(&link(LINK, 1, false, boot, 1), now);
    }

    fn disconnect(&mut self) {
        for engine in &mut self.engines {
            engine.handle_closed(LINK, "cut", at(self.second));
        }
        self.inbox = Default::default();
    }

    /// Removes the second node on the first while they do not hear each other.
    fn remove_second(&mut self) {
        self.disconnect();
        let request = weft_api::peers::RemoveRequest {
            peers: vec![identity(2).name().to_string()],
            force: false,
        };
        self.engines[0].remove(9, &request, 1_786_042_538, at(self.second));
        self.pass(2);
    }

    /// Carries out what an engine asks for; answers what is neither a write nor a message.
    fn drain(&mut self, index: usize) -> Vec<Output> {
        let outputs = drain(&mut self.engines[index], &mut self.disks[index], at(self.second));
        let mut left = Vec::new();
        for output in outputs {
            match output {
                Output::Send { bytes, .. } => self.inbox[1 - index].push_back(bytes),
                other => left.push(other),
            }
        }
        left
    }

    /// Lets seconds pass, with all messages delivered.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            for engine in &mut self.engines {
                engine.handle_timeout(at(self.second));
            }
            loop {
                for index in 0..2 {
                    self.drain(index);
                }
                let Some(to) = (0..2).find(|to| !self.inbox[*to].is_empty()) else { break };
                let bytes = self.inbox[to].pop_front().unwrap();
                self.engines[to].handle_message(LINK, &bytes, at(self.second));
            }
        }
    }

    /// Delivers messages until the second engine asks for ports to be cut off. Answers what it
    /// asked for with that, in order, nothing of it carried out.
    fn until_cut(&mut self) -> Vec<Output> {
        for _ in 0..30 {
            self.second += 1;
            self.engines[0].handle_timeout(at(self.second));
            self.engines[1].handle_timeout(at(self.second));
            for _ in 0..100 {
                self.drain(0);
                let Some(bytes) = self.inbox[1].pop_front() else {
                    self.drain(1);
                    let Some(bytes) = self.inbox[0].pop_front() else { break };
                    self.engines[0].handle_message(LINK, &bytes, at(self.second));
                    continue;
                };
                self.drain(1);
                self.engines[1].take_tables_changed();
                self.engines[1].handle_message(LINK, &bytes, at(self.second));
                if self.engines[1].is_apart() {
                    let mut outputs = Vec::new();
                    while let Some(output) = self.engines[1].poll_output() {
                        outputs.push(output);
                    }
                    return outputs;
                }
            }
        }
        panic!("the removed node never cuts anything off");
    }
}

#[test]
fn a_removed_node_is_apart_until_its_pods_are_cut_off_and_names_them() {
    let mut pair = Pair::with_pods(&["a", "b"]);
    let before = pair.engines[1].select(&query("a"));
    pair.remove_second();
    assert_eq!(pair.engines[1].fenced_count(), 0, "nobody has told it yet");
    pair.connect();

    let outputs = pair.until_cut();
    assert!(pair.engines[1].take_tables_changed(), "the tables come before all else");
    let cuts: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::CutOff { token, ports } => Some((*token, ports.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(cuts.len(), 1);
    let ifnames: Vec<_> = cuts[0].1.iter().map(|port| port.ifname.clone()).collect();
    assert_eq!(ifnames, ["a", "b"].map(|pod| weft_cni_shim::wire::host_ifname(pod, "eth0")));
    let refused = "cannot cut off a: Device or resource busy";
    pair.engines[1].handle_cut_off(cuts[0].0, Err(refused.to_owned()), at(pair.second));
    assert!(pair.engines[1].is_apart(), "a Pod with a void address is still plugged in");
    assert!(pair.engines[1].status(at(pair.second)).warnings.iter().any(|text| text == refused));
    pair.engines[1].handle_cut_off(cuts[0].0, Ok(()), at(pair.second));
    assert!(!pair.engines[1].is_apart() && pair.engines[1].take_tables_changed());
    assert!(!pair.engines[1].status(at(pair.second)).warnings.iter().any(|text| text == refused));

    for output in outputs {
        if let Output::Save { kind, token, what } = output {
            pair.disks[1].entry(kind).or_default().write(what);
            pair.engines[1].handle_saved(kind, token, at(pair.second));
        }
    }
    let status = pair.engines[1].status(at(pair.second));
    for words in
        ["eth0 of a is cut off", "eth0 of b is cut off", "removed from the ring on", "weft reset"]
    {
        assert!(status.warnings.iter().any(|text| text.contains(words)), "{words}: {status:?}");
    }
    let after = pair.engines[1].select(&query("a"));
    assert!(after[0].fenced.is_some());
    assert_eq!((&after[0].ips, &after[0].mac), (&before[0].ips, &before[0].mac));

    // It is not given other addresses behind its back; it can be detached.
    pair.engines[1].attach(5, request("a"), at(pair.second));
    let refused = pair.drain(1).into_iter().any(|output| {
        matches!(output, Output::Reply { call: 5, result: Err(body) } if body.message.contains("cut off"))
    });
    assert!(refused);
    pair.engines[1].detach(6, &query("a"), at(pair.second));
    let detached = pair.drain(1).into_iter().any(|output| {
        matches!(output, Output::Reply { call: 6, result: Ok(Reply::Detach(reply)) } if reply.detached.len() == 1)
    });
    assert!(detached);

    // After a restart the other one is still known, and cut off again.
    let mut again = engine(2, Init::Auto, restored(&pair.disks[1]));
    assert!(again.is_apart());
    drain(&mut again, &mut pair.disks[1], at(0));
    assert!(!again.is_apart() && again.fenced_count() == 1);
}

#[test]
fn an_address_that_is_lost_before_it_was_told_is_told_to_nobody() {
    let mut pair = Pair::with_pods(&["a"]);
    pair.remove_second();
    pair.connect();
    // The request is decided and its write is under way when the word comes.
    pair.drain(1);
    pair.engines[1].attach(5, request("late"), at(pair.second));
    let mut held = Vec::new();
    while let Some(output) = pair.engines[1].poll_output() {
        held.push(output);
    }
    let outputs = pair.until_cut();
    let mut answers = 0;
    for output in held.into_iter().chain(outputs) {
        match output {
            Output::Save { kind, token, .. } => {
                pair.engines[1].handle_saved(kind, token, at(pair.second));
            }
            Output::CutOff { token, .. } => {
                pair.engines[1].handle_cut_off(token, Ok(()), at(pair.second));
            }
            _ => {}
        }
    }
    for output in pair.drain(1) {
        if let Output::Reply { call: 5, result } = output {
            assert!(result.is_err(), "{result:?}");
            answers += 1;
        }
    }
    assert_eq!(answers, 1);
    assert!(pair.engines[1].select(&query("late")).is_empty());
    assert_eq!(pair.engines[1].fenced_count(), 1);
}

#[test]
fn whatever_the_files_say_a_pod_without_its_address_is_cut_off_at_the_start() {
    let mut disk = BTreeMap::new();
    let mut engine = founder(1, Restored::default());
    engine.attach(1, request("a"), at(1));
    drain(&mut engine, &mut disk, at(1));
    // The attachments are newer than the allocations, as after an old copy was put back.
    let mut saved = read_attachments(&disk[&Kind::Attachments]).unwrap();
    saved.push(Attachment {
        container: "b".to_owned(),
        ips: vec!["10.32.0.9/12".parse().unwrap()],
        ..saved[0].clone()
    });
    let snapshot = serde_json::to_vec(&saved).unwrap();
    disk.insert(Kind::Attachments, Saved { snapshot, appended: Vec::new() });

    let mut engine = founder(1, restored(&disk));
    assert!(engine.is_apart());
    drain(&mut engine, &mut disk, at(0));
    assert!(engine.select(&query("a"))[0].fenced.is_none());
    assert!(engine.select(&query("b"))[0].fenced.is_some());
    assert_eq!(engine.status(at(0)).ipam.active, 1);
}
