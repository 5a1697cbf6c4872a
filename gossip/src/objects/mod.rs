//! Objects that any node may write: the last writer wins, deletions included.
//!
//! A record has one writer, an object has many. So each node that writes an object says so in a record
//! of its own, and what counts is the greatest [`Stamp`] over the records that speak about the object;
//! the writer's name, then the body, decide between equal ones, the same everywhere. A deletion is a
//! write without a body.
//!
//! A node's records are numbered **slots**, not named after objects: a slot whose object somebody else
//! has written since is used again for the next one. So a node has as many records as it has the last
//! word on, and no trace remains of the others.
//!
//! What a clock says that is wrong is dealt with by three rules. A write never loses to what the writer
//! has seen: its stamp follows that of the object it replaces, even if that lies in the future. It
//! follows no other object's, so one wrong clock drags nobody along. And a stamp more than
//! [`MAX_SKEW`] ahead of this node's clock is **set aside**: it only counts where nothing else speaks
//! about the object, so that a node that starts without the time of day does not forget its policies.

pub(crate) mod pods;
#[cfg(test)]
mod tests;
pub(crate) mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bincode::{Decode, Encode};
use weft_crypto::PeerName;

use self::types::{ObjectError, ObjectKey, ObjectView, Stamp};
use crate::{
    codec,
    limits::{
        DELETION_KEPT, MAX_OBJECT, MAX_OBJECT_BYTES, MAX_OBJECTS, MAX_SKEW, SKEW_WORTH_A_WORD,
    },
};

/// The number of a record among those of its origin and kind.
pub(crate) type Slot = u16;

/// Where a record stands: its origin and slot.
pub(crate) type Place = (PeerName, Slot);

/// The value of a record of [`crate::Kind::OBJECT`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ObjectValue {
    pub(crate) key: ObjectKey,
    pub(crate) stamp: Stamp,
    /// `None` says that the object is deleted.
    pub(crate) body: Option<Vec<u8>>,
}

impl ObjectValue {
    /// What an honest node never writes.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.key.check()?;
        match &self.body {
            Some(body) if body.len() > MAX_OBJECT => Err("an object that is too long"),
            _ => Ok(()),
        }
    }
}

/// The slot that a record's name stands for.
pub(crate) fn slot_of(name: &[u8]) -> Option<Slot> {
    Some(Slot::from_be_bytes(name.try_into().ok()?))
}

/// What all known records say about objects.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    held: BTreeMap<ObjectKey, BTreeMap<Place, Held>>,
    places: BTreeMap<Place, ObjectKey>,
    /// What this node wrote, also while it is not on disk yet.
    own: BTreeMap<Slot, Own>,
    own_slots: BTreeMap<ObjectKey, Slot>,
    own_bytes: usize,
}

/// What one record says of an object.
#[derive(Debug)]
struct Held {
    stamp: Stamp,
    body: Option<Arc<[u8]>>,
}

/// What this node wrote.
#[derive(Debug)]
struct Own {
    key: ObjectKey,
    stamp: Stamp,
    deleted: bool,
    bytes: usize,
}

impl Objects {
    /// Takes over what a record says now; `None` is nothing. Whether the object that it speaks about,
    /// or the one that it spoke about before, may have changed by it.
    pub(crate) fn set(&mut self, place: Place, value: Option<ObjectValue>) -> bool {
        let gone = self.places.remove(&place);
        if let Some(key) = &gone
            && let Some(places) = self.held.get_mut(key)
        {
            places.remove(&place);
            if places.is_empty() {
                self.held.remove(key);
            }
        }
        let Some(ObjectValue { key, stamp, body }) = value else { return gone.is_some() };
        let held = Held { stamp, body: body.map(Arc::from) };
        self.held.entry(key.clone()).or_default().insert(place, held);
        self.places.insert(place, key);
        true
    }

