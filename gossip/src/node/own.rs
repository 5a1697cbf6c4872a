//! This node's own records: their versions, and that they are on disk before others see them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bincode::{Decode, Encode};
use weft_crypto::PeerName;

use super::Node;
use crate::{
    DecodeError, Event, Persist, RestoreError, Saved, Time, Written, codec,
    ipam::{Ipam, IpamChange, IpamSnapshot, Publish, Space},
    limits::{MAX_STAGED, VERSION_BLOCK},
    membership::{LinkInfo, Links, NodeInfo, cut_text},
    record::{Key, Kind, Record, SignedRecord},
    store::Store,
};

/// All that a node must know after a crash.
#[derive(Debug, Encode, Decode)]
struct Snapshot {
    name: [u8; 32],
    /// Versions up to here may have been used.
    ceiling: u64,
    /// The own records that depend on `ipam`.
    records: Vec<SignedRecord>,
    ipam: IpamSnapshot,
}

/// What has changed of a [`Snapshot`].
#[derive(Debug, Encode, Decode)]
struct Change {
    ceiling: u64,
    /// The own records that depend on `ipam` and were not written before.
    records: Vec<SignedRecord>,
    ipam: IpamChange,
}

/// What was saved, and belongs to this node.
pub(super) struct Restored {
    pub(super) ceiling: u64,
    pub(super) records: Vec<Record>,
    pub(super) ipam: IpamSnapshot,
}

/// Reads a snapshot and the changes after it.
///
/// # Errors
/// One of them is malformed, the snapshot is another node's, or a record does not hold.
pub(super) fn restore(saved: &Saved, name: PeerName) -> Result<Restored, RestoreError> {
    let mut snapshot: Snapshot = codec::decode_snapshot(&saved.snapshot)?;
    let owner = PeerName::from_bytes(snapshot.name);
    if owner != name {
        return Err(RestoreError::OtherIdentity { saved: owner, identity: name });
    }
    let mut changes = Vec::new();
    for bytes in &saved.appended {
        let change: Change = codec::decode_snapshot(bytes)?;
        snapshot.ceiling = snapshot.ceiling.max(change.ceiling);
        snapshot.records.extend(change.records);
        changes.push(change.ipam);
    }
    let mut records: BTreeMap<Key, Record> = BTreeMap::new();
    for signed in snapshot.records {
        let record = Record::decode(signed)?;
        record.verify()?;
        if record.origin() != name {
            return Err(RestoreError::OtherIdentity { saved: record.origin(), identity: name });
        }
        // Of one key the newest, which comes last.
        records.insert(record.key().clone(), record);
    }
    let ipam = snapshot.ipam.changed_by(changes);
    Ok(Restored { ceiling: snapshot.ceiling, records: records.into_values().collect(), ipam })
}

/// Reads the records of others that a node left on its disk.
///
/// # Errors
/// The bytes are not of that form. A record that cannot be read is left out.
pub(super) fn read_heard(bytes: &[u8]) -> Result<Vec<Arc<Record>>, DecodeError> {
    let signed: Vec<SignedRecord> = codec::decode_snapshot(bytes)?;
    Ok(signed.into_iter().filter_map(|signed| Record::decode(signed).ok()).map(Arc::new).collect())
}

/// The versions and the durability of the own records.
///
/// A version is used once: the disk holds a ceiling that no used version is above, and it is raised by
/// a block at a time. Records wait in one queue, so that they enter the store in the order of their
/// versions; each waits for the write it depends on.
#[derive(Debug)]
pub(super) struct Own {
    next_version: u64,
    /// The ceiling that is on disk.
    ceiling: u64,
    /// The ceilings of the writes that are on their way to the disk, by token.
    ceilings: VecDeque<(u64, u64)>,
    staged: VecDeque<Staged>,
    /// The token of the next write.
    next_token: u64,
    persisted: u64,
    persist_needed: bool,
    /// The versions of the records that were written in this life; `None` before its snapshot.
    written: Option<BTreeMap<Key, u64>>,
    /// The neighbours that are known not to hold own records that the disk forgot; all others as well
    /// if `None`, because there was no disk to forget.
    checked: Option<BTreeSet<PeerName>>,
}

