//! How long datagrams on one direct path may be, found by asking with probes of that length (RFC 8899, DPLPMTUD).
//!
//! ```text
//!             answered                       none of several answered, while short probes are
//!  Confirm ------------> Settled    Confirm ---------------------------------------------------> Search
//!     ^                     |                                                                      |
//!     +---- used -----------+---- once in a while, if there is more to gain ---------------------->+
//!                           ^                    nothing between what goes and what does not       |
//!                           +----------------------------------------------------------------------+
//! ```
//!
//! What ICMP says about the path is not heard: anybody could say it, and often nobody does. A path is trusted with
//! full packets from the start, and asked at once; that costs a narrow one its long packets for a second, and spares
//! all others a detour. While long packets go, their length is confirmed every second ([`CONFIRM`]). When that fails
//! (a "black hole"), packets go in pieces that any path takes, and a search finds out what more it takes.
//!
//! Nothing is asked while no long packets are sent, but for that first question and the search for more.

use std::time::Duration;

use weft_dataplane::SURE_DATAGRAM;
use weft_gossip::Time;

/// How often the length of packets is confirmed while long ones are sent: a tenth of a per cent of a slow uplink, and
/// often enough that TCP survives.
const CONFIRM: Duration = Duration::from_secs(1);

/// How many questions in a row without an answer mean that packets of that length do not go. When in doubt about what
/// went before, more: at 5 % loss a false verdict takes some 100,000 confirmations.
const TRIES: usize = 3;
const TRIES_TO_CONFIRM: usize = 5;

/// How long an answer is waited for beyond the round-trip time and its variance.
const PATIENCE: Duration = Duration::from_millis(150);

/// How soon a path that takes less than it should is asked for more, and how seldom in the end: twice as late each
/// time that it still does not (RFC 8899 section 5.1.1: 10 minutes).
const FIRST_RAISE: Duration = Duration::from_secs(15);
const LAST_RAISE: Duration = Duration::from_secs(600);

/// A question to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon::engine) struct SizeQuestion {
    pub(in crate::daemon::engine) token: u64,
    /// The length of the datagram, bytes of UDP payload.
    pub(in crate::daemon::engine) len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `limit` is asked for again.
    Confirm,
    /// What lies between `limit`, which goes, and this, which does not, is asked for.
    Search {
        too_long: usize,
    },
    Settled {
        since: Time,
    },
}

/// Questions of one length without an answer.
#[derive(Debug, Clone)]
struct Asked {
    len: usize,
    /// When the first was asked.
    first: Time,
    /// One for each question: an answer that is late is one as well.
    tokens: Vec<u64>,
    /// How many had been asked when the path gave a sign of life after the first.
    heard: Option<usize>,
}

impl Asked {
    /// How many questions were not answered while the path was alive.
    fn missing(&self) -> usize {
        self.heard.map_or(0, |heard| (self.tokens.len() + 1).saturating_sub(heard))
    }
}

/// The machine of one path. Pure: after each `handle_*`, ask [`PathMtu::poll_question`], and call
/// [`PathMtu::handle_timeout`] at the time of [`PathMtu::poll_timeout`].
#[derive(Debug, Clone)]
pub(in crate::daemon::engine) struct PathMtu {
    /// The longest datagram that is ever sent.
    most: usize,
    limit: usize,
    /// Whether the search that the limit is from has come to its end.
    known: bool,
    state: State,
    asked: Option<Asked>,
    /// When a question is due. Of no account once settled.
    next: Time,
    /// When more is asked for, and how long after the last time.
    raise_at: Option<Time>,
    raise: Duration,
}

impl PathMtu {
    /// A path that takes datagrams of `most` bytes until it is known better.
    pub(in crate::daemon::engine) fn new(most: usize, now: Time) -> Self {
        let most = most.max(SURE_DATAGRAM);
        Self {
            most,
            limit: most,
            known: true,
            state: State::Confirm,
            asked: None,
            next: now,
            raise_at: None,
            raise: FIRST_RAISE,
        }
    }

    /// The longest datagram that may be sent, bytes of UDP payload.
    pub(in crate::daemon::engine) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the path takes less than it should.
    pub(in crate::daemon::engine) fn is_narrow(&self) -> bool {
        self.limit < self.most
    }

