//! The real `weft-net` and `weft-ipam` in real namespaces, in front of a stand-in for the daemon.
//! Needs root.
//!
//! Reading order: [`scene`] (what a run of the plugin is here), [`table`] (every verb in every
//! version against everything that can be wrong), then what is special about each verb.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod add;
mod ipam;
mod out;
#[path = "../room/mod.rs"]
mod room;
mod scene;
#[path = "../room/stub.rs"]
mod stub;
mod table;
mod undo;
mod verbs;
