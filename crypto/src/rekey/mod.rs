//! The keys of a session that lives on: epochs, each with keys of its own, and the way from one to the next.
//!
//! ```text
//! initiator                                  responder
//!  wants new keys   -- Offer(index, key) ---->  takes packets of the new epoch
//!  takes and seals  <--- Answer(index, key) --
//!  in the new epoch -- Confirm -------------->  seals in the new epoch, drops the old one soon
//!  drops the old    <--- Done ----------------
//! ```
//!
//! Nobody seals in an epoch before the other end takes its packets, and nobody drops an epoch before the other end has
//! stopped sealing in it, plus a time for packets under way. So no packet is lost by a change of keys.

mod message;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::exchange::{Ephemeral, PUBLIC_LEN};
use crate::{Opener, ReceiverIndex, Role, Sealer, SessionKeys, Suite};
use message::{Half, Message, Step};

/// How long packets of an old epoch may be under way after the last was sealed.
const GRACE: Duration = Duration::from_secs(10);

/// How many old epochs there may be at once. Changes of keys that come faster than [`GRACE`] lets old ones go are
/// refused beyond that, which bounds what a peer can make us keep and compute.
const MAX_OLD: usize = 8;

/// Packets under one key after which another is wanted, whatever its age. So far below
/// [`MAX_PACKETS`](crate::MAX_PACKETS) that the rest lasts until then.
const MANY_PACKETS: u64 = 1 << 59;

/// When keys are changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RekeyTimes {
    latest: Duration,
}

impl RekeyTimes {
    /// Keys in use are changed before they are `latest` old. A session whose keys could not be changed within half as
    /// long again has expired.
    pub const fn latest(latest: Duration) -> Self {
        Self { latest }
    }

    /// The age at which a change begins: between 3/4 and 9/10 of the latest, so that sessions made together do not
    /// change together.
    fn due(self, jitter: u16) -> Duration {
        let spread = self.latest.saturating_mul(3) / 20;
        let part = spread.saturating_mul(jitter.into()) / (u32::from(u16::MAX) + 1);
        self.latest.saturating_mul(3) / 4 + part
    }

    /// How often idle keys are looked at, to see whether they are used.
    fn look(self) -> Duration {
        self.latest / 12
    }

    /// After which time without an answer a message is sent again.
    fn retry(self) -> Duration {
        self.latest / 24
    }

    /// For how long keys are used on while they cannot be changed.
    fn patience(self) -> Duration {
        self.latest / 2
    }
}

impl Default for RekeyTimes {
    /// Two minutes.
    fn default() -> Self {
        Self::latest(Duration::from_secs(120))
    }
}

/// What an epoch needs from the operating system's random source, and from the table of sessions.
pub struct Fresh {
    /// The receiver index of the new epoch. Random, and in use by no other session of this node.
    pub index: ReceiverIndex,
    /// The secret of the exchange: 32 random bytes.
    pub secret: Zeroizing<[u8; 32]>,
    /// Any number: it spreads the times of changes.
    pub jitter: u16,
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(..)")
    }
}

/// What packets of one epoch carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Indices {
    /// Those to us.
    pub ours: ReceiverIndex,
    /// Those to the peer.
    pub theirs: ReceiverIndex,
}

/// The keys of one session, changed as time and use demand.
///
/// Pure: `now` is the time since a start that the caller chooses. After each `handle_*`, and in this order, look at
/// [`Epochs::take_changed`] and publish [`Epochs::sealer`] and [`Epochs::openers`] where it says so, send what
/// [`Epochs::poll_message`] yields, and call [`Epochs::handle_timeout`] at [`Epochs::poll_timeout`]. **A message must not
/// be sent before what changed is published**: it tells the other end that it may rely on it.
///
/// Messages may be lost; they must not overtake each other, and must come from the peer itself.
pub struct Epochs {
    role: Role,
    suite: Suite,
    times: RekeyTimes,
    /// The epoch that we seal in. 0 is the connection's.
    number: u64,
    current: Epoch,
    /// How many packets were sealed in the epochs before.
    sealed_before: u64,
    /// When the current epoch began.
    since: Duration,
    /// The age at which it is due for a change.
    due: Duration,
    /// When it must not be used any longer; set once it is due and used.
    expires: Option<Duration>,
    state: State,
    /// Epochs that nobody seals in any more, and when they go.
    old: Vec<(Duration, Receiving)>,
    /// When to look next whether a change is due.
    look: Duration,
    outgoing: Vec<Message>,
    changed: bool,
}

