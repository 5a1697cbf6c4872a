//! What must come true in the end, from wherever the nodes are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    host::{COOL_DOWN, name},
    state::State,
};

/// Rounds in which all meet all, beyond which nothing new will come.
const ROUNDS: usize = 60;

impl State {
    /// Whether, when all living nodes talk to each other from here on, they come to one ring that
    /// covers the range once, each of them gets an address while there are some, and whoever leaves
    /// has left. Says what is wrong.
    pub(crate) fn ends_well(&self) -> Result<(), String> {
        let mut state = self.clone();
        state.settle()?;
        if !state.hosts.iter().any(|host| host.in_ring()) {
            // Whoever calls for a vote first may be gone.
            for _ in 0..4 {
                state.pass(Duration::from_secs(6));
                state.settle()?;
            }
        }
        state.check_end(false)?;
        let living: Vec<usize> = state.living().collect();
        for index in &living {
            for key in state.hosts[*index].keys() {
                let now = state.now;
                state.host(*index).release(&key, now);
            }
        }
        state.pass(COOL_DOWN);
        state.settle()?;
        let stay: Vec<usize> =
            living.into_iter().filter(|index| state.hosts[*index].stays()).collect();
        for index in &stay {
            let now = state.now;
            state.host(*index).ask("last", now);
        }
        for _ in 0..4 {
            state.settle()?;
            state.pass(Duration::from_secs(6));
        }
        let owned: u64 = stay.iter().map(|index| state.hosts[*index].ipam.owned()).sum();
        let served = stay.iter().filter(|index| !state.hosts[**index].used().is_empty()).count();
        // The first and the last address are nobody's, and what a dead node holds is not there.
        let usable = usize::try_from(owned).unwrap_or(usize::MAX).saturating_sub(2);
        // Who asked before, and waited, may have them all.
        let used: usize = stay.iter().map(|index| state.hosts[*index].used().len()).sum();
        // A removal that waits for the dead keeps nodes apart until these are removed as well.
        let dead = |index: &usize| !state.hosts[*index].alive;
        let gone: Vec<_> = (0..state.hosts.len()).filter(dead).map(name).collect();
        let waits = state.living().flat_map(|index| state.hosts[index].ipam.removals());
        let apart = waits.filter_map(|it| it.waits_for).flatten().any(|who| gone.contains(&who));
        if !apart && served < stay.len() && used < usable {
            return Err(format!("{served} of {stay:?} have an address\n{state:?}"));
        }
        state.check_end(true)
    }

    /// Everybody meets everybody until nothing is new.
    fn settle(&mut self) -> Result<(), String> {
        self.cut = None;
        self.reach();
        let living: Vec<usize> = self.living().collect();
        for _ in 0..ROUNDS {
            let before = self.clone();
            self.heal_rings(&living);
            for from in &living {
                living.iter().filter(|to| *to != from).for_each(|to| self.meet(*from, *to));
            }
            // Whoever heard nothing new was not touched.
            if self.hosts.iter().zip(&before.hosts).all(|(a, b)| Arc::ptr_eq(a, b)) {
                return Ok(());
            }
        }
        Err(format!("it never settles\n{self:?}"))
    }

    /// Operators say wherever two rings are seen that they are to be one.
    fn heal_rings(&mut self, living: &[usize]) {
        let now = self.now;
        let staying: Vec<usize> =
            living.iter().copied().filter(|at| self.apart && self.hosts[*at].stays()).collect();
        for index in &staying {
            let strangers = self.hosts[*index].strangers();
            if let Some(with) = staying.iter().find(|other| strangers.contains(&name(**other))) {
                self.host(*index).heal(name(*with), now);
            }
        }
    }

    fn check_end(&self, last: bool) -> Result<(), String> {
        if !self.unique_anywhere() || !self.unique_in_a_view() || !self.unique_after_exchange() {
            return Err(format!("twice in the end\n{self:?}"));
        }
        let stay: Vec<_> = self
            .living()
            .map(|index| &self.hosts[index])
            .filter(|host| host.ipam.removed_by().is_none() && !host.has_left())
            .collect();
        let Some(first) = stay.first() else {
            // The last one died, or left.
            let died = self.hosts.iter().any(|h| !h.alive && h.ipam.removed_by().is_none());
            return if died || self.hosts.iter().any(|host| host.has_left()) {
                Ok(())
            } else {
                Err(format!("nobody is left\n{self:?}"))
            };
        };
        let known_dead = |index: usize| {
            let dead = &self.hosts[index];
            let name = dead.name();
            first.ipam.removals().iter().any(|removal| removal.name == name)
        };
        let all_removed =
            (0..self.hosts.len()).filter(|index| !self.hosts[*index].alive).all(known_dead);
        if !all_removed {
            return Ok(());
        }
        let waits = stay
            .iter()
            .any(|host| host.ipam.removals().iter().any(|removal| removal.waits_for.is_some()));
        if waits {
            return Err(format!("a removal waits for ever\n{self:?}"));
        }
        let mut owned: BTreeMap<u128, u128> = BTreeMap::new();
        for span in stay.iter().flat_map(|host| host.space().owned) {
            owned.insert(span.start, span.end);
        }
        if last && stay.iter().any(|host| !host.ipam.kept().is_empty()) {
            return Err(format!("what was brought is never settled\n{self:?}"));
        }
        let in_flight = stay.iter().any(|host| !host.space().grants.is_empty());
        let sum: u128 = owned.iter().map(|(start, end)| end - start + 1).sum();
        if (last || !in_flight) && sum != self.size() {
            return Err(format!("{sum} addresses are owned, of {}\n{self:?}", self.size()));
        }
        let still = stay.iter().any(|host| host.ipam.leaving().is_some());
        if last && still && stay.iter().any(|host| host.stays()) {
            return Err(format!("one leaves for ever\n{self:?}"));
        }
        let routes = first.ipam.routes();
        if stay.iter().any(|host| host.ipam.routes() != routes) {
            return Err(format!("different rings\n{self:?}"));
        }
        Ok(())
    }
}
