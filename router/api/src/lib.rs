//! The types of the daemon's local socket: HTTP and JSON on `/run/weft/weft.sock`.
//!
//! Shared by the daemon, the command line and the CNI plugins. Fields may be added, never renamed:
//! programs outside this project read this JSON. No I/O and no async here; the client stands in
//! `weft-cni-shim`, the server in `weft-router`.
//!
//! Reading order: [`status`] (what `weft status --json` prints), [`attach`] (what a Pod's wiring
//! asks for), [`peers`] (changing targets), [`reset`], [`secret`], [`policy`] (objects shared by gossip), [`error`]
//! (what a failing call answers), [`path`].

pub mod attach;
pub mod enforcement;
pub mod error;
pub mod path;
pub mod peers;
pub mod policy;
pub mod reset;
pub mod secret;
pub mod status;