/// One epoch's keys.
struct Epoch {
    chain: Zeroizing<[u8; 32]>,
    sealer: Arc<Sealer>,
    receiving: Receiving,
}

/// What opens packets of an epoch.
#[derive(Clone)]
struct Receiving {
    index: ReceiverIndex,
    opener: Arc<Opener>,
}

/// How far a change of keys has come.
enum State {
    /// Both ends seal in the current epoch, as far as we know.
    Settled,
    /// We have offered the next epoch.
    Offered { key: Ephemeral, half: Half, jitter: u16, again: Duration },
    /// We have answered an offer of the next epoch, and take its packets.
    Answered { offer: Half, answer: Half, next: Box<Epoch>, jitter: u16 },
    /// We seal in the current epoch, which we offered; the peer may still seal in the one before.
    Confirming { before: Receiving, again: Duration },
}

impl Epochs {
    /// Begins with the keys of a new connection, epoch 0. `jitter` is any number.
    pub fn new(
        keys: &SessionKeys,
        role: Role,
        suite: Suite,
        indices: Indices,
        times: RekeyTimes,
        jitter: u16,
        now: Duration,
    ) -> Self {
        let due = times.due(jitter);
        Self {
            role,
            suite,
            times,
            number: 0,
            current: Epoch::new(keys, suite, indices),
            sealed_before: 0,
            since: now,
            due,
            expires: None,
            state: State::Settled,
            old: Vec::new(),
            look: now.saturating_add(due),
            outgoing: Vec::new(),
            changed: true,
        }
    }

    /// What seals packets to the peer.
    pub fn sealer(&self) -> &Arc<Sealer> {
        &self.current.sealer
    }

    /// What opens the peer's packets, by the index that they carry: one for each epoch that it may still, or already,
    /// seal in.
    pub fn openers(&self) -> impl Iterator<Item = (ReceiverIndex, &Arc<Opener>)> {
        let other = match &self.state {
            State::Settled | State::Offered { .. } => None,
            State::Answered { next, .. } => Some(&next.receiving),
            State::Confirming { before, .. } => Some(before),
        };
        let old = self.old.iter().map(|(_, receiving)| receiving);
        std::iter::once(&self.current.receiving)
            .chain(other)
            .chain(old)
            .map(|receiving| (receiving.index, &receiving.opener))
    }

    /// How many packets to the peer were sealed in all epochs. Never falls.
    pub fn sealed(&self) -> u64 {
        self.sealed_before.saturating_add(self.current.sealer.sealed())
    }

    /// How often the keys were changed.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether sealer or openers are others than at the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The next message to the peer.
    pub fn poll_message(&mut self) -> Option<Vec<u8>> {
        (!self.outgoing.is_empty()).then(|| self.outgoing.remove(0).encode())
    }

