//! Members that say what no honest node says: counted by kind, named in status, and not listened to for a while.
//!
//! Whoever knows the cluster secret is a member, and may be broken or captured. What it says is checked, and what is wrong is not taken;
//! that is enough for safety. This is about the work of checking, and about the operator, who is to know. A member
//! that is not listened to keeps its link and its data path: a fault stays where it is. What others pass on of it is signed
//! by it and checked like anybody's. Honest nodes check before they pass on, so the blame is the sender's.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};
use weft_crypto::PeerName;
use weft_gossip::{MessageError, Time};

use super::{Engine, Output};
use crate::daemon::links::LinkId;

/// Faults that are borne at once, and how often one of them is forgiven: an accident, not a habit.
const TOLERATED: u32 = 8;
const FORGIVEN_EVERY: Duration = Duration::from_secs(10);

/// How long a member is not listened to after the first time; twice as long each further time, up to an hour or so, unless it
/// has been good for that long in between.
const QUARANTINE: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 6;
const REHABILITATED: Duration = Duration::from_secs(3600);

/// Members that are remembered. There are fewer links than that; who knows the secret can make up more names.
const MAX_MEMBERS: usize = 1024;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::daemon) enum Fault {
    /// A frame of a forbidden length, or one that has no place there. It ends the connection.
    Frame,
    /// A message that is too long.
    TooLong,
    /// Bytes that are no message.
    Malformed,
    /// A message against the rules.
    Protocol,
    /// A record that is malformed, too long, or not signed by its origin.
    Record,
    /// A wrong message about new keys.
    Rekey,
}

impl Fault {
    /// Every kind, in order.
    pub(in crate::daemon) const ALL: [Self; 6] =
        [Self::Frame, Self::TooLong, Self::Malformed, Self::Protocol, Self::Record, Self::Rekey];

    /// The name in status and metrics. Frozen.
    pub(in crate::daemon) fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::Record => "record",
            Self::Rekey => "rekey",
        }
    }

    /// Of which kind a refused message is; `None` where its sender may be honest.
    fn of(error: &MessageError) -> Option<Self> {
        match error {
            MessageError::TooLong(_) => Some(Self::TooLong),
            MessageError::Malformed(_) => Some(Self::Malformed),
            MessageError::Misbehaved(_) => Some(Self::Protocol),
            MessageError::Record(_) => Some(Self::Record),
            MessageError::NotConnected(_) | MessageError::NoRoom(..) => None,
        }
    }
}

/// What one member did.
#[derive(Debug)]
struct Conduct {
    counts: BTreeMap<Fault, u64>,
    /// The last one, in words.
    last: String,
    /// Faults that are not forgiven yet, as of `at`.
    level: u32,
    at: Time,
    /// Until when it is not listened to.
    until: Option<Time>,
    /// Whether it broke a frame since it was listened to last.
    broke_frames: bool,
    times: u32,
}

/// What the members did.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Conducts(BTreeMap<PeerName, Conduct>);

