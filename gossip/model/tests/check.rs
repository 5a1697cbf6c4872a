//! All orders of what may happen.

use weft_model::Scenario;

/// Visits all states and prints how many there are.
fn check(scenario: &Scenario) -> usize {
    let outcome = scenario.check();
    println!("{}: {} states, complete: {}", scenario.title, outcome.states, outcome.complete);
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
    outcome.states
}

const DEAD_ON_TWO: Scenario = Scenario {
    title: "a dead node is removed on two nodes at once",
    hosts: 3,
    vote: false,
    range: "10.32.0.0/29",
    met: &[0, 1, 2],
    askers: &[0, 1],
    asks: 1,
    releases: 0,
    removals: &[(0, 2), (1, 2)],
    removing: 2,
    force: false,
    crashers: &[0, 1],
    crashes: 1,
    mortals: &[2],
    deaths: 1,
    ticks: 0,
    whole: true,
    split: false,
    ends: 4,
    limit: 20_000,
    mutation: None,
};

#[test]
fn a_dead_node_is_removed_on_two_nodes_at_once() {
    check(&DEAD_ON_TWO);
}

#[test]
fn living_nodes_remove_each_other() {
    check(&Scenario {
        title: "living nodes remove each other",
        removals: &[(0, 1), (1, 0), (1, 2), (2, 0)],
        askers: &[0, 1, 2],
        removing: 3,
        crashes: 0,
        ..DEAD_ON_TWO
    });
}

#[test]
fn a_newcomer_that_only_the_removed_knows() {
    check(&Scenario {
        title: "a newcomer that only the removed knows",
        hosts: 4,
        askers: &[0, 3],
        asks: 2,
        removals: &[(0, 2)],
        removing: 1,
        crashes: 0,
        deaths: 0,
        ..DEAD_ON_TWO
    });
}
