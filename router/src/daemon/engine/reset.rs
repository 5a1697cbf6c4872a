//! `weft reset`: the node hands its space over, and begins anew under another identity.
//!
//! The engine's part ends with [`Output::Reset`]: the shell then stops, empties the data directory and
//! starts again.

use std::time::Duration;

use tracing::{info, warn};
use weft_api::attach::{Attachment, EXPOSED};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::reset::RESET_PATIENCE;
use weft_gossip::Time;

use super::attachments::{allocation_key, join, key};
use super::fence::pod;
use super::{CallId, Engine, Output};

/// How often a forced reset looks whether anybody could take the space over; if nobody can, it goes on
/// without.
const ALONE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a node that has left stays for its last records to reach the peers.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Pods that an answer names; beyond that it counts.
const MAX_NAMED: usize = 8;

/// A reset under way.
#[derive(Debug)]
pub(super) struct Resetting {
    call: CallId,
    force: bool,
    /// When it is given up, or with force gone through with.
    deadline: Time,
    /// With force: when to look next whether there is anybody to hand over to.
    alone: Time,
    /// When the peers have heard that this node left.
    told: Option<Time>,
    cut_off: Vec<String>,
}

impl Resetting {
    /// When to look at it again, at latest.
    pub(super) fn next(&self) -> Time {
        let alone = self.alone.min(self.deadline);
        self.told.unwrap_or(if self.force { alone } else { self.deadline })
    }
}

impl Engine {
    /// Hands this node's space over to others, then has the shell begin anew. Refused while Pods are
    /// attached; with `force` they are cut off, and what nobody takes in time is left behind.
    pub(in crate::daemon) fn reset(&mut self, call: CallId, force: bool, now: Time) {
        if let Err(body) = self.may_reset(force) {
            self.outputs.push_back(Output::Reply { call, result: Err(body) });
            return;
        }
        info!(force, "leaving the ring, to begin anew");
        let cut_off = self.give_up_pods(now);
        self.node.leave(now);
        self.resetting = Some(Resetting {
            call,
            force,
            deadline: now + RESET_PATIENCE,
            alone: now + ALONE_PATIENCE,
            told: None,
            cut_off,
        });
        self.settle(now);
    }

    fn may_reset(&self, force: bool) -> Result<(), ErrorBody> {
        let conflict = |message| Err(ErrorBody { code: ErrorCode::Conflict, message });
        if self.resetting.is_some() {
            return conflict("a reset is under way already".to_owned());
        }
        let pods = name_some(self.attachments.iter());
        if !force && !pods.is_empty() {
            return conflict(format!(
                "{} attached: delete them first, or use --force, which cuts them off",
                pods.join(", ")
            ));
        }
        Ok(())
    }

    /// Frees every address on this node, the host's own among them. Answers the Pods that are cut off.
    fn give_up_pods(&mut self, now: Time) -> Vec<String> {
        let given_up: Vec<_> = self
            .attachments
            .iter()
            .filter(|attachment| attachment.fenced.is_none())
            .map(|attachment| key(&attachment.container, &attachment.ifname))
            .collect();
        let mut cut_off = Vec::new();
        for key in given_up {
            self.node.release(&allocation_key(&key.0, &key.1), now);
            if key.0 == EXPOSED {
                self.lose_exposure();
            } else if let Some(attachment) = self.attachments.get_mut(&key) {
                warn!("{} is cut off: this node is reset", pod(attachment));
                attachment.fenced = Some(given_up_text(attachment));
                cut_off.push(pod(attachment));
            }
        }
        if !cut_off.is_empty() {
            self.cut_off();
        }
        self.write_attachments();
        self.tell_host_changes();
        self.tell_policy_changes();
        cut_off
    }

    /// Ends the reset under way when nothing is left to hand over, or the time is up.
    pub(super) fn check_reset(&mut self, now: Time) {
        let Some(resetting) = &mut self.resetting else { return };
        let Some(leaving) = self.node.leaving() else { return };
        let gone = leaving.done || self.node.own_removal().is_some();
        if gone && self.peers.iter().next().is_some() {
            // What was said last is on its way.
            let until = *resetting.told.get_or_insert(now + LAST_WORDS);
            if now < until {
                return;
            }
        }
        let mut over = now >= resetting.deadline;
        if resetting.force && now >= resetting.alone {
            over |= leaving.nobody;
            resetting.alone = now + ALONE_PATIENCE;
        }
        if !gone && !over {
            return;
        }
        let Some(Resetting { call, force, cut_off, .. }) = self.resetting.take() else { return };
        if gone || force {
            let left_behind = if gone { 0 } else { leaving.owned };
            self.outputs.push_back(Output::Reset { call, left_behind, cut_off });
            return;
        }
        let message = format!(
            "the space of this node could not be handed over in {} s ({}): run `weft reset` again when \
             that is over, or with --force to leave {} addresses behind for `weft rmpeer`",
            RESET_PATIENCE.as_secs(),
            leaving.describe(&|name| self.title(name)),
            leaving.owned
        );
        let result = Err(ErrorBody { code: ErrorCode::NotReady, message });
        self.outputs.push_back(Output::Reply { call, result });
    }

    /// That this node left, or is about to, and nobody goes on with its reset; for status.
    pub(super) fn leaving_warning(&self) -> Option<String> {
        let leaving = self.node.leaving().filter(|_| self.node.own_removal().is_none())?;
        let words = leaving.describe(&|name| self.title(name));
        Some(match (&self.resetting, leaving.done) {
            (None, false) => format!("{words}; run `weft reset` to go on with it"),
            (Some(_), _) | (None, true) => words,
        })
    }

    /// The Pods that stay known after a reset, so that they can be detached.
    pub(in crate::daemon) fn fenced(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|attachment| attachment.fenced.is_some())
    }
}

/// Why a Pod is cut off that a reset gave up.
pub(in crate::daemon) fn given_up_text(attachment: &Attachment) -> String {
    format!("`weft reset` gave {} up", join(&attachment.ips))
}

/// The Pods among some attachments that have valid addresses, a few by name.
pub(in crate::daemon) fn name_some<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
) -> Vec<String> {
    let mut pods = attachments.filter(|a| a.container != EXPOSED && a.fenced.is_none()).map(pod);
    let mut named: Vec<String> = pods.by_ref().take(MAX_NAMED).collect();
    let more = pods.count();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named
}
