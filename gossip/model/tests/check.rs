//! All orders of what may happen, in several settings; and broken rules, which must be noticed.
//!
//! `cargo test -p weft-model` visits each setting up to a bound; with `WEFT_MODEL_LONG=1` in the
//! environment it goes ten times as far, over a million states in all, and takes many minutes
//! (`-- --nocapture` prints how many).
//!
//! Each mutation was tried; the property that notices it is in its test.

use std::hash::{BuildHasher as _, RandomState};

use weft_model::{Mutation, Outcome, Scenario};

/// Steps in one setting of the default run. Several steps lead to the same state.
const SHORT: usize = 60_000;

/// Steps in one setting of the long run.
const LONG: usize = 600_000;

/// A dead node is removed on two nodes at once, with what it said last still under way.
const DEAD: Scenario = Scenario {
    title: "a dead node is removed on two nodes at once",
    voters: 0,
    hosts: 3,
    range: "10.32.0.0/29",
    founders: 1,
    met: &[0, 1, 2],
    met_too: &[],
    askers: &[0, 1],
    asks: 1,
    named: 0,
    parts: 0,
    heals: &[],
    healing: 0,
    leavers: &[],
    leaves: 0,
    releases: 0,
    removals: &[(0, 2), (1, 2)],
    removing: 2,
    force: false,
    crashers: &[0, 1],
    crashes: 1,
    mortals: &[2],
    deaths: 1,
    cuts: 0,
    late: false,
    ticks: 0,
    whole: true,
    split: false,
    ends: 2,
    limit: SHORT,
    mutation: None,
};

/// Three living nodes, each of which may be removed by another.
const WAR: Scenario = Scenario {
    title: "living nodes remove each other",
    removals: &[(0, 1), (1, 0), (1, 2), (2, 0)],
    askers: &[0, 1, 2],
    removing: 3,
    crashes: 0,
    ..DEAD
};

/// The removed node goes on, gives space to a newcomer, and both meet the others at any moment.
const NEWCOMER: Scenario = Scenario {
    title: "a newcomer that only the removed knows",
    hosts: 4,
    askers: &[0, 3],
    asks: 2,
    removals: &[(0, 2)],
    removing: 1,
    crashes: 0,
    deaths: 0,
    ..DEAD
};

/// Two nodes are removed one after the other, while a newcomer comes.
const TWICE: Scenario = Scenario {
    title: "two are removed one after the other",
    hosts: 5,
    met: &[0, 1, 2, 3],
    range: "10.32.0.0/28",
    askers: &[1, 4],
    asks: 1,
    removals: &[(0, 2), (1, 3)],
    removing: 2,
    crashes: 0,
    deaths: 0,
    ..DEAD
};

/// Space and words travel apart, record by record.
const APART: Scenario = Scenario {
    title: "records travel one by one",
    whole: false,
    split: true,
    askers: &[1],
    removals: &[(0, 2)],
    removing: 1,
    crashes: 0,
    ..DEAD
};

/// A removal by force while another node does not answer.
const FORCE: Scenario = Scenario {
    title: "a removal by force",
    hosts: 4,
    met: &[0, 1, 2, 3],
    range: "10.32.0.0/28",
    askers: &[1],
    removals: &[(0, 3), (1, 3)],
    force: true,
    crashes: 1,
    deaths: 0,
    ..DEAD
};

/// Nobody is removed: space is asked for, granted and taken over, with crashes and time.
const GRANTS: Scenario = Scenario {
    title: "grants to owners and to a newcomer",
    hosts: 4,
    askers: &[1, 2, 3],
    asks: 2,
    releases: 1,
    removals: &[],
    removing: 0,
    crashers: &[0, 1, 3],
    ticks: 1,
    ..DEAD
};

/// Three nodes that know nothing vote on who makes the ring.
const VOTE: Scenario = Scenario {
    title: "a ring by vote",
    voters: 3,
    met: &[],
    askers: &[0, 2],
    removals: &[(0, 2)],
    removing: 1,
    crashers: &[0, 1, 2],
    ticks: 2,
    ..DEAD
};

