//! The client of the daemon's socket: HTTP/1.1 and JSON over a Unix socket, one connection a call.
//!
//! A call is one short exchange with a process on the same machine, so there is no pool and no
//! retry here; whoever wants to wait for a daemon that restarts repeats the call on
//! [`ClientError::is_transient`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use weft_api::attach::{AttachReply, AttachRequest, Attachment, AttachmentQuery, DetachReply};
use weft_api::enforcement::{DroppedPacket, DropsQuery, ExplainQuery, Explanation, PolicyStatus};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::path;
use weft_api::peers::{
    ConnectRequest, ForgetRequest, HealReply, HealRequest, RemoveReply, RemoveRequest, TargetsReply,
};
use weft_api::reset::{RESET_PATIENCE, ResetReply, ResetRequest};
use weft_api::secret::SecretsReply;
use weft_api::status::{Connection, IpamOwner, Peer, Status, Target};

/// How long a call may take that does not wait for anything but the daemon itself.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call for addresses may take: the daemon itself waits up to 30 s for an address before
/// it says why there is none, and that answer is worth waiting for.
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(35);

/// The longest answer that is read. 64 MiB holds the attachments of far more Pods than fit on a
/// node, and keeps a confused server from filling the memory.
const MAX_ANSWER: usize = 64 << 20;

/// Why a call failed. Unless it says otherwise the daemon may have carried the request out; every
/// request of the API may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: the request was not sent.
    #[error("{}", unreachable_text(.socket, .source))]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// What connecting said.
        source: io::Error,
    },
    /// The connection ended before the answer was complete, as when the daemon is killed.
    #[error("weft closed the connection before it answered: {0}")]
    Interrupted(String),
    /// The daemon refused the request or failed to carry it out.
    #[error("{}", .0.message)]
    Api(ErrorBody),
    /// What answers on the socket does not speak the API of this version.
    #[error("unexpected answer from weft: {0}")]
    Protocol(String),
    /// No answer in time.
    #[error("weft did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl ClientError {
    /// Whether a daemon that is being restarted explains the failure, so that the same call may
    /// succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            Self::Interrupted(_) => true,
            Self::Api(_) | Self::Protocol(_) | Self::Timeout(_) => false,
        }
    }

    /// Whether no daemon answers on the socket.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

fn unreachable_text(socket: &Path, source: &io::Error) -> String {
    let at = socket.display();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("weft is not reachable at {at}: is `weft launch` running?")
        }
        io::ErrorKind::PermissionDenied => {
            format!("weft is not reachable at {at}: permission denied, run this as root")
        }
        _ => format!("weft is not reachable at {at}: {source}"),
    }
}

/// A client of one daemon. Holds no connection; cloning and keeping it costs nothing.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon whose socket is `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// A client of the daemon that `WEFT_SOCKET` names, or of the one at the default path.
    pub fn from_env() -> Self {
        let socket = std::env::var_os(path::SOCKET_ENV)
            .filter(|value| !value.is_empty())
            .map_or_else(|| PathBuf::from(path::DEFAULT_SOCKET), PathBuf::from);
        Self::new(socket)
    }

    /// Where the socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET`s `path`, which may carry a query.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), DEFAULT_TIMEOUT).await
    }

    /// `POST`s `body` as JSON to `path` and waits up to `timeout` for the answer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post<Q: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            ClientError::Protocol(format!("cannot encode the request: {error}"))
        })?;
        self.call(Method::POST, path, body.into(), timeout).await
    }

    /// `DELETE`s `path`, which may carry a query.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Bytes::new(), DEFAULT_TIMEOUT).await
    }

    /// The node's status.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(path::STATUS).await
    }

    /// The node's connections.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn connections(&self) -> Result<Vec<Connection>, ClientError> {
        self.get(path::CONNECTIONS).await
    }

    /// All known peers, the node itself too.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<Peer>, ClientError> {
        self.get(path::PEERS).await
    }

    /// The peers that the daemon keeps dialling.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn targets(&self) -> Result<Vec<Target>, ClientError> {
        self.get(path::TARGETS).await
    }

    /// The owners of addresses.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn ipam(&self) -> Result<Vec<IpamOwner>, ClientError> {
        self.get(path::IPAM).await
    }

    /// The policies, and what they have let through and dropped on this node.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn policies(&self) -> Result<Vec<PolicyStatus>, ClientError> {
        self.get(path::POLICY_STATUS).await
    }

    /// What the policies say of a connection.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ClientError> {
        self.post(path::EXPLAIN, query, DEFAULT_TIMEOUT).await
    }

    /// The packets dropped last, after the one that the query names.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn drops(&self, query: &DropsQuery) -> Result<Vec<DroppedPacket>, ClientError> {
        self.post(path::DROPS, query, DEFAULT_TIMEOUT).await
    }

    /// The attachments of this node that match `query`; all for the default query.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn attachments(
        &self,
        query: &AttachmentQuery,
    ) -> Result<Vec<Attachment>, ClientError> {
        self.get(&with_query(path::ATTACHMENTS, query)).await
    }

    /// Reserves addresses for an interface. Repeating it answers the same addresses.
    ///
    /// # Errors
    /// Any [`ClientError`]; after a [`ClientError::Timeout`] or [`ClientError::Interrupted`] the
    /// reservation may exist, and [`Client::detach`] frees it.
    pub async fn attach(
        &self,
        request: &AttachRequest,
        timeout: Duration,
    ) -> Result<AttachReply, ClientError> {
        self.post(path::ATTACHMENTS, request, timeout).await
    }

    /// Frees the addresses of the attachments that match; that there are none is no error.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn detach(&self, query: &AttachmentQuery) -> Result<DetachReply, ClientError> {
        self.delete(&with_query(path::ATTACHMENTS, query)).await
    }

    /// Gives the host addresses of its own; when it has them, answers them. They are in place.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn expose(&self) -> Result<AttachReply, ClientError> {
        self.post(path::EXPOSE, &serde_json::Map::new(), ATTACH_TIMEOUT).await
    }

    /// Takes the host's addresses away; that there are none is no error.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn hide(&self) -> Result<DetachReply, ClientError> {
        self.delete(path::EXPOSE).await
    }

    /// Adds targets, or replaces them.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn connect(&self, request: &ConnectRequest) -> Result<TargetsReply, ClientError> {
        self.post(path::CONNECT, request, DEFAULT_TIMEOUT).await
    }

    /// Drops targets.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn forget(&self, request: &ForgetRequest) -> Result<TargetsReply, ClientError> {
        self.post(path::FORGET, request, DEFAULT_TIMEOUT).await
    }

    /// Removes nodes from the ring.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn remove(&self, request: &RemoveRequest) -> Result<RemoveReply, ClientError> {
        self.post(path::REMOVE, request, DEFAULT_TIMEOUT).await
    }

    /// Makes the ring of another node and that of the daemon's node one.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn heal(&self, request: &HealRequest) -> Result<HealReply, ClientError> {
        self.post(path::HEAL, request, DEFAULT_TIMEOUT).await
    }

    /// Has the node begin anew under another identity. Answered when that has come about; the daemon
    /// starts again then.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn reset(&self, request: &ResetRequest) -> Result<ResetReply, ClientError> {
        self.post(path::RESET, request, RESET_PATIENCE + DEFAULT_TIMEOUT).await
    }

    /// `POST /v1/secrets/reload`: the daemon reads its secret file again.
    ///
    /// # Errors
    /// [`ClientError`]; the secrets are then those before.
    pub async fn reload_secrets(&self) -> Result<SecretsReply, ClientError> {
        let nothing = serde_json::json!({});
        self.post(path::RELOAD_SECRETS, &nothing, DEFAULT_TIMEOUT).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let (status, answer) = tokio::time::timeout(timeout, self.exchange(method, path, body))
            .await
            .map_err(|_| ClientError::Timeout(timeout))??;
        if status.is_success() {
            serde_json::from_slice(&answer)
                .map_err(|error| ClientError::Protocol(format!("{path}: {error}")))
        } else {
            Err(ClientError::Api(failure(status, path, &answer)))
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Unreachable { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The connection lives as long as the sender, which this function owns; its errors reach
        // the sender too.
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "weft")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Protocol(format!("bad request path: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ClientError::Protocol(format!("the answer is longer than {MAX_ANSWER} bytes"))
                } else {
                    ClientError::Interrupted(error.to_string())
                }
            })?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }
}