    /// When [`Epochs::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Duration {
        let again = match &self.state {
            State::Settled | State::Answered { .. } => None,
            State::Offered { again, .. } | State::Confirming { again, .. } => Some(*again),
        };
        let old = self.old.iter().map(|(until, _)| *until).min();
        [again, old, self.expires].into_iter().flatten().fold(self.look, Duration::min)
    }

    /// Lets time pass. `fresh` is called where a change of keys begins.
    ///
    /// # Errors
    /// [`Expired`]: the session must be closed.
    pub fn handle_timeout(
        &mut self,
        fresh: &mut dyn FnMut() -> Fresh,
        now: Duration,
    ) -> Result<(), Expired> {
        let before = self.old.len();
        self.old.retain(|(until, _)| *until > now);
        self.changed |= self.old.len() != before;
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err(Expired);
        }
        if now >= self.look {
            self.look = now.saturating_add(self.times.look());
            self.judge_age(fresh, now);
        }
        let retry = self.times.retry();
        match &mut self.state {
            State::Offered { half, again, .. } if now >= *again => {
                *again = now.saturating_add(retry);
                let step = Step::Offer(*half);
                self.say(self.number.saturating_add(1), step);
            }
            State::Confirming { again, .. } if now >= *again => {
                *again = now.saturating_add(retry);
                self.say(self.number, Step::Confirm);
            }
            State::Settled
            | State::Offered { .. }
            | State::Answered { .. }
            | State::Confirming { .. } => {}
        }
        Ok(())
    }

    /// Takes a message of the peer. `fresh` is called where it begins a change of keys.
    ///
    /// # Errors
    /// [`RekeyError`]: the peer's fault. The session goes on with the keys that it has.
    pub fn handle_message(
        &mut self,
        bytes: &[u8],
        fresh: &mut dyn FnMut() -> Fresh,
        now: Duration,
    ) -> Result<(), RekeyError> {
        let Message { epoch, step } = Message::decode(bytes)?;
        match step {
            Step::Offer(half) => self.handle_offer(epoch, half, fresh, now),
            Step::Answer(half) => self.handle_answer(epoch, half, now),
            Step::Confirm => self.handle_confirm(epoch, now),
            Step::Done => {
                if epoch == self.number {
                    self.settle(now);
                }
                Ok(())
            }
        }
    }

    /// Begins a change where the keys are due and used.
    fn judge_age(&mut self, fresh: &mut dyn FnMut() -> Fresh, now: Duration) {
        let sealer = &self.current.sealer;
        let aged = now.saturating_sub(self.since) >= self.due && sealer.is_used();
        if !aged && sealer.sealed() < MANY_PACKETS {
            return;
        }
        if self.expires.is_none() {
            self.expires = Some(now.saturating_add(self.times.patience()));
        }
        if let State::Settled = self.state {
            let Fresh { index, secret, jitter } = fresh();
            let key = Ephemeral::new(&secret);
            let half = Half { index, public: key.public() };
            self.state = State::Offered { key, half, jitter, again: now };
        }
    }

    fn handle_offer(
        &mut self,
        epoch: u64,
        offer: Half,
        fresh: &mut dyn FnMut() -> Fresh,
        now: Duration,
    ) -> Result<(), RekeyError> {
        let next = self.number.saturating_add(1);
        // Said again before it was overtaken by what followed.
        if epoch <= self.number {
            return Ok(());
        }
        if epoch != next {
            return Err(RekeyError::Misplaced { epoch, ours: self.number });
        }
        match &self.state {
            // Of two offers that crossed, the dialler's counts.
            State::Offered { .. } if self.role == Role::Client => return Ok(()),
            State::Answered { offer: known, answer, .. } => {
                if *known != offer {
                    return Err(RekeyError::Misplaced { epoch, ours: self.number });
                }
                let step = Step::Answer(*answer);
                self.say(epoch, step);
                return Ok(());
            }
            // Whoever offers the next epoch seals in the current one.
            State::Confirming { .. } => self.settle(now),
            State::Settled | State::Offered { .. } => {}
        }
        if self.old.len() >= MAX_OLD {
            return Err(RekeyError::TooOften);
        }
        let Fresh { index, secret, jitter } = fresh();
        let key = Ephemeral::new(&secret);
        let answer = Half { index, public: key.public() };
        let epoch_keys = self.derive(&key, epoch, offer, answer, answer.index, offer)?;
        self.state = State::Answered { offer, answer, next: Box::new(epoch_keys), jitter };
        self.changed = true;
        self.say(epoch, Step::Answer(answer));
        Ok(())
    }

    fn handle_answer(&mut self, epoch: u64, answer: Half, now: Duration) -> Result<(), RekeyError> {
        let State::Offered { key, half, jitter, .. } = &self.state else {
            // Said again, or an answer to an offer that was withdrawn for the peer's own.
            return Ok(());
        };
        let (offer, jitter) = (*half, *jitter);
        if epoch != self.number.saturating_add(1) {
            return Ok(());
        }
        let next = self.derive(key, epoch, offer, answer, offer.index, answer)?;
        let before = self.enter(next, jitter, now);
        let again = now.saturating_add(self.times.retry());
        self.state = State::Confirming { before, again };
        self.say(epoch, Step::Confirm);
        Ok(())
    }

    fn handle_confirm(&mut self, epoch: u64, now: Duration) -> Result<(), RekeyError> {
        match std::mem::replace(&mut self.state, State::Settled) {
            State::Answered { next, jitter, .. } if epoch == self.number.saturating_add(1) => {
                let before = self.enter(*next, jitter, now);
                self.old.push((now.saturating_add(GRACE), before));
            }
            state => {
                self.state = state;
                if epoch != self.number || epoch == 0 {
                    return Err(RekeyError::Misplaced { epoch, ours: self.number });
                }
            }
        }
        self.say(epoch, Step::Done);
        Ok(())
    }

    /// The peer seals in the current epoch: the one before has no new packets.
    fn settle(&mut self, now: Duration) {
        match std::mem::replace(&mut self.state, State::Settled) {
            State::Confirming { before, .. } => {
                self.old.push((now.saturating_add(GRACE), before));
            }
            state => self.state = state,
        }
    }

    /// Seals in `next` from here on. Answers how packets of the epoch before are opened; its other keys are gone.
    fn enter(&mut self, next: Epoch, jitter: u16, now: Duration) -> Receiving {
        self.number = self.number.saturating_add(1);
        self.sealed_before = self.sealed();
        self.since = now;
        self.due = self.times.due(jitter);
        self.look = now.saturating_add(self.due);
        self.expires = None;
        self.changed = true;
        std::mem::replace(&mut self.current, next).receiving
    }

    /// The keys of an epoch. Both halves are mixed in, so that both ends have seen the same ones.
    fn derive(
        &self,
        key: &Ephemeral,
        epoch: u64,
        offer: Half,
        answer: Half,
        ours: ReceiverIndex,
        theirs: Half,
    ) -> Result<Epoch, RekeyError> {
        let shared = key.agree(&theirs.public).ok_or(RekeyError::WeakKey)?;
        let mut fresh = Zeroizing::new(Vec::with_capacity(32 + 8 + 2 * PUBLIC_LEN));
        fresh.extend_from_slice(shared.as_slice());
        fresh.extend_from_slice(&epoch.to_le_bytes());
        fresh.extend_from_slice(&offer.public);
        fresh.extend_from_slice(&answer.public);
        let keys = SessionKeys::next(&self.current.chain, &fresh, self.role);
        Ok(Epoch::new(&keys, self.suite, Indices { ours, theirs: theirs.index }))
    }

    fn say(&mut self, epoch: u64, step: Step) {
        self.outgoing.push(Message { epoch, step });
    }
}

