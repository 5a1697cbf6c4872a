//! Which of the own addresses are in use, and which were lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{spans::SpanSet, universe::Range, wire::Span};
use crate::Time;

/// The addresses of one range that cannot be handed out.
#[derive(Clone, Debug, Default)]
struct Busy {
    /// Address to owner.
    held: BTreeMap<u128, String>,
    /// Address to the time at which it is free.
    cooling: BTreeMap<u128, Time>,
    /// Both, as spans, so that a free address is found without a walk over all that are not.
    taken: SpanSet,
}

impl Busy {
    fn take(&mut self, number: u128) {
        if !self.taken.contains(number) {
            self.taken.insert(Span { start: number, end: number, version: 0 });
        }
    }

    fn give_back(&mut self, number: u128) {
        self.taken.remove(number, number);
    }
}

/// What has changed since it was asked for last.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Owners who got or lost addresses.
    pub(super) keys: BTreeSet<String>,
    /// Addresses that began or ceased to cool.
    pub(super) cooling: BTreeSet<u128>,
}

/// Who holds what on this node. Invariants: `held` of all ranges and `by_key` say the same; no
/// address is both held and cooling; `taken` is both together; `queue` has an entry for each
/// cooling address.
#[derive(Clone, Debug)]
pub(super) struct Local {
    /// By place of the range.
    busy: Vec<Busy>,
    by_key: BTreeMap<String, Vec<u128>>,
    /// When cooling ends, in order; an entry whose time is not that of the address is stale.
    queue: VecDeque<(Time, usize, u128)>,
    changed: Changed,
}

impl Local {
    pub(super) fn new(ranges: usize) -> Self {
        let busy = vec![Busy::default(); ranges];
        Self { busy, by_key: BTreeMap::new(), queue: VecDeque::new(), changed: Changed::default() }
    }

    /// What `key` holds, in the order of the request.
    pub(super) fn held_by(&self, key: &str) -> Option<&[u128]> {
        self.by_key.get(key).map(Vec::as_slice)
    }

