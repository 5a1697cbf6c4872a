//! Two ends over a wire with a clock of its own: no packet is lost, whatever happens to messages.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::{HEADER_LEN, Header, TAG_LEN};

const SUITE: Suite = Suite::ChaCha20Poly1305;
const SECOND: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(120);

/// One end: its machine, what the data plane was told, and the messages on their way to it.
struct End {
    epochs: Epochs,
    sealer: Arc<Sealer>,
    openers: Vec<(ReceiverIndex, Arc<Opener>)>,
    incoming: VecDeque<Vec<u8>>,
    drawn: u32,
}

impl End {
    fn new(role: Role, now: Duration) -> Self {
        let keys = SessionKeys::derive(&[9; 32], role);
        let (ours, theirs) = match role {
            Role::Client => (1, 2),
            Role::Server => (2, 1),
        };
        let indices = Indices { ours: ReceiverIndex(ours), theirs: ReceiverIndex(theirs) };
        let times = RekeyTimes::default();
        let epochs = Epochs::new(&keys, role, SUITE, indices, times, 0, now);
        let sealer = Arc::clone(epochs.sealer());
        let mut end =
            Self { epochs, sealer, openers: Vec::new(), incoming: VecDeque::new(), drawn: ours };
        end.publish();
        end
    }

    /// Hands the keys to the data plane.
    fn publish(&mut self) {
        if !self.epochs.take_changed() {
            return;
        }
        self.sealer = Arc::clone(self.epochs.sealer());
        self.openers =
            self.epochs.openers().map(|(index, opener)| (index, Arc::clone(opener))).collect();
        let indices: BTreeSet<_> = self.openers.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices.len(), self.openers.len(), "an index twice");
    }

    fn take(&mut self, bytes: &[u8], now: Duration) -> Result<(), RekeyError> {
        let drawn = &mut self.drawn;
        let result = self.epochs.handle_message(bytes, &mut || draw(drawn), now);
        self.publish();
        result
    }

    fn tick(&mut self, now: Duration) -> Result<(), Expired> {
        let drawn = &mut self.drawn;
        let result = self.epochs.handle_timeout(&mut || draw(drawn), now);
        self.publish();
        result
    }

    fn seal(&self) -> Vec<u8> {
        let mut packet = vec![7; HEADER_LEN + 4 + TAG_LEN];
        self.sealer.seal(&mut packet).unwrap();
        packet
    }

    /// Whether the data plane takes a packet.
    fn open(&self, mut packet: Vec<u8>) -> bool {
        let header = Header::parse(&packet).unwrap();
        let mut openers = self.openers.iter();
        let Some((_, opener)) = openers.find(|(index, _)| *index == header.receiver) else {
            return false;
        };
        let Ok((counter, _)) = opener.open(&mut packet) else { return false };
        opener.replay().accept(counter).is_ok()
    }
}

fn draw(drawn: &mut u32) -> Fresh {
    *drawn += 2;
    let mut secret = Zeroizing::new([0; 32]);
    secret[..4].copy_from_slice(&drawn.to_le_bytes());
    Fresh { index: ReceiverIndex(*drawn), secret, jitter: 0 }
}

/// What happens to the messages from each end.
type Lossy<'a> = &'a mut dyn FnMut(usize) -> bool;

struct Pair {
    ends: [End; 2],
    now: Duration,
}

impl Pair {
    fn new() -> Self {
        let now = SECOND;
        Self { ends: [End::new(Role::Client, now), End::new(Role::Server, now)], now }
    }

    /// Puts what each end says on the wire, but for what is lost.
    fn send(&mut self, lost: Lossy<'_>) {
        for from in [0, 1] {
            while let Some(bytes) = self.ends[from].epochs.poll_message() {
                if !lost(from) {
                    self.ends[1 - from].incoming.push_back(bytes);
                }
            }
        }
    }

    /// Delivers one message to an end, if there is one.
    fn deliver(&mut self, to: usize) -> bool {
        let now = self.now;
        let end = &mut self.ends[to];
        let Some(bytes) = end.incoming.pop_front() else { return false };
        end.take(&bytes, now).unwrap();
        true
    }

    /// A packet each way, both of which must arrive.
    fn exchange(&self) {
        for from in [0, 1] {
            let packet = self.ends[from].seal();
            assert!(self.ends[1 - from].open(packet), "a packet was lost");
        }
    }

