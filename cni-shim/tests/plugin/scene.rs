//! A host, a Pod, a stand-in for the daemon, and runs of the plugin between them.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::room::{Host, Netns};
use crate::stub::Stub;

/// A host, a Pod and a daemon, and the plugin between them.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) pod: Netns,
    pub(crate) stub: Stub,
}

/// What a run of the plugin left: its exit status and its standard output, as JSON where there is
/// any.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) json: Value,
}

impl Scene {
    pub(crate) fn new(tag: &str) -> Self {
        Self { host: Host::new(tag), pod: Netns::new(&format!("{tag}-p")), stub: Stub::start(tag) }
    }

    pub(crate) fn config(version: &str) -> Value {
        json!({"cniVersion": version, "name": "weft", "type": "weft-net", "retrySeconds": 0})
    }

    /// Runs a verb for container `c1`, `eth0`, with the given variables in place of the usual.
    pub(crate) fn run(&self, verb: &str, config: &Value, env: &[(&str, &str)]) -> Outcome {
        self.run_raw(verb, config.to_string().as_bytes(), env)
    }

    /// Runs a verb that is killed at one of its steps, and answers the signal that ended it.
    pub(crate) fn run_until(&self, verb: &str, config: &Value, step: &str) -> Option<i32> {
        let mut command = self.command(verb, &[("WEFT_CNI_FAULT", step)]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        child.wait().unwrap().signal()
    }

    pub(crate) fn run_raw(&self, verb: &str, input: &[u8], env: &[(&str, &str)]) -> Outcome {
        feed(self.command(verb, env), input)
    }

    pub(crate) fn command(&self, verb: &str, env: &[(&str, &str)]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_weft-net"));
        command
            .env("WEFT_SOCKET", self.stub.socket())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_NETNS", self.pod.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/opt/cni/bin");
        for (name, value) in env {
            command.env(name, value);
        }
        command
    }

    /// A result of ADD as CHECK is given it.
    pub(crate) fn with_previous(version: &str, previous: &Value) -> Value {
        let mut config = Self::config(version);
        config["prevResult"] = previous.clone();
        config
    }
}

pub(crate) fn feed(mut command: Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may answer without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    Outcome { code: output.status.code().unwrap(), json }
}

pub(crate) fn failed(outcome: &Outcome, code: u32) -> &str {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.json["code"], code, "{outcome:?}");
    outcome.json["msg"].as_str().unwrap()
}

/// Success, which all verbs but ADD and VERSION report by saying nothing.
pub(crate) const DONE: Outcome = Outcome { code: 0, json: Value::Null };
