//! The store: for each origin the newest record of each key, and how far what is held is complete.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use weft_crypto::PeerName;

use crate::{
    limits::{MAX_ORIGIN_BYTES, MAX_ORIGINS, MAX_RECORDS_PER_ORIGIN, MAX_STORE_BYTES},
    message::{BUCKETS, bucket_of},
    record::{Key, Record},
};

/// The records a node holds. Merging is commutative, associative and idempotent, within the limits.
#[derive(Debug, Default)]
pub(crate) struct Store {
    origins: BTreeMap<PeerName, Origin>,
    bytes: usize,
}

/// What is held of one origin.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    records: BTreeMap<Key, Arc<Record>>,
    /// The same records in the order of their versions.
    by_version: BTreeSet<(u64, Key)>,
    /// The highest version up to which all live records are held.
    ///
    /// Invariant: at most the highest version in `by_version`. So nobody can raise it by a claim
    /// alone beyond what the origin has signed.
    watermark: u64,
    /// The sum, modulo 2^64, of the fingerprints of the records: equal for equal sets.
    fingerprint: u64,
    bytes: usize,
}

/// There is no room for a record, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom(pub(crate) &'static str);

impl Store {
    /// The record held of an origin and key.
    pub(crate) fn get(&self, origin: PeerName, key: &Key) -> Option<&Arc<Record>> {
        self.origins.get(&origin)?.records.get(key)
    }

    /// What is held of an origin.
    pub(crate) fn origin(&self, origin: PeerName) -> Option<&Origin> {
        self.origins.get(&origin)
    }

    /// What all records take, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The origins, by name.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (PeerName, &Origin)> {
        self.origins.iter().map(|(name, origin)| (*name, origin))
    }

    /// The origins between two names, both included.
    pub(crate) fn origins_between(
        &self,
        low: PeerName,
        high: PeerName,
    ) -> impl Iterator<Item = (PeerName, &Origin)> {
        // A range that ends before it starts would panic.
        let high = high.max(low);
        self.origins.range(low..=high).map(|(name, origin)| (*name, origin))
    }

    /// Whether merging the record would change anything, so that its signature is worth checking.
    pub(crate) fn is_news(&self, record: &Record) -> bool {
        self.get(record.origin(), record.key()).is_none_or(|held| held.rank() < record.rank())
    }

    /// Takes over a record whose signature holds; false if what is held is as new.
    ///
    /// # Errors
    /// There is no room for it, and nothing has changed.
    pub(crate) fn merge(&mut self, record: Arc<Record>) -> Result<bool, NoRoom> {
        if !self.is_news(&record) {
            return Ok(false);
        }
        let size = record.size();
        let freed = self.get(record.origin(), record.key()).map_or(0, |held| held.size());
        if self.bytes - freed + size > MAX_STORE_BYTES {
            return Err(NoRoom("the store is full"));
        }
        match self.origins.get(&record.origin()) {
            None if self.origins.len() >= MAX_ORIGINS => return Err(NoRoom("too many origins")),
            None => {}
            Some(origin) => {
                if origin.bytes - freed + size > MAX_ORIGIN_BYTES {
                    return Err(NoRoom("the origin's records take too much"));
                }
                if freed == 0 && origin.records.len() >= MAX_RECORDS_PER_ORIGIN {
                    return Err(NoRoom("the origin has too many records"));
                }
            }
        }
        self.bytes = self.bytes - freed + size;
        self.origins.entry(record.origin()).or_default().insert(record);
        Ok(true)
    }

    /// Notes that all live records of an origin up to `to` are held. Nothing above the highest
    /// version held is believed.
    pub(crate) fn raise_watermark(&mut self, origin: PeerName, to: u64) {
        if let Some(origin) = self.origins.get_mut(&origin) {
            origin.raise_watermark(to);
        }
    }

    /// For each bucket the hash over what is in it; 0 for an empty one.
    pub(crate) fn summary(&self) -> [u64; BUCKETS] {
        let mut hashers: [Option<Sha256>; BUCKETS] = std::array::from_fn(|_| None);
        for (name, origin) in self.origins() {
            if let Some(hasher) = hashers.get_mut(bucket_of(name.as_bytes())) {
                let hasher = hasher.get_or_insert_with(Sha256::new);
                hasher.update(name.as_bytes());
                hasher.update(origin.fingerprint.to_le_bytes());
            }
        }
        hashers.map(|hasher| {
            hasher.map_or(0, |hasher| {
                let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hasher.finalize().into();
                u64::from_le_bytes([a, b, c, d, e, f, g, h])
            })
        })
    }

    /// Panics unless the indexes agree with the records.
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for (name, origin) in self.origins() {
            assert!(origin.records.values().all(|record| record.origin() == name));
            assert!(origin.records.iter().all(|(key, record)| record.key() == key));
            let by_version: BTreeSet<_> = origin
                .records
                .iter()
                .map(|(key, record)| (record.version(), key.clone()))
                .collect();
            assert_eq!(origin.by_version, by_version);
            assert!(origin.watermark <= origin.newest());
            let sum = origin
                .records
                .values()
                .fold(0, |sum: u64, record| sum.wrapping_add(record.fingerprint()));
            assert_eq!(origin.fingerprint, sum);
            assert_eq!(origin.bytes, origin.records.values().map(|record| record.size()).sum());
            assert!(origin.bytes <= MAX_ORIGIN_BYTES);
            bytes += origin.bytes;
        }
        assert_eq!(self.bytes, bytes);
        assert!(bytes <= MAX_STORE_BYTES);
    }
}

impl Origin {
    /// The highest version up to which all live records are held.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The sum of the fingerprints of the live records.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The highest version held.
    pub(crate) fn newest(&self) -> u64 {
        self.by_version.last().map_or(0, |(version, _)| *version)
    }

    /// The records, by key.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// The records above a version, in the order of their versions.
    pub(crate) fn after(&self, version: u64) -> impl Iterator<Item = &Arc<Record>> {
        let lowest = Key { kind: crate::record::Kind(0), name: Vec::new() };
        let range = match version.checked_add(1) {
            Some(first) => (Bound::Included((first, lowest)), Bound::Unbounded),
            // Nothing has a version above the last there is.
            None => {
                let end = (u64::MAX, lowest);
                (Bound::Excluded(end.clone()), Bound::Included(end))
            }
        };
        self.by_version.range(range).filter_map(|(_, key)| self.records.get(key))
    }

    fn insert(&mut self, record: Arc<Record>) {
        let version = record.version();
        self.bytes += record.size();
        self.fingerprint = self.fingerprint.wrapping_add(record.fingerprint());
        self.by_version.insert((version, record.key().clone()));
        if let Some(old) = self.records.insert(record.key().clone(), record) {
            self.bytes -= old.size();
            self.fingerprint = self.fingerprint.wrapping_sub(old.fingerprint());
            if old.version() != version {
                self.by_version.remove(&(old.version(), old.key().clone()));
            }
        }
        // All up to the version before is held, so all up to this one is.
        if version == self.watermark.saturating_add(1) {
            self.watermark = version;
        }
    }

    fn raise_watermark(&mut self, to: u64) {
        self.watermark = self.watermark.max(to.min(self.newest()));
    }
}
