//! What the fuzz targets do with their input.
//!
//! Each target is a function of bytes that panics where a promise is broken. `fuzz/libfuzzer/` gives them to libFuzzer;
//! `tests/replay.rs` runs them over the committed corpora, and over what lies near those, with every other test.

mod gossip;
mod text;

pub use weft_dataplane::fuzzing as dataplane;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of `fuzz/corpus/NAME` and `fuzz/libfuzzer/fuzz_targets/NAME.rs`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// All targets: every decoder that a stranger, a member, a runtime or a file can reach.
pub const TARGETS: [Target; 8] = [
    Target { name: "datagrams", run: dataplane::datagrams },
    Target { name: "payloads", run: dataplane::payloads },
    Target { name: "bridge_frame", run: dataplane::bridge_frame },
    Target { name: "gossip_message", run: gossip::message },
    Target { name: "gossip_record", run: gossip::record },
    Target { name: "gossip_restore", run: gossip::restore },
    Target { name: "cni_config", run: text::cni_config },
    Target { name: "policy_yaml", run: text::policy_yaml },
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or a promise is broken.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.into_iter().find(|target| target.name == name);
    (target.expect("a name in TARGETS").run)(data);
}
