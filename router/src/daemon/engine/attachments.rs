//! Pods' interfaces: who has which addresses, and the calls that wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tracing::info;
use weft_api::attach::{
    AttachReply, AttachRequest, Attachment, AttachmentQuery, DetachReply, EXPOSED, Outbound,
};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_dataplane::mac_for;
use weft_gossip::ipam::{AllocateError, Request, RequestId};
use weft_gossip::{Saved, Time, Written};

use super::fence::pod;
use super::objects::refuse_untellable;
use super::{ATTACH_DEADLINE, CallId, Engine, Kind, Output, Reply};

/// The attachments by (container, ifname), and the requests for addresses under way.
///
/// Invariant: what differs from what was written, in `standing` and `prepared` together, is among
/// `changed`.
#[derive(Debug)]
pub(super) struct Attachments {
    standing: BTreeMap<Key, Attachment>,
    pending: BTreeMap<RequestId, (CallId, AttachRequest)>,
    /// Those whose addresses are decided and not yet on disk. They are written together with these, so
    /// that both cost one sync, and stand when the addresses do.
    prepared: BTreeMap<Key, Prepared>,
    changed: BTreeSet<Key>,
}

/// (container, ifname)
type Key = (String, String);

#[derive(Debug)]
struct Prepared {
    id: RequestId,
    attachment: Attachment,
    /// The token of its write.
    token: u64,
}

/// A line of the journal.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Put(Box<Attachment>),
    Gone { container: String, ifname: String },
}

/// The attachments as they were saved.
///
/// # Errors
/// The JSON does not parse.
pub(in crate::daemon) fn read_attachments(
    saved: &Saved,
) -> Result<Vec<Attachment>, serde_json::Error> {
    let mut standing: BTreeMap<Key, Attachment> = BTreeMap::new();
    if !saved.snapshot.is_empty() {
        let all: Vec<Attachment> = serde_json::from_slice(&saved.snapshot)?;
        standing.extend(all.into_iter().map(|a| (key(&a.container, &a.ifname), a)));
    }
    for changes in &saved.appended {
        for change in serde_json::from_slice::<Vec<Change>>(changes)? {
            match change {
                Change::Put(a) => drop(standing.insert(key(&a.container, &a.ifname), *a)),
                Change::Gone { container, ifname } => drop(standing.remove(&(container, ifname))),
            }
        }
    }
    Ok(standing.into_values().collect())
}

