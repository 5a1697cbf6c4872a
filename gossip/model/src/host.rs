//! One node: the machine, its disk, and the records it holds.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use weft_crypto::PeerName;
use weft_gossip::{
    Time,
    ipam::{
        Ack, Conflict, Init, Ipam, IpamConfig, IpamSnapshot, Misbehaved, Paxos, Publish, Request,
        Space, View, Want,
    },
};

use crate::Mutation;

/// Short, so that a tick of the clock is enough.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(2);

/// How many of its former records can still arrive.
pub(crate) const FORMER: usize = 2;

/// One record; the version orders those of one node and kind.
#[derive(Clone, Debug)]
pub(crate) struct Item<T> {
    pub(crate) version: u64,
    digest: u64,
    value: Option<Arc<T>>,
}

impl<T> Default for Item<T> {
    fn default() -> Self {
        Self { version: 0, digest: 0, value: None }
    }
}

impl<T: Debug> Item<T> {
    fn new(version: u64, value: Option<T>) -> Self {
        let mut hash = DefaultHasher::new();
        format!("{version}{value:?}").hash(&mut hash);
        Self { version, digest: hash.finish(), value: value.map(Arc::new) }
    }
}

impl<T: Clone> Item<T> {
    fn value(&self) -> Option<T> {
        self.value.as_deref().cloned()
    }
}

/// What one node published last, or what another one holds of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    space: Item<Space>,
    want: Item<Want>,
    paxos: Item<Paxos>,
    pending: Item<Ack>,
    completed: Item<View>,
}

impl Records {
    fn digests(&self) -> [u64; 5] {
        let Self { space, want, paxos, pending, completed } = self;
        [space.digest, want.digest, paxos.digest, pending.digest, completed.digest]
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.digests() == other.digests()
    }
}

/// A node.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) index: usize,
    config: IpamConfig,
    pub(crate) ipam: Ipam,
    disk: Arc<IpamSnapshot>,
    disk_digest: u64,
    /// What the disk held before the last write.
    older: Arc<IpamSnapshot>,
    /// What it holds, by host; of itself what it published.
    pub(crate) held: Vec<Records>,
    /// What it published before, the newest last: messages that are still under way.
    pub(crate) former: Vec<Records>,
    /// Whether that is kept.
    late: bool,
    /// Counts what it published.
    version: u64,
    pub(crate) alive: bool,
    /// Whether a Pod lost its address and nobody else was said to have it.
    pub(crate) robbed: bool,
    pub(crate) digest: u64,
    mutation: Option<Mutation>,
}

pub(crate) fn name(index: usize) -> PeerName {
    PeerName::from_bytes([u8::try_from(index).expect("invariant: few hosts") + 1; 32])
}

impl Host {
    pub(crate) fn new(
        index: usize,
        hosts: usize,
        range: IpNet,
        init: Init,
        late: bool,
        mutation: Option<Mutation>,
    ) -> Self {
        let targets = usize::from(index > 0);
        let config = IpamConfig {
            name: name(index),
            ranges: vec![range],
            init,
            targets,
            cool_down: COOL_DOWN,
        };
        let ipam = start(&config, None, Time::START);
        let disk = Arc::new(ipam.snapshot());
        let held = vec![Records::default(); hosts];
        let mut host = Self {
            index,
            config,
            ipam,
            older: Arc::clone(&disk),
            disk,
            disk_digest: 0,
            held,
            former: Vec::new(),
            late,
            version: 0,
            alive: true,
            robbed: false,
            digest: 0,
            mutation,
        };
        host.drain();
        host
    }

    pub(crate) fn name(&self) -> PeerName {
        self.config.name
    }

    /// Writes the disk, then publishes.
    pub(crate) fn drain(&mut self) {
        if self.ipam.dirty() {
            let newer = Arc::new(self.ipam.snapshot());
            self.older = std::mem::replace(&mut self.disk, newer);
            let mut hash = DefaultHasher::new();
            format!("{:?}", self.disk).hash(&mut hash);
            self.disk_digest = hash.finish();
        }
        let Some(mine) = self.held.get_mut(self.index) else { return };
        let before = mine.clone();
        while let Some(publish) = self.ipam.poll_publish() {
            self.version += 1;
            let version = self.version;
            match publish {
                Publish::Space(space) => mine.space = Item::new(version, Some(space)),
                Publish::Want(want) => mine.want = Item::new(version, want),
                Publish::Paxos(paxos) => mine.paxos = Item::new(version, Some(paxos)),
                Publish::Pending(ack) => mine.pending = Item::new(version, ack),
                Publish::Completed(view) => mine.completed = Item::new(version, view),
            }
        }
        if self.late && before != *mine {
            self.former.push(before);
            if self.former.len() > FORMER {
                self.former.remove(0);
            }
        }
        while self.ipam.poll_outcome().is_some() {}
        while let Some(fenced) = self.ipam.poll_fenced() {
            self.robbed |= fenced.holder.is_none();
        }
    }

