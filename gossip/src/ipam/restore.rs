//! From the disk and back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::{
    Init, Ipam, IpamConfig, IpamSnapshot, IpamStats, Misbehaved, RestoreError,
    consensus::Consensus,
    donate::Asking,
    local::Local,
    named::Named,
    removal::Removals,
    spans::SpanSet,
    universe::{Universe, show_ranges},
    validate::{self, NO_RING},
    wire::{Grant, Heal, Paxos, Refusal, RingId, ShortName, SnapshotV1, Space},
};
use crate::Time;

/// What this node says about itself in its `Space` record, in a form that can be worked with.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) revision: u64,
    pub(super) ring: RingId,
    pub(super) tentative: bool,
    pub(super) owned: SpanSet,
    pub(super) grants: Vec<Grant>,
    pub(super) accepted: BTreeMap<PeerName, u64>,
    pub(super) next_grant: u64,
    pub(super) leaving: bool,
    pub(super) left: bool,
    pub(super) last_word: Vec<ShortName>,
    pub(super) joins: RingId,
    pub(super) heals: Vec<Heal>,
    pub(super) refused: Vec<Refusal>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            revision: 0,
            ring: NO_RING,
            tentative: false,
            owned: SpanSet::default(),
            grants: Vec::new(),
            accepted: BTreeMap::new(),
            next_grant: 1,
            leaving: false,
            left: false,
            last_word: Vec::new(),
            joins: NO_RING,
            heals: Vec::new(),
            refused: Vec::new(),
        }
    }
}

impl Own {
    fn from_space(space: &Space) -> Self {
        let name = |(name, number): &([u8; 32], u64)| (PeerName::from_bytes(*name), *number);
        Self {
            revision: space.revision,
            ring: space.ring,
            tentative: space.tentative,
            owned: space.owned.iter().copied().collect(),
            grants: space.grants.clone(),
            accepted: space.accepted.iter().map(name).collect(),
            next_grant: space.next_grant.max(1),
            leaving: space.leaving,
            left: space.left,
            last_word: space.last_word.clone(),
            joins: space.joins,
            heals: space.heals.clone(),
            refused: Vec::new(),
        }
    }
}

impl Ipam {
    /// See [`Ipam::new`].
    pub(super) fn build(
        config: IpamConfig,
        restored: Option<IpamSnapshot>,
        seed: [u8; 32],
        now: Time,
    ) -> Result<Self, RestoreError> {
        let universe = Universe::new(&config.ranges)?;
        let saved = match restored {
            Some(IpamSnapshot::V1(saved)) => usable(saved, &config, &universe)?,
            None => SnapshotV1::default(),
        };
        let own = Own::from_space(&saved.space);
        let consensus = consensus_of(&config, saved.paxos, now);
        let mut ipam = Self {
            local: Local::new(universe.len()),
            touched: own.ring != NO_RING || own.joins != NO_RING || own.leaving,
            publish_paxos: false,
            told_paxos: false,
            publish_space: false,
            publish_want: false,
            dirty: false,
            told: Vec::new(),
            stale: true,
            own,
            founded: saved.founded,
            served: saved
                .served
                .iter()
                .map(|(name, seq)| (PeerName::from_bytes(*name), *seq))
                .collect(),
            named: Named::default(),
            kept: BTreeSet::new(),
            asking: Asking { seq: saved.want_seq, ..Asking::default() },
            spaces: BTreeMap::new(),
            wants: BTreeMap::new(),
            set_aside: BTreeMap::new(),
            other_ranges: BTreeMap::new(),
            reachable: BTreeSet::new(),
            synced: BTreeSet::new(),
            pending: VecDeque::new(),
            next_request: 0,
            outcomes: VecDeque::new(),
            advert: (Vec::new(), 0),
            advert_at: None,
            segments: Vec::new(),
            generation: 0,
            stats: IpamStats::default(),
            removals: Removals::restored(saved.removals),
            consensus,
            universe,
            config,
            seed,
        };
        let moved = !saved.space.kept.is_empty();
        ipam.restore_local(&saved.allocations, &saved.cooling, moved, now)?;
        ipam.found_alone();
        ipam.settle(now);
        Ok(ipam)
    }

    fn restore_local(
        &mut self,
        allocations: &[(String, Vec<u128>)],
        cooling: &[u128],
        moved: bool,
        now: Time,
    ) -> Result<(), RestoreError> {
        let mut seen = BTreeSet::new();
        let mut kept = BTreeSet::new();
        let mut place = |number: u128| {
            let (place, range) = self.universe.range_of(number, number)?;
            let owned = self.own.owned.contains(number);
            if !owned {
                kept.insert(number);
            }
            let sound = range.usable(number) && (owned || moved) && seen.insert(number);
            sound.then_some((place, number))
        };
        let damaged = RestoreError::Damaged("an address in use is not this node's own");
        for (key, numbers) in allocations {
            let numbers: Option<Vec<_>> = numbers.iter().map(|number| place(*number)).collect();
            let numbers = numbers.ok_or_else(|| damaged.clone())?;
            if self.local.held_by(key).is_some() {
                return Err(RestoreError::Damaged("an owner is listed twice"));
            }
            self.local.hold(key, &numbers);
        }
        let until = now + self.config.cool_down;
        for number in cooling {
            let (place, number) = place(*number).ok_or_else(|| damaged.clone())?;
            if !self.own.owned.contains(number) {
                return Err(damaged);
            }
            self.local.cool(place, number, until);
        }
        self.kept = kept;
        Ok(())
    }

