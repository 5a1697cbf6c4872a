//! Removing other nodes from the ring: `weft rmpeer`, and what status tells of removals.

use std::collections::BTreeSet;

use tracing::info;
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::peers::{HealReply, RemoveReply, RemoveRequest};
use weft_api::status::{NamedNode, Removal};
use weft_crypto::PeerName;
use weft_gossip::Time;
use weft_gossip::ipam::{RemovalView, RemoveError};

use super::{CallId, Engine, Output, Reply};
use crate::utc::utc;

/// Calls that wait until what they said about the ring is on disk.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The token of the last snapshot of the gossip node that was asked to be written, and of the
    /// last that is on disk.
    asked: u64,
    saved: u64,
    /// Each with the snapshot it waits for.
    waiting: Vec<(u64, CallId, Asked)>,
}

/// What a call asked for.
#[derive(Debug)]
enum Asked {
    /// Removals of these nodes.
    Removal { named: BTreeSet<PeerName>, force: bool },
    /// That two rings become one.
    Healing(HealReply),
}

impl Removals {
    /// A snapshot of the gossip node is on its way to the disk.
    pub(super) fn note_snapshot(&mut self, token: u64) {
        self.asked = self.asked.max(token);
    }
}

impl Engine {
    /// Removes nodes, all of those named or none. `at` is the time of day, seconds since the Unix
    /// epoch. Answered once it is on disk.
    pub(in crate::daemon) fn remove(
        &mut self,
        call: CallId,
        request: &RemoveRequest,
        at: u64,
        now: Time,
    ) {
        let named = match self.resolve_all(&request.peers) {
            Ok(named) => named,
            Err(body) => {
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                return;
            }
        };
        for name in &named {
            info!(peer = self.title(*name), force = request.force, "removing a node from the ring");
            if let Err(error) = self.node.remove(*name, request.force, at, now) {
                let body = ErrorBody { code: code_of(error), message: error.to_string() };
                self.outputs.push_back(Output::Reply { call, result: Err(body) });
                self.settle(now);
                return;
            }
        }
        self.settle(now);
        self.answer_on_disk(call, Asked::Removal { named, force: request.force });
    }

    /// Answers a call that another part of the engine checked once what it said is on disk.
    pub(super) fn answer_healing(&mut self, call: CallId, reply: HealReply) {
        self.answer_on_disk(call, Asked::Healing(reply));
    }

    fn answer_on_disk(&mut self, call: CallId, asked: Asked) {
        self.removals.waiting.push((self.removals.asked, call, asked));
        self.answer_removals(self.removals.saved);
    }

    /// The gossip node's snapshot of this token is on disk.
    pub(super) fn answer_removals(&mut self, saved: u64) {
        self.removals.saved = self.removals.saved.max(saved);
        let due = |(token, ..): &(u64, _, _)| *token <= self.removals.saved;
        let (ready, waiting) =
            std::mem::take(&mut self.removals.waiting).into_iter().partition::<Vec<_>, _>(due);
        self.removals.waiting = waiting;
        for (_, call, asked) in ready {
            let reply = match asked {
                Asked::Removal { named, force } => {
                    let named: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
                    let mut removals = self.removal_list();
                    removals.retain(|r| named.contains(&r.node.peer) || (force && r.forced));
                    Reply::Removed(RemoveReply { removals })
                }
                Asked::Healing(reply) => Reply::Healing(reply),
            };
            self.outputs.push_back(Output::Reply { call, result: Ok(reply) });
        }
    }

    /// The disk refuses what calls wait for. It is written when that is possible again.
    pub(super) fn refuse_removals(&mut self, body: &ErrorBody) {
        for (_, call, _) in std::mem::take(&mut self.removals.waiting) {
            self.outputs.push_back(Output::Reply { call, result: Err(body.clone()) });
        }
    }

    /// The nodes that an operator names; none of them this one.
    fn resolve_all(&self, texts: &[String]) -> Result<BTreeSet<PeerName>, ErrorBody> {
        if texts.is_empty() {
            return Err(ErrorBody {
                code: ErrorCode::Invalid,
                message: "name the nodes to remove".to_owned(),
            });
        }
        let resolve = |text: &String| {
            let name = self.resolve(text)?;
            if name == self.settings.name {
                return Err(ErrorBody {
                    code: ErrorCode::Invalid,
                    message: format!(
                        "{} is this node itself: remove it on another node, or run `weft reset` here",
                        self.title(name)
                    ),
                });
            }
            Ok(name)
        };
        texts.iter().map(resolve).collect()
    }

