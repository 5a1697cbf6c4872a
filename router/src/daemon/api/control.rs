//! The control socket: HTTP and JSON, for root alone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Json, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_api::attach::{AttachReply, AttachRequest, Attachment, AttachmentQuery, DetachReply};
use weft_api::enforcement::{DroppedPacket, DropsQuery, ExplainQuery, Explanation, PolicyStatus};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::path;
use weft_api::peers::{
    ConnectRequest, ForgetRequest, HealReply, HealRequest, RemoveReply, RemoveRequest, TargetsReply,
};
use weft_api::reset::{ResetReply, ResetRequest};
use weft_api::secret::SecretsReply;
use weft_api::status::{Connection, IpamOwner, Peer, Status, Target};

use super::{Call, Command, Door, Reply, objects};
use crate::config::{PeerAddr, read_secrets};
use crate::daemon::engine::refuse_own;

/// Why the control socket could not be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("{0} is in use by another weft: stop it or use another --socket")]
    InUse(PathBuf),
    /// There is a file of another kind.
    #[error("{0} exists and is not a socket: remove it or use another --socket")]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// The bound socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct ControlSocket {
    path: PathBuf,
    listener: Option<UnixListener>,
    server: Option<Server>,
}

/// The task that serves calls. It ends when the sender is dropped and the calls under way are answered.
#[derive(Debug)]
struct Server {
    open: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How long a socket that is closed waits until the answers are out. Writing them takes no time unless
/// the caller does not read.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl ControlSocket {
    /// Binds the socket, mode 0600. What a killed daemon left is replaced; a live one is not.
    pub(in crate::daemon) fn bind(path: &Path) -> Result<Self, SocketError> {
        let fail = |action, source| SocketError::Io { action, path: path.to_path_buf(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| fail("make the directory of", e))?;
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            use std::os::unix::fs::FileTypeExt;
            if !found.file_type().is_socket() {
                return Err(SocketError::NotASocket(path.to_path_buf()));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(SocketError::InUse(path.to_path_buf()));
            }
            std::fs::remove_file(path).map_err(|e| fail("replace", e))?;
        }
        let listener = UnixListener::bind(path).map_err(|e| fail("bind", e))?;
        // Made before the mode is set, it serves nobody yet: nothing accepts before `serve`.
        let socket = Self { path: path.to_path_buf(), listener: Some(listener), server: None };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|e| fail("protect", e))?;
        Ok(socket)
    }

    /// Serves until it is closed or the runtime ends.
    pub(in crate::daemon) fn serve(&mut self, door: Door) {
        if let Some(listener) = self.listener.take() {
            let app = router().with_state(door);
            let (open, closed) = oneshot::channel();
            let closed = async { drop(closed.await) };
            let task = tokio::spawn(async move {
                let server = axum::serve(listener, app).with_graceful_shutdown(closed);
                if let Err(e) = server.await {
                    tracing::error!(error = %e, "the control socket failed");
                }
            });
            self.server = Some(Server { open, task });
        }
    }

    /// Takes no more calls: the file is gone, who is connected is told so. Answers what is to be waited
    /// for until the answers to the calls under way are out.
    pub(in crate::daemon) fn close(mut self) -> impl Future<Output = ()> {
        let task = self.server.take().map(|Server { open, task }| {
            drop(open);
            task
        });
        async move {
            if let Some(task) = task {
                // Whoever does not read has no claim to more.
                let _ = tokio::time::timeout(LAST_WORDS, task).await;
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Gone already is as good as removed.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn router() -> axum::Router<Door> {
    axum::Router::new()
        .route(path::STATUS, get(status))
        .route(path::CONNECTIONS, get(connections))
        .route(path::PEERS, get(peers))
        .route(path::TARGETS, get(targets))
        .route(path::IPAM, get(ipam))
        .route(path::POLICY_STATUS, get(policies))
        .route(path::EXPLAIN, post(explain))
        .route(path::DROPS, post(drops))
        .route(path::CONNECT, post(connect))
        .route(path::FORGET, post(forget))
        .route(path::REMOVE, post(remove))
        .route(path::HEAL, post(heal))
        .route(path::RESET, post(reset))
        .route(path::RELOAD_SECRETS, post(reload_secrets))
        .route(path::ATTACHMENTS, get(attachments).post(attach).delete(detach))
        .route(path::OBJECTS, get(objects::list).post(objects::apply).layer(long_requests()))
        .route(path::DELETE_OBJECTS, post(objects::delete).layer(long_requests()))
        .route(path::EXPOSE, post(expose).delete(hide))
        .fallback(unknown)
}

/// Many policies at once are more than axum reads by default.
fn long_requests() -> DefaultBodyLimit {
    DefaultBodyLimit::max(objects::MAX_REQUEST)
}

/// An [`ErrorBody`] as a response.
pub(super) struct Failure(pub(super) ErrorBody);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

pub(super) type Answer<T> = Result<Json<T>, Failure>;

pub(super) async fn ask<T>(
    door: &Door,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Answer<T> {
    door.ask(command).await.map(Json).map_err(Failure)
}

async fn status(State(door): State<Door>) -> Answer<Status> {
    ask(&door, Command::Status).await
}

async fn connections(State(door): State<Door>) -> Answer<Vec<Connection>> {
    ask(&door, Command::Connections).await
}

async fn peers(State(door): State<Door>) -> Answer<Vec<Peer>> {
    ask(&door, Command::Peers).await
}

async fn targets(State(door): State<Door>) -> Answer<Vec<Target>> {
    ask(&door, Command::Targets).await
}

async fn ipam(State(door): State<Door>) -> Answer<Vec<IpamOwner>> {
    ask(&door, Command::Ipam).await
}

async fn policies(State(door): State<Door>) -> Answer<Vec<PolicyStatus>> {
    ask(&door, Command::Policies).await
}

async fn explain(State(door): State<Door>, query: Body<ExplainQuery>) -> Answer<Explanation> {
    let Json(query) = query.map_err(|e| invalid(e.body_text()))?;
    let answer = door.ask(|sender| Command::Explain(query, sender)).await.map_err(Failure)?;
    answer.map(Json).map_err(Failure)
}

async fn drops(State(door): State<Door>, query: Body<DropsQuery>) -> Answer<Vec<DroppedPacket>> {
    let Json(query) = query.map_err(|e| invalid(e.body_text()))?;
    ask(&door, |sender| Command::Drops(query, sender)).await
}

async fn attachments(
    State(door): State<Door>,
    query: Result<Query<AttachmentQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Vec<Attachment>> {
    let Query(query) = query.map_err(|e| invalid(e.body_text()))?;
    ask(&door, |sender| Command::Attachments(query, sender)).await
}

pub(super) type Body<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

async fn attach(State(door): State<Door>, request: Body<AttachRequest>) -> Answer<AttachReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    for (what, value) in [("container", &request.container), ("ifname", &request.ifname)] {
        if value.is_empty() || value.len() > 4096 {
            return Err(invalid(format!("{what} must have 1 to 4096 bytes")));
        }
    }
    if request.ifname.contains('/') {
        return Err(invalid(format!("ifname {:?} must not have a slash", request.ifname)));
    }
    if let Some(mac) = &request.mac {
        mac.parse::<weft_cni_shim::wire::Mac>().map_err(|e| invalid(e.to_string()))?;
    }
    let query =
        AttachmentQuery { container: Some(request.container.clone()), ..Default::default() };
    refuse_own(&query).map_err(invalid)?;
    attached(&door, Call::Attach(Box::new(request))).await
}

async fn expose(State(door): State<Door>) -> Answer<AttachReply> {
    attached(&door, Call::Expose).await
}

async fn attached(door: &Door, call: Call) -> Answer<AttachReply> {
    match door.call(call).await.map_err(Failure)? {
        Reply::Attach(reply) => Ok(Json(*reply)),
        _ => Err(mixed_up()),
    }
}

async fn detach(
    State(door): State<Door>,
    query: Result<Query<AttachmentQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<DetachReply> {
    let Query(query) = query.map_err(|e| invalid(e.body_text()))?;
    if query.container.is_none() {
        return Err(invalid("say which container to detach".to_owned()));
    }
    refuse_own(&query).map_err(invalid)?;
    detached(&door, Call::Detach(query)).await
}

async fn hide(State(door): State<Door>) -> Answer<DetachReply> {
    detached(&door, Call::Hide).await
}

async fn detached(door: &Door, call: Call) -> Answer<DetachReply> {
    match door.call(call).await.map_err(Failure)? {
        Reply::Detach(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

async fn connect(State(door): State<Door>, request: Body<ConnectRequest>) -> Answer<TargetsReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    let call = Call::Connect { peers: parse_peers(&request.peers)?, replace: request.replace };
    change_targets(&door, call).await
}

async fn forget(State(door): State<Door>, request: Body<ForgetRequest>) -> Answer<TargetsReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    change_targets(&door, Call::Forget { peers: parse_peers(&request.peers)? }).await
}

async fn change_targets(door: &Door, call: Call) -> Answer<TargetsReply> {
    match door.call(call).await.map_err(Failure)? {
        Reply::Targets(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

async fn heal(State(door): State<Door>, request: Body<HealRequest>) -> Answer<HealReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    match door.call(Call::Heal(request)).await.map_err(Failure)? {
        Reply::Healing(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

async fn remove(State(door): State<Door>, request: Body<RemoveRequest>) -> Answer<RemoveReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    match door.call(Call::Remove(request)).await.map_err(Failure)? {
        Reply::Removed(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

async fn reset(State(door): State<Door>, request: Body<ResetRequest>) -> Answer<ResetReply> {
    let Json(request) = request.map_err(|e| invalid(e.body_text()))?;
    match door.call(Call::Reset(request)).await.map_err(Failure)? {
        Reply::Reset(reply) => Ok(Json(reply)),
        _ => Err(mixed_up()),
    }
}

async fn reload_secrets(State(door): State<Door>) -> Answer<SecretsReply> {
    let file = door.ask(Command::SecretFile).await.map_err(Failure)?.ok_or_else(|| {
        invalid("the secret came from WEFT_SECRET, which cannot be read again: launch with --secret-file".to_owned())
    })?;
    let name = file.display().to_string();
    // A file that hangs must not stop the daemon.
    let read = tokio::task::spawn_blocking(move || read_secrets(&file)).await;
    let (secrets, warning) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(why)) => return Err(invalid(format!("{name}: {why}; nothing was changed"))),
        Err(_) => return Err(mixed_up()),
    };
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let accepted = secrets.iter().count();
    door.ask(|sender| Command::SetSecrets(secrets, sender)).await.map_err(Failure)?;
    Ok(Json(SecretsReply { accepted }))
}

fn parse_peers(texts: &[String]) -> Result<Vec<PeerAddr>, Failure> {
    let parse =
        |text: &String| text.parse().map_err(|e| invalid(format!("invalid peer \"{text}\": {e}")));
    texts.iter().map(parse).collect()
}

async fn unknown(uri: axum::http::Uri) -> Failure {
    let message =
        format!("there is no {} here: are weft and its daemon of one version?", uri.path());
    Failure(ErrorBody { code: ErrorCode::NotFound, message })
}

pub(super) fn invalid(message: String) -> Failure {
    Failure(ErrorBody { code: ErrorCode::Invalid, message })
}

pub(super) fn mixed_up() -> Failure {
    let message = "the answer was for another call".to_owned();
    Failure(ErrorBody { code: ErrorCode::Internal, message })
}