    /// Computes the digest anew; states are told apart by it.
    pub(crate) fn refresh(&mut self) {
        self.ipam.check_invariants();
        let mut hash = DefaultHasher::new();
        (self.ipam.state_digest(), self.disk_digest, self.alive, self.version).hash(&mut hash);
        let records = self.held.iter().chain(&self.former);
        records.for_each(|records| records.digests().hash(&mut hash));
        self.digest = hash.finish();
    }

    /// Takes in what `records` say of `origin` and is newer than what it holds.
    pub(crate) fn hear(&mut self, origin: usize, records: &Records, what: What, now: Time) {
        let from = name(origin);
        let Some(mut held) = self.held.get(origin).cloned() else { return };
        if held == *records {
            return;
        }
        if what != What::Words && records.space.version > held.space.version {
            held.space = records.space.clone();
            let space = self.mutate_space(records.space.value());
            let taken = self.ipam.handle_space(from, space, now);
            self.believe(taken);
        }
        if what != What::Words && records.want.version > held.want.version {
            held.want = records.want.clone();
            let taken = self.ipam.handle_want(from, records.want.value(), now);
            self.believe(taken);
        }
        if what != What::Words && records.paxos.version > held.paxos.version {
            held.paxos = records.paxos.clone();
            let taken = self.ipam.handle_paxos(from, records.paxos.value(), now);
            self.believe(taken);
        }
        if what != What::Space && records.completed.version > held.completed.version {
            held.completed = records.completed.clone();
            let mut view = records.completed.value();
            if let Some(view) = &mut view {
                view.ack = self.mutate_ack(view.ack.take());
            }
            let taken = self.ipam.handle_completed(from, view, now);
            self.believe(taken);
        }
        if what != What::Space && records.pending.version > held.pending.version {
            held.pending = records.pending.clone();
            let ack = self.mutate_ack(records.pending.value());
            let taken = self.ipam.handle_pending(from, ack, now);
            self.believe(taken);
        }
        if let Some(slot) = self.held.get_mut(origin) {
            *slot = held;
        }
        self.drain();
    }

    /// What an honest node says is never refused.
    fn believe(&self, taken: Result<(), Misbehaved>) {
        if self.mutation.is_none() {
            taken.expect("an honest record");
        }
    }

    fn mutate_space(&self, space: Option<Space>) -> Option<Space> {
        let mut space = space?;
        match self.mutation {
            Some(Mutation::AcrossViews) => {
                let IpamSnapshot::V1(mine) = self.ipam.snapshot();
                space.view = mine.space.view;
            }
            Some(Mutation::NoRoots) => {
                // As if the node had held everything itself when it acknowledged.
                let me = *self.config.name.as_bytes();
                space.grants.iter_mut().for_each(|grant| grant.root = me);
            }
            Some(Mutation::WaitsForNobody | Mutation::ForgetsItsWord | Mutation::LosesAWrite)
            | None => {}
        }
        Some(space)
    }

    fn mutate_ack(&self, ack: Option<Ack>) -> Option<Ack> {
        let mut ack = ack?;
        if self.mutation == Some(Mutation::WaitsForNobody) {
            ack.known.clear();
        }
        Some(ack)
    }

    pub(crate) fn ask(&mut self, key: &str, now: Time) {
        self.request(key, Request::default(), now);
    }

    pub(crate) fn ask_for(&mut self, key: &str, address: &str, now: Time) {
        let wanted = vec![address.parse().expect("invariant: an address")];
        self.request(key, Request { wanted, ..Request::default() }, now);
    }

    pub(crate) fn ask_within(&mut self, key: &str, part: &str, now: Time) {
        let within = vec![part.parse().expect("invariant: a part of a range")];
        self.request(key, Request { within, ..Request::default() }, now);
    }

