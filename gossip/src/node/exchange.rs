//! Pushing what is new, and comparing what is held.

use std::{collections::BTreeMap, sync::Arc};

use rand_core::Rng;
use weft_crypto::PeerName;

use super::Node;
use crate::{
    MessageError, Time, Transmit,
    limits::{
        MAX_DIGEST_ENTRIES, MAX_MESSAGE, MAX_REPLY_MESSAGES, MESSAGE_BUDGET, PUSH_FANOUT,
        PUSH_TO_ALL, RESYNC_DELAY,
    },
    message::{Delta, Digest, DigestEntry, Message, Push, Span, Summary, bucket_of},
    record::{Record, SignedRecord},
};

/// What a span costs beside its records, bytes: origin, version and two lengths.
const SPAN_OVERHEAD: usize = 48;

impl Node {
    pub(super) fn dispatch(
        &mut self,
        from: PeerName,
        bytes: &[u8],
        now: Time,
    ) -> Result<(), MessageError> {
        match self.read_message(from, bytes) {
            Ok(Message::Summary(summary)) => self.handle_summary(from, &summary, now),
            Ok(Message::Digest(digest)) => self.handle_digest(from, &digest, now),
            Ok(Message::Delta(delta)) => return self.handle_delta(from, delta, now),
            Ok(Message::Push(push)) => return self.handle_push(from, push, now),
            Ok(Message::Unknown(_)) => self.stats.messages_unknown += 1,
            Err(error) => {
                self.stats.messages_refused += 1;
                return Err(error);
            }
        }
        Ok(())
    }

