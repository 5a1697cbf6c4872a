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
use weft_gossip::Time;
use weft_gossip::ipam::{AllocateError, Request, RequestId};

use super::fence::pod;
use super::objects::refuse_untellable;
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

    pub(super) fn get(&self, key: &(String, String)) -> Option<&Attachment> {
        self.standing.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &(String, String)) -> Option<&mut Attachment> {
        self.standing.get_mut(key)
    }

    pub(super) fn insert(&mut self, attachment: Attachment) {
        self.standing.insert(key(&attachment.container, &attachment.ifname), attachment);
    }

    pub(super) fn remove(&mut self, key: &(String, String)) -> Option<Attachment> {
        self.standing.remove(key)
    }
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

fn selects_request(query: &AttachmentQuery, r: &AttachRequest) -> bool {
    matches(query, &r.container, &r.ifname, r.network.as_deref())
}

impl Engine {
    /// Asks for addresses for one interface. The answer is the same when the call is repeated.
    pub(in crate::daemon) fn attach(&mut self, call: CallId, request: AttachRequest, now: Time) {
        if let Err(body) = refuse_untellable(&request) {
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        self.attach_by(call, request, now + ATTACH_DEADLINE, now);
        self.settle(now);
    }

    pub(super) fn attach_by(
        &mut self,
        call: CallId,
        request: AttachRequest,
        deadline: Time,
        now: Time,
    ) {
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
        let ips = match result {
            Ok(ips) => ips,
            Err(e) => {
                let body = ErrorBody { code: code_of(&e), message: e.to_string() };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                return;
            }
        };
        let allocation = allocation_key(&request.container, &request.ifname);
        if !self.is_allocated(&allocation, &ips) {
            // Lost again before it was told to anyone.
            let message = format!("{} became another node's just now: try again", join(&ips));
            let body = ErrorBody { code: ErrorCode::NotReady, message };
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        let Some(first) = ips.first() else {
            // The allocator gives one address per range, and there is at least one range.
            self.node.release(&allocation, now);
            return;
        };
        let (gateways, masqueraded) = match &request.outbound {
            Some(outbound) => (self.gateways(&ips), masqueraded(outbound, &ips)),
            None => (Vec::new(), Vec::new()),
        };
        let attachment = Attachment {
            mac: request.mac.unwrap_or_else(|| mac_for(first.addr()).to_string()),
            container: request.container,
            ifname: request.ifname,
            namespace: request.namespace,
            pod: request.pod,
            labels: request.labels,
            ports: request.ports,
            ips,
            network: request.network,
            gateways,
            masqueraded,
            fenced: None,
        };
        info!(container = attachment.container, ips = join(&attachment.ips), "attached");
        let reply = self.reply_for(attachment.clone());
        self.attachments.insert(attachment);
        self.tell_host_changes();
        self.save_attachments(call, reply);
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
        for (call, request) in self.exposure.withdraw(|request| selects_request(query, request)) {
            self.outputs
                .push_back(Output::Reply { call, result: Err(detached_meanwhile(&request)) });
        }
        for id in waiting {
            self.node.cancel(id, now);
            if let Some((call, request)) = self.attachments.pending.remove(&id) {
                // It may have been decided already and wait only for the disk.
                self.node.release(&allocation_key(&request.container, &request.ifname), now);
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
            detached.extend(self.attachments.standing.remove(&key));
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
            .cloned()
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
        self.unsaved.entry(token).or_default().push((call, reply));
    }

    /// Saves the attachments and answers the token of the write.
    pub(super) fn write_attachments(&mut self) -> u64 {
        self.tables_changed = true;
        self.objects.own_pods_changed = true;
        self.tell_policy_changes();
        let bytes = serde_json::to_vec(&self.attachments.list())
            .expect("invariant: maps of strings and numbers are always JSON");
        self.next_token += 1;
        let token = self.next_token;
        self.outputs.push_back(Output::Save { kind: Kind::Attachments, token, bytes });
        token
    }
}

/// Which of a Pod's addresses leave the mesh under the host's.
fn masqueraded(outbound: &Outbound, ips: &[IpNet]) -> Vec<IpAddr> {
    let exempt = |ip: &IpAddr| outbound.exempt.iter().any(|range| range.contains(ip));
    let ips = ips.iter().map(IpNet::addr).filter(|_| outbound.masquerade);
    ips.filter(|ip| !exempt(ip)).collect()
}

fn detached_meanwhile(request: &AttachRequest) -> ErrorBody {
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
