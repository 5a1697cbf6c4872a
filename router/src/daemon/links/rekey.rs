//! New keys for the data path of each link: time, randomness and frames for [`weft_crypto::Epochs`].

use std::time::Duration;

use bytes::Bytes;
use tracing::debug;
use weft_crypto::{Expired, Fresh, ReceiverIndex};
use zeroize::Zeroizing;

use super::super::random;
use super::frame::FrameType;
use super::{Counters, LinkId, Links, close_code};

impl Links {
    /// When [`Links::handle_timeout`] is due, as time since the daemon's start.
    pub(in crate::daemon) fn poll_timeout(&self) -> Option<Duration> {
        self.links.values().map(|link| link.epochs.poll_timeout()).min()
    }

    /// Lets time pass for the keys of all links. Answers the links that had to be closed, as their keys could not be
    /// changed; no event follows for them.
    pub(in crate::daemon) fn handle_timeout(&mut self, now: Duration) -> Vec<LinkId> {
        let due: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.epochs.poll_timeout() <= now)
            .map(|(id, _)| *id)
            .collect();
        let mut expired = Vec::new();
        for id in due {
            let index = self.free_index();
            let Some(link) = self.links.get_mut(&id) else { continue };
            if let Err(Expired) = link.epochs.handle_timeout(&mut || fresh(index), now) {
                Counters::add(&self.shared.counters.sessions_expired, 1);
                expired.push(id);
            }
        }
        for id in &expired {
            self.close(*id, close_code::EXPIRED);
        }
        expired
    }

    /// Takes a peer's message about new keys. One that is wrong is counted and changes nothing; answers what is wrong.
    pub(in crate::daemon) fn handle_rekey(
        &mut self,
        id: LinkId,
        bytes: &[u8],
        now: Duration,
    ) -> Option<String> {
        let index = self.free_index();
        let link = self.links.get_mut(&id)?;
        let before = link.epochs.number();
        let taken = link.epochs.handle_message(bytes, &mut || fresh(index), now);
        if taken.is_err() {
            Counters::add(&self.shared.counters.rekeys_refused, 1);
        }
        let epoch = link.epochs.number();
        if epoch != before {
            debug!(link = id, epoch, "new keys");
            Counters::add(&self.shared.counters.rekeys, 1);
        }
        taken.err().map(|error| error.to_string())
    }

    /// Whether the keys of any link are others than at the last call.
    pub(in crate::daemon) fn take_keys_changed(&mut self) -> bool {
        let mut changed = false;
        for link in self.links.values_mut() {
            changed |= link.epochs.take_changed();
        }
        changed
    }

    /// Sends what the links have to say about new keys. To be called when the data plane has the keys that they have
    /// now: a peer relies on it.
    pub(in crate::daemon) fn send_rekeys(&mut self) {
        for link in self.links.values_mut() {
            while let Some(message) = link.epochs.poll_message() {
                link.send(FrameType::Rekey, Bytes::from(message), &self.shared.counters);
            }
        }
    }

    /// An index that no session of this node has.
    fn free_index(&self) -> ReceiverIndex {
        loop {
            let index = ReceiverIndex(u32::from_le_bytes(random()));
            let mut taken = self.links.values().flat_map(|link| link.epochs.openers());
            if taken.all(|(other, _)| other != index) {
                return index;
            }
        }
    }
}

fn fresh(index: ReceiverIndex) -> Fresh {
    let jitter = u16::from_le_bytes(random());
    Fresh { index, secret: Zeroizing::new(random()), jitter }
}
