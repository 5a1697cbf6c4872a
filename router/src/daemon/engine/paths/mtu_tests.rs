//! One path and its machine, with a clock of its own.

use super::*;

const MOST: usize = 1452;
const WAIT: Duration = Duration::from_millis(50);
const STEP: Duration = Duration::from_millis(10);
const RTT: Duration = Duration::from_millis(20);

/// A path that takes datagrams of `takes` bytes, and one end of it.
struct Sim {
    mtu: PathMtu,
    now: Time,
    takes: usize,
    /// Whether short probes are answered.
    alive: bool,
    /// Whether long packets are sent.
    used: bool,
    heard: Time,
    /// One question in so many is lost; 0 for none.
    loses: u64,
    token: u64,
    answers: Vec<(Time, u64)>,
    asked: usize,
    changes: Vec<usize>,
}

impl Sim {
    fn new(takes: usize) -> Self {
        let now = Time::from_start(Duration::from_secs(1));
        Self {
            mtu: PathMtu::new(MOST, now),
            now,
            takes,
            alive: true,
            used: true,
            heard: now,
            loses: 0,
            token: 0,
            answers: Vec::new(),
            asked: 0,
            changes: Vec::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            if self.alive {
                self.heard = now;
            }
            if self.used {
                self.mtu.handle_use(now);
            }
            let (due, later): (Vec<_>, Vec<_>) =
                self.answers.drain(..).partition(|(at, _)| *at <= now);
            self.answers = later;
            let mut changed = false;
            for (_, token) in due {
                changed |= self.mtu.handle_answer(token, now);
            }
            changed |= self.mtu.handle_timeout(self.heard, now);
            if changed {
                self.changes.push(self.mtu.limit());
            }
            while let Some(question) = self.mtu.poll_question(self.token, WAIT, now) {
                self.token += 1;
                self.asked += 1;
                let lost =
                    self.loses > 0 && question.token.wrapping_mul(2_654_435_761) % self.loses == 0;
                if self.alive && question.len <= self.takes && !lost {
                    self.answers.push((now + RTT, question.token));
                }
            }
            assert!(self.mtu.limit() <= MOST);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_wide_path_costs_one_question_and_one_a_second_while_it_is_used() {
    let mut sim = Sim::new(MOST);
    sim.used = false;
    sim.run(3600 * SECOND);
    assert_eq!((sim.asked, sim.mtu.limit(), sim.mtu.is_narrow()), (1, MOST, false));
    assert_eq!(sim.mtu.poll_timeout(), None);
    sim.used = true;
    sim.run(10 * SECOND);
    assert!((9..=11).contains(&sim.asked), "{}", sim.asked);
    assert!(sim.changes.is_empty(), "{:?}", sim.changes);
}

#[test]
fn a_black_hole_is_found_in_two_seconds_and_measured_in_six_more() {
    for takes in [672, 1252, 1451, SURE_DATAGRAM, 400] {
        let mut sim = Sim::new(MOST);
        sim.run(10 * SECOND);
        sim.takes = takes;
        sim.run(2 * SECOND + SECOND / 2);
        assert_eq!(sim.changes.first(), Some(&SURE_DATAGRAM), "{takes}: {:?}", sim.changes);
        sim.run(8 * SECOND);
        assert_eq!(sim.mtu.limit(), takes.max(SURE_DATAGRAM));
        assert!(sim.mtu.is_known() && sim.mtu.is_narrow());
        assert!(sim.changes.is_sorted(), "it never tries what is not known: {:?}", sim.changes);
    }
}

#[test]
fn a_narrow_path_is_known_before_it_is_used() {
    let mut sim = Sim::new(672);
    sim.used = false;
    sim.run(10 * SECOND);
    assert_eq!(sim.mtu.limit(), 672);
}

#[test]
fn a_path_that_shrinks_twice_and_grows_again_is_followed() {
    let mut sim = Sim::new(MOST);
    for takes in [1252, 672] {
        sim.takes = takes;
        sim.run(12 * SECOND);
        assert_eq!(sim.mtu.limit(), takes);
    }
    sim.takes = 1000;
    sim.run(60 * SECOND);
    assert_eq!(sim.mtu.limit(), 1000);
    sim.takes = MOST;
    sim.run(660 * SECOND);
    assert_eq!(sim.mtu.limit(), MOST);
    assert!(!sim.mtu.is_narrow());
}

#[test]
fn what_stays_narrow_is_asked_ever_more_seldom() {
    let mut sim = Sim::new(672);
    sim.used = false;
    sim.run(3600 * SECOND);
    let before = sim.asked;
    sim.run(3600 * SECOND);
    // Six searches, each of some ten lengths, all but a few of them asked for three times.
    assert!(sim.asked - before <= 6 * 40, "{}", sim.asked - before);
}

#[test]
fn a_dead_path_says_nothing_of_lengths() {
    let mut sim = Sim::new(MOST);
    sim.run(5 * SECOND);
    sim.alive = false;
    sim.run(10 * SECOND);
    assert!(sim.changes.is_empty(), "{:?}", sim.changes);
    sim.alive = true;
    sim.run(10 * SECOND);
    assert_eq!((sim.mtu.limit(), sim.changes.len()), (MOST, 0));
}

#[test]
fn loss_of_a_twentieth_is_no_black_hole_and_no_hindrance() {
    let mut sim = Sim::new(MOST);
    sim.loses = 20;
    sim.run(3600 * SECOND);
    assert!(sim.changes.is_empty(), "{:?}", sim.changes);
    sim.takes = 1252;
    sim.run(12 * SECOND);
    assert_eq!(sim.mtu.limit(), 1252);
}

#[test]
fn late_and_foreign_answers() {
    let now = Time::from_start(SECOND);
    let mut mtu = PathMtu::new(MOST, now);
    let first = mtu.poll_question(7, WAIT, now).unwrap();
    assert_eq!(first, SizeQuestion { token: 7, len: MOST });
    let later = mtu.poll_timeout().unwrap();
    assert!(!mtu.handle_timeout(later, later));
    assert!(mtu.poll_question(8, WAIT, later).is_some());
    assert!(!mtu.handle_answer(9, later) && mtu.poll_timeout().is_some(), "nobody asked that");
    assert!(!mtu.handle_answer(7, later) && mtu.poll_timeout().is_none(), "late, but true");
    assert!(!mtu.handle_answer(8, later) && mtu.limit() == MOST);
}