#[derive(Debug)]
struct Staged {
    /// The write that must be on disk before; 0 is none.
    token: u64,
    record: Arc<Record>,
}

impl Own {
    pub(super) fn new() -> Self {
        Self {
            next_version: 1,
            ceiling: 0,
            ceilings: VecDeque::new(),
            staged: VecDeque::new(),
            next_token: 1,
            persisted: 0,
            persist_needed: false,
            written: None,
            checked: None,
        }
    }

    pub(super) fn restored(restored: &Restored) -> Self {
        let next_version = restored.ceiling.saturating_add(1);
        let checked = Some(BTreeSet::new());
        Self { next_version, ceiling: restored.ceiling, checked, ..Self::new() }
    }

    /// Whether own records that depend on the disk may replace what `peer` holds of them.
    pub(super) fn is_checked(&self, peer: PeerName) -> bool {
        self.checked.as_ref().is_none_or(|checked| checked.contains(&peer))
    }

    /// All that `peer` holds of this node is known here. Answers whether that is news.
    pub(super) fn mark_checked(&mut self, peer: PeerName) -> bool {
        self.checked.as_mut().is_some_and(|checked| checked.insert(peer))
    }

    /// Something that must survive has changed. Answers the token to wait for.
    pub(super) fn need_persist(&mut self) -> u64 {
        self.persist_needed = true;
        self.next_token
    }

    /// The token that what exists at this moment is covered by: that of the write still to be made,
    /// or of the last one made.
    pub(super) fn covering_token(&self) -> u64 {
        if self.persist_needed { self.next_token } else { self.next_token - 1 }
    }

    /// Whether all own records are on disk and out.
    pub(super) fn is_told(&self) -> bool {
        self.staged.is_empty()
    }

    pub(super) fn is_persisted(&self, token: u64) -> bool {
        token <= self.persisted
    }

    pub(super) fn poll_persist(
        &mut self,
        name: PeerName,
        store: &Store,
        ipam: &mut Ipam,
    ) -> Option<Persist> {
        if !std::mem::take(&mut self.persist_needed) {
            return None;
        }
        let ceiling = self.next_ceiling();
        let change = ipam.change();
        let records = self.durable_records(name, store);
        let versions =
            records.iter().map(|(key, record)| ((*key).clone(), record.version())).collect();
        let what = match &self.written {
            // The first of a life: what was restored may have been changed on the way.
            None => Written::Snapshot(self.snapshot(name, store, ipam)),
            Some(written) => {
                let new = |(key, record): &(&Key, &Arc<Record>)| {
                    written.get(*key).is_none_or(|version| *version != record.version())
                };
                let records = records.into_iter().filter(new);
                let records = records.map(|(_, record)| record.signed().clone()).collect();
                Written::Append(codec::encode(&Change { ceiling, records, ipam: change }))
            }
        };
        self.written = Some(versions);
        let token = self.next_token;
        self.next_token += 1;
        self.ceilings.push_back((token, ceiling));
        Some(Persist { token, what })
    }

    /// All that must survive a crash at this moment.
    pub(super) fn snapshot(&self, name: PeerName, store: &Store, ipam: &Ipam) -> Vec<u8> {
        let records = self.durable_records(name, store);
        codec::encode(&Snapshot {
            name: *name.as_bytes(),
            ceiling: self.next_ceiling(),
            records: records.into_values().map(|record| record.signed().clone()).collect(),
            ipam: ipam.snapshot(),
        })
    }

    fn next_ceiling(&self) -> u64 {
        self.next_version.saturating_add(VERSION_BLOCK)
    }

