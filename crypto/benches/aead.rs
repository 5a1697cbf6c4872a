//! How fast each backend seals and opens packets: GB/s of plaintext, in place, on one thread.
//!
//! `cargo bench -p weft-crypto --bench aead [-- MILLISECONDS]`: the time spent on each figure, 300 unless told. The
//! backends take turns, and a figure is the median of many short batches, so that other work on the machine disturbs
//! all alike and little. A batch is a train of packets that fits the second-level cache.

// A benchmark reads the clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use weft_crypto::{Aead, Backend, KEY_LEN, NONCE_LEN, Suite, TAG_LEN};
use zeroize::Zeroizing;

/// A small packet, one of an underlay with MTU 1500 or 9000, and two longer ones to show what a call costs.
const LENGTHS: [usize; 5] = [64, 1400, 8900, 16_384, 64_000];

/// Bytes of plaintext in a batch.
const BATCH: usize = 200_000;

/// Packets in a batch at most.
const MOST_PACKETS: usize = 500;

/// Batches of a backend at one length before the next takes its turn.
const TURN: usize = 10;

const HEADER: [u8; 16] = [1; 16];

/// One nonce for all: nothing here is secret, and its value costs no time.
const NONCE: [u8; NONCE_LEN] = [2; NONCE_LEN];

fn main() {
    let time = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(300);
    let lanes: Vec<Lane> = Suite::ALL.into_iter().flat_map(Lane::all).collect();
    let mut table = vec![Vec::new(); lanes.len()];
    for len in LENGTHS {
        let mut train = vec![vec![0; len]; (BATCH / len).min(MOST_PACKETS)];
        let mut batches = vec![Vec::new(); lanes.len()];
        let lanes_count = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
        let deadline = Instant::now() + Duration::from_millis(time) * lanes_count;
        while Instant::now() < deadline {
            for (lane, batches) in lanes.iter().zip(&mut batches) {
                batches.extend((0..TURN).map(|_| lane.run(&mut train)));
            }
        }
        for (row, mut batches) in table.iter_mut().zip(batches) {
            batches.sort();
            let median = batches.get(batches.len() / 2).map_or(f64::NAN, Duration::as_secs_f64);
            row.push((train.len() * len) as f64 / median / 1e9);
        }
    }

    print!("{:<36}", "GB/s at a length of");
    LENGTHS.iter().for_each(|len| print!("{len:>8}"));
    println!();
    for (lane, row) in lanes.iter().zip(table) {
        let used = if Backend::for_suite(lane.suite) == lane.backend { "*" } else { "" };
        let verb = if lane.opens { "open" } else { "seal" };
        let name = format!("{} {}{used}", lane.suite, lane.backend);
        print!("{name:<36}{verb}");
        row.iter().for_each(|figure| print!("{figure:>8.2}"));
        println!();
    }
    println!("* in use on this CPU");
}

/// One row of the table.
struct Lane {
    suite: Suite,
    backend: Backend,
    opens: bool,
    aead: Box<dyn Aead>,
}

impl Lane {
    fn all(suite: Suite) -> impl Iterator<Item = Self> {
        let key = Zeroizing::new([7; KEY_LEN]);
        [false, true].into_iter().flat_map(move |opens| {
            let key = key.clone();
            Backend::ALL.into_iter().filter_map(move |backend| {
                Some(Self { suite, backend, opens, aead: backend.with_key(suite, &key)? })
            })
        })
    }

    /// Seals a train of packets and opens it again; the time of one of the two.
    fn run(&self, train: &mut [Vec<u8>]) -> Duration {
        let started = Instant::now();
        let tags: Vec<[u8; TAG_LEN]> = train
            .iter_mut()
            .map(|packet| self.aead.seal(black_box(NONCE), &HEADER, black_box(packet)))
            .collect();
        let sealing = started.elapsed();
        let started = Instant::now();
        for (packet, tag) in train.iter_mut().zip(&tags) {
            let opened = self.aead.open(black_box(NONCE), &HEADER, black_box(packet), tag);
            assert!(opened.is_ok(), "a backend does not open what it sealed");
        }
        if self.opens { started.elapsed() } else { sealing }
    }
}
