//! The host's own addresses on the overlay: `weft expose`, and the way out for Pods that ask for one.
//!
//! They are an attachment like a Pod's, kept under a key of their own ([`EXPOSED`]), so that they
//! survive a restart and show in `ps`. The difference is that the daemon itself puts them where they
//! belong: on the bridge. The shell does that on [`Output::Host`] and reports back.

use std::net::IpAddr;

use ipnet::IpNet;
use tracing::{info, warn};
use weft_api::attach::{AttachRequest, Attachment, AttachmentQuery, DetachReply, EXPOSED};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_gossip::Time;
use weft_gossip::ipam::{AllocateError, Request, RequestId};

use super::attachments::{allocation_key, code_of, join, key};
use super::{ATTACH_DEADLINE, CallId, Engine, Output, Reply};

/// What the host is to look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::daemon) struct HostState {
    /// The bridge's addresses within the mesh's ranges, and no others there.
    pub(in crate::daemon) addresses: Vec<IpNet>,
    /// Whether traffic that leaves the mesh is masqueraded.
    pub(in crate::daemon) masquerade: bool,
    /// Addresses of Pods that are exempt from that, sorted.
    pub(in crate::daemon) exempt: Vec<IpAddr>,
}

/// How far the host's own addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nobody wants them.
    Hidden,
    /// The allocator was asked.
    Allocating(RequestId),
    /// They are on their way to the disk; then the host is told.
    Saving(u64),
    /// The host was told; they are there once it has done this token.
    Setting(u64),
    /// They are there.
    Set,
    /// The host could not be set up. The next who needs it has it tried again.
    Failed(String),
}

/// Who waits for the host's addresses.
#[derive(Debug)]
enum Waiter {
    Expose(CallId),
    Attach { call: CallId, request: Box<AttachRequest>, deadline: Time },
}

/// The host's own addresses, and what the host was told.
#[derive(Debug)]
pub(super) struct Exposure {
    stage: Stage,
    waiting: Vec<Waiter>,
    told: HostState,
    /// The token of the last order, and of the last one that was carried out.
    last: u64,
    done: u64,
    /// Answers that wait for an order to be carried out, by its token.
    unset: Vec<(u64, CallId, Reply)>,
}

impl Exposure {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Hidden,
            waiting: Vec::new(),
            told: HostState::default(),
            last: 0,
            done: 0,
            unset: Vec::new(),
        }
    }

    /// Whether a Pod that wants a way out can be served at once.
    pub(super) fn is_set(&self) -> bool {
        self.stage == Stage::Set
    }

    /// What is wrong with the host's addresses, for status.
    pub(super) fn warning(&self) -> Option<String> {
        match &self.stage {
            Stage::Failed(why) => Some(format!("the host's own address is not in place: {why}")),
            _ => None,
        }
    }

    /// Takes back the waiting requests that `select` names.
    pub(super) fn withdraw(
        &mut self,
        select: impl Fn(&AttachRequest) -> bool,
    ) -> Vec<(CallId, AttachRequest)> {
        let (gone, rest) = std::mem::take(&mut self.waiting).into_iter().partition(
            |waiter| matches!(waiter, Waiter::Attach { request, .. } if select(request)),
        );
        self.waiting = rest;
        let gone: Vec<Waiter> = gone;
        gone.into_iter()
            .filter_map(|waiter| match waiter {
                Waiter::Attach { call, request, .. } => Some((call, *request)),
                Waiter::Expose(_) => None,
            })
            .collect()
    }
}

impl Engine {
    /// `weft expose`: answers the host's attachment once its addresses are in place.
    pub(in crate::daemon) fn expose(&mut self, call: CallId, now: Time) {
        self.when_exposed(Waiter::Expose(call), now + ATTACH_DEADLINE, now);
        self.settle(now);
    }

