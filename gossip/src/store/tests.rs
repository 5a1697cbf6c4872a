//! The laws of the store.

use proptest::prelude::*;
use weft_crypto::Identity;

use super::*;
use crate::{
    laws::{self, Merge},
    limits::MAX_VALUE,
    record::{Key, Kind, Record},
};

/// A record of one of three origins, three keys and few versions, so that collisions are common.
fn records() -> impl Strategy<Value = Vec<Arc<Record>>> {
    let record = (0..3_u8, 0..3_u16, 1..6_u64, prop::option::of(0..2_u8)).prop_map(
        |(origin, kind, version, value)| record(origin, kind, version, value.map(|v| vec![v])),
    );
    prop::collection::vec(record, 0..12)
}

/// The records of one store, merged one by one into another.
impl Merge for Vec<Arc<Record>> {
    type Seen = (Vec<Arc<Record>>, [u64; BUCKETS]);

    fn merge(&mut self, other: &Self) {
        let mut store = store_of(self);
        for record in held(&store_of(other)) {
            store.merge(record).unwrap();
            store.check_invariants();
        }
        *self = held(&store);
    }

    fn seen(&self) -> Self::Seen {
        let store = store_of(self);
        (held(&store), store.summary())
    }

    fn covers(&self, other: &Self) -> bool {
        let store = store_of(self);
        other.iter().all(|record| !store.is_news(record))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn stores_obey_the_laws_of_merging(a in records(), b in records(), c in records()) {
        laws::check(&a, &b, &c)?;
    }

    #[test]
    fn the_order_and_the_number_of_merges_do_not_matter(
        records in records(),
        shuffled in any::<prop::sample::Index>(),
        repeated in any::<prop::sample::Index>(),
    ) {
        let straight = store_of(&records);
        let mut others = records.clone();
        if !others.is_empty() {
            let at = shuffled.index(others.len());
            others.rotate_left(at);
            others.reverse();
            others.push(Arc::clone(repeated.get(&records)));
        }
        let other = store_of(&others);
        prop_assert_eq!(held(&straight), held(&other));
        prop_assert_eq!(straight.summary(), other.summary());
    }

    #[test]
    fn merging_in_groups_is_merging_one_by_one(left in records(), right in records()) {
        let mut all = left.clone();
        all.extend(right.clone());
        // What one store holds of the left, merged with what another holds of the right.
        let mut grouped = store_of(&left);
        for record in held(&store_of(&right)) {
            grouped.merge(record).unwrap();
            grouped.check_invariants();
        }
        prop_assert_eq!(held(&grouped), held(&store_of(&all)));
    }

    #[test]
    fn equal_summaries_mean_equal_content(left in records(), right in records()) {
        let (left, right) = (store_of(&left), store_of(&right));
        prop_assert_eq!(held(&left) == held(&right), left.summary() == right.summary());
    }
}

#[test]
fn the_higher_version_wins_and_a_tombstone_stays() {
    let mut store = Store::default();
    assert_eq!(store.merge(record(1, 1, 2, None)), Ok(true));
    assert_eq!(store.merge(record(1, 1, 1, Some(vec![1]))), Ok(false));
    assert_eq!(store.get(name(1), &key(1)).unwrap().value(), None);
    assert_eq!(store.merge(record(1, 1, 3, Some(vec![3]))), Ok(true));
    assert_eq!(store.get(name(1), &key(1)).unwrap().value(), Some(&[3][..]));
    store.check_invariants();
}

#[test]
fn the_watermark_follows_versions_without_a_gap_and_no_claims() {
    let mut store = Store::default();
    store.merge(record(1, 1, 1, None)).unwrap();
    assert_eq!(store.origin(name(1)).unwrap().watermark(), 1);
    store.merge(record(1, 2, 4, None)).unwrap();
    assert_eq!(store.origin(name(1)).unwrap().watermark(), 1);
    store.raise_watermark(name(1), u64::MAX);
    assert_eq!(store.origin(name(1)).unwrap().watermark(), 4);
    store.raise_watermark(name(9), u64::MAX);
    assert!(store.origin(name(9)).is_none());
    store.check_invariants();
}

#[test]
fn records_after_a_version_come_in_the_order_of_versions() {
    let store = store_of(&[record(1, 1, 5, None), record(1, 2, 3, None), record(1, 3, 4, None)]);
    let versions = |after| -> Vec<u64> {
        store.origin(name(1)).unwrap().after(after).map(|record| record.version()).collect()
    };
    assert_eq!(versions(0), [3, 4, 5]);
    assert_eq!(versions(3), [4, 5]);
    assert_eq!(versions(5), [0; 0]);
    assert_eq!(versions(u64::MAX), [0; 0]);
}

#[test]
fn an_origin_has_bounded_keys_and_bytes() {
    let mut store = Store::default();
    for kind in 0..MAX_RECORDS_PER_ORIGIN {
        let kind = u16::try_from(kind).unwrap();
        assert_eq!(store.merge(record(1, kind, u64::from(kind) + 1, None)), Ok(true));
    }
    assert_eq!(
        store.merge(record(1, 9999, 9999, None)),
        Err(NoRoom("the origin has too many records"))
    );
    // A known key may still change.
    assert_eq!(store.merge(record(1, 0, 9999, None)), Ok(true));
    let big = vec![0; MAX_VALUE];
    let refused = (0..MAX_RECORDS_PER_ORIGIN).find_map(|kind| {
        let kind = u16::try_from(kind).unwrap();
        store.merge(record(2, kind, 1, Some(big.clone()))).err()
    });
    assert_eq!(refused, Some(NoRoom("the origin's records take too much")));
    store.check_invariants();
}

fn store_of(records: &[Arc<Record>]) -> Store {
    let mut store = Store::default();
    for record in records {
        store.merge(Arc::clone(record)).unwrap();
        store.check_invariants();
    }
    store
}

fn held(store: &Store) -> Vec<Arc<Record>> {
    store.origins().flat_map(|(_, origin)| origin.records().cloned().collect::<Vec<_>>()).collect()
}

fn record(origin: u8, kind: u16, version: u64, value: Option<Vec<u8>>) -> Arc<Record> {
    Arc::new(Record::sign(&Identity::from_seed([origin; 32]), key(kind), version, value))
}

fn key(kind: u16) -> Key {
    Key::of(Kind(kind))
}

fn name(origin: u8) -> PeerName {
    Identity::from_seed([origin; 32]).name()
}
