//! Sealed packets as QUIC datagrams (RFC 9221) of the control connection. See `docs/protocol/data.md`, section 5.2.
//!
//! ```text
//!  0       2       3
//! +-------+-------+--------------
//! | id    | place | piece           id little endian
//! +-------+-------+--------------
//! ```
//!
//! *place*: in the lower four bits how many pieces the packet has, in the upper four which one this is, from 0.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, SendDatagramError};
use tokio::sync::mpsc;
use weft_dataplane::{Tunnel, TunnelReceiver};

/// Packets that wait for the connection, as many as a socket's buffer would hold.
const QUEUE: usize = 256;

/// What stands before each piece, bytes.
const HEADER: usize = 3;

/// The most pieces of a packet, as many as the header can count. With datagrams of 1,100 bytes that is enough for an
/// underlay MTU of 9,000 and more.
const MAX_PIECES: usize = 15;

/// Packets that may lack pieces at once, for each connection. Datagrams rarely overtake each other.
const UNFINISHED: usize = 4;

/// Starts to carry packets, both ways, until the connection ends.
pub(super) fn start(connection: &Connection, receiver: TunnelReceiver) -> Tunnel {
    let (queue, packets) = mpsc::channel(QUEUE);
    tokio::spawn(write(connection.clone(), packets));
    tokio::spawn(read(connection.clone(), receiver));
    Tunnel::new(move |packet| queue.try_send(Bytes::copy_from_slice(packet)).is_ok())
}

async fn write(connection: Connection, mut packets: mpsc::Receiver<Bytes>) {
    let mut id: u16 = 0;
    while let Some(packet) = packets.recv().await {
        // It changes with the path.
        let Some(room) = connection.max_datagram_size() else { return };
        id = id.wrapping_add(1);
        for datagram in cut(&packet, id, room) {
            match connection.send_datagram_wait(datagram).await {
                Ok(()) => {}
                // The path has just become smaller. The packet is lost, as any may be.
                Err(SendDatagramError::TooLarge) => break,
                Err(
                    SendDatagramError::UnsupportedByPeer
                    | SendDatagramError::Disabled
                    | SendDatagramError::ConnectionLost(_),
                ) => return,
            }
        }
    }
}

async fn read(connection: Connection, receiver: TunnelReceiver) {
    let mut join = Join::default();
    // The reader of the stream reports the end of the connection, with its reason.
    while let Ok(datagram) = connection.read_datagram().await {
        if let Some(packet) = join.take(&datagram) {
            receiver.deliver(packet);
        }
    }
}

/// The datagrams that a packet becomes, none of which is longer than `room`. None where too many would be needed.
fn cut(packet: &[u8], id: u16, room: usize) -> impl Iterator<Item = Bytes> {
    let room = room.saturating_sub(HEADER).max(1);
    let count = packet.len().div_ceil(room);
    // Of equal length: what is left of each QUIC packet is for the stream, which would starve otherwise.
    let each = packet.len().div_ceil(count.max(1)).max(1);
    let count = u8::try_from(count).unwrap_or(u8::MAX);
    let fits = usize::from(count) <= MAX_PIECES;
    packet.chunks(each).take(if fits { MAX_PIECES } else { 0 }).zip(0_u8..).map(
        move |(piece, at)| {
            let mut datagram = BytesMut::with_capacity(HEADER + piece.len());
            datagram.put_u16_le(id);
            datagram.put_u8(at << 4 | count);
            datagram.put_slice(piece);
            datagram.freeze()
        },
    )
}

/// Puts packets together.
#[derive(Default)]
struct Join {
    /// Invariant: no more than [`UNFINISHED`], oldest first.
    unfinished: Vec<Unfinished>,
}

struct Unfinished {
    id: u16,
    pieces: Vec<Option<Vec<u8>>>,
}

impl Join {
    /// Takes a datagram and answers the packet that it completes. What is malformed is passed over: a packet that is
    /// put together wrongly does not open.
    fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let ([a, b, place], piece) = datagram.split_first_chunk::<HEADER>()?;
        let id = u16::from_le_bytes([*a, *b]);
        let (at, count) = (usize::from(place >> 4), usize::from(place & 0x0f));
        if at >= count {
            return None;
        }
        if count == 1 {
            return Some(piece.to_vec());
        }
        let of_packet = |other: &Unfinished| other.id == id && other.pieces.len() == count;
        let index = self.unfinished.iter().position(of_packet).unwrap_or_else(|| {
            if self.unfinished.len() >= UNFINISHED {
                self.unfinished.remove(0);
            }
            self.unfinished.push(Unfinished { id, pieces: vec![None; count] });
            self.unfinished.len() - 1
        });
        let packet = self.unfinished.get_mut(index)?;
        *packet.pieces.get_mut(at)? = Some(piece.to_vec());
        if packet.pieces.iter().any(Option::is_none) {
            return None;
        }
        let packet = self.unfinished.remove(index);
        Some(packet.pieces.into_iter().flatten().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize) -> Vec<u8> {
        (0..len).map(|n| n.to_le_bytes()[0]).collect()
    }

    #[test]
    fn what_is_cut_is_put_together_in_any_order() {
        for len in [1, 1197, 1198, 1452, 2394, 2395, 9000] {
            let packet = packet(len);
            let pieces: Vec<Bytes> = cut(&packet, 0xfffe, 1200).collect();
            assert_eq!(pieces.len(), len.div_ceil(1197));
            assert!(pieces.iter().all(|piece| piece.len() <= 1200));
            for reversed in [false, true] {
                let mut join = Join::default();
                let mut pieces = pieces.clone();
                if reversed {
                    pieces.reverse();
                }
                let (last, first) = pieces.split_last().unwrap();
                assert!(first.iter().all(|piece| join.take(piece).is_none()));
                assert_eq!(join.take(last).as_ref(), Some(&packet));
                assert!(join.unfinished.is_empty());
            }
        }
        assert_eq!(cut(&packet(15 * 97 + 1), 1, 100).count(), 0, "too many pieces");
        assert_eq!(cut(&packet(15 * 97), 1, 100).count(), 15);
    }

    #[test]
    fn layout_is_frozen() {
        let pieces: Vec<Bytes> = cut(b"abc", 0x0102, 5).collect();
        assert_eq!(pieces, [&b"\x02\x01\x02ab"[..], b"\x02\x01\x12c"]);
    }

    #[test]
    fn a_lost_piece_costs_its_packet_alone_and_memory_is_bounded() {
        let mut join = Join::default();
        for id in 0..100 {
            let packet = packet(2000);
            let pieces: Vec<Bytes> = cut(&packet, id, 1200).collect();
            assert_eq!(join.take(&pieces[0]), None);
            assert!(join.unfinished.len() <= UNFINISHED);
            if id % 2 == 0 {
                assert_eq!(join.take(&pieces[1]), Some(packet));
            }
        }
        // Shorter than a header, a place beyond the count, no pieces at all.
        for bad in [&[][..], &[1, 2], &[0, 0, 0x11], &[0, 0, 0x00], &[0, 0, 0xf2, 1]] {
            assert_eq!(join.take(bad), None, "{bad:?}");
        }
    }
}
