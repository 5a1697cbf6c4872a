//! What is written, what waits for that, and what becomes of it when the disk refuses.

use std::collections::BTreeMap;

use tracing::{error, info, warn};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_gossip::{Time, Written};

use super::attachments::allocation_key;
use super::{CallId, Engine, Kind, Output, Reply};

/// Bytes of a journal from which on a checkpoint may be worth it. A plain choice: some hundreds of
/// Pods that come and go.
const MIN_JOURNAL: u64 = 256 << 10;

/// Bytes in a journal that a write takes beside its content, about.
const OVERHEAD: u64 = 40;

/// What is on its way to the disk.
#[derive(Debug)]
pub(super) struct Saving {
    /// Answers that wait for a write, by its kind and token.
    unsaved: BTreeMap<(Kind, u64), Vec<(CallId, Reply)>>,
    next_token: u64,
    /// The token of the last write of attachments.
    attachments_asked: u64,
    /// The token up to which the attachments are on disk.
    attachments_saved: u64,
    /// Bytes written to the journal since the checkpoint.
    journal: u64,
    /// Bytes of the checkpoint.
    checkpoint: u64,
    /// Why the journal cannot be written, while that is so.
    failure: Option<String>,
}

impl Saving {
    pub(super) fn new(journal: u64) -> Self {
        Self {
            unsaved: BTreeMap::new(),
            next_token: 0,
            attachments_asked: 0,
            attachments_saved: 0,
            journal,
            checkpoint: 0,
            failure: None,
        }
    }

    /// Why nothing can be saved, while that is so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// The token for the next write of attachments.
    pub(super) fn next_attachments(&mut self) -> u64 {
        self.attachments_asked = self.next_token();
        self.attachments_asked
    }

    /// The token of the last write of attachments.
    pub(super) fn last_attachments(&self) -> u64 {
        self.attachments_asked
    }
}

impl Engine {
    /// Asks for a write.
    pub(super) fn save_bytes(&mut self, kind: Kind, token: u64, what: Written) {
        if kind.in_journal() {
            let (Written::Snapshot(bytes) | Written::Append(bytes)) = &what;
            self.saving.journal += bytes.len() as u64 + OVERHEAD;
        }
        self.outputs.push_back(Output::Save { kind, token, what });
    }

    /// Asks for a write of a JSON file and returns its token.
    pub(super) fn save(&mut self, kind: Kind, value: &impl serde::Serialize) -> u64 {
        let bytes = serde_json::to_vec(value)
            .expect("invariant: maps of strings and numbers are always JSON");
        let token = self.saving.next_token();
        self.save_bytes(kind, token, Written::Snapshot(bytes));
        token
    }

    /// Answers a call when that write is on disk.
    pub(super) fn answer_when_saved(&mut self, kind: Kind, token: u64, call: CallId, reply: Reply) {
        if kind == Kind::Attachments && token <= self.saving.attachments_saved {
            self.answer(call, reply);
        } else {
            self.saving.unsaved.entry((kind, token)).or_default().push((call, reply));
        }
    }

    /// All writes of a kind up to that token are on disk.
    pub(in crate::daemon) fn handle_saved(&mut self, kind: Kind, token: u64, now: Time) {
        if kind.in_journal() && self.saving.failure.take().is_some() {
            info!("the data directory can be written again");
        }
        if kind == Kind::Gossip {
            self.node.persisted(token, now);
            self.answer_removals(token);
        } else {
            let later = self.saving.unsaved.split_off(&(kind, token.saturating_add(1)));
            let saved = std::mem::replace(&mut self.saving.unsaved, later);
            for ((of, token), calls) in saved {
                if of == kind {
                    calls.into_iter().for_each(|(call, reply)| self.answer(call, reply));
                } else {
                    self.saving.unsaved.insert((of, token), calls);
                }
            }
        }
        if kind == Kind::Attachments {
            self.saving.attachments_saved = self.saving.attachments_saved.max(token);
            self.handle_exposure_saved(token);
        }
        self.settle(now);
    }

    /// A write failed, and is tried again all the while. Whoever waits for the journal to get an
    /// address is refused and gets none. Addresses that were freed are free; that alone may be forgotten
    /// by a crash, which is found out by the next detach.
    pub(in crate::daemon) fn handle_save_failed(&mut self, kind: Kind, why: &str, now: Time) {
        let text = format!("nothing can be saved: {why}: make room, or repair the disk");
        if !kind.in_journal() {
            warn!("{text}");
        } else if self.saving.failure.is_none() {
            error!("{text}");
        }
        let body = ErrorBody { code: ErrorCode::NotReady, message: text.clone() };
        if kind.in_journal() {
            self.saving.failure = Some(text);
            self.refuse_requests(&body, now);
            self.refuse_removals(&body);
        }
        for ((of, token), calls) in std::mem::take(&mut self.saving.unsaved) {
            if of != kind && !(of.in_journal() && kind.in_journal()) {
                self.saving.unsaved.insert((of, token), calls);
                continue;
            }
            for (call, reply) in calls {
                let result = match reply {
                    Reply::Attach(reply) => {
                        let (container, ifname) =
                            (reply.attachment.container, reply.attachment.ifname);
                        self.node.release(&allocation_key(&container, &ifname), now);
                        self.attachments.remove(&(container, ifname));
                        self.tables_changed = true;
                        Err(body.clone())
                    }
                    reply @ Reply::Detach(_) => Ok(reply),
                    Reply::Targets(_)
                    | Reply::Removed(_)
                    | Reply::Healing(_)
                    | Reply::Reset(_)
                    | Reply::Changed(_) => Err(body.clone()),
                };
                self.outputs.push_back(Output::Reply { call, result });
            }
        }
        self.tell_host_changes();
        self.settle(now);
    }

    /// Asks for a checkpoint when the journal is so long that its own cost does not count.
    pub(super) fn checkpoint_if_due(&mut self) {
        let due = self.saving.journal > MIN_JOURNAL.max(2 * self.saving.checkpoint);
        if !due || self.saving.failure.is_some() {
            return;
        }
        let all = vec![
            (Kind::Gossip, self.node.snapshot()),
            (Kind::Attachments, self.attachments.form()),
        ];
        self.saving.checkpoint = all.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.saving.journal = 0;
        self.outputs.push_back(Output::Checkpoint(all));
    }
}
