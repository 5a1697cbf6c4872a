//! Tests that need a network namespace of their own.

/// Says which test runs inside.
const INSIDE: &str = "WEFT_TEST_ALONE";

/// Runs the test of that name, under `daemon::policy`, in a namespace of its own, and fails where it
/// does. Answers whether the caller is that run, and is to do what the test does.
pub(super) fn in_own_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = std::process::Command::new("unshare")
        .args(["-n", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("daemon::policy::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "this needs root, nft and unshare: {said}");
    assert!(said.contains("1 passed"), "{said}");
    false
}
