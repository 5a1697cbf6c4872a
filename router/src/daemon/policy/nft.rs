//! The program `nft`, which has the kernel's ear. Each run is one transaction.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::PolicyError;

/// Carries out commands in JSON (libnftables-json(5)), all or none.
pub(super) fn run_json(commands: &Value) -> Result<(), PolicyError> {
    run(&["-j", "-f", "-"], &commands.to_string()).map(drop)
}

/// Carries out a script, all or nothing of it.
pub(super) fn run_script(script: &str) -> Result<(), PolicyError> {
    run(&["-f", "-"], script).map(drop)
}

/// What a table holds, the elements of its sets left out. None where there is no such table.
pub(super) fn list(family: &str, table: &str) -> Result<Option<Value>, PolicyError> {
    let text = match run(&["-j", "-t", "list", "table", family, table], "") {
        Err(PolicyError::Refused { why }) if why.contains("No such file") => return Ok(None),
        other => other?,
    };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|error| PolicyError::Refused { why: error.to_string() })
}

/// Runs it, in the caller's network namespace.
fn run(arguments: &[&str], input: &str) -> Result<String, PolicyError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PolicyError::Missing,
            _ => PolicyError::Program(error),
        })?;
    // It reads all before it writes. Where it ends before that, its exit code tells why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(PolicyError::Program)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let why = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(PolicyError::Refused { why: why.trim().to_owned() })
}