    /// Lets a second pass and everything arrive.
    fn second(&mut self, lost: Lossy<'_>) -> Result<(), Expired> {
        self.now += SECOND;
        for end in 0..2 {
            if self.ends[end].epochs.poll_timeout() <= self.now {
                self.ends[end].tick(self.now)?;
            }
        }
        loop {
            self.send(lost);
            if !(self.deliver(0) | self.deliver(1)) {
                return Ok(());
            }
        }
    }

    fn numbers(&self) -> [u64; 2] {
        [0, 1].map(|end| self.ends[end].epochs.number())
    }
}

#[test]
fn keys_in_use_are_changed_within_two_minutes_and_nothing_is_lost() {
    let mut pair = Pair::new();
    for minute in 1..=60 {
        for _ in 0..60 {
            pair.second(&mut |_| false).unwrap();
            pair.exchange();
        }
        let [client, server] = pair.numbers();
        assert_eq!(client, server);
        assert!(client >= minute / 2, "{client} changes in {minute} minutes");
    }
    assert!(pair.ends.iter().all(|end| end.openers.len() <= 2), "old keys pile up");
}

#[test]
fn keys_used_in_one_direction_only_are_changed_too() {
    for from in [0, 1] {
        let mut pair = Pair::new();
        for _ in 0..240 {
            pair.second(&mut |_| false).unwrap();
            let packet = pair.ends[from].seal();
            assert!(pair.ends[1 - from].open(packet));
        }
        assert_eq!(pair.numbers(), [2, 2]);
    }
}

#[test]
fn idle_keys_stay_and_probes_are_no_use() {
    let mut pair = Pair::new();
    for _ in 0..3600 {
        pair.second(&mut |_| panic!("a message from an idle end")).unwrap();
        for from in [0, 1] {
            let mut probe = vec![2; HEADER_LEN + 9 + TAG_LEN];
            pair.ends[from].sealer.seal_upkeep(&mut probe).unwrap();
            assert!(pair.ends[1 - from].open(probe));
        }
    }
    assert_eq!(pair.numbers(), [0, 0]);
    pair.exchange();
    for _ in 0..15 {
        pair.second(&mut |_| false).unwrap();
    }
    assert_eq!(pair.numbers(), [1, 1], "old keys that are used are changed at once");
}

#[test]
fn an_offer_that_crosses_another_gives_one_epoch() {
    let mut pair = Pair::new();
    pair.exchange();
    pair.now += LATEST;
    for end in 0..2 {
        pair.ends[end].tick(pair.now).unwrap();
    }
    pair.send(&mut |_| false);
    assert!(pair.ends.iter().all(|end| end.incoming.len() == 1), "both have offered");
    for _ in 0..3 {
        pair.second(&mut |_| false).unwrap();
        pair.exchange();
    }
    assert_eq!(pair.numbers(), [1, 1]);
}

#[test]
fn packets_sealed_before_the_change_arrive_after_it_but_not_much_later() {
    let mut pair = Pair::new();
    pair.exchange();
    let late = [0, 1].map(|from| [pair.ends[from].seal(), pair.ends[from].seal()]);
    pair.now += LATEST;
    pair.second(&mut |_| false).unwrap();
    assert_eq!(pair.numbers(), [1, 1]);
    let [[a, b], [c, d]] = late;
    for _ in 0..5 {
        pair.second(&mut |_| false).unwrap();
    }
    assert!(pair.ends[1].open(a.clone()) && pair.ends[0].open(c.clone()));
    assert!(!pair.ends[1].open(a) && !pair.ends[0].open(c), "a replay was taken");
    for _ in 0..=GRACE.as_secs() {
        pair.second(&mut |_| false).unwrap();
    }
    assert!(!pair.ends[1].open(b) && !pair.ends[0].open(d), "old keys are still there");
    assert!(pair.ends.iter().all(|end| end.openers.len() == 1));
}

#[test]
fn old_keys_are_gone_from_the_machine() {
    let mut pair = Pair::new();
    let old = [0, 1].map(|end| Arc::downgrade(pair.ends[end].epochs.sealer()));
    let opener = Arc::downgrade(&pair.ends[0].openers[0].1);
    pair.exchange();
    pair.now += LATEST;
    for _ in 0..=GRACE.as_secs() + 1 {
        pair.second(&mut |_| false).unwrap();
    }
    assert!(old.iter().all(|sealer| sealer.upgrade().is_none()));
    assert!(opener.upgrade().is_none());
    crate::assert_zeroized_on_drop::<Zeroizing<[u8; 32]>>();
}

#[test]
fn a_peer_that_does_not_answer_ends_the_session_not_the_rule() {
    let mut pair = Pair::new();
    let mut ended = None;
    for second in 1..=240 {
        pair.exchange();
        if pair.second(&mut |_| true).is_err() {
            ended = Some(second);
            break;
        }
    }
    assert!(ended.is_some_and(|second| (150..=180).contains(&second)), "{ended:?}");
}