    fn read_message(&self, from: PeerName, bytes: &[u8]) -> Result<Message, MessageError> {
        if !self.neighbours.contains_key(&from) {
            return Err(MessageError::NotConnected(from));
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let message = Message::decode(bytes)?;
        if let Message::Digest(digest) = &message {
            digest.check().map_err(MessageError::Misbehaved)?;
        }
        Ok(message)
    }

    pub(super) fn send_summary(&mut self, to: PeerName) {
        let summary = Summary { buckets: self.store.summary() };
        self.send(to, &Message::Summary(summary));
    }

    fn handle_summary(&mut self, from: PeerName, theirs: &Summary, now: Time) {
        let ours = self.store.summary();
        let mut mask = 0;
        for (bucket, (ours, theirs)) in ours.iter().zip(&theirs.buckets).enumerate() {
            if ours != theirs {
                mask |= 1 << bucket;
            }
        }
        let own_bucket = bucket_of(self.name.as_bytes());
        if mask >> own_bucket & 1 == 0 {
            self.own.mark_checked(from);
        }
        if mask == 0 {
            self.stats.rounds_equal += 1;
            self.ipam.handle_synced(from, now);
            self.send(from, &Message::Digest(Digest::equal()));
            return;
        }
        self.stats.rounds_different += 1;
        // Where one message cannot hold it all, a random stretch; the next round gets another one.
        let covered = Digest { mask, answer: true, ..Digest::equal() };
        let len = self.entries(&covered).count();
        let start = match len.checked_sub(MAX_DIGEST_ENTRIES) {
            None | Some(0) => 0,
            Some(_) => self.below(len),
        };
        let digest = self.digest(covered, start);
        self.send(from, &Message::Digest(digest));
    }

    /// A digest like `covered`, filled from its entry number `start` on, and narrowed to what fits.
    fn digest(&self, covered: Digest, start: usize) -> Digest {
        let mut entries: Vec<DigestEntry> =
            self.entries(&covered).skip(start).take(MAX_DIGEST_ENTRIES + 1).collect();
        let mut digest = covered;
        if start > 0
            && let Some(first) = entries.first()
        {
            digest.low = first.origin;
        }
        if entries.len() > MAX_DIGEST_ENTRIES {
            entries.truncate(MAX_DIGEST_ENTRIES);
            if let Some(last) = entries.last() {
                digest.high = last.origin;
            }
        }
        digest.entries = entries;
        digest
    }

    fn entries(&self, covered: &Digest) -> impl Iterator<Item = DigestEntry> {
        let low = PeerName::from_bytes(covered.low);
        let high = PeerName::from_bytes(covered.high);
        self.store
            .origins_between(low, high)
            .filter(|(name, _)| covered.covers(name.as_bytes()))
            .map(|(name, origin)| DigestEntry {
                origin: *name.as_bytes(),
                watermark: origin.watermark(),
                fingerprint: origin.fingerprint(),
            })
    }

    fn handle_digest(&mut self, from: PeerName, digest: &Digest, now: Time) {
        if digest.mask == 0 {
            self.own.mark_checked(from);
            self.ipam.handle_synced(from, now);
            return;
        }
        let unchecked = digest.covers(self.name.as_bytes()) && !self.own.is_checked(from);
        let nothing = |origin| DigestEntry { origin, watermark: 0, fingerprint: 0 };
        // Ours and theirs of each origin that either knows.
        let mut pairs: BTreeMap<[u8; 32], (DigestEntry, DigestEntry)> =
            self.entries(digest).map(|ours| (ours.origin, (ours, nothing(ours.origin)))).collect();
        for theirs in &digest.entries {
            pairs.entry(theirs.origin).or_insert((nothing(theirs.origin), *theirs)).1 = *theirs;
        }
        let mut lacking = false;
        let mut wanted = Vec::new();
        for (origin, (ours, theirs)) in pairs {
            let name = PeerName::from_bytes(origin);
            if name == self.name && unchecked {
                if theirs.fingerprint != ours.fingerprint && theirs.fingerprint != 0 {
                    self.ask_for_own(from);
                    continue;
                }
                self.own.mark_checked(from);
            }
            if ours.fingerprint == theirs.fingerprint {
                // They hold the same, and know of more of it that it is complete.
                self.store.raise_watermark(name, theirs.watermark);
            } else if ours.watermark > theirs.watermark {
                wanted.push((name, theirs.watermark));
            } else if ours.watermark < theirs.watermark {
                lacking = true;
            } else {
                // Both believe to have all, and one of them is wrong: somebody kept a record from
                // it, or it came past its turn. Both send all they have.
                self.stats.repairs += 1;
                lacking = true;
                wanted.push((name, 0));
            }
        }
        self.send_delta(from, &wanted);
        if lacking && digest.answer {
            let covered = Digest { answer: false, entries: Vec::new(), ..digest.clone() };
            let answer = self.digest(covered, 0);
            self.send(from, &Message::Digest(answer));
        }
    }

    /// Asks for all that a neighbour holds of this node itself, before newer versions replace it: it
    /// may be more than this node's disk remembers.
    fn ask_for_own(&mut self, to: PeerName) {
        let name = *self.name.as_bytes();
        let mask = 1 << bucket_of(&name);
        let nothing = Digest { mask, low: name, high: name, ..Digest::equal() };
        self.send(to, &Message::Digest(nothing));
    }

    /// Sends what is held of each origin above a version, in as many messages as are allowed.
    fn send_delta(&mut self, to: PeerName, wanted: &[(PeerName, u64)]) {
        let mut messages = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        let mut used = 0;
        let mut more = false;
        'wanted: for &(name, from) in wanted {
            let Some(origin) = self.store.origin(name) else { continue };
            let mut from = from;
            let mut begun = false;
            for record in origin.after(from) {
                let overhead = if begun { 0 } else { SPAN_OVERHEAD };
                if used + overhead + record.size() > MESSAGE_BUDGET && used > 0 {
                    if messages.len() + 1 == MAX_REPLY_MESSAGES {
                        more = true;
                        break 'wanted;
                    }
                    messages.push(std::mem::take(&mut spans));
                    used = 0;
                    begun = false;
                }
                if !begun {
                    spans.push(Span { origin: *name.as_bytes(), from, records: Vec::new() });
                    used += SPAN_OVERHEAD;
                    begun = true;
                }
                if let Some(span) = spans.last_mut() {
                    span.records.push(record.signed().clone());
                }
                used += record.size();
                from = record.version();
            }
        }
        if !spans.is_empty() {
            messages.push(spans);
        }
        let last = messages.len().saturating_sub(1);
        for (at, spans) in messages.into_iter().enumerate() {
            self.send(to, &Message::Delta(Delta { more: more && at == last, spans }));
        }
    }

