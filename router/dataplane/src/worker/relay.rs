//! Datagrams that go through other nodes: sent on their way, passed on, and put together at their end.

mod halves;
mod limit;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weft_crypto::{HEADER_LEN, PeerName, Sealer, TAG_LEN};
use weft_netio::batch::SendBatch;

use super::payload::Kind;
use super::{Shared, egress};
use crate::relay::{Part, RelayHeader, RelayRoute, ShortId};
use crate::tables::Session;
use crate::tunnel::Tunnel;
use crate::{Counters, DropReason, Path, PeerPath, Tables};
use halves::Halves;
use limit::Limits;

/// How much longer a packet is than the relay header and the datagram in it.
const OVERHEAD: usize = HEADER_LEN + 1 + TAG_LEN;

/// A packet to a relay, before it is sealed.
pub(super) struct Leg<'a> {
    header: RelayHeader,
    datagram: &'a [u8],
}

impl Leg<'_> {
    pub(super) fn packet_len(&self) -> usize {
        OVERHEAD + self.header.len() + self.datagram.len()
    }

    /// Fills `packet`, which has [`Leg::packet_len`] bytes, and seals it.
    pub(super) fn seal(&self, packet: &mut [u8], sealer: &Sealer) -> Result<(), DropReason> {
        let end = packet.len().checked_sub(TAG_LEN).ok_or(DropReason::Malformed)?;
        let plaintext = packet.get_mut(HEADER_LEN..end).ok_or(DropReason::Malformed)?;
        let (kind, body) = plaintext.split_first_mut().ok_or(DropReason::Malformed)?;
        *kind = Kind::Relay as u8;
        let room = self.header.write(body).ok_or(DropReason::Malformed)?;
        if room.len() != self.datagram.len() {
            return Err(DropReason::Malformed);
        }
        room.copy_from_slice(self.datagram);
        sealer.seal(packet).map(|_| ()).map_err(egress::unsealed)
    }

    /// The sealed packet, for what is rare or is copied anyway.
    pub(super) fn sealed(&self, sealer: &Sealer) -> Result<Vec<u8>, DropReason> {
        let mut packet = vec![0; self.packet_len()];
        self.seal(&mut packet, sealer)?;
        Ok(packet)
    }
}

/// A datagram as one leg, or cut into two where it is longer than `limit` allows a packet to be.
pub(super) fn legs<'a>(
    shared: &Shared,
    header: RelayHeader,
    datagram: &'a [u8],
) -> impl Iterator<Item = Leg<'a>> {
    let whole = OVERHEAD + header.len() + datagram.len() <= shared.datagram;
    let (first, second) = if whole {
        (datagram, None)
    } else {
        let (first, second) = datagram.split_at(datagram.len() / 2);
        (first, Some(second))
    };
    let id = shared.pairs.fetch_add(1, Ordering::Relaxed);
    let part = if whole { Part::Whole } else { Part::First };
    let first = Leg { header: header.of_part(part, id), datagram: first };
    let second = second.map(|datagram| Leg { header: header.of_part(Part::Second, id), datagram });
    std::iter::once(first).chain(second)
}

/// How packets get to a neighbour.
pub(super) enum Leap<'t> {
    /// In a datagram to this address.
    Datagram(SocketAddr),
    /// Inside the control connection.
    Tunnel(&'t Tunnel),
}

/// How packets get to a peer that is a neighbour; `None` where others lie between.
fn leap<'t>(tables: &'t Tables, peer: &PeerPath) -> Option<Leap<'t>> {
    match peer.path {
        Path::Direct(address) => Some(Leap::Datagram(address)),
        Path::Tunnel => tables.tunnel_to(&peer.name).map(Leap::Tunnel),
        Path::Relay(_) => None,
    }
}

/// Whom packets to a relay are sealed for, and how they get there. A relay must be a neighbour.
pub(super) fn neighbour<'t>(
    tables: &'t Tables,
    name: &PeerName,
) -> Result<(&'t PeerPath, Leap<'t>), DropReason> {
    let peer = tables.peer_named(name).ok_or(DropReason::RelayNoRoute)?;
    Ok((peer, leap(tables, peer).ok_or(DropReason::RelayNoRoute)?))
}