    /// Whether the limit is what the path takes, as far as is known.
    pub(in crate::daemon::engine) fn is_known(&self) -> bool {
        self.known
    }

    /// When [`PathMtu::handle_timeout`] is due.
    pub(in crate::daemon::engine) fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Confirm | State::Search { .. } => Some(self.next),
            State::Settled { .. } => self.raise_at,
        }
    }

    /// Long packets were sent since the last call.
    pub(in crate::daemon::engine) fn handle_use(&mut self, now: Time) {
        if let State::Settled { since } = self.state
            && self.limit > SURE_DATAGRAM
            && now.since(since) >= CONFIRM
        {
            self.state = State::Confirm;
            self.next = now;
        }
    }

    /// The question that is due, if one is. `token` names it; `wait` is how long an answer takes at most.
    pub(in crate::daemon::engine) fn poll_question(
        &mut self,
        token: u64,
        wait: Duration,
        now: Time,
    ) -> Option<SizeQuestion> {
        if self.next > now {
            return None;
        }
        let len = match self.state {
            State::Confirm => self.limit,
            State::Search { too_long } => self.middle(too_long)?,
            State::Settled { .. } => return None,
        };
        match &mut self.asked {
            Some(asked) if asked.len == len => asked.tokens.push(token),
            _ => self.asked = Some(Asked { len, first: now, tokens: vec![token], heard: None }),
        }
        self.next = now + wait + PATIENCE;
        Some(SizeQuestion { token, len })
    }

    /// What is asked for next, if there is anything left to ask. All at once where that was not tried, since a path that
    /// has healed takes all again.
    fn middle(&self, too_long: usize) -> Option<usize> {
        let gap = too_long.checked_sub(self.limit)?;
        match gap {
            0 | 1 => None,
            _ if too_long > self.most => Some(self.most),
            _ => Some(self.limit + gap / 2),
        }
    }

    /// An answer came. Answers whether the limit is another now, or is known.
    pub(in crate::daemon::engine) fn handle_answer(&mut self, token: u64, now: Time) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.tokens.contains(&token)) else {
            return false;
        };
        match self.state {
            State::Confirm => {
                self.state = State::Settled { since: now };
                false
            }
            State::Search { .. } => {
                let before = (self.limit, self.known);
                self.limit = self.limit.max(asked.len);
                self.step(now);
                (self.limit, self.known) != before
            }
            State::Settled { .. } => false,
        }
    }

    /// Lets time pass. `heard` is when the path last gave a sign of life: where it gives none, a missing answer says
    /// nothing of lengths. Answers whether the limit is another now, or is known.
    pub(in crate::daemon::engine) fn handle_timeout(&mut self, heard: Time, now: Time) -> bool {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return false;
        }
        let enough = match self.state {
            State::Settled { .. } => {
                self.raise = (self.raise * 2).min(LAST_RAISE);
                self.raise_at = None;
                self.asked = None;
                self.state = State::Search { too_long: self.most + 1 };
                self.next = now;
                return false;
            }
            State::Confirm => TRIES_TO_CONFIRM,
            State::Search { .. } => TRIES,
        };
        if let Some(asked) = &mut self.asked
            && heard > asked.first
        {
            asked.heard.get_or_insert(asked.tokens.len());
        }
        let Some(asked) = self.asked.take_if(|asked| asked.missing() >= enough) else {
            return false;
        };
        let before = (self.limit, self.known);
        let too_long = match self.state {
            State::Confirm => {
                self.limit = SURE_DATAGRAM;
                self.known = false;
                self.raise = FIRST_RAISE;
                // It is looked at once more, as a part of the search.
                asked.len + 1
            }
            State::Search { .. } | State::Settled { .. } => asked.len,
        };
        self.state = State::Search { too_long };
        self.step(now);
        (self.limit, self.known) != before
    }

    /// Goes on searching, or ends the search.
    fn step(&mut self, now: Time) {
        self.next = now;
        if let State::Search { too_long } = self.state
            && self.middle(too_long).is_none()
        {
            self.state = State::Settled { since: now };
            self.known = true;
            self.raise_at = self.is_narrow().then(|| now + self.raise);
        }
    }
}

#[cfg(test)]
#[path = "mtu_tests.rs"]
mod tests;
