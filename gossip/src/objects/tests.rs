//! What counts, whatever the order in which records come.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 60 * 60 * 1000;

fn node(n: u8) -> PeerName {
    PeerName::from_bytes([n; 32])
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { kind: "NetworkPolicy".into(), namespace: "default".into(), name: name.into() }
}

fn value(name: &str, millis: u64, counter: u32, body: Option<&str>) -> ObjectValue {
    let body = body.map(|body| body.as_bytes().to_vec());
    ObjectValue { key: key(name), stamp: Stamp { millis, counter }, body }
}

fn body(objects: &Objects, name: &str, wall: u64) -> Option<String> {
    let view = objects.get(&key(name), wall)?;
    Some(String::from_utf8(view.body.to_vec()).unwrap())
}

/// Writes as a node does whose disk is instant.
fn write(
    objects: &mut Objects,
    me: PeerName,
    name: &str,
    body: Option<&str>,
    wall: u64,
) -> ObjectValue {
    let body = body.map(|body| body.as_bytes().to_vec());
    let mut planned = objects.plan(me, vec![(key(name), body)], wall).unwrap();
    let (slot, value) = planned.pop().unwrap();
    objects.set_own(slot, Some(&value), 10);
    objects.set((me, slot), Some(value.clone()));
    objects.check_invariants();
    value
}

/// Records of a few nodes about a few objects; each place has several versions, the last of which holds.
fn records() -> impl Strategy<Value = Vec<(Place, Option<ObjectValue>)>> {
    let place = (1..4_u8, 0..3_u16).prop_map(|(n, slot)| (node(n), slot));
    let said = (0..3_u8, 0..4_u64, 0..2_u32, prop::option::of("[ab]"));
    let value = said.prop_map(|(name, days, counter, body)| {
        value(&format!("o{name}"), days * DAY, counter, body.as_deref())
    });
    prop::collection::vec((place, prop::option::of(value)), 0..20)
}

fn all(objects: &Objects, wall: u64) -> Vec<ObjectView> {
    objects.iter(wall).collect()
}

