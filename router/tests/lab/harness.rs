//! A lab as a value: made by [`Lab::up`], removed when it goes out of scope, also after a failure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// Long enough for a condition that comes true in well under a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One lab at a time: a second one would only make both slow.
static SERIAL: Mutex<()> = Mutex::new(());

/// What a command said and how it ended.
pub(crate) struct Outcome {
    /// The exit code; -1 after a signal.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Hosts as network namespaces on one underlay.
pub(crate) struct Lab {
    tag: String,
    hosts: usize,
    _serial: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes hosts 1 to `hosts`. `name` (a-z, 0-9) shows in the names of the namespaces.
    pub(crate) fn up(name: &str, hosts: usize) -> Self {
        // A test that failed has not harmed the next one's lab.
        let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Self { tag: format!("{name}{}", std::process::id()), hosts, _serial: serial };
        static REAPED: OnceLock<()> = OnceLock::new();
        REAPED.get_or_init(|| drop(lab.lab(["reap"])));
        lab.ok(["up", &hosts.to_string()]);
        lab
    }

    /// Three hosts, each told of one other, that have found each other.
    pub(crate) fn mesh(name: &str) -> Self {
        let lab = Self::up(name, 3);
        lab.launch(1, &["h3", "--ipalloc-init", "founder"]);
        lab.launch(2, &["h1"]);
        lab.launch(3, &["h2"]);
        lab.await_mesh(PATIENCE);
        lab
    }

    /// Waits until every host has an established connection to every other, and can serve Pods.
    pub(crate) fn await_mesh(&self, patience: Duration) {
        eventually("a full mesh", patience, || {
            for host in 1..=self.hosts {
                let status = self.status(host)?;
                let router = &status["router"];
                let established = &router["connections"]["established"];
                if status["ready"] != true
                    || router["peers"] != self.hosts
                    || *established != self.hosts - 1
                {
                    return Err(format!("host {host}: {status}"));
                }
            }
            Ok(())
        });
    }

    /// Runs `scripts/lab` for this lab.
    pub(crate) fn lab<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        outcome(self.command(arguments).output().expect("scripts/lab starts"))
    }