impl Attachments {
    pub(super) fn new(standing: Vec<Attachment>) -> Self {
        let standing = standing.into_iter().map(|a| (key(&a.container, &a.ifname), a)).collect();
        Self {
            standing,
            pending: BTreeMap::new(),
            prepared: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.standing.values()
    }

    /// Those that stand, and those that will when the disk has them; in one order, so that nothing
    /// seems to have changed when the disk has.
    pub(super) fn with_prepared(&self) -> impl Iterator<Item = &Attachment> {
        let standing = self.standing.iter();
        let prepared = self.prepared.iter().map(|(key, prepared)| (key, &prepared.attachment));
        // Of one key the one that stands.
        let all: BTreeMap<&Key, &Attachment> = prepared.chain(standing).collect();
        all.into_values()
    }

    /// All that [`read_attachments`] reads, in one piece.
    pub(super) fn form(&self) -> Vec<u8> {
        to_json(&self.with_prepared().collect::<Vec<_>>())
    }

    /// Takes back what was prepared for a request.
    fn unprepare(&mut self, key: &Key) {
        if self.prepared.remove(key).is_some() {
            self.changed.insert(key.clone());
        }
    }

    pub(super) fn get(&self, key: &(String, String)) -> Option<&Attachment> {
        self.standing.get(key)
    }

    /// One of those that stand, to be changed: it is written again.
    pub(super) fn get_mut(&mut self, key: &(String, String)) -> Option<&mut Attachment> {
        let found = self.standing.get_mut(key)?;
        self.changed.insert(key.clone());
        Some(found)
    }

    pub(super) fn insert(&mut self, attachment: Attachment) {
        let key = key(&attachment.container, &attachment.ifname);
        self.changed.insert(key.clone());
        self.standing.insert(key, attachment);
    }

    pub(super) fn remove(&mut self, key: &(String, String)) -> Option<Attachment> {
        let removed = self.standing.remove(key);
        if removed.is_some() {
            self.changed.insert(key.clone());
        }
        removed
    }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: maps of strings and numbers are always JSON")
}

pub(super) fn key(container: &str, ifname: &str) -> (String, String) {
    (container.to_owned(), ifname.to_owned())
}

/// The key under which the allocator keeps the addresses. An interface's name has no slash, so the
/// last one separates.
pub(super) fn allocation_key(container: &str, ifname: &str) -> String {
    format!("{container}/{ifname}")
}

fn matches(query: &AttachmentQuery, container: &str, ifname: &str, network: Option<&str>) -> bool {
    query.container.as_deref().is_none_or(|c| c == container)
        && query.ifname.as_deref().is_none_or(|i| i == ifname)
        && query.network.as_deref().is_none_or(|n| Some(n) == network)
}

fn selects(query: &AttachmentQuery, a: &Attachment) -> bool {
    matches(query, &a.container, &a.ifname, a.network.as_deref())
}

pub(super) fn selects_request(query: &AttachmentQuery, r: &AttachRequest) -> bool {
    matches(query, &r.container, &r.ifname, r.network.as_deref())
}

impl Engine {
    /// Asks for addresses for one interface. The answer is the same when the call is repeated.
    pub(in crate::daemon) fn attach(&mut self, call: CallId, request: AttachRequest, now: Time) {
        if let Err(body) = refuse_untellable(&request) {
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        let deadline = now + ATTACH_DEADLINE;
        if let Some(request) = self.admit(call, request, deadline) {
            self.attach_by(call, request, deadline, now);
        }
        self.settle(now);
    }

    pub(super) fn attach_by(
        &mut self,
        call: CallId,
        request: AttachRequest,
        deadline: Time,
        now: Time,
    ) {
        let known = self.attachments.get(&key(&request.container, &request.ifname)).is_some();
        if let Some(failure) = self.saving.failure().filter(|_| !known) {
            let body = ErrorBody { code: ErrorCode::NotReady, message: failure.to_owned() };
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        if request.outbound.is_some() && !self.exposure.is_set() {
            self.attach_when_exposed(call, request, deadline, now);
            return;
        }
        if let Some(standing) =
            self.attachments.standing.get(&key(&request.container, &request.ifname))
        {
            if let Some(why) = &standing.fenced {
                let message = format!("{} is cut off: {why}: detach it first", pod(standing));
                let body = ErrorBody { code: ErrorCode::Conflict, message };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                return;
            }
            let asked_for_others =
                request.ips.iter().any(|ip| !standing.ips.iter().any(|s| s.addr() == ip.addr()))
                    || !request
                        .subnets
                        .iter()
                        .all(|subnet| standing.ips.iter().any(|ip| subnet.contains(&ip.addr())));
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
                Ok(self.reply_for(standing.clone()))
            };
            match result {
                Ok(reply) => self.answer(call, reply),
                Err(body) => {
                    self.outputs.push_back(Output::Reply { call, result: Err(body) });
                }
            }
            return;
        }
        let allocation = allocation_key(&request.container, &request.ifname);
        let wanted = Request { wanted: request.ips.clone(), within: request.subnets.clone() };
        let id = self.node.allocate(&allocation, wanted, deadline, now);
        self.attachments.pending.insert(id, (call, request));
    }

    pub(super) fn handle_allocated(
        &mut self,
        id: RequestId,
        result: Result<Vec<IpNet>, AllocateError>,
        now: Time,
    ) {
        if self.handle_own_allocated(id, &result) {
            return;
        }
        let Some((call, request)) = self.attachments.pending.remove(&id) else { return };
        let key = key(&request.container, &request.ifname);
        let prepared = match self.attachments.prepared.remove(&key) {
            Some(prepared) if prepared.id == id => Some(prepared),
            Some(others) => {
                self.attachments.prepared.insert(key.clone(), others);
                None
            }
            None => None,
        };
        let ips = match result {
            Ok(ips) => ips,
            Err(e) => {
                if prepared.is_some() {
                    self.attachments.changed.insert(key);
                }
                let body = ErrorBody { code: code_of(&e), message: e.to_string() };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                return;
            }
        };
        let allocation = allocation_key(&request.container, &request.ifname);
        if !self.is_allocated(&allocation, &ips) {
            // Lost again before it was told to anyone.
            if prepared.is_some() {
                self.attachments.changed.insert(key);
            }
            let message = format!("{} became another node's just now: try again", join(&ips));
            let body = ErrorBody { code: ErrorCode::NotReady, message };
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        if let Some(prepared) = prepared.filter(|prepared| prepared.attachment.ips == ips) {
            let reply = self.reply_for(prepared.attachment.clone());
            // The disk has it already, or as good as.
            self.stand(key, prepared.attachment);
            self.answer_when_saved(Kind::Attachments, prepared.token, call, reply);
            return;
        }
        let Some(attachment) = self.attachment_for(&request, ips) else {
            // The allocator gives one address per range, and there is at least one range.
            self.node.release(&allocation, now);
            return;
        };
        let reply = self.reply_for(attachment.clone());
        self.attachments.changed.insert(key.clone());
        self.stand(key, attachment);
        self.save_attachments(call, reply);
    }

    fn stand(&mut self, key: Key, attachment: Attachment) {
        info!(container = attachment.container, ips = join(&attachment.ips), "attached");
        self.attachments.standing.insert(key, attachment);
        self.tables_changed = true;
        self.objects.own_pods_changed = true;
        self.tell_policy_changes();
        self.tell_host_changes();
    }

    /// What a request gets with these addresses; `None` without any.
    fn attachment_for(&self, request: &AttachRequest, ips: Vec<IpNet>) -> Option<Attachment> {
        let first = ips.first()?;
        let (gateways, masqueraded) = match &request.outbound {
            Some(outbound) => (self.gateways(&ips), masqueraded(outbound, &ips)),
            None => (Vec::new(), Vec::new()),
        };
        let request = request.clone();
        Some(Attachment {
            mac: request.mac.unwrap_or_else(|| mac_for(first.addr()).to_string()),
            container: request.container,
            ifname: request.ifname,
            namespace: request.namespace,
            pod: request.pod,
            uid: request.uid,
            labels: request.labels,
            ports: request.ports,
            ips,
            network: request.network,
            gateways,
            masqueraded,
            fenced: None,
            unprotected: None,
        })
    }

    /// Makes the attachments of requests whose addresses are decided, so that they are written together
    /// with these.
    pub(super) fn prepare_decided(&mut self) {
        let decided: Vec<(RequestId, Vec<IpNet>)> = self
            .node
            .decided()
            .filter_map(|(id, result)| Some((id, result.as_ref().ok()?.clone())))
            .filter(|(id, _)| self.attachments.pending.contains_key(id))
            .collect();
        for (id, ips) in decided {
            let Some((_, request)) = self.attachments.pending.get(&id) else { continue };
            let key = key(&request.container, &request.ifname);
            let taken = self.attachments.prepared.contains_key(&key)
                || self.attachments.standing.contains_key(&key);
            if !taken && let Some(attachment) = self.attachment_for(request, ips) {
                self.attachments.changed.insert(key.clone());
                self.attachments.prepared.insert(key, Prepared { id, attachment, token: 0 });
            }
        }
    }

    /// Refuses the requests for addresses that are under way, and frees what was decided for them.
    pub(super) fn refuse_requests(&mut self, body: &ErrorBody, now: Time) {
        for (id, (call, request)) in std::mem::take(&mut self.attachments.pending) {
            self.node.cancel(id, now);
            let key = key(&request.container, &request.ifname);
            if self.attachments.get(&key).is_none() {
                self.node.release(&allocation_key(&key.0, &key.1), now);
            }
            self.attachments.unprepare(&key);
            self.outputs.push_back(Output::Reply { call, result: Err(body.clone()) });
        }
        self.fail_waiters(body);
    }

    /// The host's addresses of the families that a Pod has.
    fn gateways(&self, ips: &[IpNet]) -> Vec<IpAddr> {
        let own = self.exposed().into_iter().flat_map(|own| own.ips.iter().map(IpNet::addr));
        own.filter(|gateway| ips.iter().any(|ip| ip.addr().is_ipv4() == gateway.is_ipv4()))
            .collect()
    }

    /// Frees what belongs to the attachments that the query selects, and waiting requests for them.
    pub(in crate::daemon) fn detach(&mut self, call: CallId, query: &AttachmentQuery, now: Time) {
        let waiting: Vec<RequestId> = self
            .attachments
            .pending
            .iter()
            .filter(|(_, (_, request))| selects_request(query, request))
            .map(|(id, _)| *id)
            .collect();
        self.withdraw_waiting(query);
        for (call, request) in self.exposure.withdraw(|request| selects_request(query, request)) {
            self.outputs
                .push_back(Output::Reply { call, result: Err(detached_meanwhile(&request)) });
        }
        for id in waiting {
            self.node.cancel(id, now);
            if let Some((call, request)) = self.attachments.pending.remove(&id) {
                // It may have been decided already and wait only for the disk.
                self.node.release(&allocation_key(&request.container, &request.ifname), now);
                self.attachments.unprepare(&key(&request.container, &request.ifname));
                let result = Err(detached_meanwhile(&request));
                self.outputs.push_back(Output::Reply { call, result });
            }
        }
        let selected: Vec<(String, String)> = self
            .attachments
            .standing
            .iter()
            .filter(|(_, attachment)| attachment.container != EXPOSED && selects(query, attachment))
            .map(|(key, _)| key.clone())
            .collect();
        let mut detached = Vec::new();
        for key in selected {
            detached.extend(self.attachments.remove(&key));
            self.node.release(&allocation_key(&key.0, &key.1), now);
        }
        for attachment in &detached {
            info!(container = attachment.container, ips = join(&attachment.ips), "detached");
        }
        self.tables_changed |= !detached.is_empty();
        self.tell_host_changes();
        self.save_attachments(call, Reply::Detach(DetachReply { detached }));
        self.settle(now);
    }

    /// The attachments that the query selects, the host's own first.
    pub(in crate::daemon) fn select(&self, query: &AttachmentQuery) -> Vec<Attachment> {
        let (own, pods): (Vec<_>, Vec<_>) = self
            .attachments
            .iter()
            .filter(|a| selects(query, a))
            .map(|a| self.as_known(a.clone()))
            .partition(|a| a.container == EXPOSED);
        own.into_iter().chain(pods).collect()
    }

    /// Frees addresses that no attachment holds: a crash came between the two files, and nobody was
    /// told of them.
    pub(super) fn release_orphans(&mut self, now: Time) {
        let known: BTreeSet<String> =
            self.attachments.iter().map(|a| allocation_key(&a.container, &a.ifname)).collect();
        let allocated = self.node.allocations().map(|(key, _)| key.to_owned());
        let orphans: Vec<String> = allocated.filter(|key| !known.contains(key)).collect();
        for key in orphans {
            info!(key, "freeing addresses that were never handed out");
            self.node.release(&key, now);
        }
    }

    pub(super) fn reply_for(&self, attachment: Attachment) -> Reply {
        let (bridge, mtu) = (self.settings.bridge.clone(), self.settings.mtu);
        Reply::Attach(Box::new(AttachReply { attachment, bridge, mtu }))
    }

    /// Saves the attachments; the answer goes out when they are on disk.
    pub(super) fn save_attachments(&mut self, call: CallId, reply: Reply) {
        let token = self.write_attachments();
        self.answer_when_saved(Kind::Attachments, token, call, reply);
    }

    /// Writes what has changed of the attachments. Answers the token of the write, or of the last one
    /// if nothing has.
    pub(super) fn write_attachments(&mut self) -> u64 {
        let changed = std::mem::take(&mut self.attachments.changed);
        if changed.is_empty() {
            return self.saving.last_attachments();
        }
        let token = self.saving.next_attachments();
        let mut changes = Vec::new();
        for key in changed {
            let prepared = self.attachments.prepared.get_mut(&key).map(|prepared| {
                prepared.token = token;
                &prepared.attachment
            });
            changes.push(match prepared.or_else(|| self.attachments.standing.get(&key)) {
                Some(attachment) => Change::Put(Box::new(attachment.clone())),
                None => Change::Gone { container: key.0, ifname: key.1 },
            });
        }
        self.tables_changed = true;
        self.objects.own_pods_changed = true;
        self.tell_policy_changes();
        self.save_bytes(Kind::Attachments, token, Written::Append(to_json(&changes)));
        token
    }
}

/// Which of a Pod's addresses leave the mesh under the host's.
fn masqueraded(outbound: &Outbound, ips: &[IpNet]) -> Vec<IpAddr> {
    let exempt = |ip: &IpAddr| outbound.exempt.iter().any(|range| range.contains(ip));
    let ips = ips.iter().map(IpNet::addr).filter(|_| outbound.masquerade);
    ips.filter(|ip| !exempt(ip)).collect()
}

pub(super) fn detached_meanwhile(request: &AttachRequest) -> ErrorBody {
    let message = format!("{} of {} was detached meanwhile", request.ifname, request.container);
    ErrorBody { code: ErrorCode::Conflict, message }
}

pub(super) fn code_of(error: &AllocateError) -> ErrorCode {
    match error {
        AllocateError::OutsideRange { .. }
        | AllocateError::SubnetOutside { .. }
        | AllocateError::NotWithin { .. }
        | AllocateError::TwoParts(_)
        | AllocateError::Reserved(_)
        | AllocateError::Twice(_) => ErrorCode::Invalid,
        AllocateError::OwnedElsewhere { .. }
        | AllocateError::InUse { .. }
        | AllocateError::HeldOtherwise { .. }
        | AllocateError::Released => ErrorCode::Conflict,
        AllocateError::Deadline { .. } | AllocateError::Leaving | AllocateError::TooMany => {
            ErrorCode::NotReady
        }
    }
}

pub(super) fn join(ips: &[IpNet]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
