//! Pods' interfaces: who has which addresses, and the calls that wait for them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use tracing::{info, warn};
use weft_api::attach::{AttachReply, AttachRequest, Attachment, AttachmentQuery, DetachReply};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_dataplane::mac_for;
use weft_gossip::Time;
use weft_gossip::ipam::{AllocateError, Request, RequestId};

use super::{ATTACH_DEADLINE, CallId, Engine, Kind, Output, Reply};

/// The attachments by (container, ifname), and the requests for addresses under way.
#[derive(Debug)]
pub(super) struct Attachments {
    standing: BTreeMap<(String, String), Attachment>,
    pending: BTreeMap<RequestId, (CallId, AttachRequest)>,
}

impl Attachments {
    pub(super) fn new(standing: Vec<Attachment>) -> Self {
        let standing = standing.into_iter().map(|a| (key(&a.container, &a.ifname), a)).collect();
        Self { standing, pending: BTreeMap::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.standing.values()
    }

    fn list(&self) -> Vec<&Attachment> {
        self.standing.values().collect()
    }
}

fn key(container: &str, ifname: &str) -> (String, String) {
    (container.to_owned(), ifname.to_owned())
}

/// The key under which the allocator keeps the addresses. An interface's name has no slash, so the
/// last one separates.
fn allocation_key(container: &str, ifname: &str) -> String {
    format!("{container}/{ifname}")
}

fn matches(query: &AttachmentQuery, container: &str, ifname: &str) -> bool {
    query.container.as_deref().is_none_or(|c| c == container)
        && query.ifname.as_deref().is_none_or(|i| i == ifname)
}

impl Engine {
    /// Asks for addresses for one interface. The answer is the same when the call is repeated.
    pub(in crate::daemon) fn attach(&mut self, call: CallId, request: AttachRequest, now: Time) {
        if let Some(standing) =
            self.attachments.standing.get(&key(&request.container, &request.ifname))
        {
            let asked_for_others =
                request.ips.iter().any(|ip| !standing.ips.iter().any(|s| s.addr() == ip.addr()));
            let result = if asked_for_others {
                Err(ErrorBody {
                    code: ErrorCode::Conflict,
                    message: format!(
                        "{} of {} has {} already: detach it first",
                        request.ifname,
                        request.container,
                        join(&standing.ips)
                    ),
                })
            } else {
                Ok(Reply::Attach(self.reply_for(standing.clone())))
            };
            self.outputs.push_back(Output::Reply { call, result });
            return;
        }
        let allocation = allocation_key(&request.container, &request.ifname);
        let wanted = Request { wanted: request.ips.clone() };
        let id = self.node.allocate(&allocation, wanted, now + ATTACH_DEADLINE, now);
        self.attachments.pending.insert(id, (call, request));
        self.settle(now);
    }

    pub(super) fn handle_allocated(
        &mut self,
        id: RequestId,
        result: Result<Vec<IpNet>, AllocateError>,
        now: Time,
    ) {
        let Some((call, request)) = self.attachments.pending.remove(&id) else { return };
        let ips = match result {
            Ok(ips) => ips,
            Err(e) => {
                let body = ErrorBody { code: code_of(&e), message: e.to_string() };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                return;
            }
        };
        let Some(first) = ips.first() else {
            // The allocator gives one address per range, and there is at least one range.
            self.node.release(&allocation_key(&request.container, &request.ifname), now);
            return;
        };
        let attachment = Attachment {
            mac: mac_for(first.addr()).to_string(),
            container: request.container,
            ifname: request.ifname,
            namespace: request.namespace,
            pod: request.pod,
            labels: request.labels,
            ports: request.ports,
            ips,
        };
        info!(container = attachment.container, ips = join(&attachment.ips), "attached");
        let reply = Reply::Attach(self.reply_for(attachment.clone()));
        self.attachments
            .standing
            .insert(key(&attachment.container, &attachment.ifname), attachment);
        self.save_attachments(call, reply);
    }

