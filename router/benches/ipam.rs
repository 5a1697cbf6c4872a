//! What an address costs: allocated and freed with a sync each, as the addresses held grow; and what it costs to
//! take in another owner's word, as the tokens of the ring grow. Prints JSON.
//!
//! `cargo bench -p weft-router --bench ipam -- DIRECTORY [SECONDS]`: where the journal goes, on the disk that is to be
//! measured, and how long each figure may take, 3 unless told. `scripts/bench ipam` makes a table of it.

// A benchmark reads the clock, and fails where it cannot go on.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_crypto::{Identity, PeerName};
use weft_gossip::ipam::{Init, Ipam, IpamConfig, RawRange, Request, Space, Span};
use weft_gossip::{Config, Event, Node, Time, Written};
use weft_router::daemon::Disk;

const HELD: [u64; 4] = [100, 1_000, 10_000, 100_000];
const TOKENS: [u64; 4] = [10, 100, 1_000, 10_000];

/// Owners in the ring at most; each has as many tokens as the others.
const OWNERS: u64 = 100;

fn main() {
    // Cargo adds an argument of its own.
    let given: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let dir = given.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = given.get(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let limit = Duration::from_secs(seconds);
    let bare = bare_sync(&dir, limit);
    let held: Vec<_> = HELD.iter().map(|held| allocations(&dir, *held, limit)).collect();
    let tokens: Vec<_> = TOKENS.iter().map(|tokens| merges(*tokens, limit)).collect();
    let report = serde_json::json!({ "bare_sync_us": bare, "allocations": held, "merges": tokens });
    println!("{report}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}

/// What the disk itself takes for an append of 200 bytes and a sync, µs.
fn bare_sync(dir: &Path, limit: Duration) -> f64 {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(dir).unwrap();
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < limit {
        let one = Instant::now();
        file.write_all(&[7; 200]).unwrap();
        file.sync_data().unwrap();
        times.push(micros(one));
    }
    median(times)
}

/// A node, its journal, and the times that its parts took, µs.
struct Machine {
    node: Node,
    disk: Disk,
    dir: PathBuf,
    /// As the daemon has it: the journal may grow to twice what a checkpoint holds.
    checkpoint: u64,
    syncs: u64,
    written: u64,
    now: Time,
}

impl Machine {
    /// Writes what the node wants written, and tells it. Answers whether a request came out.
    fn drain(&mut self) -> bool {
        let mut writes = Vec::new();
        let mut token = 0;
        while let Some(persist) = self.node.poll_persist() {
            let (Written::Snapshot(bytes) | Written::Append(bytes)) = &persist.what;
            self.written += bytes.len() as u64;
            token = persist.token;
            writes.push(persist.what);
        }
        if !writes.is_empty() {
            let grown = self.disk.write(&writes).unwrap();
            self.syncs += 1;
            self.node.persisted(token, self.now);
            if grown > (256 << 10).max(2 * self.checkpoint) {
                let all = self.node.snapshot();
                self.checkpoint = all.len() as u64;
                self.disk.checkpoint(&self.dir, all).unwrap();
            }
        }
        while self.node.poll_transmit().is_some() {}
        let mut allocated = false;
        while let Some(event) = self.node.poll_event() {
            allocated |= matches!(event, Event::Allocated { result: Ok(_), .. });
        }
        allocated
    }

    fn allocate(&mut self, key: &str) {
        let deadline = self.now + Duration::from_secs(30);
        self.node.allocate(key, Request::default(), deadline, self.now);
    }
}

/// Allocates and frees one address, over and over, on a node that holds `held`.
fn allocations(dir: &Path, held: u64, limit: Duration) -> serde_json::Value {
    let journal = tempfile::tempdir_in(dir).unwrap();
    let config = Config {
        nickname: "bench".into(),
        version: "bench".into(),
        boot_id: 1,
        port: 6783,
        ranges: vec!["10.32.0.0/12".parse().unwrap()],
        init: Init::Founder,
        targets: 0,
        cool_down: Duration::from_secs(30),
    };
    let identity = Arc::new(Identity::from_seed([7; 32]));
    let node = Node::new(config, identity, [7; 32], None, Time::START).unwrap();
    let disk = Disk::open(journal.path()).unwrap();
    let dir = journal.path().to_path_buf();
    let mut machine =
        Machine { node, disk, dir, checkpoint: 0, syncs: 0, written: 0, now: Time::START };
    for pod in 0..held {
        machine.allocate(&format!("3f2a9c71d8e4/{pod:08}/eth0"));
        // What is held is put there in a few writes: it is what follows that is measured.
        if pod % 1000 == 999 {
            machine.drain();
        }
    }
    machine.drain();
    (machine.syncs, machine.written) = (0, 0);
    let begun = Instant::now();
    let (mut pairs, mut times, mut thinking) = (0_u32, Vec::new(), Vec::new());
    while begun.elapsed() < limit || pairs < 50 {
        let one = Instant::now();
        machine.allocate("the one more/eth0");
        thinking.push(micros(one));
        assert!(machine.drain(), "a request was not met");
        machine.node.release("the one more/eth0", machine.now);
        machine.drain();
        times.push(micros(one));
        pairs += 1;
        machine.now += Duration::from_millis(20);
        machine.node.handle_timeout(machine.now);
        machine.drain();
    }
    let rate = f64::from(pairs) / begun.elapsed().as_secs_f64();
    serde_json::json!({
        "held": held,
        "pairs_per_second": rate,
        "pair_us": median(times),
        "allocate_in_memory_us": median(thinking),
        "bytes_per_pair": machine.written as f64 / f64::from(pairs),
        "syncs_per_pair": machine.syncs as f64 / f64::from(pairs),
    })
}

/// Takes in the words of owners, over and over, in a ring of `tokens`.
fn merges(tokens: u64, limit: Duration) -> serde_json::Value {
    let names: Vec<PeerName> = (0..OWNERS.min(tokens))
        .map(|n| PeerName::from_bytes([u8::try_from(n + 1).unwrap(); 32]))
        .collect();
    let range = "10.32.0.0/12";
    let raw = RawRange { start: 0xffff_0a20_0000, prefix_len: 12 };
    let size = (1_u128 << 20) / u128::from(tokens);
    let mut spaces: Vec<Space> = names
        .iter()
        .map(|_| Space {
            ring: [9; 16],
            ranges: vec![raw],
            next_grant: 1,
            revision: 1,
            ..Space::default()
        })
        .collect();
    for token in 0..tokens {
        let start = raw.start + u128::from(token) * size;
        let end = if token + 1 == tokens { raw.start + (1 << 20) - 1 } else { start + size - 1 };
        let owner = usize::try_from(token).unwrap() % names.len();
        spaces[owner].owned.push(Span { start, end, version: 1 });
    }
    for space in &mut spaces {
        space.free = vec![1000];
    }
    let config = IpamConfig {
        name: PeerName::from_bytes([255; 32]),
        ranges: vec![range.parse().unwrap()],
        init: Init::Observer,
        targets: 1,
        cool_down: Duration::from_secs(30),
    };
    let mut ipam = Ipam::new(config, None, [7; 32], Time::START).unwrap();
    for (name, space) in names.iter().zip(&spaces) {
        ipam.handle_space(*name, Some(space.clone()), Time::START).unwrap();
    }
    assert_eq!(ipam.routes().len() as u64, tokens, "the ring is whole");
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut turn = 0;
    while begun.elapsed() < limit.min(Duration::from_secs(1)) || times.len() < 20 {
        let owner = turn % names.len();
        turn += 1;
        // A word that changes hands of nothing and yet has to be folded in: the versions grow.
        spaces[owner].revision += 1;
        spaces[owner].owned.iter_mut().for_each(|span| span.version += 1);
        let space = spaces[owner].clone();
        let one = Instant::now();
        ipam.handle_space(names[owner], Some(space), Time::START).unwrap();
        times.push(micros(one));
    }
    serde_json::json!({ "tokens": tokens, "owners": names.len(), "merge_us": median(times) })
}