proptest! {
    /// The store keeps the newest version of each place; what follows from these does not depend on
    /// the order in which they came, nor on how often.
    #[test]
    fn what_counts_follows_from_the_records_alone(
        records in records(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        wall in 0..3_u64,
    ) {
        let mut straight = Objects::default();
        for (place, value) in &records {
            straight.set(*place, value.clone());
            straight.check_invariants();
        }
        let newest: BTreeMap<Place, Option<ObjectValue>> = records.into_iter().collect();
        let mut shuffled = Objects::default();
        let newest: Vec<_> = newest.into_iter().collect();
        for index in order {
            if let Some((place, value)) = (!newest.is_empty()).then(|| index.get(&newest)) {
                shuffled.set(*place, value.clone());
            }
        }
        for (place, value) in newest.into_iter().rev() {
            shuffled.set(place, value);
            shuffled.check_invariants();
        }
        prop_assert_eq!(all(&straight, wall * DAY), all(&shuffled, wall * DAY));
    }

    /// Whatever is held, a write counts from then on at everyone whose clock agrees, except against
    /// what is set aside; and a slot that is used again takes nobody's last word away.
    #[test]
    fn a_write_counts_and_forgets_nothing(
        records in records(),
        writes in prop::collection::vec((0..6_u8, prop::option::of("[xy]"), 0..5_u64), 1..20),
    ) {
        let me = node(9);
        let mut objects = Objects::default();
        for (place, value) in records {
            objects.set(place, value);
        }
        for (name, text, days) in writes {
            let (name, wall) = (format!("o{name}"), days * DAY);
            let before = all(&objects, wall);
            write(&mut objects, me, &name, text.as_deref(), wall);
            prop_assert_eq!(body(&objects, &name, wall), text);
            let others = |views: Vec<ObjectView>| -> Vec<ObjectView> {
                views.into_iter().filter(|view| view.key != key(&name)).collect()
            };
            prop_assert_eq!(others(before), others(all(&objects, wall)));
        }
    }
}

#[test]
fn the_later_stamp_wins_then_the_writer_and_deletions_are_writes() {
    let mut objects = Objects::default();
    objects.set((node(1), 0), Some(value("o", 5, 0, Some("early"))));
    objects.set((node(2), 0), Some(value("o", 5, 1, Some("late"))));
    assert_eq!(body(&objects, "o", 10).as_deref(), Some("late"));
    objects.set((node(3), 7), Some(value("o", 5, 1, None)));
    assert_eq!(body(&objects, "o", 10), None, "equal stamps: the greater name");
    objects.set((node(1), 0), Some(value("o", 6, 0, Some("again"))));
    assert_eq!(body(&objects, "o", 10).as_deref(), Some("again"));
}

#[test]
fn a_clock_that_is_hours_ahead_cannot_keep_an_object() {
    let mut objects = Objects::default();
    let (now, me) = (100 * DAY, node(1));
    objects.set((node(2), 0), Some(value("o", now + DAY / 4, 0, Some("from the future"))));
    assert_eq!(body(&objects, "o", now).as_deref(), Some("from the future"));
    assert_eq!(objects.ahead(now)[&node(2)], (DAY / 4, key("o")));
    let written = write(&mut objects, me, "o", Some("mine"), now);
    assert_eq!(body(&objects, "o", now).as_deref(), Some("mine"));
    assert_eq!(written.stamp, Stamp { millis: now + DAY / 4, counter: 1 });
    let other = write(&mut objects, me, "p", Some("other"), now);
    assert_eq!(other.stamp, Stamp { millis: now, counter: 0 }, "nobody is dragged along");
}

#[test]
fn a_stamp_that_is_days_ahead_counts_only_where_nothing_else_does() {
    let mut objects = Objects::default();
    let now = 100 * DAY;
    let far = Stamp { millis: u64::MAX, counter: u32::MAX };
    let hostile = |body: Option<Vec<u8>>| ObjectValue { key: key("o"), stamp: far, body };
    objects.set((node(2), 0), Some(value("o", now, 0, Some("sound"))));
    objects.set((node(3), 0), Some(hostile(None)));
    assert_eq!(body(&objects, "o", now).as_deref(), Some("sound"));
    write(&mut objects, node(1), "o", Some("newer"), now);
    assert_eq!(body(&objects, "o", now).as_deref(), Some("newer"));
    // A node whose clock stands at the beginning of time still knows the policies of the others,
    // and what is written there counts there.
    let mut reset = Objects::default();
    reset.set((node(2), 0), Some(value("o", now, 0, Some("sound"))));
    assert_eq!(body(&reset, "o", 0).as_deref(), Some("sound"));
    let written = write(&mut reset, node(1), "o", Some("mine"), 0);
    assert_eq!(written.stamp, Stamp { millis: now, counter: 1 }, "and everywhere else, too");
    assert_eq!(objects.next_to_count(now), Some(u64::MAX));
    assert_eq!(reset.next_to_count(now), None);
}

#[test]
fn slots_are_used_again_once_their_word_does_not_count() {
    let (me, other) = (node(1), node(2));
    let mut objects = Objects::default();
    write(&mut objects, me, "a", Some("1"), 10);
    write(&mut objects, me, "b", Some("1"), 10);
    // Another node writes one of them: the slot of it is the next to be used.
    objects.set((other, 0), Some(value("a", 20, 0, Some("2"))));
    write(&mut objects, me, "c", Some("1"), 30);
    assert_eq!(objects.places.get(&(me, 0)), Some(&key("c")));
    assert_eq!(body(&objects, "a", 30).as_deref(), Some("2"));
    assert_eq!(objects.own.len(), 2);
    // A thousand writers' turns later there are no more records than objects.
    for turn in 0..1000 {
        let wall = 100 + turn * 2;
        objects.set((other, 0), Some(value("a", wall, 0, Some("theirs"))));
        write(&mut objects, me, "a", Some("mine"), wall + 1);
    }
    assert!(objects.own.len() <= 3, "{}", objects.own.len());
}

#[test]
fn deletions_are_kept_for_a_week_and_while_an_older_word_is_about() {
    let me = node(1);
    let mut objects = Objects::default();
    for n in 0..MAX_OBJECTS {
        write(&mut objects, me, &format!("o{n:04}"), None, u64::from(n) + 1);
    }
    let more = |objects: &Objects, wall| objects.plan(me, vec![(key("more"), None)], wall);
    assert_eq!(more(&objects, DAY), Err(ObjectError::TooMany));
    // Someone still holds the first one: its deletion must stay.
    objects.set((node(2), 0), Some(value("o0000", 0, 0, Some("old"))));
    objects.set((node(2), 1), Some(value("o0001", 0, 0, Some("old"))));
    let planned = more(&objects, 8 * DAY).unwrap();
    assert_eq!(planned[0].0, 2, "the oldest that nobody waits behind");
}

#[test]
fn bounds_are_errors_that_name_the_object() {
    let objects = Objects::default();
    let plan =
        |key: ObjectKey, len: usize| objects.plan(node(1), vec![(key, Some(vec![0; len]))], 0);
    assert!(plan(key("o"), MAX_OBJECT).is_ok());
    let error = plan(key("o"), MAX_OBJECT + 1).unwrap_err();
    assert!(error.to_string().starts_with("NetworkPolicy default/o has 32769 bytes"), "{error}");
    for bad in ["", "a\u{1b}[2Jb", &"x".repeat(400)] {
        assert!(matches!(plan(key(bad), 1), Err(ObjectError::Key { .. })), "{bad:?}");
    }
    let many = (0..100).map(|n| (key(&n.to_string()), Some(vec![0; MAX_OBJECT]))).collect();
    assert_eq!(objects.plan(node(1), many, 0), Err(ObjectError::NoRoom));
    let twice = vec![(key("o"), None), (key("o"), Some(vec![1]))];
    assert!(matches!(objects.plan(node(1), twice, 0), Err(ObjectError::Key { .. })));
}
