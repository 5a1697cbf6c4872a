//! Objects and Pods: what this node writes of them, and what it hears from others.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use ipnet::IpNet;
use weft_crypto::PeerName;

use super::{Node, own::read_heard, views::read};
use crate::{
    DecodeError, Event, ObjectError, ObjectKey, ObjectView, PodChange, PodInfo, Time, WriteId,
    codec,
    ipam::Ipam,
    limits::{HEARD_OBJECTS_DELAY, HEARD_PODS_DELAY, MAX_POD, MAX_SKEW, MAX_STORE_BYTES},
    objects::{ObjectValue, Objects, Slot, pods::Pods, slot_of},
    record::{Key, Kind, Record},
};

/// What a node keeps of objects and Pods beside the records.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) objects: Objects,
    pub(super) pods: Pods,
    /// The time of day at [`Time::START`], milliseconds since the Unix epoch; may be wrong by much.
    epoch: u64,
    next_write: u64,
    /// Writes that wait for the disk, each with the token of its snapshot.
    written: VecDeque<(u64, WriteId)>,
    /// The ceiling of versions that the disk held at the start, and the versions of the objects there.
    /// What others hold of this node's between the two, the disk has forgotten.
    ceiling: u64,
    remembered: BTreeMap<Slot, u64>,
    /// When a stamp that was set aside is to be believed.
    pub(super) believe_at: Option<Time>,
    /// When what was heard is to be given to the disk, and whether that time has come.
    heard_at: Option<Time>,
    heard_due: bool,
}

impl Shared {
    /// `ceiling` is that of the versions of the former life, 0 if there was none.
    pub(super) fn new(ceiling: u64) -> Self {
        Self { ceiling, ..Self::default() }
    }

    /// Whether a record of this node's own is of a former life and later than what the disk held then,
    /// even if the slot has a newer one by now.
    pub(super) fn is_forgotten(&self, record: &Record) -> bool {
        let Some(slot) = slot_of(&record.key().name) else { return false };
        let remembered = self.remembered.get(&slot).copied().unwrap_or(0);
        record.key().kind == Kind::OBJECT
            && (remembered.saturating_add(1)..=self.ceiling).contains(&record.version())
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        [self.believe_at, self.heard_at].into_iter().flatten().min()
    }

    /// This node's time of day, milliseconds since the Unix epoch.
    fn wall(&self, now: Time) -> u64 {
        let since = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        self.epoch.saturating_add(since)
    }

    fn note_heard(&mut self, kind: Kind, now: Time) {
        let delay = if kind == Kind::OBJECT { HEARD_OBJECTS_DELAY } else { HEARD_PODS_DELAY };
        self.heard_at = Some(self.heard_at.map_or(now + delay, |at| at.min(now + delay)));
    }

    fn plan_belief(&mut self, now: Time) {
        let wall = self.wall(now);
        self.believe_at = self.objects.next_to_count(wall).map(|millis| {
            let wait = millis.saturating_sub(MAX_SKEW).saturating_sub(wall);
            now + std::time::Duration::from_millis(wait)
        });
    }
}

impl Node {
    /// Tells the time of day, in milliseconds since the Unix epoch. To be told at the start, and again
    /// whenever the clock may have been set; it may go backwards. Answers whether that was news.
    pub fn set_clock(&mut self, wall: u64, now: Time) -> bool {
        let since = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        let epoch = wall.saturating_sub(since);
        // Not every tick of drift is news.
        let is_news = epoch.abs_diff(self.shared.epoch) > 1000;
        if is_news {
            self.shared.epoch = epoch;
            self.events.push_back(Event::ObjectsChanged);
            self.shared.plan_belief(now);
            self.settle(now);
        }
        is_news
    }

    /// Writes objects, all or none; `None` as a body deletes. They count from when they are on this
    /// node's disk, which an [`Event::ObjectsWritten`] tells.
    ///
    /// # Errors
    /// See [`ObjectError`]; nothing has changed.
    pub fn write_objects(
        &mut self,
        changes: Vec<(ObjectKey, Option<Vec<u8>>)>,
        now: Time,
    ) -> Result<WriteId, ObjectError> {
        let wall = self.shared.wall(now);
        let planned = self.shared.objects.plan(self.name, changes, wall)?;
        let encoded: Vec<_> = planned
            .into_iter()
            .map(|(slot, value)| {
                let bytes = codec::encode(&value);
                (slot, value, bytes)
            })
            .collect();
        let bytes: usize = encoded.iter().map(|(_, _, bytes)| bytes.len()).sum();
        if self.store.bytes().saturating_add(bytes) > MAX_STORE_BYTES {
            return Err(ObjectError::Full);
        }
        for (slot, value, bytes) in encoded {
            self.shared.objects.set_own(slot, Some(&value), bytes.len());
            self.stage(Key::numbered(Kind::OBJECT, slot), Some(bytes));
        }
        let id = WriteId(self.shared.next_write);
        self.shared.next_write += 1;
        self.shared.written.push_back((self.own.covering_token(), id));
        self.settle(now);
        Ok(id)
    }

