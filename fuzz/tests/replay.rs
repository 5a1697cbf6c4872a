//! The corpora, and what lies near them, through every target.
//!
//! A fuzzer finds more than this: `scripts/fuzz`. This keeps what it found from coming back.

use std::path::{Path, PathBuf};

use weft_fuzz_targets::TARGETS;

/// How many inputs near each of the corpus are tried.
const NEAR: u64 = 200;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> =
        entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).expect("a readable file")))
        .collect()
}

/// A number that looks random and is the same every time (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(state: &mut u64, limit: usize) -> usize {
    usize::try_from(next(state) % limit.max(1) as u64).expect("it was an usize")
}

/// An input near this one: some bytes changed, cut, repeated or taken away.
fn near(input: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=below(state, 4) {
        let at = below(state, bytes.len());
        match below(state, 6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, next(state).to_le_bytes()[0]),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.extend_from_slice(&input[below(state, input.len())..]),
            _ if !bytes.is_empty() => {
                bytes[at] = [0, 0xff, bytes[at] ^ 1 << below(state, 8), 0x80][below(state, 4)];
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn every_target_has_a_corpus_and_survives_it() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "no corpus for {}", target.name);
        for (path, input) in corpus {
            // Shown where a target panics.
            println!("{}", path.display());
            (target.run)(&input);
            let mut state = input.len() as u64;
            for round in 0..NEAR {
                println!("  near {round}");
                (target.run)(&near(&input, &mut state));
            }
        }
    }
}