    /// Says that the ring of `with` and its own are to be one.
    pub(crate) fn heal(&mut self, with: PeerName, now: Time) {
        // It may be one already, or there may be none.
        let _ = self.ipam.heal(with, 0, now);
        self.drain();
    }

    /// Nodes of another ring that it knows of.
    pub(crate) fn strangers(&self) -> BTreeSet<PeerName> {
        let conflicts = self.ipam.conflicts();
        let others = conflicts.iter().filter_map(|conflict| match conflict {
            Conflict::OtherRing { node } => Some(*node),
            Conflict::Claimed { .. } | Conflict::OtherRanges { .. } => None,
        });
        others.collect()
    }

    /// What it uses and did not bring from another ring.
    pub(crate) fn used_by_right(&self) -> BTreeSet<IpAddr> {
        let kept = self.ipam.kept();
        let kept: BTreeSet<IpAddr> =
            kept.iter().flat_map(|kept| &kept.addresses).map(IpNet::addr).collect();
        self.used().difference(&kept).copied().collect()
    }

    fn request(&mut self, key: &str, request: Request, now: Time) {
        let deadline = now + Duration::from_secs(10_000);
        self.ipam.allocate(key, request, deadline, now);
        self.drain();
    }

    pub(crate) fn leave(&mut self, now: Time) {
        self.ipam.leave(now);
        self.drain();
    }

    /// Whether it goes on having addresses: it was neither removed nor told to leave.
    pub(crate) fn stays(&self) -> bool {
        self.ipam.removed_by().is_none() && self.ipam.leaving().is_none()
    }

    /// Whether it is part of a ring.
    pub(crate) fn in_ring(&self) -> bool {
        self.space().ring != [0; 16]
    }

    /// Whether it was told to leave.
    pub(crate) fn leaves(&self) -> bool {
        self.ipam.leaving().is_some()
    }

    /// Whether it handed all over.
    pub(crate) fn has_left(&self) -> bool {
        self.ipam.leaving().is_some_and(|leaving| leaving.done)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.ipam.allocations().map(|(key, _)| key.to_owned()).collect()
    }

    pub(crate) fn release(&mut self, key: &str, now: Time) {
        self.ipam.release(key, now);
        self.drain();
    }

    pub(crate) fn remove(&mut self, who: usize, force: bool, now: Time) -> bool {
        let done = self.ipam.remove(name(who), force, 0, now).is_ok();
        self.drain();
        done
    }

    /// Stops at once and starts with what the disk holds; of others it knows nothing then.
    pub(crate) fn crash(&mut self, reachable: &BTreeSet<PeerName>, now: Time) {
        let mut disk = (*self.disk).clone();
        if self.mutation == Some(Mutation::LosesAWrite) {
            disk = (*self.older).clone();
        }
        if self.mutation == Some(Mutation::ForgetsItsWord) {
            let IpamSnapshot::V1(saved) = &mut disk;
            saved.removals = Default::default();
        }
        self.ipam = start(&self.config, Some(disk), now);
        for (index, held) in self.held.iter_mut().enumerate() {
            if index != self.index {
                *held = Records::default();
            }
        }
        self.reach(reachable, now);
    }

    pub(crate) fn reach(&mut self, all: &BTreeSet<PeerName>, now: Time) {
        let others = all.iter().copied().filter(|name| *name != self.name()).collect();
        self.ipam.handle_reachable(&others, now);
        others.iter().for_each(|name| self.ipam.handle_synced(*name, now));
        self.drain();
    }

    pub(crate) fn tick(&mut self, now: Time) {
        self.ipam.handle_timeout(now);
        self.drain();
    }

    pub(crate) fn used(&self) -> BTreeSet<IpAddr> {
        self.ipam.allocations().flat_map(|(_, nets)| nets).map(|net| net.addr()).collect()
    }

    pub(crate) fn space(&self) -> Space {
        let IpamSnapshot::V1(saved) = self.ipam.snapshot();
        saved.space
    }
}

/// Which records are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Space, want, vote.
    Space,
    /// The words on removals.
    Words,
    /// All.
    All,
}

fn start(config: &IpamConfig, disk: Option<IpamSnapshot>, now: Time) -> Ipam {
    Ipam::new(config.clone(), disk, *config.name.as_bytes(), now).expect("its own disk")
}
