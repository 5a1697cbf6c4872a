//! Random walks: deep where the search in breadth is wide.

use std::{collections::BTreeSet, hash::Hasher as _, thread};

use stateright::{Expectation, Model};

use crate::{Outcome, Scenario, state::Action};

/// Steps of one walk.
const STEPS: usize = 80;

impl Scenario {
    /// Takes walks of at most eighty steps with the seeds from `seed` on, [`Scenario::limit`] steps in
    /// all. The same scenario and seed give the same walks.
    pub fn walk(&self, seed: u64) -> Outcome {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let walker = |thread: usize| {
            let (mut seen, mut failures) = (BTreeSet::new(), Vec::new());
            let mut steps = 0;
            let mut seed = seed.wrapping_add(thread as u64);
            while steps < self.limit / threads && failures.is_empty() {
                steps += self.one_walk(seed, &mut seen, &mut failures);
                seed = seed.wrapping_add(threads as u64);
            }
            (seen, failures)
        };
        let mut states = BTreeSet::new();
        let mut failures = Vec::new();
        thread::scope(|scope| {
            let running: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || walker(thread))).collect();
            for walker in running {
                let (seen, failed) = walker.join().expect("a walker died");
                states.extend(seen);
                failures.extend(failed);
            }
        });
        Outcome { states: states.len(), complete: false, failures }
    }

    /// Answers how many steps it took.
    fn one_walk(&self, seed: u64, seen: &mut BTreeSet<u64>, failures: &mut Vec<String>) -> usize {
        let Some(mut state) = self.init_states().pop() else { return 0 };
        let mut random = seed;
        let mut path: Vec<Action> = Vec::new();
        let mut actions = Vec::new();
        while path.len() < STEPS {
            actions.clear();
            self.actions(&state, &mut actions);
            let next = loop {
                if actions.is_empty() {
                    return path.len().max(1);
                }
                let chosen = usize::try_from(draw(&mut random) >> 1).unwrap_or(0) % actions.len();
                let action = actions.swap_remove(chosen);
                if let Some(next) = self.next_state(&state, action) {
                    path.push(action);
                    break next;
                }
            };
            state = next;
            let mut hash = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&state, &mut hash);
            if !seen.insert(hash.finish()) {
                continue;
            }
            for property in self.properties() {
                debug_assert_eq!(property.expectation, Expectation::Always);
                if !(property.condition)(self, &state) {
                    let why = state.ends_well().err().unwrap_or_default();
                    let name = property.name;
                    failures.push(format!(
                        "{}: {name}: walk {seed}: {path:#?}\n{state:?}{why}",
                        self.title
                    ));
                    return path.len();
                }
            }
        }
        path.len()
    }
}

/// The next number of the sequence (SplitMix64).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
