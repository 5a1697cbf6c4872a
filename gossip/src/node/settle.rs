//! What follows every input: the consequences, in the order of their dependence.

use std::collections::{BTreeMap, BTreeSet};

use weft_crypto::PeerName;

use super::Node;
use crate::{
    Event, Time,
    ipam::{AllocateError, Fenced},
    membership::LinkState,
    topology,
};

impl Node {
    /// Draws the consequences of an input. Each public input ends with it.
    pub(super) fn settle(&mut self, now: Time) {
        self.commit_own(now);
        if std::mem::take(&mut self.topology_changed) {
            self.recompute_reachable(now);
        }
        self.drain_ipam();
        self.commit_own(now);
        self.release_outcomes();
        self.release_writes();
        self.push_fresh();
        let generation = self.ipam.routes_generation();
        if generation != self.routes_generation {
            self.routes_generation = generation;
            self.events.push_back(Event::RoutesChanged);
            self.judge_pods();
        }
        // The same event twice in a row says nothing more.
        let mut last: Option<Event> = None;
        self.events.retain(|event| {
            let repeated = matches!(
                event,
                Event::MembersChanged
                    | Event::RoutesChanged
                    | Event::ObjectsChanged
                    | Event::PodsChanged
            ) && last.as_ref() == Some(event);
            last = Some(event.clone());
            !repeated
        });
    }

    fn recompute_reachable(&mut self, now: Time) {
        let mut links: BTreeMap<PeerName, BTreeSet<PeerName>> = self
            .views
            .links
            .iter()
            .map(|(origin, links)| {
                let live = links.0.iter().filter(|link| link.state != LinkState::Dead);
                (*origin, live.map(|link| PeerName::from_bytes(link.peer)).collect())
            })
            .collect();
        // The own record may lag behind by the time that changes are gathered for.
        let live = self.neighbours.iter().filter(|(_, link)| link.state != LinkState::Dead);
        links.insert(self.name, live.map(|(name, _)| *name).collect());
        self.events.push_back(Event::MembersChanged);
        let reachable = topology::reachable(self.name, &links);
        if reachable != self.reachable {
            self.reachable = reachable;
            let mut others = self.reachable.clone();
            others.remove(&self.name);
            self.ipam.handle_reachable(&others, now);
        }
    }

    fn drain_ipam(&mut self) {
        while let Some(publish) = self.ipam.poll_publish() {
            self.publish_ipam(publish);
        }
        if self.ipam.dirty() {
            self.own.need_persist();
        }
        while let Some((id, result)) = self.ipam.poll_outcome() {
            self.outcomes.push_back((self.own.covering_token(), id, result));
        }
        while let Some(Fenced { key, addresses, holder }) = self.ipam.poll_fenced() {
            // Whoever was not told yet is not told of addresses that are gone again.
            for (_, _, result) in &mut self.outcomes {
                if result.as_ref().is_ok_and(|nets| *nets == addresses) {
                    *result = Err(AllocateError::Released);
                }
            }
            if let Some((node, holder)) = holder {
                let lost: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.events.push_back(Event::Warning(format!(
                    "{key} lost {}: {holder} on {} has it in the ring that this node moved to",
                    lost.join(", "),
                    self.label(node)
                )));
            }
            self.events.push_back(Event::Fenced { key, addresses });
        }
    }

    fn release_outcomes(&mut self) {
        while let Some((token, ..)) = self.outcomes.front()
            && self.own.is_persisted(*token)
            && let Some((_, id, result)) = self.outcomes.pop_front()
        {
            self.events.push_back(Event::Allocated { id, result });
        }
    }
}
