//! Namespaces for tests: named by process, removed by their guards also when a test fails.
//!
//! `ip` and `bridge` are used to look at the results, so that the wiring is not its own witness.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "a module of two test binaries")]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Mutex;

/// `ip netns add` mounts below one directory, and two at once for the first time on a machine
/// stumble over each other.
static MAKING: Mutex<()> = Mutex::new(());

/// A network namespace, removed on drop.
pub struct Netns(String);

impl Netns {
    /// Makes a namespace.
    ///
    /// # Panics
    /// If this process may not: a missing capability is a failure, not a reason to skip.
    pub fn new(tag: &str) -> Self {
        let netns = Self(format!("weft-t{}-{tag}", std::process::id()));
        let _one = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let made = Command::new("ip").args(["netns", "add", &netns.0]).output().unwrap();
        assert!(
            made.status.success(),
            "cannot make a network namespace, these tests need root (CAP_NET_ADMIN, CAP_SYS_ADMIN): {}",
            String::from_utf8_lossy(&made.stderr)
        );
        netns
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }

    /// Runs a command inside and answers what it printed.
    pub fn exec(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?} in {}: {}", self.0, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn ip(&self, args: &[&str]) -> String {
        let output = Command::new("ip").args(["-n", &self.0]).args(args).output().unwrap();
        assert!(output.status.success(), "ip {args:?} in {}: {}", self.0, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// Interfaces and their addresses, for a short look.
    pub fn interfaces(&self) -> String {
        let mut interfaces = String::new();
        for line in self.ip(&["addr"]).lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["inet" | "inet6", address, ..] => interfaces.push_str(&format!(" {address}")),
                [number, name, ..] if number.ends_with(':') => {
                    interfaces.push_str(&format!("\n{name}"));
                }
                _ => {}
            }
        }
        interfaces
    }

    /// Interfaces, addresses and routes, in a form that two looks can be compared in: carriers
    /// come and go by themselves and are left out.
    pub fn state(&self) -> String {
        let mut state = String::new();
        for line in self.ip(&["-br", "link"]).lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let up = fields[3].trim_matches(['<', '>']).split(',').any(|flag| flag == "UP");
            state.push_str(&format!("{} {} up={up}\n", fields[0], fields[2]));
        }
        for line in self.ip(&["-o", "addr"]).lines() {
            state.push_str(&format!("{line}\n"));
        }
        state + &self.ip(&["route"]) + &self.ip(&["-6", "route"])
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A namespace that plays the host: it has the bridge `weft`, and code can run inside it.
pub struct Host(Netns);

impl Host {
    pub fn new(tag: &str) -> Self {
        let host = Self(Netns::new(tag));
        // Without an address of its own, a bridge takes its ports' and shows it in `state`.
        host.ip(&["link", "add", "weft", "address", "02:00:00:00:00:fe", "type", "bridge"]);
        host.ip(&["link", "set", "weft", "addrgenmode", "none", "up"]);
        host
    }

    /// Runs `job` on a thread that stands in the namespace.
    pub fn run<T: Send + 'static>(&self, job: impl Future<Output = T> + Send + 'static) -> T {
        let netns = File::open(self.path()).unwrap();
        let run = move || {
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(job)
        };
        std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl std::ops::Deref for Host {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.0
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