    /// See [`Ipam::snapshot`].
    pub(super) fn save(&self) -> IpamSnapshot {
        let allocations =
            self.local.iter().map(|(key, numbers)| (key.to_owned(), numbers.to_vec())).collect();
        let cooling = self.local.cooling().collect();
        IpamSnapshot::V1(SnapshotV1 { allocations, cooling, ..self.save_rest() })
    }

    /// All but who holds what.
    pub(super) fn save_rest(&self) -> SnapshotV1 {
        SnapshotV1 {
            space: self.space(),
            allocations: Vec::new(),
            cooling: Vec::new(),
            served: self.served.iter().map(|(name, seq)| (*name.as_bytes(), *seq)).collect(),
            want_seq: self.asking.seq,
            founded: self.founded,
            paxos: self.consensus.as_ref().map(|consensus| consensus.mine().clone()),
            removals: self.removals.save(),
        }
    }

    /// The own record.
    pub(super) fn space(&self) -> Space {
        Space {
            revision: self.own.revision,
            ring: self.own.ring,
            tentative: self.own.tentative,
            ranges: self.universe.raw(),
            view: self.removals.id(),
            leaving: self.own.leaving,
            left: self.own.left,
            last_word: self.own.last_word.clone(),
            joins: self.own.joins,
            kept: self.kept_runs(),
            heals: self.own.heals.clone(),
            refused: self.own.refused.clone(),
            owned: self.own.owned.iter().collect(),
            grants: self.own.grants.clone(),
            accepted: self.own.accepted.iter().map(|(name, n)| (*name.as_bytes(), *n)).collect(),
            next_grant: self.own.next_grant,
            free: self.advert.0.clone(),
            active: self.advert.1,
        }
    }

    /// See [`Ipam::adopt`].
    pub(super) fn take_as_own(&mut self, space: &Space, now: Time) -> Vec<(String, Vec<IpNet>)> {
        let sound = validate::space(self.config.name, space, &self.universe).is_ok();
        let known = |(name, number): &([u8; 32], u64)| {
            self.own.accepted.get(&PeerName::from_bytes(*name)).is_some_and(|mine| mine >= number)
        };
        // The revision alone does not tell: a disk that went back may have counted on since.
        let newer = space.revision > self.own.revision
            || space.next_grant > self.own.next_grant
            || !space.accepted.iter().all(known);
        if !sound || !newer {
            return Vec::new();
        }
        let revision = self.own.revision.max(space.revision);
        self.own = Own { revision, ..Own::from_space(space) };
        self.touched = true;
        self.stale = true;
        // What is in the record may include a share of the ring; it must not be claimed again.
        self.founded = true;
        self.kept.retain(|number| !self.own.owned.contains(*number));
        self.removals.clear_roots();
        let lost: Vec<String> = self
            .local
            .iter()
            .filter(|(_, numbers)| numbers.iter().any(|n| self.is_lost(*n)))
            .map(|(key, _)| key.to_owned())
            .collect();
        let mut dropped = Vec::new();
        for key in lost {
            let numbers = self.release_held(&key, now);
            let nets = numbers.iter().map(|n| self.universe.with_prefix(*n)).collect();
            dropped.push((key, nets));
        }
        self.local.forget_outside(&self.own.owned);
        self.settle(now);
        dropped
    }
}

/// The saved state, checked; that of a node that owns nothing is worth nothing under other ranges.
fn usable(
    saved: SnapshotV1,
    config: &IpamConfig,
    universe: &Universe,
) -> Result<SnapshotV1, RestoreError> {
    let blank = saved.space.ring == NO_RING && saved.space.ranges.is_empty();
    match validate::space(config.name, &saved.space, universe) {
        Ok(()) => Ok(saved),
        Err(_) if blank => Ok(saved),
        Err(Misbehaved::OtherRanges { .. })
            if saved.space.ring == NO_RING && saved.allocations.is_empty() =>
        {
            // Numbers that others have seen are kept, so that they never repeat.
            let space = Space { revision: saved.space.revision, next_grant: 1, ..Space::default() };
            Ok(SnapshotV1 { space, ..saved })
        }
        Err(Misbehaved::OtherRanges { .. }) => Err(RestoreError::RangeChanged {
            saved: show_ranges(&saved.space.ranges),
            configured: universe.to_string(),
        }),
        Err(_) => Err(RestoreError::Damaged("the record of the own space contradicts itself")),
    }
}

/// Whoever founds by vote takes part in it; a node that was told otherwise does not.
fn consensus_of(config: &IpamConfig, saved: Option<Paxos>, now: Time) -> Option<Consensus> {
    let by_targets = config.targets.saturating_add(1);
    let (size, patient) = match config.init {
        Init::Auto if config.targets > 0 => (by_targets, true),
        Init::Consensus(size) => (size.unwrap_or(by_targets), false),
        Init::Auto | Init::Founder | Init::Observer | Init::Seed(_) => return None,
    };
    Some(Consensus::new(config.name, size, patient, saved, now))
}