    /// The one node that goes by `text`: a full name, a short form, a nickname, or the two together
    /// as the tables show them.
    pub(super) fn resolve(&self, text: &str) -> Result<PeerName, ErrorBody> {
        let goes_by = |name: &PeerName| {
            let full_or_short = name.to_string() == text || name.short() == text;
            full_or_short || self.node.nickname(*name) == Some(text) || self.title(*name) == text
        };
        let found: Vec<PeerName> = self.known_nodes().into_iter().filter(goes_by).collect();
        match found.as_slice() {
            [] => Err(ErrorBody {
                code: ErrorCode::NotFound,
                message: format!(
                    "no node is known as \"{}\": `weft status peers` and `weft status ipam` list them",
                    text.escape_debug()
                ),
            }),
            [name] => Ok(*name),
            several => {
                let titles: Vec<String> = several.iter().map(|name| self.title(*name)).collect();
                Err(ErrorBody {
                    code: ErrorCode::Conflict,
                    message: format!(
                        "\"{}\" may be {}: name one by its first ten digits",
                        text.escape_debug(),
                        titles.join(" or ")
                    ),
                })
            }
        }
    }

    /// Every node that anything is known of: members, owners, those removed, and those that a removal
    /// waits for.
    pub(super) fn known_nodes(&self) -> BTreeSet<PeerName> {
        let members = self.node.members().into_iter().map(|member| member.name);
        let owners = self.node.owners().into_iter().map(|owner| owner.name);
        let mut known: BTreeSet<PeerName> = members.chain(owners).collect();
        for removal in self.node.removals() {
            known.insert(removal.name);
            known.extend(removal.waits_for.into_iter().flatten());
        }
        known
    }

    /// All removals, by name.
    pub(super) fn removal_list(&self) -> Vec<Removal> {
        let view = |removal: RemovalView| Removal {
            node: self.named(removal.name),
            by: self.named(removal.by),
            at: removal.at,
            forced: removal.forced,
            complete: removal.waits_for.is_none(),
            waits_for: removal
                .waits_for
                .into_iter()
                .flatten()
                .map(|name| self.named(name))
                .collect(),
        };
        self.node.removals().into_iter().map(view).collect()
    }

    /// One line for each removal that is not complete.
    pub(super) fn removal_warnings(&self) -> Vec<String> {
        let pending = self.node.removals().into_iter().filter_map(|removal| {
            let missing: Vec<String> =
                removal.waits_for?.iter().map(|name| self.title(*name)).collect();
            Some(format!(
                "the removal of {}, asked for on {} at {}, waits for {}: once they are reachable it \
                 goes on; if they are gone for good, remove them too, or repeat it with --force",
                self.title(removal.name),
                self.title(removal.by),
                utc(removal.at),
                if missing.is_empty() { "the others".to_owned() } else { missing.join(", ") }
            ))
        });
        pending.collect()
    }

    /// That this node itself was removed.
    pub(super) fn own_removal_warning(&self) -> Option<String> {
        let removal = self.node.own_removal()?;
        Some(format!(
            "this node was removed from the ring{} on {} at {}; Pods that are cut off have lost their \
             addresses; run `weft reset` to join anew under another identity",
            if removal.forced { " by force" } else { "" },
            self.title(removal.by),
            utc(removal.at)
        ))
    }

    /// This node by both of its names.
    pub(in crate::daemon) fn own_name(&self) -> NamedNode {
        let nickname = self.settings.nickname.clone();
        NamedNode { peer: self.settings.name.to_string(), nickname }
    }

    pub(super) fn named(&self, name: PeerName) -> NamedNode {
        let nickname = self.node.nickname(name).unwrap_or_default().to_owned();
        NamedNode { peer: name.to_string(), nickname }
    }
}

fn code_of(error: RemoveError) -> ErrorCode {
    match error {
        RemoveError::Myself => ErrorCode::Invalid,
        RemoveError::NoRing => ErrorCode::NotReady,
        RemoveError::Out | RemoveError::Leaving | RemoveError::TooMany(_) => ErrorCode::Conflict,
    }
}