impl Epoch {
    fn new(keys: &SessionKeys, suite: Suite, Indices { ours, theirs }: Indices) -> Self {
        Self {
            chain: keys.chain(),
            sealer: Arc::new(keys.sealer(theirs, suite)),
            receiving: Receiving { index: ours, opener: Arc::new(keys.opener(suite)) },
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The keys of a session were used for too long and could not be changed: it must be closed, and a new connection made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the session are too old and the peer did not change them")]
pub struct Expired;

/// Why a message about new keys was not taken. All of them are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// Not a message, or one that is cut or too long.
    #[error("no rekeying message has {len} bytes of this kind")]
    Malformed {
        /// Its length in bytes.
        len: usize,
    },
    /// About an epoch that is not the next one, or contradicts an earlier message.
    #[error("a rekeying message for epoch {epoch} does not fit epoch {ours}")]
    Misplaced {
        /// The epoch in the message.
        epoch: u64,
        /// The epoch that we seal in.
        ours: u64,
    },
    /// Old epochs pile up.
    #[error("the peer changes keys faster than old ones can be dropped")]
    TooOften,
    /// A public key of small order, which would make the shared secret a constant.
    #[error("the public key in a rekeying message is of small order")]
    WeakKey,
}

#[cfg(test)]
mod tests;