    /// Who holds an address.
    pub(super) fn holder(&self, range: usize, number: u128) -> Option<&str> {
        self.busy.get(range)?.held.get(&number).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u128])> {
        self.by_key.iter().map(|(key, numbers)| (key.as_str(), numbers.as_slice()))
    }

    pub(super) fn held(&self, range: usize) -> impl Iterator<Item = u128> {
        self.busy.get(range).into_iter().flat_map(|busy| busy.held.keys().copied())
    }

    /// Who holds what from `start` to `end`.
    pub(super) fn held_between(
        &self,
        range: usize,
        start: u128,
        end: u128,
    ) -> impl Iterator<Item = (u128, &str)> {
        let busy = self.busy.get(range).filter(|_| start <= end);
        let held = busy.into_iter().flat_map(move |busy| busy.held.range(start..=end));
        held.map(|(&number, key)| (number, key.as_str()))
    }

    pub(super) fn held_count(&self, range: usize) -> usize {
        self.busy.get(range).map_or(0, |busy| busy.held.len())
    }

    pub(super) fn cooling(&self) -> impl Iterator<Item = u128> {
        self.busy.iter().flat_map(|busy| busy.cooling.keys().copied())
    }

    /// Panics unless `taken` is what is held or cools.
    pub(super) fn check_taken(&self) {
        for busy in &self.busy {
            let mut taken = SpanSet::default();
            for &number in busy.held.keys().chain(busy.cooling.keys()) {
                taken.insert(Span { start: number, end: number, version: 0 });
            }
            assert_eq!(busy.taken, taken, "what is taken is what is held or cools");
        }
    }

    /// Whether an address cools.
    pub(super) fn is_cooling(&self, number: u128) -> bool {
        self.busy.iter().any(|busy| busy.cooling.contains_key(&number))
    }

    /// What has changed since the last call.
    pub(super) fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// When which addresses are cool.
    pub(super) fn cooling_times(&self) -> impl Iterator<Item = (u128, Time)> {
        self.busy.iter().flat_map(|busy| busy.cooling.iter().map(|(&n, &at)| (n, at)))
    }

    /// Addresses of a range that cannot be handed out.
    pub(super) fn busy_count(&self, range: usize) -> u128 {
        let count = |busy: &Busy| busy.held.len() + busy.cooling.len();
        self.busy.get(range).map_or(0, count) as u128
    }

    /// Gives `numbers`, each with the place of its range, to `key`, who holds nothing. They may be
    /// cooling, not held.
    pub(super) fn hold(&mut self, key: &str, numbers: &[(usize, u128)]) {
        for &(range, number) in numbers {
            if let Some(busy) = self.busy.get_mut(range) {
                if busy.cooling.remove(&number).is_some() {
                    self.changed.cooling.insert(number);
                }
                busy.held.insert(number, key.to_owned());
                busy.take(number);
            }
        }
        self.changed.keys.insert(key.to_owned());
        self.by_key.insert(key.to_owned(), numbers.iter().map(|&(_, number)| number).collect());
    }

    /// Frees what `key` holds; it cools until `until`, which never goes back between calls.
    pub(super) fn release(&mut self, key: &str, until: Time) -> Vec<u128> {
        let numbers = self.by_key.remove(key).unwrap_or_default();
        for &number in &numbers {
            for (range, busy) in self.busy.iter_mut().enumerate() {
                if busy.held.remove(&number).is_some() {
                    busy.cooling.insert(number, until);
                    self.changed.cooling.insert(number);
                    self.queue.push_back((until, range, number));
                }
            }
        }
        if !numbers.is_empty() {
            self.changed.keys.insert(key.to_owned());
        }
        numbers
    }

    /// Lets an address that nobody holds cool until `until`.
    pub(super) fn cool(&mut self, range: usize, number: u128, until: Time) {
        if let Some(busy) = self.busy.get_mut(range) {
            busy.cooling.insert(number, until);
            busy.take(number);
            self.changed.cooling.insert(number);
            self.queue.push_back((until, range, number));
        }
    }

    /// Drops cooling addresses that are not owned.
    pub(super) fn forget_outside(&mut self, owned: &SpanSet) {
        for busy in &mut self.busy {
            let outside: Vec<u128> =
                busy.cooling.keys().copied().filter(|&number| !owned.contains(number)).collect();
            for number in outside {
                busy.cooling.remove(&number);
                busy.give_back(number);
                self.changed.cooling.insert(number);
            }
        }
    }

    /// Frees what has cooled down. Returns whether anything did.
    pub(super) fn warm(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(&(until, range, number)) = self.queue.front()
            && until <= now
        {
            self.queue.pop_front();
            let busy = self.busy.get_mut(range);
            if let Some(busy) = busy.filter(|busy| busy.cooling.get(&number) == Some(&until)) {
                busy.cooling.remove(&number);
                busy.give_back(number);
                self.changed.cooling.insert(number);
                any = true;
            }
        }
        any
    }

    /// When [`Local::warm`] has something to do next.
    pub(super) fn next_warm(&self) -> Option<Time> {
        self.queue.front().map(|&(until, _, _)| until)
    }

    /// The lowest owned address of a range, from `low` to `high`, that is neither held nor cooling.
    pub(super) fn lowest_free(
        &self,
        place: usize,
        (low, high): (u128, u128),
        owned: &SpanSet,
    ) -> Option<u128> {
        let busy = self.busy.get(place)?;
        owned.clipped(low, high).find_map(|span| {
            let mut candidate = span.start;
            // Two spans are never adjacent, so what follows one is free.
            if let Some(taken) = busy.taken.covering(candidate, candidate) {
                candidate = taken.end.checked_add(1)?;
            }
            (candidate <= span.end).then_some(candidate)
        })
    }

    /// The parts of `start` to `end` that are neither held nor cooling.
    pub(super) fn quiet(&self, place: usize, start: u128, end: u128) -> Vec<(u128, u128)> {
        let Some(busy) = self.busy.get(place) else { return Vec::new() };
        let held = busy.held.range(start..=end).map(|(&number, _)| number);
        let cooling = busy.cooling.range(start..=end).map(|(&number, _)| number);
        let mut taken: Vec<u128> = held.chain(cooling).collect();
        taken.sort_unstable();
        let mut parts = Vec::new();
        let mut next = start;
        for number in taken {
            if next < number {
                parts.push((next, number - 1));
            }
            next = number + 1;
        }
        if next <= end {
            parts.push((next, end));
        }
        parts
    }

    /// The highest block of owned addresses from `low` to `high`, none of them held or cooling, that is
    /// aligned like a CIDR, as large as possible, of `most` addresses at most, and has an address to hand out.
    pub(super) fn free_block(
        &self,
        place: usize,
        range: &Range,
        (low, high): (u128, u128),
        owned: &SpanSet,
        most: u128,
    ) -> Option<(u128, u128)> {
        let mut size = if most == 0 { return None } else { 1_u128 << most.ilog2() };
        while size > 0 {
            let found = owned
                .clipped(low, high)
                .rev()
                .find_map(|span| self.block_in(place, range, span.start, span.end, size));
            if found.is_some() {
                return found;
            }
            size >>= 1;
        }
        None
    }

    /// The highest free block of exactly `size` addresses, a power of two, between `low` and `high`.
    /// Looks at one block more than there are busy addresses at most.
    fn block_in(
        &self,
        place: usize,
        range: &Range,
        low: u128,
        high: u128,
        size: u128,
    ) -> Option<(u128, u128)> {
        let busy = self.busy.get(place)?;
        // The highest multiple of `size` whose block ends at or below `high`.
        let mut start = (high.checked_add(1)? / size).checked_sub(1)? * size;
        while start >= low {
            let end = start + (size - 1);
            let quiet = busy.held.range(start..=end).next().is_none()
                && busy.cooling.range(start..=end).next().is_none();
            if quiet && range.usable_in(start, end) > 0 {
                return Some((start, end));
            }
            start = start.checked_sub(size)?;
        }
        None
    }
}
