//! Weft's daemon and command line, as a library so that tests can run a whole node in the process.
//!
//! [`config`] is what a launch was told, [`cli`] the commands, [`daemon`] the node itself. The
//! binary `weft` only parses and dispatches.

pub mod cli;
pub mod config;
pub mod daemon;
mod utc;
