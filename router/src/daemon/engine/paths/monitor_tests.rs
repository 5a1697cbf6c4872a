//! Two monitors and a wire between them, in virtual time.

use std::collections::BTreeMap;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Two ends of a path. `delivers` says whether a packet from that end arrives, by chance or not.
struct Wire<F: FnMut(usize, Time) -> bool> {
    ends: [Monitor; 2],
    delay: Duration,
    delivers: F,
    /// Packets on the wire: when they arrive, in order of sending; to which end, and what.
    flying: BTreeMap<(Time, u64), (usize, Packet)>,
    sent: u64,
    changes: Vec<(Time, usize, Change)>,
    now: Time,
}

#[derive(Clone, Copy)]
enum Packet {
    Question(Question),
    Answer(u64),
}

impl<F: FnMut(usize, Time) -> bool> Wire<F> {
    fn new(delay: Duration, address: &str, delivers: F) -> Self {
        let interval = interval(address.parse().unwrap());
        let ends = [End::Low, End::High].map(|end| Monitor::new(end, interval, Time::START));
        Self {
            ends,
            delay,
            delivers,
            flying: BTreeMap::new(),
            sent: 0,
            changes: Vec::new(),
            now: Time::START,
        }
    }

    fn send(&mut self, from: usize, packet: Packet) {
        self.sent += 1;
        if (self.delivers)(from, self.now) {
            self.flying.insert((self.now + self.delay, self.sent), (1 - from, packet));
        }
    }

    fn run(&mut self, until: Duration) {
        let until = Time::from_start(until);
        loop {
            for end in 0..2 {
                let change = self.ends[end].handle_timeout(self.now);
                self.changes.extend(change.map(|change| (self.now, end, change)));
                while let Some(question) = self.ends[end].poll_question(self.sent, self.now) {
                    self.send(end, Packet::Question(question));
                }
            }
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let next = self.ends.iter().map(Monitor::poll_timeout).chain(arrival).min();
            let next = next.expect("an end always has a timer");
            if next > until {
                self.now = until;
                return;
            }
            // A timer that stands still would be a busy loop.
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, packet) = entry.remove();
                match packet {
                    Packet::Question(question) => {
                        self.send(to, Packet::Answer(question.token));
                        self.ends[to].handle_question(question.urgent, self.now);
                    }
                    Packet::Answer(token) => {
                        let change = self.ends[to].handle_answer(token, self.now);
                        self.changes.extend(change.map(|change| (self.now, to, change)));
                    }
                }
            }
        }
    }

    fn downs(&self) -> Vec<(Time, usize)> {
        let down = self.changes.iter().filter(|(.., change)| *change == Change::Down);
        down.map(|(at, end, _)| (*at, *end)).collect()
    }
}

/// A small generator, so that runs repeat: splitmix64.
fn chance(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from((z ^ z >> 31) >> 32).unwrap()) / f64::from(u32::MAX)
}

const V4: &str = "192.0.2.1:6783";
const V6: &str = "[2001:db8::1]:6783";

#[test]
fn an_idle_path_costs_less_than_100_bytes_a_second_on_either_family() {
    for (address, headers) in [(V4, 28), (V6, 48)] {
        for delay in [MS / 10, 20 * MS, 150 * MS] {
            let mut wire = Wire::new(delay, address, |_, _| true);
            wire.run(Duration::from_secs(10));
            let before = wire.sent;
            wire.run(Duration::from_secs(610));
            let bytes = (wire.sent - before) * (u64::from(PROBE_LEN) + headers);
            assert!(bytes < 600 * 100, "{address} {delay:?}: {} bytes/s", bytes / 600);
            assert!(wire.ends.iter().all(|end| end.is_alive() && end.quality().rtt().is_some()));
        }
    }
}