    /// The objects that exist, by key.
    pub fn objects(&self, now: Time) -> impl Iterator<Item = ObjectView> + '_ {
        self.shared.objects.iter(self.shared.wall(now))
    }

    /// One object, if it exists.
    pub fn object(&self, key: &ObjectKey, now: Time) -> Option<ObjectView> {
        self.shared.objects.get(key, self.shared.wall(now))
    }

    /// Tells of this node's Pods, all of them, each under a key of the caller's that stays the same
    /// while the Pod lives. Only what is new travels. Answers the keys of those that cannot be told of:
    /// [`PodInfo::check`] refuses them, they are over [`MAX_POD`], or there are too many.
    pub fn set_pods(&mut self, mut pods: BTreeMap<String, PodInfo>, now: Time) -> Vec<String> {
        let mut left_out = Vec::new();
        pods.retain(|key, pod| {
            let fits = pod.check().is_ok() && codec::encode(pod).len() <= MAX_POD;
            if !fits {
                left_out.push(key.clone());
            }
            fits
        });
        let (slots, freed, unplaced) = self.shared.pods.assign(pods.keys().cloned().collect());
        left_out.extend(unplaced);
        for slot in freed {
            self.stage_if_new(Key::numbered(Kind::POD, slot), None);
        }
        for (key, slot) in slots {
            let value = pods.get(&key).map(codec::encode);
            self.stage_if_new(Key::numbered(Kind::POD, slot), value);
        }
        self.settle(now);
        left_out
    }

    /// The Pods of all nodes, each with the node that tells of it and those of its addresses that no
    /// other node owns: nobody can pass off another's address, or one outside the ranges, as a Pod of
    /// its own. After a start, before the ring is known again, nobody owns them; nothing can be sent
    /// there then.
    pub fn pods(&self) -> impl Iterator<Item = (PeerName, PodInfo)> + '_ {
        self.shared.pods.iter()
    }

    /// A Pod of another node about which [`Self::pods`] answers differently since it was polled last.
    pub fn poll_pod(&mut self) -> Option<PodChange> {
        loop {
            let place = self.shared.pods.poll_changed()?;
            if place.0 != self.name {
                let pod = self.shared.pods.view(place);
                return Some(PodChange { node: place.0, slot: place.1, pod });
            }
        }
    }

    /// Judges anew whose addresses are whose, after the ring has changed.
    pub(super) fn judge_pods(&mut self) {
        let (ranges, ipam) = (&self.config.ranges, &self.ipam);
        if self.shared.pods.judge(|origin, address| may_have(ranges, ipam, origin, address)) {
            self.events.push_back(Event::PodsChanged);
        }
    }

    /// What others wrote and told, to be put on disk some time soon, and given to [`Self::recall`] after
    /// a restart. Nothing depends on it but how much a node knows that starts alone.
    pub fn poll_heard(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.shared.heard_due) {
            return None;
        }
        let others = self.store.origins().filter(|(name, _)| *name != self.name);
        let records = others.flat_map(|(_, origin)| origin.records());
        let records: Vec<_> = records
            .filter(|record| record.key().kind.is_numbered())
            .map(|record| record.signed().clone())
            .collect();
        Some(codec::encode(&records))
    }

    /// The node is about to stop: what was heard and is not on disk is due now.
    pub fn handle_stopping(&mut self) {
        if self.shared.heard_at.take().is_some() {
            self.shared.heard_due = true;
        }
    }

    /// Takes back what [`Self::poll_heard`] gave. The signatures were checked when it was heard; what is
    /// newer by now is heard again.
    ///
    /// # Errors
    /// The bytes are not of that form; nothing has changed.
    pub fn recall(&mut self, heard: &[u8], now: Time) -> Result<(), DecodeError> {
        for record in read_heard(heard)? {
            let foreign = record.origin() != self.name && record.key().kind.is_numbered();
            if foreign && self.store.merge(std::sync::Arc::clone(&record)) == Ok(true) {
                self.view(&record, now);
            }
        }
        self.shared.heard_at = None;
        self.settle(now);
        Ok(())
    }

    pub(super) fn shared_timeout(&mut self, now: Time) {
        if self.shared.heard_at.is_some_and(|at| at <= now) {
            self.shared.heard_at = None;
            self.shared.heard_due = true;
        }
        if self.shared.believe_at.is_some_and(|at| at <= now) {
            self.events.push_back(Event::ObjectsChanged);
            self.shared.plan_belief(now);
        }
    }

    /// Takes the content of a record of an object or a Pod into the views.
    pub(super) fn view_numbered(&mut self, record: &Record, now: Time) -> Result<(), String> {
        let (origin, kind) = (record.origin(), record.key().kind);
        let Some(slot) = slot_of(&record.key().name) else {
            return Err("its number is malformed".into());
        };
        if origin != self.name {
            self.shared.note_heard(kind, now);
        }
        let place = (origin, slot);
        if kind == Kind::POD {
            // Bad content must not leave the former Pod in force.
            let pod = read_pod(record);
            let told = pod.as_ref().ok().cloned().flatten();
            let (ranges, ipam) = (&self.config.ranges, &self.ipam);
            let believes = |origin, address| may_have(ranges, ipam, origin, address);
            let changed = self.shared.pods.set(place, told, believes);
            if changed && origin != self.name {
                self.events.push_back(Event::PodsChanged);
            }
            return pod.map(drop);
        }
        let value = read_object(record);
        if self.shared.objects.set(place, value.as_ref().ok().cloned().flatten()) {
            self.events.push_back(Event::ObjectsChanged);
        }
        self.shared.plan_belief(now);
        value.map(drop)
    }

    /// Takes an own record of an earlier life into the views.
    pub(super) fn restore_object(&mut self, record: &Record) {
        let (Some(slot), Ok(value)) = (slot_of(&record.key().name), read_object(record)) else {
            return;
        };
        if record.key().kind == Kind::OBJECT {
            let bytes = record.value().map_or(0, <[u8]>::len);
            self.shared.remembered.insert(slot, record.version());
            self.shared.objects.set_own(slot, value.as_ref(), bytes);
            self.shared.objects.set((self.name, slot), value);
            self.events.push_back(Event::ObjectsChanged);
        }
    }

    /// Another node holds what this one wrote and its disk forgot: it is written again, above that. An
    /// object that has been written into the same slot since moves to another one.
    pub(super) fn adopt_object(&mut self, record: &Record, mine: Option<&[u8]>) {
        let Some(slot) = slot_of(&record.key().name) else { return };
        self.shared.remembered.insert(slot, record.version());
        let theirs = read_object(record).ok().flatten();
        let mine = mine.and_then(|bytes| codec::decode::<ObjectValue>(bytes).ok());
        let (kept, moved) = match (theirs, mine) {
            (Some(theirs), Some(mine)) if theirs.key == mine.key => {
                let kept = if theirs.stamp < mine.stamp { mine } else { theirs };
                (Some(kept), None)
            }
            (Some(theirs), mine) => (Some(theirs), mine),
            (None, mine) => (mine, None),
        };
        self.stage_object(slot, kept);
        if let Some(moved) = moved {
            let planned = self.shared.objects.spare_slot();
            match planned {
                Some(slot) => self.stage_object(slot, Some(moved)),
                None => self.events.push_back(Event::Warning(format!(
                    "{} was lost with writes of the disk: apply it again",
                    moved.key
                ))),
            }
        }
    }

    fn stage_object(&mut self, slot: Slot, value: Option<ObjectValue>) {
        let bytes = value.as_ref().map(codec::encode);
        let len = bytes.as_ref().map_or(0, Vec::len);
        self.shared.objects.set_own(slot, value.as_ref(), len);
        self.stage(Key::numbered(Kind::OBJECT, slot), bytes);
    }

    /// Tells of writes that are on disk. What they say is in the views by then.
    pub(super) fn release_writes(&mut self) {
        while let Some((token, id)) = self.shared.written.front().copied()
            && self.own.is_persisted(token)
        {
            self.shared.written.pop_front();
            self.events.push_back(Event::ObjectsWritten(id));
        }
    }

    /// Whose clock seems to be wrong, a line each.
    pub fn clock_warnings(&self, now: Time) -> Vec<String> {
        let wall = self.shared.wall(now);
        let mut warnings = Vec::new();
        for (writer, (by, key)) in self.shared.objects.ahead(wall) {
            let aside =
                if by > MAX_SKEW { "; what others wrote of it counts until then" } else { "" };
            warnings.push(format!(
                "clock skew: {key} was written on {} {} in the future of this node{aside}: \
                 set the clocks of both, then apply it again",
                self.label(writer),
                span(by)
            ));
        }
        warnings
    }
}

/// Whether an address may be that of a Pod on that node: it is in the ranges, and no other node's.
fn may_have(ranges: &[IpNet], ipam: &Ipam, origin: PeerName, address: IpAddr) -> bool {
    let in_ranges = ranges.iter().any(|range| range.contains(&address));
    in_ranges && ipam.owner_of(address).is_none_or(|owner| owner == origin)
}

/// A span of time for people, in its largest unit.
fn span(millis: u64) -> String {
    let minutes = millis / 60_000;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

fn read_object(record: &Record) -> Result<Option<ObjectValue>, String> {
    let value = read::<ObjectValue>(record)?;
    if let Some(value) = &value {
        value.check()?;
    }
    Ok(value)
}

fn read_pod(record: &Record) -> Result<Option<PodInfo>, String> {
    if record.value().is_some_and(|value| value.len() > MAX_POD) {
        return Err("a Pod that is too long".into());
    }
    let pod = read::<PodInfo>(record)?;
    if let Some(pod) = &pod {
        pod.check()?;
    }
    Ok(pod)
}
