//! Whether one path to one peer works, both ways, and how well.
//!
//! ```text
//!              answered                      nothing in time, or the peer says so
//! Unconfirmed ----------> Alive --------------------------------------------------> Suspect
//!                          ^ ^                      answered                          |  |
//!                          | +--------------------------------------------------------+  |
//!                          |                                                             | no answer
//!                          +------------------- Trial <-------------------------- Dead <-+
//!                            answered throughout      --------------------------->
//!                                              answered / a gap
//! ```
//!
//! **Cost.** The two ends take turns: whoever was asked asks next, so that each measures the round
//! trip and only one question and one answer travel in an [`interval`]. The interval is what keeps
//! that below [`BUDGET`], IP and UDP headers included.
//!
//! **Speed.** An alive path that falls silent is suspected one interval and [`LATENESS`] after the
//! last sign at the latest, and dead [`VERDICT`] and a round trip later. That holds for a path that
//! fails in one direction as well: the end that hears nothing asks *urgently*, which tells the other
//! to look for itself.
//!
//! **False alarms.** A verdict takes one failed round trip and then [`QUESTIONS`] more. Where
//! packets are lost independently with probability `p`, that is `(1 - (1 - p)^2)^(QUESTIONS + 1)` for
//! an interval: 8e-12 at 5 % loss, which is one false alarm in 7,000 years of a path; at 20 % loss,
//! 1e-5, one in two days.
//!
//! **Flapping.** What died is trusted again after a trial without a gap, whose length doubles with
//! each death that follows soon upon the last.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weft_gossip::Time;

use super::quality::Quality;

/// What a path may cost while nothing happens, bytes a second: questions and answers of both ends.
const BUDGET: u32 = 90;

/// The length of a sealed probe (`docs/protocol/data.md`), and of the UDP header.
const PROBE_LEN: u32 = 41;
const UDP_LEN: u32 = 8;

/// How often a path that carries traffic is probed, by each end that sends. Nothing beside the traffic, and silence
/// is noticed in a second, in time for the third repetition of a TCP segment (RFC 6298: after 0.2, 0.6 and 1.4 s).
const BUSY_EVERY: Duration = Duration::from_millis(300);

/// How often an unconfirmed path is probed.
const UNCONFIRMED_EVERY: Duration = Duration::from_millis(500);

/// How long it is probed so often.
const LONG_UNCONFIRMED: Duration = Duration::from_secs(10);

/// How much longer a relayed packet is than the one in it, with two relays.
const RELAY_LEN: u32 = 63;

/// How much later than due the peer's question may be. Timers of a busy host are late.
const LATENESS: Duration = Duration::from_millis(120);

/// How often a suspected path is probed, and how often before it is given up.
const SUSPECT_EVERY: Duration = Duration::from_millis(50);
const QUESTIONS: u32 = 10;
const VERDICT: Duration = SUSPECT_EVERY.saturating_mul(QUESTIONS);

/// How long the last questions are given for their answers, beyond what the round trip was.
const PATIENCE: Duration = Duration::from_millis(50);

/// No more than that is waited for answers, however long the round trip was.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(800);

/// How often a dead path is probed: soon after its death, and in the long run.
const DEAD_EVERY: Duration = Duration::from_secs(1);
const LONG_DEAD_EVERY: Duration = Duration::from_secs(5);
const LONG_DEAD: Duration = Duration::from_secs(60);

/// How often a path on trial is probed, and how long a trial lasts after a first death.
const TRIAL_EVERY: Duration = Duration::from_millis(100);
const TRIAL: Duration = Duration::from_secs(1);

/// How long a path on trial may be silent. Three questions in a row are rarely lost on one that works.
const TRIAL_GAP: Duration = TRIAL_EVERY.saturating_mul(4);

/// A path that lived that long is no flapping one. Trials double up to this many times.
const STEADY: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 6;

/// Questions whose answers are waited for. Beyond it the oldest counts as lost.
const MAX_ASKED: usize = 32;

/// The time between two questions on an idle path whose ends have addresses of this family.
pub(in crate::daemon::engine) fn interval(address: SocketAddr) -> Duration {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    };
    Duration::from_secs(1) * (2 * (PROBE_LEN + UDP_LEN + ip)) / BUDGET
}

/// The same of a path through other nodes, on each of its legs.
pub(in crate::daemon::engine) fn relayed_interval() -> Duration {
    Duration::from_secs(1) * (2 * (PROBE_LEN + RELAY_LEN + UDP_LEN + 20)) / BUDGET
}

/// Which of the two ends of a path this is: a tie-break, so that they do not ask at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon::engine) enum End {
    Low,
    High,
}

