//! Ways through other nodes, from what all nodes tell of their links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_crypto::PeerName;
use weft_dataplane::{MAX_RELAYS, RelayRoute};
use weft_gossip::{LinkState, Member};

use super::class;

/// What a relay adds to a way, in round-trip time: its work, and the risk that it fails.
const RELAY: Duration = Duration::from_millis(1);

/// The direct links of the mesh: what a round trip over each takes.
#[derive(Debug, Default)]
pub(in crate::daemon::engine) struct Links(BTreeMap<PeerName, BTreeMap<PeerName, Duration>>);

impl Links {
    /// The direct links that both ends tell of. Those of `us` are `own`, which is newer.
    pub(in crate::daemon::engine) fn new(
        us: PeerName,
        own: BTreeMap<PeerName, Duration>,
        members: &[Member],
    ) -> Self {
        let told: BTreeMap<PeerName, BTreeMap<PeerName, Duration>> = members
            .iter()
            .filter(|member| member.name != us)
            .map(|member| {
                let direct = member.links.iter().filter_map(|link| match link.state {
                    LinkState::Direct(class) => Some((link.peer, class::time(class))),
                    LinkState::Pending | LinkState::Relayed | LinkState::Dead => None,
                });
                (member.name, direct.collect())
            })
            .collect();
        let mut links: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (from, to) in &told {
            let mutual = to
                .iter()
                .filter(|(to, _)| told.get(to).is_some_and(|back| back.contains_key(from)));
            links.insert(*from, mutual.map(|(to, time)| (*to, *time)).collect());
        }
        links.insert(us, own);
        Self(links)
    }

    /// What a round trip along a way takes; `None` where a link of it is not there.
    pub(in crate::daemon::engine) fn cost(
        &self,
        us: PeerName,
        to: PeerName,
        route: &RelayRoute,
    ) -> Option<Duration> {
        let mut from = us;
        let mut cost = Duration::ZERO;
        for next in std::iter::once(&route.first).chain(&route.then).chain([&to]) {
            cost += *self.0.get(&from)?.get(next)? + RELAY;
            from = *next;
        }
        Some(cost)
    }

    /// The quickest way from `us` to each other node through at most [`MAX_RELAYS`] others, without the ways in
    /// `avoid`. Of two equal ones the one through lower names.
    pub(in crate::daemon::engine) fn routes(
        &self,
        us: PeerName,
        avoid: &BTreeSet<(PeerName, RelayRoute)>,
    ) -> BTreeMap<PeerName, RelayRoute> {
        let mut found: BTreeMap<PeerName, (Duration, RelayRoute)> = BTreeMap::new();
        // Ways of that many relays, each with where it ends.
        let mut frontier: BTreeMap<PeerName, (Duration, Vec<PeerName>)> =
            BTreeMap::from([(us, (Duration::ZERO, Vec::new()))]);
        for _ in 0..=MAX_RELAYS {
            let mut next: BTreeMap<PeerName, (Duration, Vec<PeerName>)> = BTreeMap::new();
            for (at, (cost, relays)) in &frontier {
                for (to, time) in self.0.get(at).into_iter().flatten() {
                    if *to == us || relays.contains(to) || (*at != us && at == to) {
                        continue;
                    }
                    let mut relays = relays.clone();
                    if *at != us {
                        relays.push(*at);
                    }
                    let cost = *cost + *time + RELAY;
                    if let Some((first, then)) = relays.split_first() {
                        let route = RelayRoute { first: *first, then: then.to_vec() };
                        if avoid.contains(&(*to, route.clone())) {
                            continue;
                        }
                        if found.get(to).is_none_or(|(best, _)| cost < *best) {
                            found.insert(*to, (cost, route));
                        }
                    }
                    if next.get(to).is_none_or(|(best, _)| cost < *best) {
                        next.insert(*to, (cost, relays));
                    }
                }
            }
            frontier = next;
        }
        found.into_iter().map(|(to, (_, route))| (to, route)).collect()
    }
}