#[test]
fn a_responder_that_is_never_confirmed_does_not_use_old_keys_for_ever() {
    let mut pair = Pair::new();
    let mut ended = false;
    for _ in 0..240 {
        pair.exchange();
        // The client's confirmations are lost; its offers are not.
        let epoch = pair.ends[0].epochs.number();
        ended |= pair.second(&mut |from| from == 0 && epoch == 1).is_err();
    }
    assert!(ended);
}

#[test]
fn nonsense_changes_nothing() {
    let mut pair = Pair::new();
    let now = pair.now;
    let half = Half { index: ReceiverIndex(77), public: [0; PUBLIC_LEN] };
    let message = |epoch, step| Message { epoch, step }.encode();
    let end = &mut pair.ends[1];
    assert_eq!(end.take(&message(1, Step::Offer(half)), now), Err(RekeyError::WeakKey));
    let misplaced = |epoch| Err(RekeyError::Misplaced { epoch, ours: 0 });
    assert_eq!(end.take(&message(2, Step::Offer(half)), now), misplaced(2));
    assert_eq!(end.take(&message(u64::MAX, Step::Offer(half)), now), misplaced(u64::MAX));
    assert_eq!(end.take(&message(1, Step::Confirm), now), misplaced(1));
    assert_eq!(end.take(&message(0, Step::Confirm), now), misplaced(0));
    assert_eq!(end.take(&message(1, Step::Answer(half)), now), Ok(()));
    assert_eq!(end.take(&message(0, Step::Done), now), Ok(()));
    assert_eq!(end.take(b"", now), Err(RekeyError::Malformed { len: 0 }));
    let good = Half { public: Ephemeral::new(&Zeroizing::new([3; 32])).public(), ..half };
    assert_eq!(end.take(&message(1, Step::Offer(good)), now), Ok(()));
    let other = Half { index: ReceiverIndex(78), ..good };
    assert_eq!(end.take(&message(1, Step::Offer(other)), now), misplaced(1));
    assert_eq!(pair.numbers(), [0, 0]);
    pair.exchange();
}

#[test]
fn changes_faster_than_old_keys_go_are_refused() {
    let mut pair = Pair::new();
    let now = pair.now;
    let mut taken = 0;
    for epoch in 1..=100 {
        let public = Ephemeral::new(&Zeroizing::new([3; 32])).public();
        let half = Half { index: ReceiverIndex(1000), public };
        let offer = Message { epoch, step: Step::Offer(half) }.encode();
        match pair.ends[1].take(&offer, now) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, RekeyError::TooOften);
                break;
            }
        }
        pair.ends[1].take(&Message { epoch, step: Step::Confirm }.encode(), now).unwrap();
    }
    assert_eq!(taken, MAX_OLD);
    assert_eq!(pair.ends[1].openers.len(), MAX_OLD + 1);
}

#[test]
fn no_two_epochs_share_a_key_and_a_number() {
    let mut pair = Pair::new();
    let mut seen = BTreeSet::new();
    for _ in 0..3600 {
        pair.second(&mut |_| false).unwrap();
        for end in &pair.ends {
            assert!(seen.insert(end.seal()), "the same packet sealed twice");
        }
    }
    assert!(pair.numbers()[0] > 30);
    assert!(pair.ends.iter().all(|end| end.epochs.sealed() == 3600));
}

proptest! {
    /// Messages lost and late, ends that speak at any time: packets arrive, and once the wire is whole again both ends
    /// are in one epoch.
    #[test]
    fn packets_survive_lost_and_late_messages(
        moves in prop::collection::vec((0..6_u8, any::<u8>()), 1..300),
    ) {
        let mut pair = Pair::new();
        for (what, amount) in moves {
            match what {
                0 => {
                    pair.now += SECOND * u32::from(amount % 16);
                    for end in 0..2 {
                        if pair.ends[end].tick(pair.now).is_err() {
                            // The connection is made anew.
                            return Ok(());
                        }
                    }
                }
                1 => pair.send(&mut |_| amount % 4 == 0),
                2 => drop(pair.deliver(0)),
                3 => drop(pair.deliver(1)),
                _ => pair.exchange(),
            }
        }
        for _ in 0..30 {
            if pair.second(&mut |_| false).is_err() {
                return Ok(());
            }
            pair.exchange();
        }
        let [client, server] = pair.numbers();
        prop_assert_eq!(client, server);
    }
}