#[test]
fn silence_is_noticed_at_both_ends_in_either_direction_whenever_it_begins() {
    for address in [V4, V6] {
        for delay in [MS / 10, 10 * MS, 50 * MS] {
            for (cut_low, cut_high) in [(true, true), (true, false), (false, true)] {
                for begin in (20_000..24_000).step_by(93) {
                    let cut = Time::from_start(begin * MS);
                    let mut wire = Wire::new(delay, address, |from, now| {
                        now < cut || !(if from == 0 { cut_low } else { cut_high })
                    });
                    wire.run(begin * MS + Duration::from_secs(6));
                    let downs = wire.downs();
                    assert_eq!(
                        downs.len(),
                        2,
                        "{address} {delay:?} {cut_low} {cut_high}: {downs:?}"
                    );
                    let bound = interval(address.parse().unwrap()) + 900 * MS + 6 * delay;
                    for (at, end) in downs {
                        let took = at.since(cut);
                        assert!(took <= bound, "end {end}, {address}, {delay:?}: {took:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn single_losses_do_not_alarm() {
    for (loss, hours) in [(0.05, 100), (0.1, 24)] {
        let mut seed = 7;
        let mut wire = Wire::new(20 * MS, V4, |_, _| chance(&mut seed) >= loss);
        wire.run(Duration::from_secs(3600 * hours));
        assert_eq!(wire.downs(), [], "at a loss of {loss}");
        let percent = wire.ends[0].quality().loss_percent().unwrap();
        assert!(percent < 60, "{percent} %");
    }
}

#[test]
fn a_healed_path_is_trusted_after_a_trial_and_a_flapping_one_after_a_longer_one() {
    // Dead for 5 s of each 25.
    let mut wire = Wire::new(MS, V4, |_, now| now.since_start().as_secs() % 25 < 20);
    wire.run(Duration::from_secs(20 * 25));
    let ups: Vec<Time> = wire
        .changes
        .iter()
        .filter(|(_, end, change)| *end == 0 && *change == Change::Up)
        .map(|(at, ..)| *at)
        .collect();
    let healed = Duration::from_secs(25);
    let first = ups[1].since_start() - healed;
    assert!(first < Duration::from_millis(2200), "{first:?}");
    // With each death the trial becomes longer, until no up-time is long enough.
    assert!(ups.len() <= 7, "{ups:?}");
    let trials: Vec<_> = ups.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(trials.is_sorted(), "{trials:?}");
}

#[test]
fn answers_to_nothing_change_nothing() {
    let mut monitor = Monitor::new(End::Low, interval(V4.parse().unwrap()), Time::START);
    assert_eq!(monitor.handle_answer(1, Time::START), None);
    let question = monitor.poll_question(1, Time::START).unwrap();
    assert_eq!(monitor.poll_question(2, Time::START), None);
    assert_eq!(monitor.handle_answer(2, Time::START), None);
    assert_eq!(monitor.handle_answer(question.token, Time::START), Some(Change::Up));
    assert_eq!(monitor.handle_answer(question.token, Time::START), None);
    assert!(monitor.is_alive());
}

#[test]
fn a_path_that_is_never_answered_stays_unconfirmed_and_bounded() {
    let mut wire = Wire::new(MS, V4, |_, _| false);
    wire.run(Duration::from_secs(600));
    assert_eq!(wire.changes, []);
    assert!(!wire.ends[0].is_alive() && wire.ends[0].dead_since().is_none());
    assert_eq!(wire.ends[0].asked.len(), MAX_ASKED);
    assert_eq!(wire.ends[0].quality().loss_percent(), Some(100));
}

#[test]
fn silence_under_traffic_is_noticed_in_a_second() {
    for busy in [[true, true], [true, false], [false, true]] {
        for delay in [MS / 10, 10 * MS] {
            for begin in (20_000..22_000).step_by(47) {
                let cut = Time::from_start(begin * MS);
                let mut wire = Wire::new(delay, V4, |_, now| now < cut);
                for (end, busy) in wire.ends.iter_mut().zip(busy) {
                    end.handle_traffic(busy, Time::START);
                }
                wire.run(begin * MS + Duration::from_secs(6));
                let downs = wire.downs();
                assert_eq!(downs.len(), 2, "{busy:?} {delay:?}: {downs:?}");
                for (at, end) in downs.into_iter().filter(|(_, end)| busy[*end]) {
                    let took = at.since(cut);
                    assert!(took <= 1050 * MS + 4 * delay, "end {end}, {delay:?}: {took:?}");
                }
            }
        }
    }
}
