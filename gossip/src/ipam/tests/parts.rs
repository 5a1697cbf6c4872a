//! The parts by themselves, against simple models.

use proptest::prelude::*;

use super::*;
use crate::ipam::{
    ring::{Claim, Segment, find, fold},
    spans::SpanSet,
    universe::{Universe, address, number},
};
use crate::laws::{self, Merge};

#[test]
fn addresses_and_numbers_are_the_same_thing() {
    for text in ["0.0.0.0", "10.32.0.1", "255.255.255.255", "fd00::1", "2001:db8::ffff"] {
        assert_eq!(address(number(ip(text))), ip(text));
    }
    assert!(number(ip("10.32.0.255")) + 1 == number(ip("10.32.1.0")));
}

const SIZE: u128 = 16;

fn span() -> impl Strategy<Value = Span> {
    (0..SIZE, 0..SIZE, 1..4_u64).prop_map(|(a, b, version)| Span {
        start: a.min(b),
        end: a.max(b),
        version,
    })
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let claim = (span(), 0..4_u8, any::<bool>());
    let claim = claim.prop_map(|(span, by, current)| Claim { owner: name(by), span, current });
    prop::collection::vec(claim, 0..12)
}

/// One address at a time: this node's own claim, else one of its view of removals, else the highest
/// version, else the lowest name.
fn model(claims: &[Claim], me: PeerName, at: u128) -> (Option<PeerName>, bool) {
    let here: Vec<&Claim> =
        claims.iter().filter(|claim| claim.span.start <= at && at <= claim.span.end).collect();
    let right = |claim: &Claim| (claim.current, claim.span.version);
    let of = |owner| here.iter().filter(|c| c.owner == owner).map(|c| right(c)).max();
    let highest = here.iter().map(|claim| right(claim)).max();
    let owner = if of(me).is_some() {
        Some(me)
    } else {
        here.iter().filter(|c| Some(right(c)) == highest).map(|c| c.owner).min()
    };
    let best = owner.and_then(of);
    let disputed = here.iter().any(|c| Some(c.owner) != owner && Some(right(c)) >= best);
    (owner, disputed)
}

/// Claims as they come together from several nodes; the ring is their fold.
impl Merge for Vec<Claim> {
    type Seen = Vec<Segment>;

    fn merge(&mut self, other: &Self) {
        self.extend(other.iter().copied());
    }

    fn seen(&self) -> Self::Seen {
        fold(self, name(0))
    }

    fn covers(&self, other: &Self) -> bool {
        // A merge only makes the best right to an address greater.
        let best = |claims: &Self, at| {
            let here = claims.iter().filter(|c| c.span.start <= at && at <= c.span.end);
            here.map(|c| (c.owner == name(0), c.current, c.span.version)).max()
        };
        (0..SIZE).all(|at| best(self, at) >= best(other, at))
    }
}

/// What a node heard of the records of others: for each, the newest counts.
#[derive(Clone, Debug)]
struct Heard(Vec<(u8, Space)>);

impl Heard {
    fn ipam(&self) -> Ipam {
        let mut ipam = start(config(0, &["10.32.0.0/28"], Init::Observer, 1));
        for (by, space) in &self.0 {
            ipam.handle_space(name(*by), Some(space.clone()), Time::START).unwrap();
        }
        ipam
    }
}

impl Merge for Heard {
    type Seen = (Vec<Route>, Vec<Conflict>, Vec<OwnerView>);

    fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    fn seen(&self) -> Self::Seen {
        let ipam = self.ipam();
        (ipam.routes(), ipam.conflicts(), ipam.owners())
    }

    fn covers(&self, other: &Self) -> bool {
        let newest =
            |heard: &Self, by| heard.ipam().spaces.get(&name(by)).map_or(0, |space| space.revision);
        (1..4).all(|by| newest(self, by) >= newest(other, by))
    }
}

impl Merge for Weight {
    type Seen = Self;

    fn merge(&mut self, other: &Self) {
        *self = (*self).max(*other);
    }

    fn seen(&self) -> Self {
        *self
    }

    fn covers(&self, other: &Self) -> bool {
        (self.removed, self.members, self.id) >= (other.removed, other.members, other.id)
    }
}

fn weight() -> impl Strategy<Value = Weight> {
    (0..3_u32, 0..3_u32, 0..3_u8).prop_map(|(removed, members, id)| Weight {
        removed,
        members,
        id: [id; 16],
    })
}

/// Records of three others; two of one writer with one revision are the same.
fn heard() -> impl Strategy<Value = Heard> {
    let base = number(ip("10.32.0.0"));
    let record = (1..4_u8, 1..5_u64).prop_map(move |(by, revision)| {
        let first = (u128::from(by) * 3 + u128::from(revision) * 5) % 10;
        let span = Span {
            start: base + first,
            end: base + first + u128::from(revision),
            version: revision + u64::from(by % 2),
        };
        let ring = [1 + u8::from(revision == 4 && by == 2); 16];
        let ranges = Universe::new(&[net("10.32.0.0/28")]).unwrap().raw();
        let space =
            Space { revision, ring, ranges, owned: vec![span], next_grant: 1, ..Space::default() };
        (by, space)
    });
    prop::collection::vec(record, 0..8).prop_map(Heard)
}

