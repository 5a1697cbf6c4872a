//! Places at which tests have the plugin die.

/// The steps of an ADD at which it can die, in their order. For tests.
pub const ADD_STEPS: [&str; 12] = [
    "vacant",
    "reserved",
    "pair",
    "sysctls",
    "addressed",
    "pod",
    "plugged",
    "port",
    "routes",
    "carrier",
    "announced",
    "wired",
];

/// The variable that names the place. Builds without debug assertions do not look at it.
#[cfg(debug_assertions)]
const VARIABLE: &str = "WEFT_CNI_FAULT";

/// Kills the process (SIGKILL, as the kernel out of memory would) if a test wants it to die here.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    if std::env::var_os(VARIABLE).is_some_and(|wanted| wanted == name) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

/// Nothing: this is no build for tests.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}
