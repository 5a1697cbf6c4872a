//! What the engine asks its shell to do.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::VarInt;
use weft_api::attach::{AttachReply, DetachReply};
use weft_api::error::ErrorBody;
use weft_api::peers::{HealReply, RemoveReply, TargetsReply};
use weft_api::policy::ChangeReply;
use weft_api::reset::ResetReply;
use weft_crypto::PeerName;
use weft_dataplane::Path;
use weft_gossip::{Endpoint, Written};

use super::{CutPort, HostState};
use crate::daemon::links::LinkId;
use crate::daemon::policy::PolicyState;
use crate::daemon::store::Kind;

/// Names a call of the local socket that waits for its answer.
pub(in crate::daemon) type CallId = u64;

/// An answer to a call that changes something.
#[derive(Debug)]
pub(in crate::daemon) enum Reply {
    Attach(Box<AttachReply>),
    Detach(DetachReply),
    Targets(TargetsReply),
    Removed(RemoveReply),
    Healing(HealReply),
    Reset(ResetReply),
    Changed(ChangeReply),
}

/// One thing to do. The order matters: what stands first is done first.
#[derive(Debug)]
pub(in crate::daemon) enum Output {
    /// Write; then [`super::Engine::handle_saved`] with the token, or
    /// [`super::Engine::handle_save_failed`] as long as that cannot be done.
    Save { kind: Kind, token: u64, what: Written },
    /// These take the place of all that was written of their kinds so far. Nothing waits for that.
    Checkpoint(Vec<(Kind, Vec<u8>)>),
    /// Send a gossip message over a link.
    Send { link: LinkId, bytes: Vec<u8> },
    /// Tell the peer at the other end of a link to look for a direct path now, as this node does.
    Punch { link: LinkId },
    /// Close a link.
    Close { link: LinkId, code: VarInt },
    /// Read the gossip of this link, or pass it over.
    Listen { link: LinkId, listening: bool },
    /// Dial; then one of [`super::Engine::handle_admitted`] and
    /// [`super::Engine::handle_dial_failed`].
    Dial(Endpoint),
    /// Send a probe to a peer along this path; then, if it is answered,
    /// [`super::Engine::handle_answer`] with the token. An urgent one tells the peer that answers
    /// are missing here.
    Probe { peer: PeerName, path: Path, token: u64, urgent: bool },
    /// Ask a peer whether datagrams of `len` bytes get to it at `address`; then, if it is answered,
    /// [`super::Engine::handle_answer`] with the token.
    ProbeSize { peer: PeerName, address: SocketAddr, token: u64, len: usize },
    /// Make the host look so; then [`super::Engine::handle_host`] with the token. Of several, the
    /// last one counts.
    Host { token: u64, state: HostState },
    /// Have the kernel enforce this; then [`super::Engine::handle_policy`] with the token. Of
    /// several, the last one counts.
    Policy { token: u64, state: Arc<PolicyState> },
    /// Cut these ports off; then [`super::Engine::handle_cut_off`] with the token. Of several, the
    /// last one counts.
    CutOff { token: u64, ports: Vec<CutPort> },
    /// Begin anew under another identity, with the targets and the Pods that are cut off; then answer
    /// the call with the addresses that were left behind and the Pods that were cut off.
    Reset { call: CallId, left_behind: u64, cut_off: Vec<String> },
    /// Say this to the Kubernetes API server.
    Kubernetes(weft_kubernetes::Word),
    /// Answer a call.
    Reply { call: CallId, result: Result<Reply, ErrorBody> },
}
