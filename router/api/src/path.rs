//! The paths of the API, all below `/v1`, and where the socket is.

/// `GET`: [`crate::status::Status`].
pub const STATUS: &str = "/v1/status";
/// `GET`: a list of [`crate::status::Connection`].
pub const CONNECTIONS: &str = "/v1/status/connections";
/// `GET`: a list of [`crate::status::Peer`].
pub const PEERS: &str = "/v1/status/peers";
/// `GET`: a list of [`crate::status::Target`].
pub const TARGETS: &str = "/v1/status/targets";
/// `GET`: a list of [`crate::status::IpamOwner`].
pub const IPAM: &str = "/v1/status/ipam";
/// `POST` [`crate::peers::ConnectRequest`]: adds targets; answers [`crate::peers::TargetsReply`].
pub const CONNECT: &str = "/v1/connect";
/// `POST` [`crate::peers::ForgetRequest`]: drops targets; answers [`crate::peers::TargetsReply`].
pub const FORGET: &str = "/v1/forget";
/// `POST` [`crate::peers::RemoveRequest`]: removes nodes from the ring; answers
/// [`crate::peers::RemoveReply`] at once, perhaps before the removals are complete:
/// [`crate::status::Ipam::removals`] tells.
pub const REMOVE: &str = "/v1/remove";
/// `POST` [`crate::peers::HealRequest`]: makes the ring of another node and this node's own one; answers
/// [`crate::peers::HealReply`] at once, before the nodes have moved.
pub const HEAL: &str = "/v1/heal";
/// `GET`: a list of [`crate::attach::Attachment`] (all, or those that match the query
/// [`crate::attach::AttachmentQuery`]). `POST` [`crate::attach::AttachRequest`]: reserves
/// addresses, answers [`crate::attach::AttachReply`]. `DELETE` with the same query: frees them,
/// answers [`crate::attach::DetachReply`], also when there was nothing to free.
pub const ATTACHMENTS: &str = "/v1/attachments";

/// `GET`: a list of [`crate::enforcement::PolicyStatus`].
pub const POLICY_STATUS: &str = "/v1/status/policy";
/// `POST` [`crate::enforcement::ExplainQuery`]: answers [`crate::enforcement::Explanation`].
pub const EXPLAIN: &str = "/v1/policy/explain";
/// `POST` [`crate::enforcement::DropsQuery`]: answers a list of
/// [`crate::enforcement::DroppedPacket`], the oldest first.
pub const DROPS: &str = "/v1/policy/drops";

/// `POST` with an empty object: gives the host addresses of its own, answers
/// [`crate::attach::AttachReply`], the same when it has them. `DELETE`: takes them away, answers
/// [`crate::attach::DetachReply`].
pub const EXPOSE: &str = "/v1/expose";

/// `POST` [`crate::reset::ResetRequest`]: the node hands its space over and begins anew under another
/// identity; answers [`crate::reset::ResetReply`], then the daemon starts again.
pub const RESET: &str = "/v1/reset";

/// `POST` with an empty object: the daemon reads its secret file again; answers
/// [`crate::secret::SecretsReply`].
pub const RELOAD_SECRETS: &str = "/v1/secrets/reload";

/// `GET`: a list of [`crate::policy::StoredObject`], Namespaces first. `POST`
/// [`crate::policy::ApplyRequest`]: writes objects, answers [`crate::policy::ChangeReply`].
pub const OBJECTS: &str = "/v1/objects";
/// `POST` [`crate::policy::DeleteRequest`]: deletes objects, answers [`crate::policy::ChangeReply`].
pub const DELETE_OBJECTS: &str = "/v1/objects/delete";

/// The environment variable that names the socket, for the command line and the plugins.
pub const SOCKET_ENV: &str = "WEFT_SOCKET";
/// Where the socket is when nothing says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";