#[cfg(test)]
mod tests {
    use weft_gossip::LinkView;

    use super::*;

    fn name(n: u8) -> PeerName {
        PeerName::from_bytes([n; 32])
    }

    /// Links as (one end, other end, class), told by both; node 1 is us.
    fn links(all: &[(u8, u8, u8)]) -> Links {
        let ends = all.iter().flat_map(|(a, b, class)| [(*a, *b, *class), (*b, *a, *class)]);
        let mut members: BTreeMap<u8, Vec<LinkView>> = BTreeMap::new();
        let mut own = BTreeMap::new();
        for (from, to, class) in ends {
            if from == 1 {
                own.insert(name(to), class::time(class));
            }
            members.entry(from).or_default().push(LinkView {
                peer: name(to),
                address: "192.0.2.1:1".parse().unwrap(),
                outbound: true,
                state: LinkState::Direct(class),
            });
        }
        let members: Vec<Member> = members.into_iter().map(|(n, links)| member(n, links)).collect();
        Links::new(name(1), own, &members)
    }

    fn member(n: u8, links: Vec<LinkView>) -> Member {
        Member {
            name: name(n),
            nickname: String::new(),
            version: String::new(),
            port: 0,
            boot_id: 0,
            reachable: true,
            links,
        }
    }

    fn relays(links: &Links, to: u8) -> Option<Vec<u8>> {
        let routes = links.routes(name(1), &BTreeSet::new());
        let route = routes.get(&name(to))?;
        Some(std::iter::once(&route.first).chain(&route.then).map(|n| n.as_bytes()[0]).collect())
    }

    #[test]
    fn ways_are_the_quickest_and_bounded() {
        let line = links(&[(1, 2, 0), (2, 3, 0), (3, 4, 0), (4, 5, 0), (5, 6, 0)]);
        assert_eq!(relays(&line, 2), None);
        assert_eq!(relays(&line, 3), Some(vec![2]));
        assert_eq!(relays(&line, 4), Some(vec![2, 3]));
        assert_eq!(relays(&line, 5), Some(vec![2, 3, 4]));
        assert_eq!(relays(&line, 6), None, "four relays");
        let square = links(&[(1, 2, 0), (1, 3, 6), (2, 4, 6), (3, 4, 0), (2, 3, 0)]);
        assert_eq!(relays(&square, 4), Some(vec![2, 3]));
        let triangle = links(&[(1, 2, 9), (1, 3, 0), (3, 2, 0)]);
        assert_eq!(relays(&triangle, 2), Some(vec![3]), "a way beside the direct one");
    }

    #[test]
    fn a_link_told_by_one_end_alone_is_none() {
        let mut members = vec![member(2, vec![]), member(3, vec![])];
        members[0].links.push(LinkView {
            peer: name(3),
            address: "192.0.2.1:1".parse().unwrap(),
            outbound: true,
            state: LinkState::Direct(0),
        });
        let own = BTreeMap::from([(name(2), Duration::ZERO)]);
        let links = Links::new(name(1), own, &members);
        assert_eq!(relays(&links, 3), None);
    }

    #[test]
    fn an_avoided_way_gives_way_to_another_and_costs_are_of_what_is_there() {
        let links = links(&[(1, 2, 0), (2, 4, 0), (1, 3, 3), (3, 4, 3)]);
        let via = |n| RelayRoute { first: name(n), then: vec![] };
        assert_eq!(links.routes(name(1), &BTreeSet::new())[&name(4)], via(2));
        let avoid = BTreeSet::from([(name(4), via(2))]);
        assert_eq!(links.routes(name(1), &avoid)[&name(4)], via(3));
        assert!(links.cost(name(1), name(4), &via(2)) < links.cost(name(1), name(4), &via(3)));
        assert_eq!(links.cost(name(1), name(4), &via(9)), None);
    }
}
