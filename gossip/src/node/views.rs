//! What the records of others say, decoded; and what of it is kept out.

use std::collections::BTreeMap;

use bincode::Decode;
use weft_crypto::PeerName;

use super::Node;
use crate::{
    Event, Time, codec,
    ipam::{Ack, Paxos, Space, View, Want},
    membership::{Links, NodeInfo},
    record::{Key, Kind, Record},
};

/// The content of the records that this software understands, for each origin.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) nodes: BTreeMap<PeerName, NodeInfo>,
    pub(super) links: BTreeMap<PeerName, Links>,
    /// Records whose signature holds and whose content is bad, and why.
    pub(super) quarantined: BTreeMap<(PeerName, Key), String>,
}

impl Node {
    /// Takes the content of a record that is new in the store into the views. Bad content is
    /// quarantined until a newer record of the same key comes: whatever a member says of itself, it
    /// only hurts its own standing.
    pub(super) fn view(&mut self, record: &Record, now: Time) {
        let place = (record.origin(), record.key().clone());
        match self.try_view(record, now) {
            Ok(()) => {
                self.views.quarantined.remove(&place);
            }
            Err(why) => {
                self.stats.records_quarantined += 1;
                tracing::debug!(origin = ?record.origin(), key = ?record.key(), why, "quarantined");
                let warning = format!(
                    "ignoring the {:?} record of {}: {why}",
                    record.key().kind,
                    self.label(record.origin())
                );
                // Said once for a fault that stays, however often the record is renewed.
                if self.views.quarantined.insert(place, why.clone()) != Some(why) {
                    self.events.push_back(Event::Warning(warning));
                }
            }
        }
    }

    fn try_view(&mut self, record: &Record, now: Time) -> Result<(), String> {
        let origin = record.origin();
        let key = record.key();
        if key.kind.is_numbered() {
            return self.view_numbered(record, now);
        }
        if !key.name.is_empty() {
            // The other kinds of this version have one record each.
            self.stats.records_unknown_kind += 1;
            return Ok(());
        }
        match key.kind {
            Kind::NODE => {
                self.views.nodes.remove(&origin);
                self.events.push_back(Event::MembersChanged);
                if let Some(info) = read::<NodeInfo>(record)? {
                    info.check()?;
                    self.views.nodes.insert(origin, info);
                }
            }
            Kind::LINKS => {
                self.views.links.remove(&origin);
                self.topology_changed = true;
                if let Some(links) = read::<Links>(record)? {
                    links.check(origin)?;
                    self.views.links.insert(origin, links);
                }
            }
            // What this node itself wrote came from there.
            kind if kind.is_durable() && origin == self.name => {}
            Kind::SPACE => {
                let space = read::<Space>(record)?;
                self.ipam.handle_space(origin, space, now).map_err(|error| error.to_string())?;
            }
            Kind::WANT => {
                let want = read::<Want>(record)?;
                self.ipam.handle_want(origin, want, now).map_err(|error| error.to_string())?;
            }
            Kind::PAXOS => {
                let paxos = read::<Paxos>(record)?;
                self.ipam.handle_paxos(origin, paxos, now).map_err(|error| error.to_string())?;
            }
            Kind::PENDING => {
                let ack = read::<Ack>(record)?;
                self.ipam.handle_pending(origin, ack, now).map_err(|error| error.to_string())?;
            }
            Kind::COMPLETED => {
                let view = read::<View>(record)?;
                self.ipam.handle_completed(origin, view, now).map_err(|error| error.to_string())?;
            }
            Kind(_) => self.stats.records_unknown_kind += 1,
        }
        Ok(())
    }
}

/// The content of a record; `None` for a tombstone.
pub(super) fn read<T: Decode<()>>(record: &Record) -> Result<Option<T>, String> {
    record.value().map(codec::decode).transpose().map_err(|error| error.to_string())
}