/// The header of what this node sends to `to` along `route`.
pub(super) fn header(tables: &Tables, to: &PeerName, route: &RelayRoute) -> RelayHeader {
    let then = route.then.iter().map(ShortId::from);
    RelayHeader::new(tables.us(), ShortId::from(to), then)
}

impl Shared {
    /// Sends a datagram through the relay `first`, with a system call of its own: for what is rare.
    pub(super) fn send_relayed(
        &self,
        tables: &Tables,
        first: &PeerName,
        header: RelayHeader,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let (relay, leap) = neighbour(tables, first)?;
        for leg in legs(self, header, datagram) {
            let packet = leg.sealed(&relay.sealer)?;
            match leap {
                Leap::Datagram(address) => self.send_packet(&packet, address)?,
                Leap::Tunnel(tunnel) => tunnel.send(&packet)?,
            }
        }
        Ok(())
    }
}

/// The receiving worker's share of relaying.
pub(super) struct Relay {
    out: SendBatch,
    halves: Halves,
    limits: Limits,
    /// The time since the start when the batch at hand had its first packet to pass on: one look at the clock for all.
    now: Option<Duration>,
}

/// A datagram that has come to its end, and how an answer goes back.
pub(super) struct Arrived<'a> {
    pub(super) origin: ShortId,
    pub(super) back: RelayHeader,
    pub(super) datagram: &'a mut [u8],
}

impl Relay {
    pub(super) fn new(shared: &Shared) -> Self {
        let out = SendBatch::new(4 * super::BUFFER_LEN, shared.local, shared.offload.udp.cut);
        Self { out, halves: Halves::default(), limits: Limits::default(), now: None }
    }

    /// Takes the body of a relayed packet that came in `session`: passes it on, or answers it if this is its end
    /// and all of it is here.
    pub(super) fn handle<'a>(
        &'a mut self,
        body: &'a mut [u8],
        session: &Session,
        tables: &Tables,
        shared: &Shared,
        tally: &mut Counters,
    ) -> Result<Option<Arrived<'a>>, DropReason> {
        let (header, datagram) = RelayHeader::parse(body).ok_or(DropReason::Malformed)?;
        if header.destination == tables.us() {
            let (origin, back) = (header.origin, header.back());
            let datagram = match header.part {
                Part::Whole => Some(datagram),
                Part::First | Part::Second => self.halves.join(&header, datagram),
            };
            return Ok(datagram.map(|datagram| Arrived { origin, back, datagram }));
        }
        // What a neighbour sends in another's name would be charged to that other.
        if header.is_fresh() && header.origin != ShortId::from(&session.rx.peer) {
            return Err(DropReason::Spoofed);
        }
        let now = *self.now.get_or_insert_with(|| shared.started.elapsed());
        if !self.limits.allow(header.origin, datagram.len(), now) {
            return Err(DropReason::RelayLimit);
        }
        let (header, next) = header.pass_on(tables.us());
        let next = tables.peer_short(next).ok_or(DropReason::RelayNoRoute)?;
        let leg = Leg { header, datagram };
        match leap(tables, next).ok_or(DropReason::RelayNoRoute)? {
            Leap::Datagram(address) => {
                let len = leg.packet_len();
                if self.out.room(len).is_none() {
                    self.flush(shared, tally);
                }
                let packet = self.out.room(len).ok_or(DropReason::TooBig)?;
                leg.seal(packet, &next.sealer)?;
                self.out.push(len, address);
            }
            Leap::Tunnel(tunnel) => tunnel.send(&leg.sealed(&next.sealer)?)?,
        }
        tally.relayed.packets += 1;
        tally.relayed.bytes += datagram.len() as u64;
        Ok(None)
    }

    /// Sends what was passed on, and forgets the time.
    pub(super) fn flush(&mut self, shared: &Shared, tally: &mut Counters) {
        self.now = None;
        if !self.out.is_empty() {
            let drops = &mut tally.drops;
            self.out.send(&shared.socket, |error| drops.count(egress::reason(&error)));
        }
    }
}
