//! Two hundred histories, the crash at every write of some short ones, and the proof that the simulator
//! can fail. For more: `scripts/test --long`, or `cargo run -p weft-sim -- --seeds 1000 --seed 5000`.

use std::sync::Mutex;

use weft_sim::{CrashPoint, Options, play_all, run};

/// Plays seeds from that of `options` on; answers the failures in words.
fn play(count: u64, options: &Options) -> Vec<String> {
    let failures = Mutex::new(Vec::new());
    let sum = play_all(options, count, |failure| {
        failures.lock().expect("no worker panics").push(failure.to_string());
    });
    println!("{sum}");
    failures.into_inner().expect("no worker panics")
}

#[test]
fn two_hundred_histories() {
    let failures = play(200, &Options::default());
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

/// A machine stops before, at and after each write in turn, in histories with and without removals.
#[test]
fn a_crash_at_every_write() {
    for (seed, removals) in [(1, false), (2, true)] {
        let short = Options {
            seed,
            nodes: Some(3),
            steps: Some(12),
            removals: Some(removals),
            ..Options::default()
        };
        let writes = run(&short).map_err(|failure| failure.to_string()).unwrap().writes;
        assert!(writes > 10, "{writes} writes");
        for write in 0..writes {
            for point in CrashPoint::ALL {
                let crash = Options { crash_at: Some((write, point)), ..short.clone() };
                if let Err(failure) = run(&crash) {
                    panic!("{failure}");
                }
            }
        }
    }
}

#[test]
fn a_seed_makes_the_same_history_each_time() {
    let options = Options { seed: 17, ..Options::default() };
    let first = run(&options).map_err(|failure| failure.to_string()).unwrap();
    assert_eq!(run(&options).map_err(|failure| failure.to_string()).unwrap(), first);
    let other = Options { seed: 18, ..options };
    assert_ne!(run(&other).map_err(|failure| failure.to_string()).unwrap().trace, first.trace);
}

/// With disks that call a write safe too early, promises are made that a crash breaks. If no seed
/// noticed, the checks would check nothing.
#[test]
fn promises_before_persistence_are_noticed() {
    let failures = play(8, &Options { lying_disk: true, ..Options::default() });
    assert!(!failures.is_empty());
    let named = |failure: &String| {
        failure.contains("replay: cargo run -p weft-sim -- --verbose --seed ")
            && failure.contains("--lying-disk")
    };
    assert!(failures.iter().all(named), "{failures:?}");
}