impl Conducts {
    /// Notes a fault. Answers for how long the member is not listened to from here on, if it has come to that now.
    fn note(&mut self, peer: PeerName, fault: Fault, why: &str, now: Time) -> Option<Duration> {
        if !self.0.contains_key(&peer) && self.0.len() >= MAX_MEMBERS {
            // Who is not listened to must be listened to again some day.
            let others = self.0.iter().filter(|(_, conduct)| conduct.until.is_none());
            let oldest = others.min_by_key(|(_, conduct)| conduct.at).map(|(name, _)| *name);
            self.0.remove(&oldest?);
        }
        let conduct = self.0.entry(peer).or_insert_with(|| Conduct {
            counts: BTreeMap::new(),
            last: String::new(),
            level: 0,
            at: now,
            until: None,
            broke_frames: false,
            times: 0,
        });
        let quiet = now.since(conduct.at);
        if quiet >= REHABILITATED {
            conduct.times = 0;
        }
        let forgiven = quiet.as_secs() / FORGIVEN_EVERY.as_secs();
        conduct.level =
            conduct.level.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)) + 1;
        conduct.at = now;
        *conduct.counts.entry(fault).or_default() += 1;
        conduct.last = why.to_owned();
        conduct.broke_frames |= fault == Fault::Frame;
        if conduct.level <= TOLERATED || conduct.until.is_some() {
            return None;
        }
        let time = QUARANTINE * 2_u32.saturating_pow(conduct.times.min(MAX_DOUBLINGS));
        conduct.until = Some(now + time);
        conduct.times = conduct.times.saturating_add(1);
        conduct.level = 0;
        Some(time)
    }

    /// When the next member is listened to again.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.0.values().filter_map(|conduct| conduct.until).min()
    }

    /// The members that are listened to again.
    fn released(&mut self, now: Time) -> Vec<PeerName> {
        let mut released = Vec::new();
        for (peer, conduct) in &mut self.0 {
            if conduct.until.is_some_and(|until| until <= now) {
                conduct.until = None;
                conduct.at = now;
                conduct.broke_frames = false;
                conduct.level = 0;
                released.push(*peer);
            }
        }
        released
    }

    /// Whether a member is not listened to.
    pub(super) fn is_quarantined(&self, peer: PeerName) -> bool {
        self.0.get(&peer).is_some_and(|conduct| conduct.until.is_some())
    }

    /// Whether a member is not even let in: it would only break the connection again.
    pub(super) fn is_barred(&self, peer: PeerName) -> bool {
        self.is_quarantined(peer) && self.0.get(&peer).is_some_and(|conduct| conduct.broke_frames)
    }

    /// What a member did, by kind, and for how many more seconds it is not listened to.
    pub(super) fn shown(&self, peer: PeerName, now: Time) -> (BTreeMap<String, u64>, Option<u64>) {
        let Some(conduct) = self.0.get(&peer) else { return Default::default() };
        let counts =
            conduct.counts.iter().map(|(fault, count)| (fault.as_str().to_owned(), *count));
        (counts.collect(), conduct.until.map(|until| until.since(now).as_secs()))
    }

    /// How many members are not listened to.
    pub(in crate::daemon) fn quarantined(&self) -> usize {
        self.0.values().filter(|conduct| conduct.until.is_some()).count()
    }

    /// The faults of all members, by kind.
    pub(in crate::daemon) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fault::ALL.into_iter().map(|fault| {
            let count = self.0.values().filter_map(|conduct| conduct.counts.get(&fault)).sum();
            (fault.as_str(), count)
        })
    }
}

impl Engine {
    /// A gossip message of a peer was refused, in whole or in part.
    pub(super) fn blame_message(&mut self, peer: PeerName, error: &MessageError, now: Time) {
        tracing::debug!(peer = peer.short(), %error, "a bad gossip message");
        if let Some(fault) = Fault::of(error) {
            self.blame(peer, fault, &error.to_string(), now);
        }
    }

    /// A peer did over a link what no node should.
    pub(in crate::daemon) fn handle_fault(
        &mut self,
        link: LinkId,
        fault: Fault,
        why: &str,
        now: Time,
    ) {
        if let Some(peer) = self.peers.of_link(link) {
            self.blame(peer, fault, why, now);
        }
    }

    fn blame(&mut self, peer: PeerName, fault: Fault, why: &str, now: Time) {
        let known = self.conducts.0.contains_key(&peer);
        let quarantine = self.conducts.note(peer, fault, why, now);
        let title = self.title(peer);
        if let Some(time) = quarantine {
            warn!(
                peer = title,
                seconds = time.as_secs(),
                why,
                "a member sends nonsense: its gossip is not read for a while"
            );
            self.set_listening(peer, false);
        } else if !known {
            warn!(
                peer = title,
                why, "a member sends what no node should; further ones are counted"
            );
        }
    }

    /// Listens again to members whose time is over.
    pub(super) fn release_members(&mut self, now: Time) {
        for peer in self.conducts.released(now) {
            info!(peer = self.title(peer), "the member's gossip is read again");
            self.set_listening(peer, true);
        }
    }

    pub(super) fn set_listening(&mut self, peer: PeerName, listening: bool) {
        if let Some(link) = self.peers.link_to(peer) {
            self.outputs.push_back(Output::Listen { link: link.id, listening });
        }
    }

