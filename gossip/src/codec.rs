//! The one place where bytes become values and values become bytes.
//!
//! Everything that leaves this crate, on the wire or to the disk, is a version byte followed by the
//! bincode 2 form of one value (standard configuration: little endian, variable-length integers).
//! Decoding checks the version, bounds what a length field may claim before memory is taken for it,
//! and refuses bytes that are left over.

use bincode::{Decode, Encode, config};
use thiserror::Error;

/// The version of every encoding of this crate.
pub(crate) const VERSION: u8 = 1;

/// What one decoded value may claim of memory in all, bytes. The input is bounded by its caller
/// ([`crate::limits`]); this bounds what a small input can claim to contain.
const DECODE_LIMIT: usize = 1 << 20;

/// What one snapshot may claim of memory in all, bytes. It comes from this node's own disk, behind a
/// checksum, so the bound is only there against a broken file.
const SNAPSHOT_LIMIT: usize = 1 << 28;

/// Why bytes are not the value that was expected. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There is not even a version byte.
    #[error("nothing to decode")]
    Empty,
    /// The version byte is one that this software does not know.
    #[error("encoding version {0} is not known here (this software reads version {VERSION})")]
    Version(u8),
    /// The bytes do not form the value.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The value was complete and bytes followed it.
    #[error("{0} bytes left over")]
    Trailing(usize),
}

/// The bytes of `value`, version byte first.
pub(crate) fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bincode::encode_into_std_write(value, &mut bytes, config::standard())
        .expect("invariant: encoding plain data into memory cannot fail");
    bytes
}

/// The value that `bytes` are the form of.
///
/// # Errors
/// See [`DecodeError`]; never panics, whatever the bytes.
pub(crate) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_with(bytes, config::standard().with_limit::<DECODE_LIMIT>())
}

/// As [`decode`], for the large values that come from this node's own disk.
pub(crate) fn decode_snapshot<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_with(bytes, config::standard().with_limit::<SNAPSHOT_LIMIT>())
}

fn decode_with<T: Decode<()>>(bytes: &[u8], config: impl config::Config) -> Result<T, DecodeError> {
    let (version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let (value, used) = bincode::decode_from_slice(body, config)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match body.len() - used {
        0 => Ok(value),
        rest => Err(DecodeError::Trailing(rest)),
    }
}