proptest! {
    #[test]
    fn claims_obey_the_laws_of_merging(a in claims(), b in claims(), c in claims()) {
        laws::check(&a, &b, &c)?;
    }

    #[test]
    fn what_is_heard_obeys_the_laws_of_merging(a in heard(), b in heard(), c in heard()) {
        laws::check(&a, &b, &c)?;
    }

    /// A removal is settled by the greatest verdict: weights are joined by taking the greater.
    #[test]
    fn weights_obey_the_laws_of_merging(a in weight(), b in weight(), c in weight()) {
        laws::check(&a, &b, &c)?;
    }

    #[test]
    fn the_fold_agrees_with_a_model_address_by_address(claims in claims(), me in 0..4_u8) {
        let segments = fold(&claims, name(me));
        for at in 0..=SIZE {
            let found = find(&segments, at);
            let (owner, disputed) = model(&claims, name(me), at);
            prop_assert_eq!(found.map(|s| s.owner), owner);
            prop_assert_eq!(found.is_some_and(|s| s.rival.is_some()), disputed);
        }
        for (a, b) in segments.iter().zip(segments.iter().skip(1)) {
            prop_assert!(a.end < b.start);
            let adjacent = a.end + 1 == b.start;
            prop_assert!(!adjacent || (a.owner, a.rival) != (b.owner, b.rival));
        }
    }

    #[test]
    fn the_fold_does_not_depend_on_order_or_repetition(claims in claims(), turn in 0..12_usize) {
        let mut other = claims.clone();
        other.reverse();
        let turn = turn.min(other.len());
        other.rotate_left(turn);
        other.extend(claims.iter().copied());
        prop_assert_eq!(fold(&claims, name(0)), fold(&other, name(0)));
    }

    #[test]
    fn a_span_set_agrees_with_a_set_of_addresses(ops in prop::collection::vec((any::<bool>(), span()), 0..40)) {
        let mut spans = SpanSet::default();
        let mut model: BTreeMap<u128, u64> = BTreeMap::new();
        for (insert, span) in ops {
            let inside = || (span.start..=span.end).filter(|at| model.contains_key(at)).count();
            let all = (span.end - span.start + 1) as usize;
            if insert {
                prop_assert_eq!(spans.overlaps(span.start, span.end), inside() > 0);
                if inside() == 0 {
                    spans.insert(span);
                    model.extend((span.start..=span.end).map(|at| (at, span.version)));
                }
            } else {
                let removed = spans.remove(span.start, span.end);
                prop_assert_eq!(removed.is_some(), inside() == all);
                if let Some(version) = removed {
                    let before = (span.start..=span.end).filter_map(|at| model.remove(&at)).max();
                    prop_assert!(Some(version) >= before, "a version never goes back");
                }
            }
            for at in 0..=SIZE {
                prop_assert_eq!(spans.contains(at), model.contains_key(&at));
            }
            let list: Vec<Span> = spans.iter().collect();
            for (a, b) in list.iter().zip(list.iter().skip(1)) {
                prop_assert!(a.end + 1 < b.start, "disjoint and not adjacent");
            }
        }
    }

    #[test]
    fn no_record_makes_a_machine_panic(
        owned in prop::collection::vec((any::<u128>(), any::<u128>(), any::<u64>()), 0..4),
        near in prop::collection::vec((0..20_u128, 0..20_u128, any::<u64>()), 0..4),
        grants in prop::collection::vec((any::<u64>(), 0..3_u8, 0..20_u128, 0..20_u128, any::<u64>()), 0..4),
        accepted in prop::collection::vec((0..3_u8, any::<u64>()), 0..3),
        next_grant in any::<u64>(),
        want in (any::<u8>(), any::<u64>(), any::<bool>()),
        round in any::<u64>(),
    ) {
        let mut ipam = start(config(0, &["10.32.0.0/28"], Init::Consensus(Some(2)), 1));
        let universe = Universe::new(&[net("10.32.0.0/28")]).unwrap();
        let base = number(ip("10.32.0.0"));
        let far = owned.into_iter().map(|(start, end, version)| Span { start, end, version });
        let close = near.into_iter().map(|(a, b, version)| Span { start: base + a, end: base + b, version });
        let space = Space {
            revision: next_grant,
            ring: [1; 16],
            tentative: want.2,
            ranges: universe.raw(),
            view: [0; 16],
            leaving: want.2,
            left: false,
            last_word: Vec::new(),
            owned: close.chain(far).collect(),
            grants: grants.into_iter().map(|(number, to, a, b, version)| Grant {
                number, to: raw(to), span: Span { start: base + a, end: base + b, version }, root: raw(1),
            }).collect(),
            accepted: accepted.into_iter().map(|(by, number)| (raw(by), number)).collect(),
            next_grant,
            joins: [want.0; 16],
            kept: vec![(base + u128::from(want.0), base + 5)],
            heals: vec![Heal { from: [want.0; 16], into: [1; 16], by: raw(1), at: want.1 }],
            refused: vec![Refusal { to: raw(0), seq: want.1, start: base, end: base + 1, holder: "x".into() }],
            free: vec![want.1],
            active: want.1,
        };
        let ballot = Ballot { round, by: raw(1) };
        let founding = Founding { founders: vec![raw(0), raw(1)], nonce: [0; 16] };
        let paxos = Paxos { electorate: u32::from(want.0), promised: ballot, accepted: Some((ballot, founding)) };
        let range = RangeWant { range: want.0, count: want.1, urgent: want.2, within: want.2.then_some((base + 1, base + u128::from(want.0))) };
        let asked = Want { seq: next_grant, donor: raw(0), ranges: vec![range] };
        ipam.handle_reachable(&BTreeSet::from([name(1)]), Time::START);
        for _ in 0..2 {
            let _ = ipam.handle_space(name(1), Some(space.clone()), Time::START);
            let _ = ipam.handle_paxos(name(1), Some(paxos.clone()), Time::START);
            let _ = ipam.handle_want(name(1), Some(asked.clone()), Time::START);
            ipam.handle_timeout(secs(5));
            ipam.check_invariants();
        }
    }
}