/// Everything that breaks an exchange on a connected socket is the server going away, except an
/// answer that is not HTTP.
fn broken(error: hyper::Error) -> ClientError {
    if error.is_parse() {
        ClientError::Protocol(error.to_string())
    } else {
        ClientError::Interrupted(error.to_string())
    }
}

/// What a failed call says; an answer without the body that the API promises is reported by its
/// HTTP status.
fn failure(status: StatusCode, path: &str, answer: &[u8]) -> ErrorBody {
    serde_json::from_slice(answer).unwrap_or_else(|_| ErrorBody {
        code: match status {
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            StatusCode::CONFLICT => ErrorCode::Conflict,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::NotReady,
            status if status.is_client_error() => ErrorCode::Invalid,
            _ => ErrorCode::Internal,
        },
        message: format!("weft answered {path} with {status}"),
    })
}

fn with_query(path: &str, query: &AttachmentQuery) -> String {
    let pairs =
        [("container", &query.container), ("ifname", &query.ifname), ("network", &query.network)];
    let mut text = String::from(path);
    let mut separator = '?';
    for (key, value) in pairs {
        if let Some(value) = value {
            text.push(separator);
            text.push_str(key);
            text.push('=');
            percent_encode(value, &mut text);
            separator = '&';
        }
    }
    text
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn percent_encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let all = AttachmentQuery::default();
        assert_eq!(with_query("/v1/attachments", &all), "/v1/attachments");
        let one = AttachmentQuery {
            container: Some("/run/netns/a b&c=ü".into()),
            ifname: Some("eth0".into()),
            network: None,
        };
        assert_eq!(
            with_query("/v1/attachments", &one),
            "/v1/attachments?container=%2Frun%2Fnetns%2Fa%20b%26c%3D%C3%BC&ifname=eth0"
        );
    }

    #[test]
    fn an_answer_without_the_promised_body_is_told_by_its_status() {
        let body = failure(StatusCode::SERVICE_UNAVAILABLE, "/v1/status", b"<html>");
        assert_eq!(body.code, ErrorCode::NotReady);
        assert_eq!(body.message, "weft answered /v1/status with 503 Service Unavailable");
        let body = failure(StatusCode::IM_A_TEAPOT, "/v1/status", b"");
        assert_eq!(body.code, ErrorCode::Invalid);
    }

    #[test]
    fn the_text_of_an_unreachable_daemon_names_the_cure() {
        let text = |kind: io::ErrorKind| {
            ClientError::Unreachable { socket: "/run/w.sock".into(), source: kind.into() }
                .to_string()
        };
        assert_eq!(
            text(io::ErrorKind::NotFound),
            "weft is not reachable at /run/w.sock: is `weft launch` running?"
        );
        assert_eq!(
            text(io::ErrorKind::PermissionDenied),
            "weft is not reachable at /run/w.sock: permission denied, run this as root"
        );
    }
}
