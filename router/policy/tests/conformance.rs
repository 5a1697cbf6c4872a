//! The recorded verdicts of the Kubernetes e2e tests and of Cyclonus, cell by cell.
//!
//! The data lives outside the project: in the directory that `WEFT_CONFORMANCE_DIR` names, else in
//! `../shared/conformance` beside the repository. Where a file is absent its cells are not checked,
//! and the test says so.
#![allow(clippy::unwrap_used, reason = "a harness of tests: what is malformed must fail")]

mod conformance {
    pub(crate) mod data;
    pub(crate) mod replay;
}

use conformance::{data, replay};

/// What each file holds; fewer cells checked would be a broken harness.
const UPSTREAM_CELLS: usize = 711;

#[test]
fn upstream_cells_agree_through_the_evaluator() {
    let Some(file) = data::upstream() else { return };
    let cells = replay::upstream(&file, &replay::evaluator);
    assert_eq!(cells, UPSTREAM_CELLS);
    println!("upstream-netpol.json: {cells} cells agree");
}

#[test]
fn cyclonus_cells_agree_through_the_evaluator() {
    let Some(file) = data::cyclonus() else { return };
    let cells = replay::cyclonus(&file, &replay::evaluator);
    assert!(cells > 60_000, "{cells}");
    println!("cyclonus.json: {cells} cells agree");
}

#[test]
fn upstream_cells_agree_through_the_ruleset() {
    let Some(file) = data::upstream() else { return };
    let cells = replay::upstream(&file, &replay::ruleset);
    assert_eq!(cells, UPSTREAM_CELLS);
    println!("upstream-netpol.json: {cells} cells agree through the ruleset");
}

#[test]
fn cyclonus_cells_agree_through_the_ruleset() {
    let Some(file) = data::cyclonus() else { return };
    let cells = replay::cyclonus(&file, &replay::ruleset);
    assert!(cells > 60_000, "{cells}");
    println!("cyclonus.json: {cells} cells agree through the ruleset");
}