    /// `weft hide`: takes the host's addresses away and frees them. Refused while a Pod on this host
    /// has one of them as its gateway: it could be a Pod's own next.
    pub(in crate::daemon) fn hide(&mut self, call: CallId, now: Time) {
        let goes_out = |a: &&Attachment| !a.gateways.is_empty() && a.fenced.is_none();
        let users = self.attachments.iter().filter(goes_out).count();
        let busy = matches!(self.exposure.stage, Stage::Allocating(_) | Stage::Saving(_));
        if users > 0 || busy || !self.exposure.waiting.is_empty() {
            let message = if users > 0 {
                format!("{users} Pods on this host go out through its address: remove them first")
            } else {
                "the host is getting its address just now: try again".to_owned()
            };
            let body = ErrorBody { code: ErrorCode::Conflict, message };
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        let own = key(EXPOSED, &self.settings.bridge);
        let hidden = self.attachments.remove(&own);
        self.exposure.stage = Stage::Hidden;
        if let Some(hidden) = &hidden {
            info!(ips = join(&hidden.ips), "the host is hidden");
            self.tell_host();
            self.node.release(&allocation_key(&own.0, &own.1), now);
        }
        let detached = hidden.into_iter().collect();
        self.save_attachments(call, Reply::Detach(DetachReply { detached }));
        self.settle(now);
    }

    /// At the start: the host is told what the disk says, also that it has no address.
    pub(super) fn restore_exposure(&mut self) {
        let exposed = self.exposed().is_some();
        let token = self.tell_host();
        if exposed {
            self.exposure.stage = Stage::Setting(token);
        }
    }

    /// The host's own attachment.
    pub(super) fn exposed(&self) -> Option<&Attachment> {
        self.attachments.get(&key(EXPOSED, &self.settings.bridge))
    }

    /// Has a request for addresses wait until the host can be its gateway.
    pub(super) fn attach_when_exposed(
        &mut self,
        call: CallId,
        request: AttachRequest,
        deadline: Time,
        now: Time,
    ) {
        let request = Box::new(request);
        self.when_exposed(Waiter::Attach { call, request, deadline }, deadline, now);
    }

    fn when_exposed(&mut self, waiter: Waiter, deadline: Time, now: Time) {
        match &self.exposure.stage {
            Stage::Set => return self.serve(waiter, now),
            Stage::Hidden => {
                let allocation = allocation_key(EXPOSED, &self.settings.bridge);
                let id = self.node.allocate(&allocation, Request::default(), deadline, now);
                self.exposure.stage = Stage::Allocating(id);
            }
            Stage::Failed(_) => {
                let token = self.tell_host();
                self.exposure.stage = Stage::Setting(token);
            }
            Stage::Allocating(_) | Stage::Saving(_) | Stage::Setting(_) => {}
        }
        self.exposure.waiting.push(waiter);
    }

    fn serve(&mut self, waiter: Waiter, now: Time) {
        match waiter {
            Waiter::Attach { call, request, deadline } => {
                self.attach_by(call, *request, deadline, now);
            }
            Waiter::Expose(call) => {
                let result = match self.exposed().cloned() {
                    Some(attachment) => Ok(self.reply_for(attachment)),
                    None => Err(ErrorBody {
                        code: ErrorCode::Conflict,
                        message: "the host was hidden meanwhile".to_owned(),
                    }),
                };
                self.outputs.push_back(Output::Reply { call, result });
            }
        }
    }

    pub(super) fn fail_waiters(&mut self, body: &ErrorBody) {
        for waiter in std::mem::take(&mut self.exposure.waiting) {
            let (Waiter::Expose(call) | Waiter::Attach { call, .. }) = waiter;
            self.outputs.push_back(Output::Reply { call, result: Err(body.clone()) });
        }
    }

    /// Takes the outcome of a request for addresses if it is for the host's own. Says whether it was.
    pub(super) fn handle_own_allocated(
        &mut self,
        id: RequestId,
        result: &Result<Vec<IpNet>, AllocateError>,
    ) -> bool {
        if self.exposure.stage != Stage::Allocating(id) {
            return false;
        }
        let own = allocation_key(EXPOSED, &self.settings.bridge);
        match result {
            Ok(ips) if !self.is_allocated(&own, ips) => {
                self.exposure.stage = Stage::Hidden;
                self.fail_waiters(&lost());
            }
            Ok(ips) => {
                let attachment = Attachment {
                    container: EXPOSED.to_owned(),
                    ifname: self.settings.bridge.clone(),
                    mac: self.settings.bridge_mac.to_string(),
                    ips: ips.clone(),
                    ..Attachment::default()
                };
                info!(ips = join(ips), "the host is exposed");
                self.attachments.insert(attachment);
                self.exposure.stage = Stage::Saving(self.write_attachments());
            }
            Err(e) => {
                self.exposure.stage = Stage::Hidden;
                let message = format!("no address for the host itself: {e}");
                self.fail_waiters(&ErrorBody { code: code_of(e), message });
            }
        }
        true
    }

    /// The host's addresses are another node's now: the bridge gives them up. The next who needs some
    /// has others.
    pub(super) fn lose_exposure(&mut self) {
        if let Some(own) = self.attachments.remove(&key(EXPOSED, &self.settings.bridge)) {
            warn!(ips = join(&own.ips), "the host's own address is another node's now");
        }
        self.exposure.stage = Stage::Hidden;
        self.fail_waiters(&lost());
        self.tell_host();
    }

    /// Pods whose way out leads through an address that the host lost, for status.
    pub(super) fn gateway_warning(&self) -> Option<String> {
        let own: Vec<IpAddr> =
            self.exposed().into_iter().flat_map(|own| own.ips.iter().map(IpNet::addr)).collect();
        let lost = |a: &&Attachment| {
            a.fenced.is_none() && a.gateways.iter().any(|gateway| !own.contains(gateway))
        };
        let count = self.attachments.iter().filter(lost).count();
        (count > 0).then(|| {
            format!("{count} Pods go out through an address that the host lost: make them anew")
        })
    }

    /// The attachments are on disk up to `token`.
    pub(super) fn handle_exposure_saved(&mut self, token: u64) {
        if matches!(self.exposure.stage, Stage::Saving(saving) if saving <= token) {
            let token = self.tell_host();
            self.exposure.stage = Stage::Setting(token);
        }
    }

    /// Tells the host what it is to look like, where that has changed. Answers the token to wait for.
    pub(super) fn tell_host_changes(&mut self) {
        if self.host_state() != self.exposure.told {
            self.tell_host();
        }
    }

    fn tell_host(&mut self) -> u64 {
        let state = self.host_state();
        self.exposure.told = state.clone();
        self.exposure.last += 1;
        let token = self.exposure.last;
        self.outputs.push_back(Output::Host { token, state });
        token
    }

    fn host_state(&self) -> HostState {
        let Some(own) = self.exposed() else { return HostState::default() };
        let outbound =
            || self.attachments.iter().filter(|a| !a.gateways.is_empty() && a.fenced.is_none());
        // Once it is on it stays until the host is hidden: Pods that come and go are no reason to
        // make and remove a table.
        let masquerade =
            self.exposure.told.masquerade || outbound().any(|a| !a.masqueraded.is_empty());
        let mut exempt: Vec<IpAddr> = outbound()
            .flat_map(|a| a.ips.iter().map(IpNet::addr).filter(|ip| !a.masqueraded.contains(ip)))
            .filter(|_| masquerade)
            .collect();
        exempt.sort_unstable();
        HostState { addresses: own.ips.clone(), masquerade, exempt }
    }

    /// Answers a call whose attachment is on disk, once the host does what the Pod was promised.
    pub(super) fn answer(&mut self, call: CallId, reply: Reply) {
        let promised = matches!(&reply, Reply::Attach(r) if !r.attachment.gateways.is_empty());
        if promised && self.exposure.done < self.exposure.last {
            self.exposure.unset.push((self.exposure.last, call, reply));
        } else {
            self.answer_enforced(call, reply);
        }
    }

    /// The host has done what [`Output::Host`] with this token asked for, and all before it; or
    /// could not.
    pub(in crate::daemon) fn handle_host(
        &mut self,
        token: u64,
        result: Result<(), String>,
        now: Time,
    ) {
        self.exposure.done = self.exposure.done.max(token);
        let failure = result.err().inspect(|why| warn!("{why}"));
        let (due, rest) = std::mem::take(&mut self.exposure.unset)
            .into_iter()
            .partition::<Vec<_>, _>(|(awaited, ..)| *awaited <= token);
        self.exposure.unset = rest;
        for (_, call, reply) in due {
            match failure.clone() {
                None => self.answer_enforced(call, reply),
                Some(why) => {
                    let result = Err(internal(why));
                    self.outputs.push_back(Output::Reply { call, result });
                }
            }
        }
        match (failure, &self.exposure.stage) {
            (Some(why), Stage::Setting(_) | Stage::Set) => {
                self.exposure.stage = Stage::Failed(why.clone());
                self.fail_waiters(&internal(why));
            }
            (None, Stage::Setting(awaited)) if *awaited <= token => {
                self.exposure.stage = Stage::Set;
                for waiter in std::mem::take(&mut self.exposure.waiting) {
                    self.serve(waiter, now);
                }
            }
            _ => {}
        }
        self.settle(now);
    }
}

fn lost() -> ErrorBody {
    let message = "the host's own address became another node's just now: try again".to_owned();
    ErrorBody { code: ErrorCode::NotReady, message }
}

fn internal(message: String) -> ErrorBody {
    ErrorBody { code: ErrorCode::Internal, message }
}

/// Refuses to have the host's own attachment handled as a Pod's.
pub(in crate::daemon) fn refuse_own(query: &AttachmentQuery) -> Result<(), String> {
    if query.container.as_deref() == Some(EXPOSED) {
        return Err(format!("{EXPOSED} is the host itself: use `weft expose` and `weft hide`"));
    }
    Ok(())
}