    /// What status says of members that are not listened to.
    pub(super) fn conduct_warnings(&self, now: Time) -> impl Iterator<Item = String> {
        self.conducts.0.iter().filter_map(move |(peer, conduct)| {
            let seconds = conduct.until?.since(now).as_secs();
            let counts: Vec<_> = conduct
                .counts
                .iter()
                .map(|(fault, count)| format!("{} {count}", fault.as_str()))
                .collect();
            Some(format!(
                "{} sends what no node should ({}; last: {}): its gossip is not read for another {seconds} s, its packets go on. Look at \
                 that node; one that was captured is shut out by `weft rmpeer` and another secret",
                self.title(*peer),
                counts.join(", "),
                conduct.last,
            ))
        })
    }

    /// What the members did.
    pub(in crate::daemon) fn conducts(&self) -> &Conducts {
        &self.conducts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn peer(n: u16) -> PeerName {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        PeerName::from_bytes(bytes)
    }

    /// Faults in a row until one is too much.
    fn provoke(conducts: &mut Conducts, now: Time) -> Duration {
        (0..=TOLERATED)
            .find_map(|_| conducts.note(peer(1), Fault::Record, "why", now))
            .expect("it is too much")
    }

    #[test]
    fn an_accident_is_borne_and_a_habit_is_not() {
        let mut conducts = Conducts::default();
        for n in 0..100 {
            let now = at(n * FORGIVEN_EVERY.as_secs());
            assert_eq!(conducts.note(peer(1), Fault::Malformed, "why", now), None);
        }
        assert_eq!(conducts.poll_timeout(), None);
        let time = provoke(&mut conducts, at(1_001));
        assert_eq!(time, QUARANTINE);
        assert!(conducts.is_quarantined(peer(1)) && !conducts.is_quarantined(peer(2)));
        // What arrives while nobody listens is counted, and changes nothing.
        assert_eq!(conducts.note(peer(1), Fault::Rekey, "why", at(1_002)), None);
        let (counts, left) = conducts.shown(peer(1), at(1_011));
        assert_eq!((counts["malformed"], counts["rekey"], left), (100, 1, Some(50)));
        assert_eq!(conducts.poll_timeout(), Some(at(1_061)));
        assert_eq!(conducts.released(at(1_060)), []);
        assert_eq!(conducts.released(at(1_061)), [peer(1)]);
        assert!(!conducts.is_quarantined(peer(1)));
    }

    #[test]
    fn who_does_it_again_waits_longer_unless_it_was_good_for_long() {
        let mut conducts = Conducts::default();
        let mut now = at(0);
        for n in 0..10 {
            let time = provoke(&mut conducts, now);
            assert_eq!(time, QUARANTINE * 2_u32.pow(n.min(MAX_DOUBLINGS)));
            now += time;
            conducts.released(now);
        }
        now += REHABILITATED;
        assert_eq!(provoke(&mut conducts, now), QUARANTINE);
    }

    #[test]
    fn only_who_breaks_connections_is_not_let_in() {
        let mut conducts = Conducts::default();
        provoke(&mut conducts, at(0));
        assert!(!conducts.is_barred(peer(1)));
        conducts.note(peer(1), Fault::Frame, "why", at(1));
        assert!(conducts.is_barred(peer(1)));
        conducts.released(at(60));
        assert!(!conducts.is_barred(peer(1)));
    }

    #[test]
    fn made_up_names_take_no_more_than_a_bounded_memory() {
        let mut conducts = Conducts::default();
        for n in 0..3000 {
            conducts.note(peer(n), Fault::Frame, "why", at(n.into()));
        }
        assert_eq!(conducts.0.len(), MAX_MEMBERS);
        assert!(conducts.0.contains_key(&peer(2999)));
        // One that waits for the end of its quarantine is not forgotten meanwhile.
        provoke(&mut conducts, at(3_000));
        for n in 3000..6000 {
            conducts.note(peer(n), Fault::Frame, "why", at(3_001));
        }
        assert_eq!(conducts.released(at(3_060)), [peer(1)]);
    }
}