/// A question to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon::engine) struct Question {
    pub(in crate::daemon::engine) token: u64,
    /// Tells the peer that this end misses its answers.
    pub(in crate::daemon::engine) urgent: bool,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon::engine) enum Change {
    /// It works, both ways.
    Up,
    /// It does not.
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unconfirmed { since: Time },
    Alive { since: Time },
    Suspect { alive_since: Time, since: Time, urgent: bool },
    Dead { since: Time },
    Trial { since: Time, dead_since: Time },
}

/// The machine of one path. Pure: after each `handle_*`, ask [`Monitor::poll_question`] until it
/// has none, and call [`Monitor::handle_timeout`] at the time of [`Monitor::poll_timeout`].
#[derive(Debug, Clone)]
pub(in crate::daemon::engine) struct Monitor {
    end: End,
    interval: Duration,
    state: State,
    /// When the next question is due.
    next: Time,
    /// The last sign of life: an answer, or, of a path that is alive, a question.
    heard: Time,
    /// Questions without an answer, oldest first.
    asked: VecDeque<(u64, Time)>,
    last_asked: Option<Time>,
    quality: Quality,
    doublings: u32,
    /// Whether this end sends traffic along the path.
    busy: bool,
}

impl Monitor {
    /// A path that nothing is known of. Its first question is due at once.
    pub(in crate::daemon::engine) fn new(end: End, interval: Duration, now: Time) -> Self {
        Self {
            end,
            interval,
            state: State::Unconfirmed { since: now },
            next: now,
            heard: now,
            asked: VecDeque::new(),
            last_asked: None,
            quality: Quality::default(),
            doublings: 0,
            busy: false,
        }
    }

