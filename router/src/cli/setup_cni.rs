//! `weft setup-cni`: the plugins and the conflist to where container runtimes look for them.
//!
//! A runtime takes a conflist as the sign that Pods can be started, so it is written last, in one
//! step, and only once the daemon can serve them. It is removed first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use weft_api::path::DEFAULT_SOCKET;
use weft_cni_shim::client::Client;

use super::args::{SetupCniArgs, Switch};
use super::{Failure, block_on, output};

/// The conflist. It sorts before those of most others, and runtimes take the first.
const CONFLIST: &str = "10-weft.conflist";

/// What the names of configurations end with, as runtimes look for them (`ConfFiles` of libcni).
const CONFIGURATIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Our plugins, which stand beside `weft`.
const PLUGINS: [&str; 2] = ["weft-net", "weft-ipam"];

/// How long to wait for the daemon, and between two questions.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Installs, removes, or checks what is there.
pub(super) fn setup_cni(client: &Client, args: &SetupCniArgs) -> Result<(), Failure> {
    if args.check {
        return check(&args.conf_dir);
    }
    let done = if args.remove { remove(args)? } else { install(client, args)? };
    Ok(output::print(&done.iter().map(|line| format!("{line}\n")).collect::<String>())?)
}

fn install(client: &Client, args: &SetupCniArgs) -> Result<Vec<String>, Failure> {
    let weft = std::env::current_exe().map_err(|e| failed("find", Path::new("weft"), &e))?;
    let source = weft.parent().unwrap_or(Path::new("/"));
    let mut done = Vec::new();
    for plugin in PLUGINS {
        let from = source.join(plugin);
        let bytes = fs::read(&from).map_err(|e| failed("read", &from, &e))?;
        let to = args.bin_dir.join(plugin);
        replace(&to, &bytes, 0o755)?;
        done.push(format!("installed {}", to.display()));
    }
    block_on(await_ready(client))?;
    let socket = client.socket();
    let socket = (socket != Path::new(DEFAULT_SOCKET)).then_some(socket);
    let list = conflist(socket, args.bin_dir.join("portmap").exists(), args.ip_masq);
    let mut text = serde_json::to_string_pretty(&list)
        .map_err(|e| Failure::Failed(format!("cannot write JSON: {e}")))?;
    text.push('\n');
    let to = args.conf_dir.join(CONFLIST);
    replace(&to, text.as_bytes(), 0o644)?;
    done.push(format!("installed {}", to.display()));
    for other in before_ours(&args.conf_dir).map_err(|e| failed("read", &args.conf_dir, &e))? {
        let other = args.conf_dir.join(other);
        output::complain(&format!(
            "{} comes before {CONFLIST}, so runtimes use that network: remove it, unless that is meant",
            other.display()
        ));
    }
    Ok(done)
}

/// The networks that runtimes take instead of ours: they use the first file by name. Sorted.
fn before_ours(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        // A name that is no UTF-8 begins with no digit that matters here, or is nobody's network.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let is_network = Path::new(&name)
            .extension()
            .is_some_and(|end| CONFIGURATIONS.iter().any(|known| end == *known));
        if is_network && !name.starts_with('.') && name.as_str() < CONFLIST {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The network for a runtime: the way out masqueraded unless told otherwise, Services from inside, ports of the host where
/// the plugin for them is there.
fn conflist(socket: Option<&Path>, portmap: bool, ip_masq: Switch) -> Value {
    let mut ours = json!({
        "type": "weft-net",
        "ipMasq": ip_masq == Switch::On,
        "hairpinMode": true,
        "capabilities": {"ips": true},
    });
    if let Some(socket) = socket {
        ours["socket"] = socket.to_string_lossy().into();
    }
    let mut plugins = vec![ours];
    if portmap {
        plugins.push(json!({
            "type": "portmap",
            "snat": true,
            "capabilities": {"portMappings": true},
        }));
    }
    json!({"cniVersion": "1.0.0", "name": "weft", "plugins": plugins})
}

async fn await_ready(client: &Client) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let why = match client.status().await {
            Ok(status) if status.ready => return Ok(()),
            Ok(status) => Failure::Failed(format!(
                "weft is not ready, so the conflist was not written: ipam is {}",
                status.ipam.state
            )),
            Err(error) => error.into(),
        };
        if tokio::time::Instant::now() + PAUSE > deadline {
            return Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a runtime that looks into `dir` takes our conflist: it is there and sorts before all others.
fn check(dir: &Path) -> Result<(), Failure> {
    let ours = dir.join(CONFLIST);
    if !ours.exists() {
        return Err(Failure::Failed(format!(
            "{} is not there: run weft setup-cni",
            ours.display()
        )));
    }
    match before_ours(dir).map_err(|e| failed("read", dir, &e))?.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Failed(format!(
            "{} comes before {CONFLIST}, so new Pods are not on weft: remove the one or the other",
            dir.join(first).display()
        ))),
    }
}

fn remove(args: &SetupCniArgs) -> Result<Vec<String>, Failure> {
    let plugins = PLUGINS.map(|plugin| args.bin_dir.join(plugin));
    let mut done = Vec::new();
    for path in std::iter::once(args.conf_dir.join(CONFLIST)).chain(plugins) {
        match fs::remove_file(&path) {
            Ok(()) => done.push(format!("removed {}", path.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("remove", &path, &e)),
        }
    }
    Ok(done)
}

/// Writes a file beside its place, then puts it there: whoever looks sees the old one or the new
/// one, and a plugin that is running keeps its own.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(|e| failed("make", dir, &e))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside: PathBuf = dir.join(name);
    let write = || {
        // What an earlier attempt left may have another mode.
        let _ = fs::remove_file(&beside);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| failed("write", path, &e))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot {action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflist_names_the_socket_and_portmap_where_they_matter() {
        let plain = conflist(None, false, Switch::Off);
        assert_eq!(plain["plugins"][0]["ipMasq"], false);
        assert_eq!(plain["plugins"].as_array().map(Vec::len), Some(1));
        assert_eq!(plain["plugins"][0].get("socket"), None);
        let list = conflist(Some(Path::new("/tmp/w.sock")), true, Switch::On);
        assert_eq!(list["plugins"][0]["ipMasq"], true);
        assert_eq!(list["plugins"][0]["socket"], "/tmp/w.sock");
        assert_eq!(list["plugins"][1]["type"], "portmap");
    }

    #[test]
    fn networks_that_runtimes_would_take_instead_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["05-other.conf", "10-flannel.conflist", "00-a.json", "10-weft.conflist"];
        let harmless = ["11-z.conflist", "00-readme.txt", ".05-hidden.conf", "05-other.conf.bak"];
        for name in names.iter().chain(&harmless) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = before_ours(dir.path()).unwrap();
        assert_eq!(found, ["00-a.json", "05-other.conf", "10-flannel.conflist"]);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/weft-net");
        for bytes in [&b"one"[..], b"two"] {
            replace(&path, bytes, 0o755).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn another_network_whose_configuration_comes_first_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(dir.path().join(name), "{}").unwrap();
        let said = || check(dir.path()).unwrap_err().to_string();
        put("05-notes.txt");
        put("20-other.conf");
        assert!(
            said().ends_with("10-weft.conflist is not there: run weft setup-cni"),
            "{}",
            said()
        );
        put(CONFLIST);
        check(dir.path()).unwrap();
        put("05-other.conflist");
        assert!(said().contains("05-other.conflist comes before 10-weft.conflist"), "{}", said());
    }
}
