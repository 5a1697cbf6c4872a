//! Calls for addresses that wait until enough is known of their Pod and of the policies.
//!
//! | the API | policies | the Pod | the call |
//! |---|---|---|---|
//! | answers | listed | known | goes on |
//! | answers | listed | not known yet | waits, and fails after 30 s |
//! | answers | not listed yet | | waits, and fails after 30 s |
//! | is away | known, from the API or from the disk | | goes on, with the labels that the runtime gave |
//! | is away | never heard | | fails at once |
//!
//! A call that is repeated for an interface that stands is not held up.

use weft_api::attach::{AttachRequest, AttachmentQuery};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_gossip::Time;
use weft_kubernetes::Resource;

use super::Kubernetes;
use crate::daemon::engine::attachments::{detached_meanwhile, key, selects_request};
use crate::daemon::engine::{CallId, Engine, Output};

/// What must have been listed before a Pod is admitted.
const NEEDED: [Resource; 3] = [Resource::Namespaces, Resource::NetworkPolicies, Resource::Pods];

/// Calls that wait.
#[derive(Debug, Default)]
pub(super) struct Admission {
    waiting: Vec<Waiter>,
    /// How many went on without what the API knows of their Pod.
    pub(super) blind: u64,
}

#[derive(Debug)]
struct Waiter {
    call: CallId,
    request: AttachRequest,
    deadline: Time,
}

impl Admission {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.waiting.iter().map(|waiter| waiter.deadline).min()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// What is to become of a call.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Admit,
    /// As [`Decision::Admit`], without what the API would know of the Pod.
    AdmitBlind,
    /// To wait, and for what.
    Wait(String),
    Refuse(String),
}

impl Kubernetes {
    fn decide(&self, request: &AttachRequest) -> Decision {
        let away = self.watches.is_away(&NEEDED);
        if !self.knows_policies() {
            let (.., detail) = self.watches.summary();
            let detail = detail.unwrap_or_else(|| "they are being listed".to_owned());
            let why = format!("the NetworkPolicies of this cluster are not known yet: {detail}");
            return if away { Decision::Refuse(why) } else { Decision::Wait(why) };
        }
        let listed = NEEDED.iter().all(|resource| self.watches.is_listed(*resource));
        let (Some(namespace), Some(name)) = (&request.namespace, &request.pod) else {
            // No Pod of the API's.
            return match listed || away {
                true => Decision::Admit,
                false => Decision::Wait(self.not_listed()),
            };
        };
        let known = self.pod(namespace, name, request.uid.as_deref()).is_some();
        match (listed, known, away) {
            (true, true, _) => Decision::Admit,
            (false, true, true) => Decision::Admit,
            (_, false, true) => Decision::AdmitBlind,
            (false, _, false) => Decision::Wait(self.not_listed()),
            (true, false, false) => Decision::Wait(format!(
                "the Kubernetes API tells of no Pod {namespace}/{name}{} on the node {}: is that this node? \
                 see --kubernetes-node",
                request.uid.as_ref().map(|uid| format!(" with uid {uid}")).unwrap_or_default(),
                self.settings.node
            )),
        }
    }

    fn not_listed(&self) -> String {
        let (.., detail) = self.watches.summary();
        let detail = detail.unwrap_or_else(|| "it is being listed".to_owned());
        format!("what the Kubernetes API knows of this node's Pods is not known yet: {detail}")
    }
}

impl Engine {
    /// Hands a request back that may go on at once. Another one is answered, here or later.
    pub(in crate::daemon::engine) fn admit(
        &mut self,
        call: CallId,
        request: AttachRequest,
        deadline: Time,
    ) -> Option<AttachRequest> {
        let stands = self.attachments.get(&key(&request.container, &request.ifname)).is_some();
        let Some(kubernetes) = self.kubernetes.as_mut().filter(|_| !stands) else {
            return Some(request);
        };
        match kubernetes.decide(&request) {
            Decision::Admit => Some(request),
            Decision::AdmitBlind => {
                kubernetes.admission.blind += 1;
                Some(request)
            }
            Decision::Wait(_) => {
                kubernetes.admission.waiting.push(Waiter { call, request, deadline });
                None
            }
            Decision::Refuse(message) => {
                self.refuse_admission(call, message);
                None
            }
        }
    }

    /// Lets those go on that wait for nothing any more, and refuses those that waited too long. Answers
    /// whether any went on.
    pub(super) fn admit_waiting(&mut self, now: Time) -> bool {
        let Some(kubernetes) = &mut self.kubernetes else { return false };
        let mut any = false;
        for waiter in std::mem::take(&mut kubernetes.admission.waiting) {
            let Waiter { call, request, deadline } = waiter;
            if deadline <= now
                && let Some(kubernetes) = &self.kubernetes
                && let Decision::Wait(why) = kubernetes.decide(&request)
            {
                self.refuse_admission(call, format!("{why} (waited for 30 s)"));
            } else if let Some(request) = self.admit(call, request, deadline) {
                self.attach_by(call, request, deadline, now);
                any = true;
            }
        }
        any
    }

    /// Takes back the calls that a query selects.
    pub(in crate::daemon::engine) fn withdraw_waiting(&mut self, query: &AttachmentQuery) {
        let Some(kubernetes) = &mut self.kubernetes else { return };
        let (withdrawn, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut kubernetes.admission.waiting)
            .into_iter()
            .partition(|waiter| selects_request(query, &waiter.request));
        kubernetes.admission.waiting = rest;
        for Waiter { call, request, .. } in withdrawn {
            let result = Err(detached_meanwhile(&request));
            self.outputs.push_back(Output::Reply { call, result });
        }
    }

    fn refuse_admission(&mut self, call: CallId, message: String) {
        let body = ErrorBody { code: ErrorCode::NotReady, message };
        self.outputs.push_back(Output::Reply { call, result: Err(body) });
    }
}