    /// Whether traffic may be trusted to the path. A suspected one is still trusted.
    pub(in crate::daemon::engine) fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive { .. } | State::Suspect { .. })
    }

    /// Since when the path is dead, if it was alive before.
    pub(in crate::daemon::engine) fn dead_since(&self) -> Option<Time> {
        match self.state {
            State::Dead { since } => Some(since),
            State::Trial { dead_since, .. } => Some(dead_since),
            State::Unconfirmed { .. } | State::Alive { .. } | State::Suspect { .. } => None,
        }
    }

    /// Whether the path is not known to work: it is suspected or dead, or its first answer has not come for that long.
    pub(in crate::daemon::engine) fn is_doubted(&self, patience: Duration, now: Time) -> bool {
        match self.state {
            State::Unconfirmed { since } => now.since(since) >= patience,
            State::Alive { .. } => false,
            State::Suspect { .. } | State::Dead { .. } | State::Trial { .. } => true,
        }
    }

    /// The last sign of life.
    pub(in crate::daemon::engine) fn heard(&self) -> Time {
        self.heard
    }

    /// The round-trip time and loss.
    pub(in crate::daemon::engine) fn quality(&self) -> &Quality {
        &self.quality
    }

    /// The next question to send, if one is due. `token` names it.
    pub(in crate::daemon::engine) fn poll_question(
        &mut self,
        token: u64,
        now: Time,
    ) -> Option<Question> {
        if self.next > now {
            return None;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
            self.quality.lost();
        }
        self.asked.push_back((token, now));
        self.last_asked = Some(now);
        self.next = now + self.pause(now);
        let urgent = matches!(self.state, State::Suspect { urgent: true, .. });
        Some(Question { token, urgent })
    }

    /// The time to the question after this one.
    fn pause(&self, now: Time) -> Duration {
        match self.state {
            State::Unconfirmed { since } if now.since(since) < LONG_UNCONFIRMED => {
                UNCONFIRMED_EVERY
            }
            State::Unconfirmed { .. } => LONG_DEAD_EVERY,
            State::Alive { .. } if self.busy => BUSY_EVERY,
            // The peer's turn comes first.
            State::Alive { .. } => 2 * self.interval,
            State::Suspect { .. } => SUSPECT_EVERY,
            State::Dead { since } if now.since(since) < LONG_DEAD => DEAD_EVERY,
            State::Dead { .. } => LONG_DEAD_EVERY,
            State::Trial { .. } => TRIAL_EVERY,
        }
    }

    /// An answer came. One to a question that is not waited for any more says nothing.
    pub(in crate::daemon::engine) fn handle_answer(
        &mut self,
        token: u64,
        now: Time,
    ) -> Option<Change> {
        let place = self.asked.iter().position(|(asked, _)| *asked == token)?;
        let (_, sent) = self.asked.drain(..=place).next_back()?;
        for _ in 0..place {
            self.quality.lost();
        }
        self.quality.answered(now.since(sent));
        self.heard = now;
        match self.state {
            State::Unconfirmed { .. } => {
                self.live(now, now);
                Some(Change::Up)
            }
            State::Suspect { alive_since, .. } => {
                self.live(alive_since, now);
                None
            }
            State::Dead { since } => {
                self.begin(State::Trial { since: now, dead_since: since }, now + TRIAL_EVERY);
                None
            }
            State::Trial { since, .. } if now.since(since) >= self.trial() => {
                self.live(now, now);
                Some(Change::Up)
            }
            State::Alive { .. } | State::Trial { .. } => None,
        }
    }

    /// The peer asked along this path; the data plane has answered.
    pub(in crate::daemon::engine) fn handle_question(&mut self, urgent: bool, now: Time) {
        match self.state {
            State::Alive { since } => {
                self.heard = now;
                let crossed = self.last_asked.is_some_and(|at| now.since(at) < self.interval / 2);
                if urgent {
                    self.doubt(since, now);
                } else if !self.busy && (!crossed || self.end == End::Low) {
                    // It is this end's turn now. Where both asked at once, it is the low end's.
                    self.next = now + self.interval;
                }
            }
            // A sign of life, in one direction at least.
            State::Dead { .. } => self.next = now,
            State::Unconfirmed { .. } | State::Suspect { .. } | State::Trial { .. } => {}
        }
    }

    /// There is a reason to doubt a path that is alive: it is asked at once, and has as long as any suspect.
    pub(in crate::daemon::engine) fn handle_doubt(&mut self, now: Time) {
        if let State::Alive { since } = self.state {
            self.doubt(since, now);
        }
    }

    fn doubt(&mut self, alive_since: Time, now: Time) {
        self.begin(State::Suspect { alive_since, since: now, urgent: false }, now);
    }

    fn live(&mut self, since: Time, now: Time) {
        // Who asks first after that is open; the low end is a little earlier.
        let grace = match self.end {
            End::Low => Duration::ZERO,
            End::High => LATENESS / 2,
        };
        let pause = if self.busy { BUSY_EVERY } else { self.interval + grace };
        self.begin(State::Alive { since }, now + pause);
    }

    /// Whether this end sends traffic along the path, as of now.
    pub(in crate::daemon::engine) fn handle_traffic(&mut self, busy: bool, now: Time) {
        if busy && !self.busy && matches!(self.state, State::Alive { .. }) {
            self.next = self.next.min(now + BUSY_EVERY);
        }
        self.busy = busy;
    }

    /// When [`Monitor::handle_timeout`] or a question is due next.
    pub(in crate::daemon::engine) fn poll_timeout(&self) -> Time {
        self.verdict_at().map_or(self.next, |at| at.min(self.next))
    }

    /// When the present state ends if nothing is heard.
    fn verdict_at(&self) -> Option<Time> {
        match self.state {
            State::Alive { .. } => {
                let silent =
                    self.heard + self.interval + LATENESS + self.quality.wait(LONGEST_WAIT);
                let unanswered = self.asked.front().map(|(_, sent)| *sent + self.wait());
                Some(unanswered.map_or(silent, |at| at.min(silent)))
            }
            State::Suspect { since, .. } => Some(since + VERDICT + self.wait()),
            State::Trial { .. } => Some(self.heard + TRIAL_GAP + self.wait()),
            State::Unconfirmed { .. } | State::Dead { .. } => None,
        }
    }

    /// How long an answer is waited for.
    fn wait(&self) -> Duration {
        PATIENCE + self.quality.wait(LONGEST_WAIT)
    }

    fn trial(&self) -> Duration {
        TRIAL * 2_u32.saturating_pow(self.doublings.saturating_sub(1))
    }

    /// Lets time pass.
    pub(in crate::daemon::engine) fn handle_timeout(&mut self, now: Time) -> Option<Change> {
        if self.verdict_at().is_none_or(|at| at > now) {
            return None;
        }
        match self.state {
            State::Alive { since } => {
                // An answer that is merely late still counts.
                self.state = State::Suspect { alive_since: since, since: now, urgent: true };
                self.next = now;
                None
            }
            State::Suspect { alive_since, .. } => {
                let steady = now.since(alive_since) >= STEADY;
                self.doublings = if steady { 1 } else { (self.doublings + 1).min(MAX_DOUBLINGS) };
                for _ in 0..self.asked.len() {
                    self.quality.lost();
                }
                self.begin(State::Dead { since: now }, now + DEAD_EVERY);
                Some(Change::Down)
            }
            State::Trial { dead_since, .. } => {
                self.begin(State::Dead { since: dead_since }, now + DEAD_EVERY);
                None
            }
            State::Unconfirmed { .. } | State::Dead { .. } => None,
        }
    }

    /// Enters a state, in which nothing is asked yet.
    fn begin(&mut self, state: State, next: Time) {
        self.state = state;
        self.next = next;
        self.asked.clear();
    }
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
