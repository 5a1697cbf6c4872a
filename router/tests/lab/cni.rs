//! The plugin called as a runtime calls it, in front of a real daemon.

mod load;
mod subnet;
mod undo;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Lab, binaries};

/// The network that is used unless a test is about one.
pub(crate) fn network() -> Value {
    json!({"cniVersion": "1.1.0", "name": "weft", "type": "weft-net"})
}

/// A network namespace for the plugin to wire, removed with its value.
pub(crate) struct Sandbox(String);

impl Sandbox {
    /// Makes one that belongs to no host yet; `name` shows in its name, which is the container's id
    /// too.
    pub(crate) fn new(lab: &Lab, name: &str) -> Self {
        let name = lab.pod_namespace(1, name);
        let made = Command::new("ip").args(["netns", "add", &name]).output().expect("ip starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(name)
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &str {
        &self.0
    }

    /// Starts a verb on a host, with more variables.
    pub(crate) fn start(
        &self,
        lab: &Lab,
        (host, plugin, verb): (usize, &str, &str),
        config: &Value,
        variables: &[&str],
    ) -> Call {
        let program = binaries().join(plugin);
        let host = host.to_string();
        let mut words = vec!["exec".to_owned(), host, "env".to_owned()];
        words.push(format!("CNI_COMMAND={verb}"));
        words.push(format!("CNI_CONTAINERID={}", self.0));
        words.push(format!("CNI_NETNS=/run/netns/{}", self.0));
        words.push("CNI_IFNAME=eth0".to_owned());
        words.extend(variables.iter().map(|&variable| variable.to_owned()));
        words.push(program.display().to_string());
        let mut command = lab.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("scripts/lab starts");
        let mut input = child.stdin.take().expect("it is piped");
        // A plugin that is killed at once does not read it.
        let _ = input.write_all(config.to_string().as_bytes());
        Call { child, what: format!("{verb} of {}", self.0) }
    }

    /// Calls `weft-net` on a host.
    pub(crate) fn call(&self, lab: &Lab, host: usize, verb: &str, config: &Value) -> Answer {
        self.start(lab, (host, "weft-net", verb), config, &[]).answer()
    }

    /// An ADD on host 1 that has to succeed; answers the addresses without their prefix lengths.
    #[track_caller]
    pub(crate) fn add(&self, lab: &Lab, config: &Value) -> Vec<String> {
        self.call(lab, 1, "ADD", config).addresses()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// A plugin that runs.
pub(crate) struct Call {
    child: Child,
    what: String,
}

impl Call {
    /// Waits for its end.
    pub(crate) fn answer(self) -> Answer {
        let output = self.child.wait_with_output().expect("it ends");
        Answer { output, what: self.what }
    }
}

/// What a plugin answered.
pub(crate) struct Answer {
    output: Output,
    what: String,
}

impl Answer {
    /// What it printed; null for nothing. It must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        let json = self.json();
        assert!(self.output.status.success(), "{}: {json}", self.what);
        json
    }

    /// The addresses of a successful ADD.
    #[track_caller]
    pub(crate) fn addresses(&self) -> Vec<String> {
        let result = self.ok();
        let ips = result["ips"].as_array().expect("an ADD answers addresses").iter();
        let address = |ip: &Value| ip["address"].as_str().expect("a string").to_owned();
        ips.map(|ip| address(ip).split('/').next().unwrap_or_default().to_owned()).collect()
    }

    /// The message of a failure with this code.
    #[track_caller]
    pub(crate) fn failed(&self, code: u32) -> String {
        let json = self.json();
        assert!(!self.output.status.success(), "{}: {json}", self.what);
        assert_eq!(json["code"], code, "{}: {json}", self.what);
        json["msg"].as_str().expect("a string").to_owned()
    }

    /// Whether it was killed before it answered.
    pub(crate) fn died(&self) -> bool {
        !self.output.status.success() && self.output.stdout.is_empty()
    }

    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.output.stdout);
        if text.trim().is_empty() {
            return Value::String(String::from_utf8_lossy(&self.output.stderr).into_owned());
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", self.what))
    }
}
