//! Frames on the control stream: `length u32 LE | type u8 | body`, the length counting type and
//! body. See `docs/protocol/control.md`.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};

/// The largest frame before the other side has proved that it is admitted, bytes. Nothing that is
/// sent before that is larger.
pub(super) const MAX_BEFORE_ADMISSION: usize = 128;

/// The largest frame after that: a gossip message and the type byte.
pub(super) const MAX_FRAME: usize = weft_gossip::limits::MAX_MESSAGE + 1;

/// The types of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameType {
    /// A proof of knowledge of the cluster secret: 32 bytes.
    Proof,
    /// What a side tells of itself once it has admitted the other: [`super::hello::Hello`].
    Hello,
    /// A gossip message.
    Gossip,
    /// A message about new keys of the data path.
    Rekey,
    /// "Look for a direct path now": empty.
    Punch,
    /// Anything else: skipped and counted, so that later versions can add types.
    Unknown(u8),
}

impl From<u8> for FrameType {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Proof,
            2 => Self::Hello,
            3 => Self::Gossip,
            4 => Self::Rekey,
            5 => Self::Punch,
            other => Self::Unknown(other),
        }
    }
}

impl From<FrameType> for u8 {
    fn from(value: FrameType) -> Self {
        match value {
            FrameType::Proof => 1,
            FrameType::Hello => 2,
            FrameType::Gossip => 3,
            FrameType::Rekey => 4,
            FrameType::Punch => 5,
            FrameType::Unknown(other) => other,
        }
    }
}

/// Why a frame could not be read. The connection is of no use after it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The length is zero or beyond the limit in force.
    #[error("a frame of {length} bytes, {limit} are allowed")]
    Length {
        /// What the peer announced.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The stream ended.
    #[error("the peer closed the stream")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
}

/// Reads one frame of at most `limit` bytes. Memory is reserved only after the check.
pub(super) async fn read(
    stream: &mut RecvStream,
    limit: usize,
) -> Result<(FrameType, Bytes), FrameError> {
    let closed = |e| match e {
        ReadExactError::FinishedEarly(_) => FrameError::Closed,
        ReadExactError::ReadError(e) => FrameError::Read(e),
    };
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(closed)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > limit {
        return Err(FrameError::Length { length, limit });
    }
    let mut kind = [0];
    stream.read_exact(&mut kind).await.map_err(closed)?;
    let mut body = BytesMut::zeroed(length - 1);
    stream.read_exact(&mut body).await.map_err(closed)?;
    Ok((FrameType::from(kind[0]), body.freeze()))
}

/// Writes one frame.
pub(super) async fn write(
    stream: &mut SendStream,
    kind: FrameType,
    body: &[u8],
) -> Result<(), WriteError> {
    stream.write_all(&encode(kind, body)).await
}

fn encode(kind: FrameType, body: &[u8]) -> Bytes {
    // Bodies are limited by their makers, far below 4 GiB.
    let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(body.len() + 5);
    frame.put_u32_le(length);
    frame.put_u8(kind.into());
    frame.put_slice(body);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_frozen() {
        assert_eq!(encode(FrameType::Gossip, b"ab")[..], [3, 0, 0, 0, 3, b'a', b'b']);
        assert_eq!(encode(FrameType::Proof, b"")[..], [1, 0, 0, 0, 1]);
    }

    #[test]
    fn types_round_trip() {
        for value in 0..=u8::MAX {
            assert_eq!(u8::from(FrameType::from(value)), value);
        }
    }
}