/// What a node said before its death, and what it said before that, arrives at any time.
const LATE: Scenario = Scenario {
    title: "late messages of the removed",
    late: true,
    askers: &[1, 2],
    crashes: 0,
    ..DEAD
};

/// Nobody is removed; one node at a time is cut off, knows it, and goes on.
const CUT: Scenario = Scenario {
    title: "a node is cut off",
    hosts: 4,
    askers: &[0, 3],
    asks: 2,
    removals: &[],
    removing: 0,
    crashers: &[0, 3],
    deaths: 0,
    cuts: 1,
    ticks: 1,
    ..DEAD
};

/// One leaves while others remove a dead one, and what it says of both is heard in any order.
const LEAVE: Scenario = Scenario {
    title: "one leaves while another is removed",
    hosts: 4,
    met: &[0, 1, 2, 3],
    range: "10.32.0.0/28",
    askers: &[1],
    leavers: &[2],
    leaves: 1,
    removals: &[(0, 3), (1, 3)],
    removing: 2,
    crashers: &[1, 2],
    mortals: &[3],
    whole: false,
    split: true,
    ..DEAD
};

/// An address is asked for by name, on its owner or elsewhere, while space changes hands.
const NAMED: Scenario = Scenario {
    title: "an address by name",
    hosts: 4,
    askers: &[0, 1, 3],
    asks: 1,
    named: 2,
    releases: 1,
    removals: &[],
    removing: 0,
    crashers: &[0, 1, 3],
    deaths: 0,
    ticks: 1,
    ..DEAD
};

/// An address of a part of the range, of whoever owns that part.
const PART: Scenario =
    Scenario { title: "an address of a part of the range", parts: 2, named: 0, ..NAMED };

/// Two rings that were founded apart meet; words that they are one are said on nodes of both.
const RINGS: Scenario = Scenario {
    title: "two rings become one",
    founders: 2,
    hosts: 4,
    met: &[0, 2],
    met_too: &[1, 3],
    askers: &[0, 1, 3],
    asks: 1,
    releases: 1,
    heals: &[(0, 1), (1, 0), (3, 2)],
    healing: 2,
    removals: &[],
    removing: 0,
    crashers: &[0, 1, 2, 3],
    deaths: 0,
    ticks: 1,
    ..DEAD
};

/// The same while a dead node of one of them is removed, or a living one.
const RINGS_REMOVE: Scenario = Scenario {
    title: "two rings become one while somebody is removed",
    hosts: 5,
    met: &[0, 2],
    met_too: &[1, 3, 4],
    range: "10.32.0.0/28",
    askers: &[2, 4],
    releases: 0,
    healing: 1,
    removals: &[(1, 3), (4, 3), (0, 2)],
    removing: 1,
    crashers: &[1, 4],
    mortals: &[3],
    deaths: 1,
    ticks: 0,
    ..RINGS
};

/// One of those who vote leaves at any moment.
const VOTE_LEAVE: Scenario = Scenario {
    title: "one leaves while they vote",
    leavers: &[0, 1, 2],
    leaves: 1,
    removing: 0,
    removals: &[],
    deaths: 0,
    ..VOTE
};

/// Three make a ring by vote, a fourth joins them, and everything may happen that can. For walks.
const ALL: Scenario = Scenario {
    title: "everything",
    voters: 3,
    hosts: 4,
    met: &[],
    askers: &[0, 1, 2, 3],
    asks: 4,
    named: 2,
    parts: 1,
    leavers: &[0, 1, 2, 3],
    leaves: 1,
    releases: 3,
    removals: &[(0, 2), (1, 2), (1, 0), (0, 3), (3, 2)],
    removing: 3,
    crashers: &[0, 1, 2, 3],
    crashes: 3,
    cuts: 2,
    late: true,
    ticks: 6,
    ends: 8,
    ..DEAD
};

/// The same with no removals.
const ALL_STAY: Scenario =
    Scenario { title: "everything but removals", removals: &[], removing: 0, deaths: 0, ..ALL };

/// Visits the states and prints how many there are.
fn visit(scenario: &Scenario) -> Outcome {
    let outcome = scenario.check();
    let rest = if outcome.complete { "all" } else { "of more" };
    println!("{}: {} states, {rest}", scenario.title, outcome.states);
    outcome
}