    /// Frees what belongs to the attachments that the query selects, and waiting requests for them.
    pub(in crate::daemon) fn detach(&mut self, call: CallId, query: &AttachmentQuery, now: Time) {
        let waiting: Vec<RequestId> = self
            .attachments
            .pending
            .iter()
            .filter(|(_, (_, request))| matches(query, &request.container, &request.ifname))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.node.cancel(id, now);
            if let Some((call, request)) = self.attachments.pending.remove(&id) {
                // It may have been decided already and wait only for the disk.
                self.node.release(&allocation_key(&request.container, &request.ifname), now);
                let message =
                    format!("{} of {} was detached meanwhile", request.ifname, request.container);
                let body = ErrorBody { code: ErrorCode::Conflict, message };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
            }
        }
        let selected: Vec<(String, String)> = self
            .attachments
            .standing
            .keys()
            .filter(|(container, ifname)| matches(query, container, ifname))
            .cloned()
            .collect();
        let mut detached = Vec::new();
        for key in selected {
            detached.extend(self.attachments.standing.remove(&key));
            self.node.release(&allocation_key(&key.0, &key.1), now);
        }
        for attachment in &detached {
            info!(container = attachment.container, ips = join(&attachment.ips), "detached");
        }
        self.tables_changed |= !detached.is_empty();
        self.save_attachments(call, Reply::Detach(DetachReply { detached }));
        self.settle(now);
    }

    /// The attachments that the query selects.
    pub(in crate::daemon) fn select(&self, query: &AttachmentQuery) -> Vec<Attachment> {
        self.attachments
            .iter()
            .filter(|a| matches(query, &a.container, &a.ifname))
            .cloned()
            .collect()
    }

    /// Frees addresses that no attachment holds: a crash came between the two files, and nobody was
    /// told of them. Names attachments whose addresses are gone.
    pub(super) fn release_orphans(&mut self, now: Time) {
        let allocated: BTreeMap<String, Vec<IpNet>> =
            self.node.allocations().map(|(key, ips)| (key.to_owned(), ips)).collect();
        for key in allocated.keys() {
            let held =
                self.attachments.iter().any(|a| allocation_key(&a.container, &a.ifname) == *key);
            if !held {
                info!(key, "freeing addresses that were never handed out");
                self.node.release(key, now);
            }
        }
        for attachment in self.attachments.iter() {
            let key = allocation_key(&attachment.container, &attachment.ifname);
            let held: Vec<IpAddr> =
                allocated.get(&key).into_iter().flatten().map(IpNet::addr).collect();
            if attachment.ips.iter().any(|ip| !held.contains(&ip.addr())) {
                warn!(
                    container = attachment.container,
                    ips = join(&attachment.ips),
                    "this Pod's address is not this node's any more: restart the Pod"
                );
            }
        }
    }

    fn reply_for(&self, attachment: Attachment) -> AttachReply {
        AttachReply { attachment, bridge: self.settings.bridge.clone(), mtu: self.settings.mtu }
    }

    /// Saves the attachments; the answer goes out when they are on disk.
    fn save_attachments(&mut self, call: CallId, reply: Reply) {
        self.tables_changed = true;
        let bytes = serde_json::to_vec(&self.attachments.list())
            .expect("invariant: maps of strings and numbers are always JSON");
        self.next_token += 1;
        let token = self.next_token;
        self.outputs.push_back(Output::Save { kind: Kind::Attachments, token, bytes });
        self.unsaved.entry(token).or_default().push((call, reply));
    }
}

fn code_of(error: &AllocateError) -> ErrorCode {
    match error {
        AllocateError::OutsideRange { .. }
        | AllocateError::Reserved(_)
        | AllocateError::Twice(_) => ErrorCode::Invalid,
        AllocateError::OwnedElsewhere { .. }
        | AllocateError::InUse { .. }
        | AllocateError::HeldOtherwise { .. }
        | AllocateError::Released => ErrorCode::Conflict,
        AllocateError::Deadline { .. } | AllocateError::TooMany => ErrorCode::NotReady,
    }
}

fn join(ips: &[IpNet]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
