//! A stand-in for the daemon: it answers the types of the API on a socket, and keeps attachments in
//! a map. It is a fake, there to drive the plugin into each of its answers; the plugin against the
//! real daemon is tested in the lab.

#![allow(unreachable_pub, reason = "a module of a test binary")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use weft_api::attach::{AttachReply, AttachRequest, Attachment, DetachReply};
use weft_api::path;

/// What the stub knows and does.
#[derive(Default)]
pub struct State {
    /// The attachments, by container and interface.
    pub attachments: BTreeMap<(String, String), Attachment>,
    /// Method and path of every request.
    pub requests: Vec<String>,
    /// The last request for addresses.
    pub last_attach: Option<AttachRequest>,
    /// What an attach answers instead of an address: status and `code`.
    pub refuse: Option<(u16, &'static str)>,
    /// The bridge that replies name; `weft` if empty.
    pub bridge: String,
    /// The gateways that replies name.
    pub gateways: Vec<IpAddr>,
    /// Whether connections are closed without an answer.
    pub hang_up: bool,
    /// Whether the status says ready.
    pub ready: bool,
}

/// A running stub. Its thread ends with the test process; its socket goes with the guard.
pub struct Stub {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Stub {
    pub fn start(tag: &str) -> Self {
        let socket = std::env::temp_dir().join(format!("weft-t{}-{tag}.sock", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State { ready: true, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is the client's business.
                let _ = serve(&stream, &shared);
            }
        });
        Self { socket, state }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: &UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut state = state.lock().unwrap();
    state.requests.push(format!("{method} {path}"));
    if state.hang_up {
        return Ok(());
    }
    let (status, answer) = state.answer(method, path, query, &body);
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

impl State {
    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let wanted = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let (container, ifname) = (wanted("container"), wanted("ifname"));
        let network = wanted("network");
        let matches = |((c, i), a): (&(String, String), &Attachment)| {
            container.as_ref().is_none_or(|wanted| wanted == c)
                && ifname.as_ref().is_none_or(|wanted| wanted == i)
                && (network.is_none() || network == a.network)
        };
        match (method, path) {
            ("GET", path::STATUS) => (200, status(self.ready)),
            ("GET", path::ATTACHMENTS) => {
                let found: Vec<_> = self
                    .attachments
                    .iter()
                    .filter(|entry| matches(*entry))
                    .map(|(_, a)| a)
                    .collect();
                (200, json!(found))
            }
            ("DELETE", path::ATTACHMENTS) => {
                let selected = self.attachments.iter().filter(|entry| matches(*entry));
                let keys: Vec<_> = selected.map(|(key, _)| key.clone()).collect();
                let detached = keys.iter().filter_map(|key| self.attachments.remove(key)).collect();
                (200, json!(DetachReply { detached }))
            }
            ("POST", path::ATTACHMENTS) => self.attach(serde_json::from_slice(body).unwrap()),
            _ => (404, json!({"code": "not_found", "message": "no such path"})),
        }
    }

    fn attach(&mut self, request: AttachRequest) -> (u16, Value) {
        self.last_attach = Some(request.clone());
        if let Some((status, code)) = self.refuse {
            return (status, json!({"code": code, "message": "refused by the stub"}));
        }
        let last = self.attachments.len() + 1;
        let attachment = Attachment {
            container: request.container.clone(),
            ifname: request.ifname.clone(),
            namespace: request.namespace,
            pod: request.pod,
            uid: request.uid,
            labels: request.labels,
            ports: request.ports,
            network: request.network,
            gateways: self.gateways.clone(),
            masqueraded: Vec::new(),
            fenced: None,
            unprotected: None,
            mac: format!("0a:58:0a:20:00:{last:02x}"),
            ips: vec![
                format!("10.32.0.{last}/12").parse().unwrap(),
                format!("fd00:32::{last:x}/64").parse().unwrap(),
            ],
        };
        let attachment = self
            .attachments
            .entry((request.container, request.ifname))
            .or_insert(attachment)
            .clone();
        let bridge = if self.bridge.is_empty() { "weft" } else { &self.bridge };
        (200, json!(AttachReply { attachment, bridge: bridge.into(), mtu: 1400 }))
    }
}

fn status(ready: bool) -> Value {
    json!({
        "version": "0", "ready": ready, "warnings": ["the stub warns"],
        "router": {"name": "", "nickname": "", "port": 6783, "discovery": true, "targets": [],
            "peers": 1, "connections": {"established": 0, "pending": 0, "retrying": 0,
            "failed": 0, "connecting": 0}},
        "ipam": {"state": "waiting for a ring", "ranges": [], "owned": 0, "active": 0},
        "policy": {"policies": 0, "isolated_pods": 0, "enforcing": false},
    })
}