    /// The newest own records that depend on what is in a snapshot.
    fn durable_records<'a>(
        &'a self,
        name: PeerName,
        store: &'a Store,
    ) -> BTreeMap<&'a Key, &'a Arc<Record>> {
        let held = store.origin(name).into_iter().flat_map(|origin| origin.records());
        let staged = self.staged.iter().map(|staged| &staged.record);
        // The staged ones are newer and come later.
        held.chain(staged)
            .filter(|record| record.key().kind.is_durable())
            .map(|record| (record.key(), record))
            .collect()
    }

    pub(super) fn persisted(&mut self, token: u64) {
        // A token that was not handed out stands for nothing.
        self.persisted = self.persisted.max(token.min(self.next_token - 1));
        while let Some(&(token, ceiling)) = self.ceilings.front()
            && token <= self.persisted
        {
            self.ceiling = self.ceiling.max(ceiling);
            self.ceilings.pop_front();
        }
    }

    /// The newest own record of a key, in the queue or in the store.
    fn newest<'a>(
        &'a self,
        name: PeerName,
        key: &Key,
        store: &'a Store,
    ) -> Option<&'a Arc<Record>> {
        let staged = self.staged.iter().rev().map(|staged| &staged.record);
        staged.into_iter().find(|record| record.key() == key).or_else(|| store.get(name, key))
    }

    /// The write that a record of that version, if nothing else depends on it, waits for.
    fn token_for(&mut self, version: u64) -> u64 {
        if version.saturating_add(VERSION_BLOCK / 4) > self.highest_ceiling() {
            // In good time, so that the next ones do not have to wait.
            self.persist_needed = true;
        }
        if version <= self.ceiling {
            return 0;
        }
        let in_flight = self.ceilings.iter().find(|(_, ceiling)| version <= *ceiling);
        in_flight.map_or(self.next_token, |(token, _)| *token)
    }

    fn highest_ceiling(&self) -> u64 {
        self.ceilings.back().map_or(self.ceiling, |(_, ceiling)| *ceiling)
    }
}

/// Whether a record tells of own space that was given away or taken over and that the other record
/// does not know of, whatever their versions.
fn is_later_space(record: &Record, than: Option<&Record>) -> bool {
    let read = |record: &Record| codec::decode::<Space>(record.value()?).ok();
    if *record.key() != Key::of(Kind::SPACE) {
        return false;
    }
    match (read(record), than.and_then(read)) {
        (Some(record), Some(than)) => {
            let known: BTreeMap<_, _> = than.accepted.into_iter().collect();
            record.revision > than.revision
                || record.next_grant > than.next_grant
                || record.accepted.iter().any(|(name, number)| known.get(name) < Some(number))
        }
        (Some(_), None) => true,
        (None, _) => false,
    }
}

impl Node {
    /// Puts the own records of the former life back.
    pub(super) fn restore_own(&mut self, records: Vec<Record>) {
        for record in records {
            let version = record.version();
            let record = Arc::new(record);
            // The own records are within the limits, or they would not have been made.
            let _ = self.store.merge(Arc::clone(&record));
            self.store.raise_watermark(self.name, version);
            self.restore_object(&record);
        }
    }

    pub(super) fn publish_node(&mut self) {
        let info = NodeInfo {
            nickname: cut_text(&self.config.nickname),
            version: cut_text(&self.config.version),
            boot_id: self.config.boot_id,
            port: self.config.port,
        };
        self.stage(Key::of(Kind::NODE), Some(codec::encode(&info)));
    }

    pub(super) fn publish_links(&mut self) {
        let links = self.neighbours.iter().take(crate::limits::MAX_LINKS);
        let links = Links(
            links
                .map(|(peer, neighbour)| LinkInfo {
                    peer: *peer.as_bytes(),
                    address: neighbour.address,
                    outbound: neighbour.outbound,
                    state: neighbour.state,
                })
                .collect(),
        );
        self.stage_if_new(Key::of(Kind::LINKS), Some(codec::encode(&links)));
    }

    pub(super) fn publish_ipam(&mut self, publish: Publish) {
        let (kind, value) = match publish {
            Publish::Space(space) => (Kind::SPACE, Some(codec::encode(&space))),
            Publish::Want(want) => (Kind::WANT, want.map(|want| codec::encode(&want))),
            Publish::Paxos(paxos) => (Kind::PAXOS, Some(codec::encode(&paxos))),
            Publish::Pending(ack) => (Kind::PENDING, ack.map(|ack| codec::encode(&ack))),
            Publish::Completed(view) => (Kind::COMPLETED, view.map(|view| codec::encode(&view))),
        };
        self.stage_if_new(Key::of(kind), value);
    }

    /// As [`Self::stage`], unless the own record says the same already.
    pub(super) fn stage_if_new(&mut self, key: Key, value: Option<Vec<u8>>) {
        let same = match self.own.newest(self.name, &key, &self.store) {
            Some(newest) => newest.value() == value.as_deref(),
            None => value.is_none(),
        };
        if !same {
            self.stage(key, value);
        }
    }

