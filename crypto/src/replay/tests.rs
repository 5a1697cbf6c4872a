//! The replay window against a set of everything accepted.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

#[test]
fn in_order_then_again() {
    let window = ReplayWindow::new();
    for counter in 0..3 * REPLAY_WINDOW {
        assert_eq!(window.accept(counter), Ok(()));
        assert_eq!(window.accept(counter), Err(Replayed::Duplicate));
    }
    for counter in 0..2 * REPLAY_WINDOW {
        assert_eq!(window.check(counter), Err(Replayed::TooOld));
    }
}

#[test]
fn reaches_back_exactly_its_size() {
    for newest in [REPLAY_WINDOW, REPLAY_WINDOW + 1, 10 * REPLAY_WINDOW + 17, MAX_PACKETS - 1] {
        let window = ReplayWindow::new();
        window.accept(newest).unwrap();
        let oldest = newest - (REPLAY_WINDOW - 1);
        assert_eq!(window.check(oldest - 1), Err(Replayed::TooOld));
        assert_eq!(window.accept(oldest), Ok(()));
        assert_eq!(window.accept(oldest), Err(Replayed::Duplicate));
    }
    const { assert!(REPLAY_WINDOW >= 2048) };
}

#[test]
fn a_leap_forgets_nothing_that_is_still_in_the_window() {
    for leap in [1, 15, 16, 17, REPLAY_WINDOW - 1, REPLAY_WINDOW, 8192, 8193, MAX_PACKETS / 2] {
        let window = ReplayWindow::new();
        window.accept(100).unwrap();
        window.accept(100 + leap).unwrap();
        let expected = if leap < REPLAY_WINDOW { Replayed::Duplicate } else { Replayed::TooOld };
        assert_eq!(window.check(100), Err(expected), "leap of {leap}");
        // Skipped counters are still welcome.
        if leap > 1 {
            assert_eq!(window.check(100 + leap - 1), Ok(()), "leap of {leap}");
        }
    }
}

#[test]
fn checking_changes_nothing() {
    let window = ReplayWindow::default();
    assert_eq!(window.check(MAX_PACKETS - 1), Ok(()));
    assert_eq!(window.accept(5), Ok(()));
    assert_eq!(window.check(MAX_PACKETS - 1), Ok(()));
    assert_eq!(window.accept(4), Ok(()));
}

#[test]
fn what_no_key_seals_is_refused() {
    let window = ReplayWindow::new();
    for counter in [MAX_PACKETS, u64::MAX - REPLAY_WINDOW, u64::MAX] {
        assert_eq!(window.accept(counter), Err(Replayed::TooOld));
    }
    assert_eq!(window.accept(0), Ok(()));
}

/// Threads that hold the same packets, and get on at different speeds: each packet is new to one of them at most, and
/// to exactly one where none has run ahead.
#[test]
fn of_many_threads_one_is_told_that_a_packet_is_new() {
    const THREADS: usize = 4;
    const LAP: u64 = REPLAY_WINDOW / 2;
    let window = ReplayWindow::new();
    let laps = std::sync::Barrier::new(THREADS);
    let accepted: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let run = || {
            let mut new = Vec::new();
            for lap in 0..20 {
                // Within a lap they may be in each other's way as they please.
                laps.wait();
                new.extend(
                    (lap * LAP..(lap + 1) * LAP).filter(|&counter| window.accept(counter).is_ok()),
                );
            }
            new
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = accepted.concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..20 * LAP), "{} accepted of {}", all.len(), 20 * LAP);
}

proptest! {
    #[test]
    fn agrees_with_a_set(start in 0..MAX_PACKETS / 2, steps in proptest::collection::vec(step(), 1..400)) {
        let window = ReplayWindow::new();
        let mut accepted = BTreeSet::new();
        let mut newest = start;
        for step in steps {
            let counter = newest.saturating_add_signed(step);
            let expected = naive(&accepted, counter);
            prop_assert_eq!(window.check(counter), expected);
            prop_assert_eq!(window.accept(counter), expected);
            if expected.is_ok() {
                accepted.insert(counter);
                newest = newest.max(counter);
            }
        }
    }
}

/// Near the newest, so that duplicates happen, near the window's end, and beyond a full round.
fn step() -> impl Strategy<Value = i64> {
    let window = i64::try_from(REPLAY_WINDOW).unwrap();
    prop_oneof![
        4 => -8..9_i64,
        2 => -200..200_i64,
        2 => -window - 3..-window + 4,
        1 => window - 3..window + 200,
        1 => 0..4 * window,
    ]
}

fn naive(accepted: &BTreeSet<u64>, counter: u64) -> Result<(), Replayed> {
    match accepted.last() {
        Some(newest) if newest.saturating_sub(counter) >= REPLAY_WINDOW => Err(Replayed::TooOld),
        _ if accepted.contains(&counter) => Err(Replayed::Duplicate),
        _ => Ok(()),
    }
}
