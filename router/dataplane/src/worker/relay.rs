//! Datagrams that go inside packets for a neighbour: through other nodes, or in pieces where they are longer than the
//! path. Sent on their way, passed on, and put together at their end.

mod limit;
mod pieces;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use weft_crypto::{HEADER_LEN, PeerName, Sealer, TAG_LEN};
use weft_netio::batch::SendBatch;

use super::payload::Kind;
use super::{Shared, egress};
use crate::relay::{Piece, RelayHeader, RelayRoute, ShortId};
use crate::tables::Session;
use crate::tunnel::Tunnel;
use crate::{Counters, DropReason, Path, PeerPath, Tables};
use limit::Limits;
pub(super) use pieces::Pieces;

/// How much longer a packet is than the relay header and the datagram in it.
const OVERHEAD: usize = HEADER_LEN + 1 + TAG_LEN;

/// The longest packet that fits one datagram of `limit` bytes through a first relay and `others` more.
pub fn relayed_within(limit: usize, others: usize) -> usize {
    limit.saturating_sub(OVERHEAD + RelayHeader::len_of(others))
}

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

/// A datagram as one leg, or as pieces of about one length where it is longer than packets to that neighbour may be.
/// Nothing where too many would be needed.
pub(super) fn legs<'a>(
    shared: &Shared,
    neighbour: &PeerPath,
    header: RelayHeader,
    datagram: &'a [u8],
) -> impl Iterator<Item = Leg<'a>> {
    let longest = shared.datagram.min(neighbour.size.limit);
    let room = longest.saturating_sub(OVERHEAD + header.len()).max(1);
    let pieces = datagram.len().div_ceil(room).max(1);
    let each = datagram.len().div_ceil(pieces).max(1);
    let count = u8::try_from(pieces).unwrap_or(0);
    let id = if count == 1 { 0 } else { shared.cut.fetch_add(1, Ordering::Relaxed) };
    (0..count).zip(datagram.chunks(each)).map(move |(index, datagram)| Leg {
        header: header.of_piece(Piece { index, count }, id),
        datagram,
    })
}

/// The longest packet that goes along `route` in one piece.
pub(super) fn whole(shared: &Shared, tables: &Tables, route: &RelayRoute) -> usize {
    let first = tables.peer_named(&route.first).map_or(usize::MAX, |first| first.size.limit);
    relayed_within(shared.datagram.min(first), route.then.len())
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

/// The header of what this node sends to the neighbour `to`.
pub(super) fn direct_header(tables: &Tables, to: &PeerName) -> RelayHeader {
    RelayHeader::new(tables.us(), ShortId::from(to), std::iter::empty())
}

/// The header of what this node sends to `to` along `route`.
pub(super) fn header(tables: &Tables, to: &PeerName, route: &RelayRoute) -> RelayHeader {
    let then = route.then.iter().map(ShortId::from);
    RelayHeader::new(tables.us(), ShortId::from(to), then)
}

impl Shared {
    /// Sends a datagram through the relay `first`, or, if that is its destination, in pieces. A system call for each:
    /// for what is rare.
    pub(super) fn send_relayed(
        &self,
        tables: &Tables,
        first: &PeerName,
        header: RelayHeader,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let (relay, leap) = neighbour(tables, first)?;
        for leg in legs(self, relay, header, datagram) {
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
    pieces: Pieces,
    limits: Limits,
    /// The time since the start when the batch at hand had its first packet to pass on, or piece: one look at the clock
    /// for all.
    now: Option<Duration>,
    /// Whether the worker has more to do than it can: then origins get their shares and no more.
    pub(super) behind: bool,
}

/// Where the datagram that came to its end is.
pub(super) enum Whole<'a> {
    /// In the packet.
    Here(&'a mut [u8]),
    /// Put together: [`Relay::take_joined`].
    Joined,
}

/// A datagram that has come to its end, and how an answer goes back.
pub(super) struct Arrived<'a> {
    pub(super) origin: ShortId,
    pub(super) back: RelayHeader,
    pub(super) datagram: Whole<'a>,
}

impl Relay {
    pub(super) fn new(shared: &Shared) -> Self {
        let out = SendBatch::new(4 * super::BUFFER_LEN, shared.local, shared.offload.udp.cut);
        Self { out, pieces: Pieces::default(), limits: Limits::default(), now: None, behind: false }
    }

    /// Takes the body of a relayed packet that came in `session`: passes it on, or answers it if this is its end
    /// and all of it is here.
    pub(super) fn handle<'a>(
        &mut self,
        body: &'a mut [u8],
        session: &Session,
        tables: &Tables,
        shared: &Shared,
        socket: &UdpSocket,
        tally: &mut Counters,
    ) -> Result<Option<Arrived<'a>>, DropReason> {
        let (header, datagram) = RelayHeader::parse(body).ok_or(DropReason::Malformed)?;
        if header.destination == tables.us() {
            let (origin, back) = (header.origin, header.back());
            let datagram = if header.piece == Piece::WHOLE {
                Whole::Here(datagram)
            } else {
                let now = self.now(shared);
                if !self.pieces.join(&header, datagram, now) {
                    return Ok(None);
                }
                Whole::Joined
            };
            return Ok(Some(Arrived { origin, back, datagram }));
        }
        // What a neighbour sends in another's name would be charged to that other.
        if header.is_fresh() && header.origin != ShortId::from(&session.rx.peer) {
            return Err(DropReason::Spoofed);
        }
        let now = self.now(shared);
        if !self.limits.allow(header.origin, datagram.len(), now, self.behind) {
            return Err(DropReason::RelayLimit);
        }
        let (header, next) = header.pass_on(tables.us());
        let next = tables.peer_short(next).ok_or(DropReason::RelayNoRoute)?;
        let leg = Leg { header, datagram };
        next.size.note(leg.packet_len());
        match leap(tables, next).ok_or(DropReason::RelayNoRoute)? {
            Leap::Datagram(_) if leg.packet_len() > next.size.limit => {
                let packet = leg.sealed(&next.sealer)?;
                let direct = direct_header(tables, &next.name);
                shared.send_relayed(tables, &next.name, direct, &packet)?;
            }
            Leap::Datagram(address) => {
                let len = leg.packet_len();
                if self.out.room(len).is_none() {
                    self.flush(socket, tally);
                }
                let packet = self.out.room(len).ok_or(DropReason::TooBig)?;
                leg.seal(packet, &next.sealer)?;
                if next.size.is_limited() {
                    self.out.push_alone(len, address);
                } else {
                    self.out.push(len, address);
                }
            }
            Leap::Tunnel(tunnel) => tunnel.send(&leg.sealed(&next.sealer)?)?,
        }
        tally.relayed.packets += 1;
        tally.relayed.bytes += datagram.len() as u64;
        Ok(None)
    }

    fn now(&mut self, shared: &Shared) -> Duration {
        *self.now.get_or_insert_with(|| shared.started.elapsed())
    }

    /// The datagram that was put together last; [`Relay::keep`] takes its room back.
    pub(super) fn take_joined(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pieces.joined)
    }

    pub(super) fn keep(&mut self, room: Vec<u8>) {
        self.pieces.joined = room;
    }

    /// Sends what was passed on, and forgets the time.
    pub(super) fn flush(&mut self, socket: &UdpSocket, tally: &mut Counters) {
        self.now = None;
        if !self.out.is_empty() {
            let drops = &mut tally.drops;
            self.out.send(socket, |error| drops.count(egress::reason(&error)));
        }
    }
}