    /// The same, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(repository().join("scripts/lab"));
        command
            .args(arguments)
            .env("WEFT_LAB_TAG", &self.tag)
            .env("WEFT_LAB_OWNER", std::process::id().to_string())
            .env("WEFT_BIN_DIR", binaries())
            .env_remove("WEFT_SECRET")
            .stdin(Stdio::null());
        command
    }

    /// Runs `scripts/lab` and answers its trimmed output; it must succeed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let command: Vec<_> =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let outcome = self.lab(&command);
        assert_eq!(outcome.code, 0, "{command:?} failed:\n{}{}", outcome.stdout, outcome.stderr);
        outcome.stdout.trim_end().to_owned()
    }

    /// Launches weft on a host and waits until it answers.
    #[track_caller]
    pub(crate) fn launch(&self, host: usize, arguments: &[&str]) {
        let host = host.to_string();
        self.ok(["launch", &host].iter().chain(arguments));
    }

    /// Runs `weft launch` in the foreground and answers how it ended.
    pub(crate) fn run(&self, host: usize, arguments: &[&str]) -> Outcome {
        let host = host.to_string();
        self.lab(["run", &host].iter().chain(arguments))
    }

    /// Runs the command line against a host's daemon.
    pub(crate) fn weft(&self, host: usize, arguments: &[&str]) -> Outcome {
        let host = host.to_string();
        self.lab(["weft", &host].iter().chain(arguments))
    }

    /// The JSON that a command of the command line prints; the text says why there is none.
    pub(crate) fn json(&self, host: usize, arguments: &[&str]) -> Result<Value, String> {
        let outcome = self.weft(host, arguments);
        if outcome.code != 0 {
            return Err(format!("weft {arguments:?} on host {host}: {}", outcome.stderr));
        }
        serde_json::from_str(&outcome.stdout).map_err(|e| format!("{e} in {}", outcome.stdout))
    }

    /// `weft status --json`.
    pub(crate) fn status(&self, host: usize) -> Result<Value, String> {
        self.json(host, &["status", "--json"])
    }

    /// `weft ps --json` without the host's own entry, which stands first once a Pod has needed a
    /// gateway.
    pub(crate) fn ps(&self, host: usize) -> Result<Value, String> {
        let mut rows = self.json(host, &["ps", "--json"])?;
        if let Some(rows) = rows.as_array_mut() {
            rows.retain(|row| row["container"] != "weft:expose");
        }
        Ok(rows)
    }

    /// Runs a command in a host's namespace.
    pub(crate) fn exec(&self, host: usize, command: &[&str]) -> Outcome {
        let host = host.to_string();
        self.lab(["exec", &host].iter().chain(command))
    }

    /// Makes a Pod and answers its address.
    #[track_caller]
    pub(crate) fn pod(&self, host: usize, name: &str) -> String {
        self.ok(["pod", &host.to_string(), name])
    }

    /// Runs a command in a Pod.
    pub(crate) fn podexec(&self, host: usize, pod: &str, command: &[&str]) -> Outcome {
        let host = host.to_string();
        self.lab(["podexec", &host, pod].iter().chain(command))
    }

    /// Starts a command in a Pod that ends with the lab, or when the value goes.
    pub(crate) fn podspawn(&self, host: usize, pod: &str, command: &[&str]) -> Background {
        spawn(&self.pod_namespace(host, pod), command)
    }

    /// The same on a host.
    pub(crate) fn spawn(&self, host: usize, command: &[&str]) -> Background {
        spawn(&self.namespace(host), command)
    }

    /// Waits until a ping from a Pod to an address is answered.
    #[track_caller]
    pub(crate) fn await_ping(&self, host: usize, pod: &str, address: &str) {
        eventually(&format!("a ping from h{host}/{pod} to {address}"), PATIENCE, || {
            match self.podexec(host, pod, &["ping", "-n", "-c", "1", "-W", "1", address]) {
                Outcome { code: 0, .. } => Ok(()),
                other => Err(other.stdout),
            }
        });
    }

    /// A host's metrics whose name with labels begins with `prefix`, added up. None where there is
    /// no such metric.
    pub(crate) fn metric(&self, host: usize, prefix: &str) -> Option<f64> {
        let text =
            self.exec(host, &["curl", "-sS", "--max-time", "5", "http://127.0.0.1:6782/metrics"]);
        text.stdout
            .lines()
            .filter(|line| line.starts_with(prefix))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .reduce(|a, b| a + b)
    }

    /// What a host's daemon logged.
    pub(crate) fn log(&self, host: usize) -> String {
        std::fs::read_to_string(self.host_dir(host).join("log")).unwrap_or_default()
    }

    /// The links of a host's namespace, sorted.
    pub(crate) fn links(&self, host: usize) -> Vec<String> {
        let listing = self.exec(host, &["ip", "-json", "link"]).stdout;
        let links: Vec<Value> = serde_json::from_str(&listing).expect("ip prints JSON");
        let mut names: Vec<_> =
            links.iter().filter_map(|link| link["ifname"].as_str().map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Where the lab keeps what belongs to it.
    pub(crate) fn dir(&self) -> PathBuf {
        Path::new("/run/weft-lab").join(&self.tag)
    }

    /// Where the lab keeps what belongs to a host.
    pub(crate) fn host_dir(&self, host: usize) -> PathBuf {
        self.dir().join(format!("h{host}"))
    }

    /// The name of a host's network namespace.
    pub(crate) fn namespace(&self, host: usize) -> String {
        format!("weft-{}-h{host}", self.tag)
    }

    /// The name of a Pod's network namespace.
    pub(crate) fn pod_namespace(&self, host: usize, pod: &str) -> String {
        format!("{}-{pod}", self.namespace(host))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in 1..=self.hosts {
                let log = self.log(host);
                let lines: Vec<_> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(40)..];
                println!("---- the end of the log of host {host}\n{}", tail.join("\n"));
            }
        }
        let outcome = self.lab(["down"]);
        if outcome.code != 0 && !std::thread::panicking() {
            panic!("the lab could not be removed: {}", outcome.stderr);
        }
    }
}

/// A process that is killed with its value.
pub(crate) struct Background(Child);

impl Background {
    /// Ends the process and answers what it printed.
    pub(crate) fn stop(mut self) -> String {
        self.0.kill().expect("the process can be killed");
        let mut printed = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut printed).expect("its output is text");
        }
        printed
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Polls until `condition` answers Ok; panics with its last error after `patience`.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(why) if Instant::now() >= deadline => {
                panic!("no {what} within {patience:?}: {why}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The root of the project.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the project")
}

/// The folder with `weft` and `weft-net`. Cargo builds only the first for these tests; the second
/// is built here where it is missing or older than its sources.
pub(crate) fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let dir =
            Path::new(env!("CARGO_BIN_EXE_weft")).parent().expect("a binary lies in a folder");
        let sources = ["cni-shim/src", "router/api/src"].map(|part| repository().join(part));
        let newest = sources.iter().map(|part| newest(part)).max();
        let built = std::fs::metadata(dir.join("weft-net")).and_then(|data| data.modified()).ok();
        if built < newest {
            let release = dir.ends_with("release").then_some("--release");
            let status = Command::new(env!("CARGO"))
                .args(["build", "--locked", "--quiet", "-p", "weft-cni-shim"])
                .args(release)
                .current_dir(repository())
                .status()
                .expect("cargo starts");
            assert!(status.success(), "weft-net could not be built");
        }
        dir.to_owned()
    })
}

/// When the newest file below a folder was changed.
fn newest(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).expect("the sources are there");
    entries
        .map(|entry| {
            let entry = entry.expect("the sources can be read");
            if entry.path().is_dir() {
                newest(&entry.path())
            } else {
                entry.metadata().and_then(|data| data.modified()).expect("a file has a time")
            }
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Starts a command in a network namespace; nsenter becomes that command, so ending the one ends
/// the other.
fn spawn(namespace: &str, command: &[&str]) -> Background {
    let child = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("nsenter starts");
    Background(child)
}

fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
