//! Whether the words of others make sense by themselves.

use weft_crypto::PeerName;

use super::super::{
    Misbehaved,
    limits::{MAX_KNOWN, MAX_REMOVED},
    universe::Universe,
    validate,
    wire::{Ack, View},
};

/// Whether a word makes sense by itself.
pub(super) fn check(origin: PeerName, ack: &Ack, universe: &Universe) -> Result<(), Misbehaved> {
    let sorted = ack.removed.is_sorted_by(|a, b| a.name < b.name);
    let itself = ack.removed.iter().any(|tombstone| tombstone.name == *origin.as_bytes());
    let long = ack.removed.len() > MAX_REMOVED || ack.known.len() > MAX_KNOWN;
    if !sorted || itself || long || ack.removed.is_empty() {
        return Err(Misbehaved::RemovalWrong(origin));
    }
    validate::space(origin, &ack.space, universe)
}

pub(super) fn check_view(
    origin: PeerName,
    view: &View,
    universe: &Universe,
) -> Result<(), Misbehaved> {
    let sorted = view.removed.is_sorted_by(|a, b| a.name < b.name);
    let counts = usize::try_from(view.weight.removed) == Ok(view.removed.len())
        && usize::try_from(view.weight.members) == Ok(view.members.len());
    let long = view.removed.len() > MAX_REMOVED || view.members.len() > MAX_KNOWN;
    let same = view.ack.as_ref().is_none_or(|ack| ack.removed.len() == view.removed.len());
    if !sorted || !counts || long || !same {
        return Err(Misbehaved::RemovalWrong(origin));
    }
    view.ack.as_ref().map_or(Ok(()), |ack| check(origin, ack, universe))
}
