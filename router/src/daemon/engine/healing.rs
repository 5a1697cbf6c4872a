//! Making two rings one that were founded apart: `weft heal`, and what status tells of it.

use tracing::info;
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::peers::{HealReply, HealRequest};
use weft_gossip::Time;
use weft_gossip::ipam::{HealError, Healing, Kept};

use super::attachments::allocation_key;
use super::fence::pod;
use super::{CallId, Engine, Output};

/// Pods named one by one in status.
const MAX_NAMED: usize = 8;

impl Engine {
    /// Makes the ring of another node and this node's own one. `at` is the time of day, seconds since
    /// the Unix epoch. Answered once the word is on disk, before the nodes have moved.
    pub(in crate::daemon) fn heal(
        &mut self,
        call: CallId,
        request: &HealRequest,
        at: u64,
        now: Time,
    ) {
        let healed = self.say_heal(&request.peer, at, now);
        self.settle(now);
        match healed {
            Ok(reply) => self.answer_healing(call, reply),
            Err(body) => self.outputs.push_back(Output::Reply { call, result: Err(body) }),
        }
    }

    fn say_heal(&mut self, text: &str, at: u64, now: Time) -> Result<HealReply, ErrorBody> {
        let peer = self.resolve(text)?;
        if peer == self.settings.name {
            return Err(ErrorBody {
                code: ErrorCode::Invalid,
                message: format!(
                    "{} is this node itself: name a node of the other ring, see `weft status`",
                    self.title(peer)
                ),
            });
        }
        let healing = self
            .node
            .heal(peer, at, now)
            .map_err(|error| ErrorBody { code: code_of(error), message: error.to_string() })?;
        let moves = match healing {
            Healing::Moves => true,
            Healing::Stays => false,
        };
        info!(peer = self.title(peer), moves, "two rings become one");
        Ok(HealReply { peer: self.named(peer), moves })
    }

    /// Pods that came with this node from another ring and of which it is open whether they keep their
    /// addresses.
    pub(super) fn healing_warnings(&self) -> Vec<String> {
        let kept = self.node.ipam().kept();
        let mut warnings: Vec<String> =
            kept.iter().take(MAX_NAMED).map(|kept| self.kept_sentence(kept)).collect();
        let more = kept.len().saturating_sub(MAX_NAMED);
        if more > 0 {
            warnings.push(format!("{more} more Pods wait for the same"));
        }
        warnings
    }

    fn kept_sentence(&self, kept: &Kept) -> String {
        let who = self
            .attachments
            .iter()
            .find(|of| allocation_key(&of.container, &of.ifname) == kept.key)
            .map_or_else(|| kept.key.clone(), pod);
        let addresses: Vec<String> = kept.addresses.iter().map(ToString::to_string).collect();
        let mut owners: Vec<String> = kept.owners.iter().map(|name| self.title(*name)).collect();
        owners.dedup();
        let owners = if owners.is_empty() { "its owner".to_owned() } else { owners.join(", ") };
        format!(
            "{who} came with {} from the ring that this node was in before; whether it keeps that waits \
             for {owners}: once reachable it goes on, and where a node is gone for good, `weft rmpeer` it",
            addresses.join(", ")
        )
    }
}

fn code_of(error: HealError) -> ErrorCode {
    match error {
        HealError::NoRing | HealError::Tentative(_) => ErrorCode::NotReady,
        HealError::Unknown(_) => ErrorCode::NotFound,
        HealError::Gone | HealError::SameRing(_) => ErrorCode::Conflict,
    }
}