    /// Makes the next own record. It enters the store when what it depends on is on disk.
    pub(super) fn stage(&mut self, key: Key, value: Option<Vec<u8>>) {
        let version = self.own.next_version;
        self.own.next_version = version.saturating_add(1);
        let mut token = self.own.token_for(version);
        if key.kind.is_durable() {
            token = token.max(self.own.need_persist());
        }
        let record = Arc::new(Record::sign(&self.identity, key, version, value));
        if self.own.staged.len() >= MAX_STAGED {
            // The disk is stuck. Others need not see what has been replaced already.
            self.own.staged.retain(|staged| staged.record.key() != record.key());
        }
        self.own.staged.push_back(Staged { token, record });
    }

    /// Moves the own records whose write is on disk into the store, and marks them for pushing.
    pub(super) fn commit_own(&mut self, now: Time) {
        let mut ready: BTreeMap<Key, Arc<Record>> = BTreeMap::new();
        while let Some(staged) = self.own.staged.front()
            && self.own.is_persisted(staged.token)
            && let Some(staged) = self.own.staged.pop_front()
        {
            ready.insert(staged.record.key().clone(), staged.record);
        }
        for record in ready.into_values() {
            match self.store.merge(Arc::clone(&record)) {
                Ok(_) => {
                    self.view(&record, now);
                    self.fresh.push((record, None));
                }
                Err(no_room) => {
                    self.stats.records_no_room += 1;
                    tracing::warn!(key = ?record.key(), why = no_room.0, "own record does not fit");
                }
            }
        }
        // Every version of this node's own is here, or was replaced.
        let newest = self.store.origin(self.name).map_or(0, |origin| origin.newest());
        self.store.raise_watermark(self.name, newest);
    }

    /// A neighbour holds a record that this node signed. Older ones are remains that anti-entropy
    /// clears away. A newer one was made in a life that the disk has forgotten: space that it gave away
    /// or took over must not be forgotten with it.
    pub(super) fn handle_own_record(&mut self, record: &Record, now: Time) {
        let key = record.key();
        let newest = self.own.newest(self.name, key, &self.store);
        let older = newest.is_some_and(|newest| newest.rank() >= record.rank());
        let later_space = is_later_space(record, newest.map(|newest| &**newest));
        if older && !later_space && !self.shared.is_forgotten(record) {
            return;
        }
        let mine = newest.map(|newest| newest.value().map(<[u8]>::to_vec));
        let forgotten = record.version() > self.own.highest_ceiling() || key.kind.is_durable();
        if record.version() >= self.own.next_version {
            self.own.next_version = record.version().saturating_add(1);
        }
        if forgotten {
            self.warn_rollback();
        }
        match (key.kind, mine) {
            (Kind::SPACE, _) if key.name.is_empty() => self.adopt_space(record, now),
            // What it wrote and forgot is the last word on that object, unless others wrote since.
            (Kind::OBJECT, mine) => self.adopt_object(record, mine.flatten().as_deref()),
            // What this node says of itself holds; it is said again above the forgotten one.
            (_, Some(value)) => self.stage(key.clone(), value),
            // It has nothing to say there any more. A tombstone needs no further one.
            (_, None) if record.value().is_some() => self.stage(key.clone(), None),
            (_, None) => {}
        }
    }

    /// Own records that wait for the disk.
    #[cfg(test)]
    pub(super) fn own_queue(&self) -> usize {
        self.own.staged.len()
    }

    fn adopt_space(&mut self, record: &Record, now: Time) {
        let Some(Ok(space)) = record.value().map(codec::decode::<Space>) else {
            // Not made by this software; what it holds itself stands.
            tracing::warn!("a forgotten space record of this node cannot be read");
            return;
        };
        for (key, addresses) in self.ipam.adopt(space, now) {
            self.events.push_back(Event::Fenced { key, addresses });
        }
    }

    fn warn_rollback(&mut self) {
        self.stats.rollbacks += 1;
        if self.stats.rollbacks == 1 {
            self.events.push_back(Event::Warning(
                "others hold newer records of this node than its disk: the disk lost writes, or an \
                 old copy of the data directory was put back; taking back what others hold"
                    .into(),
            ));
        }
    }
}