    /// Notes what a record of this node's own says, now or as soon as it is on disk.
    pub(crate) fn set_own(&mut self, slot: Slot, value: Option<&ObjectValue>, bytes: usize) {
        if let Some(old) = self.own.remove(&slot) {
            self.own_bytes -= old.bytes;
            if self.own_slots.get(&old.key) == Some(&slot) {
                self.own_slots.remove(&old.key);
            }
        }
        if let Some(value) = value {
            let deleted = value.body.is_none();
            let own = Own { key: value.key.clone(), stamp: value.stamp, deleted, bytes };
            self.own_slots.insert(value.key.clone(), slot);
            self.own.insert(slot, own);
            self.own_bytes += bytes;
        }
    }

    /// The objects that exist, by key. `wall` is this node's time of day, milliseconds since the epoch.
    pub(crate) fn iter(&self, wall: u64) -> impl Iterator<Item = ObjectView> + '_ {
        self.held.iter().filter_map(move |(key, places)| view(key, places, wall))
    }

    /// One object, if it exists.
    pub(crate) fn get(&self, key: &ObjectKey, wall: u64) -> Option<ObjectView> {
        view(key, self.held.get(key)?, wall)
    }

    /// Plans the writing of some objects by the node called `me`; `None` as a body deletes. All or
    /// nothing: what is planned is what [`Self::set_own`] is to be told.
    ///
    /// # Errors
    /// See [`ObjectError`]; nothing has changed.
    pub(crate) fn plan(
        &self,
        me: PeerName,
        changes: Vec<(ObjectKey, Option<Vec<u8>>)>,
        wall: u64,
    ) -> Result<Vec<(Slot, ObjectValue)>, ObjectError> {
        let mut seen: BTreeSet<ObjectKey> = BTreeSet::new();
        let named: BTreeSet<Slot> =
            changes.iter().filter_map(|(key, _)| self.own_slots.get(key)).copied().collect();
        let mut free = self.free_slots(me, wall);
        let mut bytes = self.own_bytes;
        let mut planned = Vec::new();
        for (key, body) in changes {
            key.check().map_err(|why| ObjectError::Key { key: key.clone(), why })?;
            if let Some(body) = &body
                && body.len() > MAX_OBJECT
            {
                return Err(ObjectError::TooLong { key, bytes: body.len() });
            }
            if !seen.insert(key.clone()) {
                return Err(ObjectError::Key { key, why: "an object that is given twice" });
            }
            let slot = match self.own_slots.get(&key) {
                Some(slot) => *slot,
                // One that is taken away from another object must not be that object's in this batch.
                None => free.find(|slot| !named.contains(slot)).ok_or(ObjectError::TooMany)?,
            };
            let stamp = Stamp::next(wall, self.replaced(&key, wall));
            let value = ObjectValue { key, stamp, body };
            bytes += codec::encode(&value).len();
            bytes -= self.own.get(&slot).map_or(0, |own| own.bytes);
            planned.push((slot, value));
        }
        if bytes > MAX_OBJECT_BYTES { Err(ObjectError::NoRoom) } else { Ok(planned) }
    }

    /// The stamp that a write of an object must follow.
    fn replaced(&self, key: &ObjectKey, wall: u64) -> Option<Stamp> {
        let held = self.held.get(key).and_then(|places| greatest(places, wall));
        // What waits for the disk is not held yet.
        let own = self.own_slots.get(key).and_then(|slot| self.own.get(slot));
        let own = own.map(|own| own.stamp).filter(|stamp| is_believed(*stamp, wall));
        held.map(|(_, held)| held.stamp).max(own)
    }

    /// The slots that can be written without forgetting anything, the best first.
    fn free_slots(&self, me: PeerName, wall: u64) -> impl Iterator<Item = Slot> {
        let rank = |stamp, name| (is_believed(stamp, wall), stamp, name);
        // By what this node itself believes, not merely while nothing else speaks.
        let overruled = |slot: &Slot, own: &Own| {
            let counting = self.held.get(&own.key).and_then(|places| greatest(places, wall));
            counting.is_some_and(|(place, held)| {
                place != (me, *slot)
                    && is_believed(held.stamp, wall)
                    && rank(held.stamp, place.0) > rank(own.stamp, me)
            })
        };
        let (overruled, kept): (Vec<_>, Vec<_>) =
            self.own.iter().partition(|(slot, own)| overruled(slot, own));
        let unused = (0..MAX_OBJECTS).filter(|slot| !self.own.contains_key(slot));
        let unused: Vec<Slot> = unused.collect();
        // A deletion that all have had time to learn of, and that nobody's record waits behind.
        let mut settled: Vec<(Stamp, Slot)> = kept
            .into_iter()
            .filter(|(_, own)| own.deleted && is_older(own.stamp, wall))
            .filter(|(slot, own)| {
                let alone = |places: &BTreeMap<Place, Held>| {
                    places.keys().all(|place| *place == (me, **slot))
                };
                self.held.get(&own.key).is_none_or(alone)
            })
            .map(|(slot, own)| (own.stamp, *slot))
            .collect();
        settled.sort_unstable();
        let overruled: Vec<Slot> = overruled.into_iter().map(|(slot, _)| *slot).collect();
        overruled.into_iter().chain(unused).chain(settled.into_iter().map(|(_, slot)| slot))
    }

    /// A slot for an object that lost its own, if there is one without looking at clocks.
    pub(crate) fn spare_slot(&self) -> Option<Slot> {
        (0..MAX_OBJECTS).find(|slot| !self.own.contains_key(slot))
    }

    /// The lowest stamp that is set aside now, and so the next to count as time passes.
    pub(crate) fn next_to_count(&self, wall: u64) -> Option<u64> {
        let stamps = self.held.values().flat_map(|places| places.values().map(|held| held.stamp));
        stamps.filter(|stamp| !is_believed(*stamp, wall)).map(|stamp| stamp.millis).min()
    }

    /// For each writer whose clock seems to be ahead, the object that shows it best and by how many
    /// milliseconds. A stamp that only follows another one says nothing about its writer.
    pub(crate) fn ahead(&self, wall: u64) -> BTreeMap<PeerName, (u64, ObjectKey)> {
        let mut ahead: BTreeMap<PeerName, (u64, ObjectKey)> = BTreeMap::new();
        for (key, places) in &self.held {
            for ((writer, _), held) in places {
                let by = held.stamp.millis.saturating_sub(wall);
                let known = ahead.get(writer).map_or(0, |(known, _)| *known);
                if held.stamp.counter > 0 && is_believed(held.stamp, wall) {
                    continue;
                }
                if by > SKEW_WORTH_A_WORD.max(known) {
                    ahead.insert(*writer, (by, key.clone()));
                }
            }
        }
        ahead
    }

    /// Panics unless the indexes agree.
    pub(crate) fn check_invariants(&self) {
        let held: BTreeSet<(&Place, &ObjectKey)> = self
            .held
            .iter()
            .flat_map(|(key, places)| places.keys().map(move |place| (place, key)))
            .collect();
        assert_eq!(held, self.places.iter().collect());
        assert!(self.held.values().all(|places| !places.is_empty()));
        assert_eq!(self.own_bytes, self.own.values().map(|own| own.bytes).sum::<usize>());
        assert!(self.own_slots.iter().all(|(key, slot)| self.own[slot].key == *key));
    }
}

/// The record that counts, and where it stands.
fn greatest(places: &BTreeMap<Place, Held>, wall: u64) -> Option<(Place, &Held)> {
    let rank = |place: &Place, held: &Held| {
        (is_believed(held.stamp, wall), held.stamp, place.0, held.body.clone())
    };
    let places = places.iter().map(|(place, held)| (*place, held));
    places.max_by_key(|(place, held)| rank(place, held))
}

fn view(key: &ObjectKey, places: &BTreeMap<Place, Held>, wall: u64) -> Option<ObjectView> {
    let ((writer, _), held) = greatest(places, wall)?;
    let body = held.body.clone()?;
    Some(ObjectView { key: key.clone(), body, stamp: held.stamp, writer })
}

/// Whether a stamp is not too far ahead of this node's clock.
fn is_believed(stamp: Stamp, wall: u64) -> bool {
    stamp.millis <= wall.saturating_add(MAX_SKEW)
}

fn is_older(stamp: Stamp, wall: u64) -> bool {
    stamp.millis.saturating_add(DELETION_KEPT) < wall
}
