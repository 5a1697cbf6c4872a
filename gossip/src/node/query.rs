//! What a node answers about the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::Node;
use crate::{
    Stats,
    ipam::{Ipam, IpamStats, Leaving, OwnerView, RemovalView, Route},
    membership::{self, LinkView, Member},
};

impl Node {
    /// This node.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// All nodes that are or were part of the cluster, this one included, by name.
    pub fn members(&self) -> Vec<Member> {
        let mut names: BTreeSet<PeerName> = self.views.nodes.keys().copied().collect();
        names.extend(self.neighbours.keys());
        names.insert(self.name);
        names.into_iter().map(|name| self.member(name)).collect()
    }

    fn member(&self, name: PeerName) -> Member {
        let info = self.views.nodes.get(&name);
        let links = if name == self.name {
            self.own_links()
        } else {
            self.views.links.get(&name).map(|links| links.view()).unwrap_or_default()
        };
        Member {
            name,
            nickname: info.map(|info| info.nickname.clone()).unwrap_or_default(),
            version: info.map(|info| info.version.clone()).unwrap_or_default(),
            port: info.map_or(0, |info| info.port),
            boot_id: info.map_or(0, |info| info.boot_id),
            reachable: self.reachable.contains(&name),
            links,
        }
    }

    fn own_links(&self) -> Vec<LinkView> {
        self.neighbours
            .iter()
            .map(|(peer, neighbour)| LinkView {
                peer: *peer,
                address: neighbour.address,
                outbound: neighbour.outbound,
                state: neighbour.state,
            })
            .collect()
    }

    /// What people call `peer`, if its record has come.
    pub fn nickname(&self, peer: PeerName) -> Option<&str> {
        self.views.nodes.get(&peer).map(|info| info.nickname.as_str())
    }

    /// A node for people: `a1b2c3d4e5(nickname)`, the short name alone where no nickname is known.
    pub fn label(&self, peer: PeerName) -> String {
        match self.nickname(peer) {
            Some(nickname) if !nickname.is_empty() => format!("{}({nickname})", peer.short()),
            Some(_) | None => peer.short(),
        }
    }

    /// For each other reachable node the addresses at which reachable nodes see it.
    pub fn candidates(&self) -> BTreeMap<PeerName, BTreeSet<SocketAddr>> {
        membership::candidates(self.name, &self.views.links, &self.reachable)
    }

    /// At which addresses other reachable nodes see this one, and how many of them. Behind a NAT these are the
    /// NAT's: reflexive addresses.
    pub fn observed(&self) -> BTreeMap<SocketAddr, usize> {
        membership::observed(self.name, &self.views.links, &self.reachable)
    }

    /// The ring and the allocator, to look at.
    pub fn ipam(&self) -> &Ipam {
        &self.ipam
    }

    /// Who holds which addresses on this node.
    pub fn allocations(&self) -> impl Iterator<Item = (&str, Vec<IpNet>)> {
        self.ipam.allocations()
    }

    /// The node that packets to `ip` are for.
    pub fn owner_of(&self, ip: IpAddr) -> Option<PeerName> {
        self.ipam.owner_of(ip)
    }

    /// The ring as routes: sorted, disjoint, this node's own included.
    pub fn routes(&self) -> Vec<Route> {
        self.ipam.routes()
    }

    /// What the allocator does or waits for, in words.
    pub fn ipam_state(&self) -> String {
        self.ipam.state(&|peer| self.label(peer))
    }

    /// The owners of space, by name.
    pub fn owners(&self) -> Vec<OwnerView> {
        self.ipam.owners()
    }

    /// The removals in this ring, by name, complete ones included.
    pub fn removals(&self) -> Vec<RemovalView> {
        self.ipam.removals()
    }

    /// How far [`Self::leave`] is; `None` if nobody asked for it. When it is done, that is on disk and
    /// was said to the neighbours.
    pub fn leaving(&self) -> Option<Leaving> {
        let leaving = self.ipam.leaving()?;
        Some(Leaving { done: leaving.done && self.own.is_told(), ..leaving })
    }

    /// The node on which somebody asked for the removal of this one, if that came about: this node
    /// has no addresses any more and gets none under this identity.
    pub fn removed_by(&self) -> Option<PeerName> {
        self.ipam.removed_by()
    }

    /// The same with all that is known of it.
    pub fn own_removal(&self) -> Option<RemovalView> {
        self.ipam.own_removal()
    }

    /// The addresses of the owner `key` on this node, with the prefix length of their range.
    pub fn allocated(&self, key: &str) -> Vec<IpNet> {
        self.ipam.allocated(key)
    }

    /// Whether this node has space to allocate from.
    pub fn ready(&self) -> bool {
        self.ipam.ready()
    }

    /// Addresses of the first range that this node owns, at most `u64::MAX`.
    pub fn owned(&self) -> u64 {
        self.ipam.owned()
    }

    /// Addresses of the first range in use on this node.
    pub fn active(&self) -> u64 {
        self.ipam.active()
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the ring and the allocator counted.
    pub fn ipam_stats(&self) -> &IpamStats {
        self.ipam.stats()
    }

    /// What stands and should not: one line each, sorted. Removals are not among it: see
    /// [`Self::removals`] and [`Self::own_removal`].
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: BTreeSet<String> =
            self.ipam.conflicts().iter().map(ToString::to_string).collect();
        for ((origin, key), why) in &self.views.quarantined {
            warnings.insert(format!(
                "ignoring the {:?} record of {}: {why}",
                key.kind,
                self.label(*origin)
            ));
        }
        if self.stats.rollbacks > 0 {
            warnings.insert(
                "the disk lost writes of an earlier run; what others held was taken back".into(),
            );
        }
        if self.stats.records_no_room > 0 {
            warnings.insert(format!(
                "{} records of others did not fit into the store",
                self.stats.records_no_room
            ));
        }
        warnings.into_iter().collect()
    }

    /// What is held, in short: equal on two nodes exactly if they hold the same records. For tests
    /// and the simulator.
    pub fn fingerprints(&self) -> BTreeMap<PeerName, u64> {
        self.store.origins().map(|(name, origin)| (name, origin.fingerprint())).collect()
    }

    /// Panics unless the state is consistent. For tests and the simulator.
    pub fn check_invariants(&self) {
        self.store.check_invariants();
        self.ipam.check_invariants();
        self.shared.objects.check_invariants();
        assert!(self.reachable.contains(&self.name));
        assert!(!self.neighbours.contains_key(&self.name));
        assert!(self.timers.resync.iter().all(|peer| self.neighbours.contains_key(peer)));
        assert!(self.fresh.is_empty(), "records were not pushed");
    }
}