fn holds(scenario: Scenario) {
    let long = std::env::var_os("WEFT_MODEL_LONG").is_some();
    let scenario = if long { Scenario { limit: LONG, ends: 8, ..scenario } } else { scenario };
    let outcome = visit(&scenario);
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}

#[test]
fn a_dead_node_is_removed_on_two_nodes_at_once() {
    holds(DEAD);
}

#[test]
fn living_nodes_remove_each_other() {
    holds(WAR);
}

#[test]
fn a_newcomer_that_only_the_removed_knows() {
    holds(NEWCOMER);
}

#[test]
fn two_are_removed_one_after_the_other() {
    holds(TWICE);
}

#[test]
fn records_travel_one_by_one() {
    holds(APART);
}

#[test]
fn a_removal_by_force() {
    holds(FORCE);
}

#[test]
fn grants_to_owners_and_to_a_newcomer() {
    holds(GRANTS);
}

#[test]
fn a_ring_by_vote() {
    holds(VOTE);
}

#[test]
fn late_messages_of_the_removed() {
    holds(LATE);
}

#[test]
fn a_node_is_cut_off() {
    holds(CUT);
}

#[test]
fn one_leaves_while_another_is_removed() {
    holds(LEAVE);
}

#[test]
fn an_address_by_name() {
    holds(NAMED);
}

#[test]
fn an_address_of_a_part_of_the_range() {
    holds(PART);
}

#[test]
fn two_rings_become_one() {
    holds(RINGS);
}

#[test]
fn two_rings_become_one_while_somebody_is_removed() {
    holds(RINGS_REMOVE);
}

#[test]
fn one_leaves_while_they_vote() {
    holds(VOTE_LEAVE);
}

/// Walks of eighty steps, with fresh seeds in the long run.
fn walks(scenario: &Scenario) {
    let long = std::env::var_os("WEFT_MODEL_LONG").is_some();
    let fresh = || RandomState::new().hash_one(0);
    let asked = std::env::var("WEFT_MODEL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or_else(|| if long { fresh() } else { 1 });
    let limit = if long { LONG } else { SHORT / 3 };
    let outcome = Scenario { limit, ..scenario.clone() }.walk(seed);
    println!(
        "{}: {} states on walks; WEFT_MODEL_SEED={seed} takes the same again",
        scenario.title, outcome.states
    );
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
}

#[test]
fn walks_where_everything_happens() {
    walks(&ALL);
}

#[test]
fn walks_where_nobody_is_removed() {
    walks(&ALL_STAY);
}

/// What a broken rule leads to. Prints the properties that notice it.
fn broken(scenario: Scenario, mutation: Mutation) -> String {
    let failures = visit(&Scenario { mutation: Some(mutation), ..scenario }).failures;
    for failure in &failures {
        println!("{mutation:?} {}", failure.lines().next().unwrap_or_default());
    }
    failures.join("\n")
}

/// Noticed by the end: owners that were not asked lose what they hold, and removals never finish.
#[test]
fn a_removal_that_waits_for_nobody_is_noticed() {
    let found = broken(WAR, Mutation::WaitsForNobody);
    assert!(!found.is_empty());
}

/// Noticed by the end: what a member gets from one who says something else is in no word.
#[test]
fn space_that_changes_hands_between_views_is_noticed() {
    let found = broken(NEWCOMER, Mutation::AcrossViews);
    assert!(!found.is_empty());
}

/// Noticed in a view, and by the end: a node that said its word, crashed, and says another one.
#[test]
fn a_forgotten_word_is_noticed() {
    let found = broken(DEAD, Mutation::ForgetsItsWord);
    assert!(!found.is_empty());
}

/// Noticed by the end: what a newcomer got while a removal was pending is void, and nobody has it.
#[test]
fn space_without_its_root_is_noticed() {
    let found = broken(NEWCOMER, Mutation::NoRoots);
    assert!(found.contains("ends well"), "{found}");
}

/// Noticed while nobody is removed: a donor that forgets what it gave has it a second time.
#[test]
fn a_lost_write_is_noticed() {
    let found = broken(GRANTS, Mutation::LosesAWrite);
    assert!(found.contains("unique in a view"), "{found}");
}