    fn handle_delta(
        &mut self,
        from: PeerName,
        delta: Delta,
        now: Time,
    ) -> Result<(), MessageError> {
        let mut result = Ok(());
        let mut news = delta.more;
        for span in delta.spans {
            let origin = PeerName::from_bytes(span.origin);
            let complete_up_to = self.store.origin(origin).map_or(0, |origin| origin.watermark());
            // A span that begins beyond what is held leaves a gap, and tells nothing about it.
            let mut gapless = span.from <= complete_up_to;
            let mut last = span.from;
            for signed in span.records {
                match self.take(signed, now) {
                    Ok((record, new)) => {
                        news |= new;
                        // Versions out of order, or another's record, prove nothing.
                        gapless &= record.origin() == origin && record.version() >= last;
                        last = record.version();
                        if gapless {
                            self.store.raise_watermark(origin, last);
                        }
                    }
                    Err(error) => {
                        gapless = false;
                        result = Err(error);
                    }
                }
            }
            if origin == self.name && span.from == 0 {
                news |= self.own.mark_checked(from);
            }
        }
        if news {
            self.resync(from, now);
        }
        result
    }

    fn handle_push(&mut self, from: PeerName, push: Push, now: Time) -> Result<(), MessageError> {
        let mut result = Ok(());
        for signed in push.records {
            match self.take(signed, now) {
                Ok((record, true)) => self.fresh.push((record, Some(from))),
                Ok((_, false)) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Takes over one record, if it says something new and its origin signed it.
    fn take(
        &mut self,
        signed: SignedRecord,
        now: Time,
    ) -> Result<(Arc<Record>, bool), MessageError> {
        let record = self.check(signed)?;
        let origin = record.origin();
        let held = self.store.get(origin, record.key());
        let is_held = held.is_some_and(|held| held.rank() == record.rank());
        // An old record of this node's own may still tell of something that its disk forgot.
        if is_held || origin != self.name && !self.store.is_news(&record) {
            self.stats.records_stale += 1;
            return Ok((record, false));
        }
        self.verify(&record)?;
        if origin == self.name {
            self.handle_own_record(&record, now);
            return Ok((record, false));
        }
        if let Err(no_room) = self.store.merge(Arc::clone(&record)) {
            self.stats.records_no_room += 1;
            return Err(MessageError::NoRoom(origin, no_room.0));
        }
        self.stats.records_merged += 1;
        self.view(&record, now);
        Ok((record, true))
    }

    fn check(&mut self, signed: SignedRecord) -> Result<Arc<Record>, MessageError> {
        Record::decode(signed).map(Arc::new).map_err(|error| {
            self.stats.records_refused += 1;
            error.into()
        })
    }

    fn verify(&mut self, record: &Record) -> Result<(), MessageError> {
        record.verify().map_err(|error| {
            self.stats.records_refused += 1;
            error.into()
        })
    }

    /// Compares with the sender of news again, to know when both hold the same, and with the others,
    /// who may lack them. In a large cluster these have their turn soon enough.
    fn resync(&mut self, from: PeerName, now: Time) {
        self.timers.resync.insert(from);
        if self.neighbours.len() <= PUSH_TO_ALL {
            self.timers.resync.extend(self.neighbours.keys());
        }
        self.timers.resync_at.get_or_insert(now + RESYNC_DELAY);
    }

    /// Pushes the records that are new here.
    pub(super) fn push_fresh(&mut self) {
        let mut batches: BTreeMap<PeerName, Vec<Arc<Record>>> = BTreeMap::new();
        for (record, source) in std::mem::take(&mut self.fresh) {
            let mut peers: Vec<PeerName> = self
                .neighbours
                .keys()
                .copied()
                .filter(|peer| Some(*peer) != source && *peer != record.origin())
                .filter(|peer| {
                    record.origin() != self.name
                        || !record.key().kind.is_durable()
                        || self.own.is_checked(*peer)
                })
                .collect();
            if self.neighbours.len() > PUSH_TO_ALL {
                while peers.len() > PUSH_FANOUT {
                    let unlucky = self.below(peers.len());
                    peers.swap_remove(unlucky);
                }
            }
            for peer in peers {
                batches.entry(peer).or_default().push(Arc::clone(&record));
            }
        }
        for (peer, records) in batches {
            let mut batch = Vec::new();
            let mut used = 0;
            for record in records {
                if used + record.size() > MESSAGE_BUDGET && used > 0 {
                    let records = std::mem::take(&mut batch);
                    self.send(peer, &Message::Push(Push { records }));
                    used = 0;
                }
                used += record.size();
                batch.push(record.signed().clone());
            }
            self.send(peer, &Message::Push(Push { records: batch }));
        }
    }

    fn send(&mut self, to: PeerName, message: &Message) {
        self.transmits.push_back(Transmit { to, bytes: message.encode() });
    }

    /// A random number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.rng.next_u64() % bound).unwrap_or(0)
    }
}
