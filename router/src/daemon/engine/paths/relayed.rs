//! Ways through other nodes: chosen, kept while they are good, and used to reach whom no dial reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_crypto::PeerName;
use weft_dataplane::{RelayRoute, ShortId};
use weft_gossip::{Endpoint, Time};

use super::monitor::relayed_interval;
use super::routes::Links;
use super::{Monitor, RelayPath};
use crate::daemon::engine::{Engine, Output};
use crate::daemon::links::virtual_address;

/// How long a new link's direct path is waited for before others are asked to help.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a member is left to be dialled directly before it is dialled through others, and how much longer the end
/// with the higher name waits, so that the two do not dial at once.
const DIAL_AFTER: Duration = Duration::from_secs(1);
const POLITENESS: Duration = Duration::from_secs(4);

/// The pause between two such dials: longer than one can take.
const DIAL_EVERY: Duration = Duration::from_secs(12);

/// How often what may have changed by itself is looked at while a node is without a direct path.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How much better, in per cent of the old one, another way must be.
const BETTER_PERCENT: u32 = 70;

impl Engine {
    /// The way to each node that has no direct path.
    pub(in crate::daemon) fn relays(&self) -> Vec<(PeerName, Arc<RelayRoute>)> {
        self.paths.routes.iter().map(|(peer, route)| (*peer, Arc::clone(route))).collect()
    }

    /// The nodes that are reached through others alone and have no link yet.
    pub(in crate::daemon) fn unlinked(&self) -> impl Iterator<Item = &PeerName> {
        self.paths.routes.keys().filter(|peer| self.peers.link_to(**peer).is_none())
    }

    /// The member with this id; `None` where there is none, or more than one.
    pub(in crate::daemon) fn peer_of_id(&self, id: ShortId) -> Option<PeerName> {
        self.paths.ids.get(&id).copied().flatten()
    }

    /// Finds the ways anew.
    pub(in crate::daemon::engine) fn update_routes(&mut self, now: Time) {
        self.paths.stale = false;
        self.paths.avoid.retain(|_, until| *until > now);
        let us = self.settings.name;
        let own: BTreeMap<PeerName, Duration> = self
            .peers
            .iter()
            .filter_map(|(peer, link)| {
                Some((peer, link.near()?.quality().rtt().unwrap_or_default()))
            })
            .collect();
        let members = self.node.members();
        self.paths.ids.clear();
        for name in members.iter().map(|member| member.name) {
            let ids = &mut self.paths.ids;
            ids.entry(ShortId::from(&name)).and_modify(|held| *held = None).or_insert(Some(name));
        }
        let wanted: BTreeSet<PeerName> = members
            .iter()
            .map(|member| member.name)
            .filter(|name| *name != us && !own.contains_key(name))
            .collect();
        if wanted.is_empty() {
            self.paths.check = None;
            self.paths.dials.clear();
            if !self.paths.routes.is_empty() {
                self.paths.routes.clear();
                self.tables_changed = true;
            }
            self.drop_relays();
            return;
        }
        self.paths.check = Some(now + CHECK_EVERY);
        let reachable =
            members.iter().filter(|member| member.reachable).map(|member| member.name).collect();
        let links = Links::new(us, own, &members);
        let avoid = self.paths.avoid.keys().cloned().collect();
        let mut found = links.routes(us, &avoid);
        found.retain(|peer, _| wanted.contains(peer));
        let routes: BTreeMap<_, _> = found
            .into_iter()
            .map(|(peer, route)| (peer, self.steady(peer, route, &links, &avoid)))
            .collect();
        if routes != self.paths.routes {
            self.paths.routes = routes;
            self.tables_changed = true;
        }
        self.drop_relays();
        self.follow_routes(now);
        self.search(now);
        self.dial_through_others(&reachable, now);
    }

    /// The way that a peer's packets go already, unless the new one is much better.
    fn steady(
        &self,
        peer: PeerName,
        new: RelayRoute,
        links: &Links,
        avoid: &BTreeSet<(PeerName, RelayRoute)>,
    ) -> Arc<RelayRoute> {
        let us = self.settings.name;
        if let Some(old) = self.paths.routes.get(&peer)
            && !avoid.contains(&(peer, RelayRoute::clone(old)))
            && let (Some(cost), Some(better)) =
                (links.cost(us, peer, old), links.cost(us, peer, &new))
            && better > cost * BETTER_PERCENT / 100
        {
            return Arc::clone(old);
        }
        Arc::new(new)
    }

    /// Lets go of ways through others to peers that are reached without them.
    fn drop_relays(&mut self) {
        for (_, link) in self.peers.iter_mut().filter(|(_, link)| link.near().is_some()) {
            if link.relay.take().is_some() {
                self.tables_changed = true;
            }
        }
    }

    /// Puts links without a direct path on their routes.
    fn follow_routes(&mut self, now: Time) {
        let us = self.settings.name;
        let mut changed = Vec::new();
        for (peer, link) in self.peers.iter_mut().filter(|(_, link)| link.near().is_none()) {
            let young = link.target == Some(link.address)
                && link.direct.dead_since().is_none()
                && now.since(link.since) < PATIENCE;
            let route = self.paths.routes.get(&peer).filter(|_| !young);
            if link.relay.as_ref().map(|relay| &relay.route) == route {
                continue;
            }
            let end = if us < peer { super::End::Low } else { super::End::High };
            link.relay = route.map(|route| RelayPath {
                route: Arc::clone(route),
                monitor: Monitor::new(end, relayed_interval(), now),
            });
            changed.push(peer);
        }
        for peer in changed {
            self.tables_changed = true;
            self.tell(peer, now);
        }
    }

    /// Dials members that cannot be dialled directly.
    fn dial_through_others(&mut self, reachable: &BTreeSet<PeerName>, now: Time) {
        let us = self.settings.name;
        let free = |peer: &PeerName| {
            self.peers.link_to(*peer).is_none() && self.paths.routes.contains_key(peer)
        };
        let wanted: BTreeSet<PeerName> = reachable.iter().copied().filter(free).collect();
        self.paths.dials.retain(|peer, _| wanted.contains(peer));
        if !self.settings.discovery || !self.peers.has_room() {
            return;
        }
        for peer in wanted {
            let wait = if us < peer { DIAL_AFTER } else { DIAL_AFTER + POLITENESS };
            let due = self.paths.dials.entry(peer).or_insert(now + wait);
            if *due <= now {
                *due = now + DIAL_EVERY;
                let endpoint = Endpoint::Address(virtual_address(&peer), peer);
                self.outputs.push_back(Output::Dial(endpoint));
            }
        }
    }
}
