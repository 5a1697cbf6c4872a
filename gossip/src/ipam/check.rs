//! What must hold at all times, for tests and the simulator.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Ipam, universe::address, validate};
use crate::codec;

impl Ipam {
    /// Panics unless the state is as the rules demand.
    pub fn check_invariants(&self) {
        let space = self.space();
        let sound = validate::space(self.config.name, &space, &self.universe);
        assert_eq!(sound, Ok(()), "the own record makes sense: {space:?}");

        let mut held = 0;
        for (place, range) in self.universe.iter() {
            for number in self.local.held(place) {
                let ip = address(number);
                held += 1;
                assert!(range.usable(number), "{ip} may be handed out");
                assert!(!self.is_lost(number), "{ip} is in use and owned, or kept");
                let key = self.local.holder(place, number).unwrap_or_default();
                let listed = self.local.held_by(key).is_some_and(|held| held.contains(&number));
                assert!(listed, "{ip} is listed under its owner {key}");
            }
        }
        for number in &self.kept {
            let ip = address(*number);
            let place = self.universe.range_of(*number, *number).map_or(0, |(place, _)| place);
            assert!(self.local.holder(place, *number).is_some(), "{ip} is kept and in use");
            assert!(!self.own.owned.contains(*number), "{ip} is kept and not owned");
        }
        let judged = self.removals.is_pending() || self.removals.rest.is_empty();
        assert!(judged, "what rests waits for the judgement of a word");
        self.local.check_taken();
        let listed: usize = self.local.iter().map(|(_, numbers)| numbers.len()).sum();
        assert_eq!(held, listed, "no address is listed twice");
        for number in self.local.cooling() {
            let ip = address(number);
            assert!(self.own.owned.contains(number), "{ip} is cooling and owned");
            let place = self.universe.range_of(number, number).map_or(0, |(place, _)| place);
            assert!(self.local.holder(place, number).is_none(), "{ip} is cooling and not in use");
        }

        for (a, b) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            assert!(a.end < b.start, "the ring is sorted and disjoint: {a:?} {b:?}");
        }
        for segment in self.segments.iter().filter(|segment| segment.owner == self.config.name) {
            let owned = self.own.owned.covering(segment.start, segment.end).is_some();
            assert!(owned, "what is routed to this node is its own: {segment:?}");
        }
        for span in self.own.owned.iter() {
            for number in [span.start, span.end] {
                let owner = self.owner_of(address(number));
                assert_eq!(owner, Some(self.config.name), "{} is this node's", address(number));
            }
        }
    }

    /// A number that differs between states that differ in what follows from them. For model checking;
    /// it is another one in another version of the software.
    pub fn state_digest(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        codec::encode(&self.save()).hash(&mut hash);
        for (name, space) in &self.spaces {
            (name, codec::encode(space)).hash(&mut hash);
        }
        for (name, want) in &self.wants {
            (name, codec::encode(want)).hash(&mut hash);
        }
        (&self.reachable, &self.synced, self.advert_at, &self.advert).hash(&mut hash);
        self.removals.hash_heard(&mut hash);
        let times: Vec<_> = self.local.cooling_times().collect();
        let asking = (&self.asking.current, self.asking.retry_at, &self.asking.tried);
        let rest = (
            asking,
            &self.named,
            &self.kept,
            &self.set_aside,
            self.asking.resting,
            times,
            &self.pending,
            &self.consensus,
        );
        format!("{rest:?}").hash(&mut hash);
        hash.finish()
    }
}
