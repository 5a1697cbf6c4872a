//! The two doors for the host: the control socket, and the status port with metrics and health.
//!
//! Handlers own no state. They turn a request into a [`Command`] for the event loop and its answer
//! into a response.

mod control;
mod objects;
mod status;

use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use weft_api::attach::{AttachRequest, Attachment, AttachmentQuery};
use weft_api::enforcement::{DroppedPacket, DropsQuery, ExplainQuery, Explanation, PolicyStatus};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::peers::{HealRequest, RemoveRequest};
use weft_api::policy::{ObjectName, StoredObject};
use weft_api::reset::ResetRequest;
use weft_api::status::{Connection, IpamOwner, Peer, Status, Target};

use weft_crypto::Secrets;
use weft_gossip::ObjectKey;

use super::engine::Reply;
use super::metrics::Snapshot;
use crate::config::PeerAddr;

pub(super) use control::ControlSocket;
pub use control::SocketError;
pub(super) use status::serve as serve_status;

/// A call that changes something.
#[derive(Debug)]
pub(super) enum Call {
    Attach(Box<AttachRequest>),
    Detach(AttachmentQuery),
    Expose,
    Hide,
    Connect {
        peers: Vec<PeerAddr>,
        replace: bool,
    },
    Forget {
        peers: Vec<PeerAddr>,
    },
    Remove(RemoveRequest),
    Heal(HealRequest),
    Reset(ResetRequest),
    /// Objects that have been checked.
    Apply(Vec<(ObjectKey, Value)>),
    Delete(Vec<ObjectName>),
}

/// What the event loop is asked, each with where the answer goes.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Connections(oneshot::Sender<Vec<Connection>>),
    Peers(oneshot::Sender<Vec<Peer>>),
    Targets(oneshot::Sender<Vec<Target>>),
    Ipam(oneshot::Sender<Vec<IpamOwner>>),
    Policies(oneshot::Sender<Vec<PolicyStatus>>),
    Explain(ExplainQuery, oneshot::Sender<Result<Explanation, ErrorBody>>),
    Drops(DropsQuery, oneshot::Sender<Vec<DroppedPacket>>),
    Objects(oneshot::Sender<Vec<StoredObject>>),
    Attachments(AttachmentQuery, oneshot::Sender<Vec<Attachment>>),
    /// Where the cluster secrets came from, if they came from a file.
    SecretFile(oneshot::Sender<Option<PathBuf>>),
    SetSecrets(Secrets, oneshot::Sender<()>),
    Metrics(oneshot::Sender<Snapshot>),
    Call(Call, oneshot::Sender<Result<Reply, ErrorBody>>),
}

/// The way from the handlers to the event loop.
#[derive(Debug, Clone)]
pub(super) struct Door(mpsc::Sender<Command>);

impl Door {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self(commands)
    }

    /// Asks and waits for the answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ErrorBody> {
        let stopping = || ErrorBody {
            code: ErrorCode::NotReady,
            message: "weft is stopping: try again when it has started".to_owned(),
        };
        let (sender, answer) = oneshot::channel();
        self.0.send(command(sender)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    async fn call(&self, call: Call) -> Result<Reply, ErrorBody> {
        self.ask(|sender| Command::Call(call, sender)).await?
    }
}
