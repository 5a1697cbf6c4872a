//! Two hundred histories of five nodes, others with removals, and the proof that the simulator can
//! fail. For more: `cargo run -p weft-sim -- --removals --seeds 1000 --seed 5000`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use weft_sim::{Options, run};

/// Plays seeds 0 to `count` on all processors; answers the failures in words.
fn play(count: u64, options: &Options) -> Vec<String> {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return failures;
            }
            if let Err(failure) = run(&Options { seed, ..options.clone() }) {
                failures.push(failure.to_string());
            }
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        running.into_iter().flat_map(|running| running.join().expect("a worker died")).collect()
    })
}

#[test]
fn two_hundred_histories_of_five_nodes() {
    let failures = play(200, &Options { nodes: 5, steps: 150, ..Options::default() });
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_large_cluster_and_the_smallest() {
    for (nodes, steps) in [(2, 250), (12, 100)] {
        let failures = play(3, &Options { nodes, steps, ..Options::default() });
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

#[test]
fn histories_with_deaths_and_removals() {
    for (nodes, steps, count) in [(5, 150, 60), (3, 150, 20), (12, 100, 4)] {
        let options = Options { nodes, steps, removals: true, ..Options::default() };
        let failures = play(count, &options);
        assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
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
        failure.contains("replay: cargo run -p weft-sim -- --seed ")
            && failure.contains("--lying-disk")
    };
    assert!(failures.iter().all(named), "{failures:?}");
}
