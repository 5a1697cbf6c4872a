//! The key of a namespace, and what a failure leaves behind.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use weft_api::attach::{Attachment, DetachReply};
use weft_api::path;

use super::*;

#[test]
fn a_namespace_has_one_key_however_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("run")).unwrap();
    std::os::unix::fs::symlink(root.join("run"), root.join("var-run")).unwrap();
    std::fs::write(root.join("run/a"), "").unwrap();
    let key = root.join("run/a");
    assert_eq!(existing(&root.join("var-run/a")).unwrap(), key);
    assert_eq!(existing(&root.join("run/../run/./a")).unwrap(), key);
    std::fs::remove_file(&key).unwrap();
    assert_eq!(as_canonical(&root.join("var-run/a")), key);
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let error = existing(Path::new("/nowhere/ns")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the network namespace /nowhere/ns: No such file or directory (os error 2): \
         give the path of one that exists, `ip netns add NAME` makes /run/netns/NAME"
    );
    assert_eq!(error.exit(), super::super::Exit::Failed);
}

#[test]
fn a_namespace_of_a_process_has_its_own_path_as_key() {
    let own = format!("/proc/{}/ns/net", std::process::id());
    assert_eq!(existing(Path::new(&own)).unwrap(), Path::new(&own));
}

#[test]
fn a_failure_to_wire_frees_what_was_reserved() {
    let stub = Stub::new(Vec::new());
    let error = stub.attach();
    assert!(error.starts_with("cannot enter the network namespace"), "{error}");
    assert_eq!(stub.reserved(), []);
}

#[test]
fn a_failure_to_wire_again_frees_nothing() {
    let stub = Stub::new(vec![attachment()]);
    let error = stub.attach();
    assert!(error.starts_with("cannot enter the network namespace"), "{error}");
    assert_eq!(stub.reserved(), [attachment()]);
}

/// A fake of the daemon that knows one attachment and grants it. The wiring behind it fails, as the
/// namespace is a plain file; wiring that works is tested with the real daemon, in the lab.
struct Stub {
    dir: tempfile::TempDir,
    reserved: Arc<Mutex<Vec<Attachment>>>,
}

impl Stub {
    fn new(reserved: Vec<Attachment>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("netns"), "").unwrap();
        Self { dir, reserved: Arc::new(Mutex::new(reserved)) }
    }

    /// Attaches, and answers why that failed.
    fn attach(&self) -> String {
        let socket = self.dir.path().join("weft.sock");
        let request = AttachRequest {
            container: "c".into(),
            ifname: "eth0".into(),
            ..AttachRequest::default()
        };
        let outcome = block_on(async {
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            let routes = Router::new()
                .route(path::ATTACHMENTS, get(list).post(reserve).delete(free))
                .with_state(self.reserved.clone());
            let server = tokio::spawn(axum::serve(listener, routes).into_future());
            let netns = self.dir.path().join("netns");
            let outcome = reserve_and_wire(&Client::new(socket.clone()), netns, &request).await;
            server.abort();
            outcome
        });
        outcome.unwrap_err().to_string()
    }

    fn reserved(&self) -> Vec<Attachment> {
        self.reserved.lock().unwrap().clone()
    }
}

type Reserved = State<Arc<Mutex<Vec<Attachment>>>>;

async fn list(State(reserved): Reserved) -> Json<Vec<Attachment>> {
    Json(reserved.lock().unwrap().clone())
}

async fn reserve(State(reserved): Reserved) -> Json<AttachReply> {
    *reserved.lock().unwrap() = vec![attachment()];
    Json(AttachReply { attachment: attachment(), bridge: "weft".into(), mtu: 1400 })
}

async fn free(State(reserved): Reserved, query: Query<AttachmentQuery>) -> Json<DetachReply> {
    assert_eq!(query.0, super::query("c", "eth0"));
    Json(DetachReply { detached: std::mem::take(&mut *reserved.lock().unwrap()) })
}

fn attachment() -> Attachment {
    Attachment {
        container: "c".into(),
        ifname: "eth0".into(),
        mac: "0a:58:0a:20:00:01".into(),
        ips: vec!["10.32.0.1/12".parse().unwrap()],
        ..Attachment::default()
    }
}
