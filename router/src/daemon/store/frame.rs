//! The form of a journal: a header, then frames.
//!
//! ```text
//! weft-journal 1\n                    magic and version
//! frame: "frm\xf7"                    4 bytes
//!        number, from 1               8 bytes, little endian
//!        length of the body           4 bytes, little endian
//!        checksum                     16 bytes: SHA-256 of generation, number, length, body; its first half
//!        body
//! body:  entries, each a kind (1 byte), an operation (1 byte), a length (4 bytes), and so many bytes
//! ```
//!
//! A frame is what was written and synced at once, and the next one is written only after that. So a
//! frame that does not hold and has none behind it was never confirmed to anyone: a crash or a full
//! disk cut it off. One that does not hold and has a sound one behind it had been confirmed, and was
//! damaged since. The generation is the number in the file's name: frames of one file do not hold in
//! another.

use sha2::{Digest, Sha256};
use weft_gossip::Written;

use super::Kind;

/// What a journal begins with.
pub(super) const HEADER: &[u8] = b"weft-journal 1\n";
const MAGIC: &[u8; 4] = b"frm\xf7";
/// Bytes of a frame before its body.
const PREFIX: usize = 4 + 8 + 4 + 16;
const REPLACE: u8 = 1;
const APPEND: u8 = 2;

/// What a body says.
pub(super) type Entry = (Kind, Written);

/// The bytes of a frame; `None` if the body is longer than a frame can be.
pub(super) fn frame(generation: u64, number: u64, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok()?;
    let mut bytes = Vec::with_capacity(PREFIX + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(generation, number, length, body));
    bytes.extend_from_slice(body);
    Some(bytes)
}

fn checksum(generation: u64, number: u64, length: u32, body: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(generation.to_le_bytes());
    hash.update(number.to_le_bytes());
    hash.update(length.to_le_bytes());
    hash.update(body);
    let whole: [u8; 32] = hash.finalize().into();
    let (half, _) = whole.split_first_chunk().expect("invariant: 16 is less than 32");
    *half
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With its last frame.
    Whole,
    /// With so many bytes of a frame that was never finished.
    Torn(usize),
    /// It does not: the frame of this number does not hold, and there are sound ones behind it. Number
    /// 0 is the header.
    Damaged(u64),
}

/// A journal that was read.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// The bodies of the sound frames before anything that does not hold.
    pub(super) bodies: Vec<&'a [u8]>,
    /// Where the last of them ends.
    pub(super) sound: usize,
    pub(super) end: End,
}

/// Reads a journal. Never fails: what does not hold is the [`End`].
pub(super) fn parse(generation: u64, bytes: &[u8]) -> Parsed<'_> {
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        // A file that was just being made; zeros are what some file systems leave of a crash.
        let unborn = HEADER.starts_with(bytes) || bytes.iter().all(|byte| *byte == 0);
        let end = if unborn { End::Torn(bytes.len()) } else { End::Damaged(0) };
        return Parsed { bodies: Vec::new(), sound: 0, end };
    };
    let mut bodies = Vec::new();
    let mut number = 1;
    while let Some(frame) = sound_frame(generation, rest).filter(|frame| frame.number == number) {
        bodies.push(frame.body);
        rest = frame.behind;
        number += 1;
    }
    let behind = (1..rest.len()).filter_map(|at| rest.get(at..));
    let mut later = behind.filter_map(|tail| sound_frame(generation, tail));
    let end = match rest.len() {
        0 => End::Whole,
        _ if later.any(|frame| frame.number > number) => End::Damaged(number),
        lost => End::Torn(lost),
    };
    Parsed { bodies, sound: bytes.len() - rest.len(), end }
}

/// A frame that holds.
struct Sound<'a> {
    number: u64,
    body: &'a [u8],
    behind: &'a [u8],
}

/// The frame that `bytes` begin with; `None` if it does not hold.
fn sound_frame(generation: u64, bytes: &[u8]) -> Option<Sound<'_>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (number, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk::<16>()?;
    let (number, length) = (u64::from_le_bytes(*number), u32::from_le_bytes(*length));
    let (body, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let holds = checksum(generation, number, length, body) == *sum;
    holds.then_some(Sound { number, body, behind })
}

/// Adds an entry to a body. `None`, and no change, if it is longer than a frame can hold.
pub(super) fn put_entry(body: &mut Vec<u8>, kind: Kind, what: &Written) -> Option<()> {
    let (operation, bytes) = match what {
        Written::Snapshot(bytes) => (REPLACE, bytes),
        Written::Append(bytes) => (APPEND, bytes),
    };
    let length = u32::try_from(bytes.len()).ok()?;
    body.extend_from_slice(&[kind.code(), operation]);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(bytes);
    Some(())
}

/// The entries of a body; `None` if this software did not write it.
pub(super) fn entries(mut body: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some((&[kind, operation], rest)) = body.split_first_chunk() {
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        let what = match operation {
            REPLACE => Written::Snapshot(bytes.to_vec()),
            APPEND => Written::Append(bytes.to_vec()),
            _ => return None,
        };
        entries.push((Kind::from_code(kind)?, what));
        body = rest;
    }
    body.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal(bodies: &[Vec<u8>]) -> Vec<u8> {
        let frames = bodies.iter().zip(1..).map(|(body, number)| frame(7, number, body).unwrap());
        HEADER.iter().copied().chain(frames.flatten()).collect()
    }

    proptest! {
        #[test]
        fn any_cut_leaves_a_prefix_and_is_no_damage(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = journal(&bodies);
            prop_assert_eq!(parse(7, &whole).bodies, bodies.iter().collect::<Vec<_>>());
            prop_assert_eq!(parse(7, &whole).end, End::Whole);
            let cut = cut.index(whole.len());
            let parsed = parse(7, &whole[..cut]);
            prop_assert!(bodies.iter().zip(&parsed.bodies).all(|(a, b)| a == b));
            prop_assert!(parsed.sound <= cut);
            prop_assert!(matches!(parsed.end, End::Whole | End::Torn(_)));
        }

        #[test]
        fn any_changed_bit_leaves_a_prefix_and_is_damage_unless_it_was_last(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = journal(&bodies);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse(7, &bytes);
            prop_assert!(parsed.bodies.len() < bodies.len());
            prop_assert!(bodies.iter().zip(&parsed.bodies).all(|(a, b)| a == b));
            let last = parsed.bodies.len() + 1 == bodies.len() && parsed.sound > 0;
            prop_assert_eq!(matches!(parsed.end, End::Torn(_)), last);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let behind: Vec<u8> = HEADER.iter().copied().chain(bytes.clone()).collect();
            parse(7, &bytes);
            parse(7, &behind);
            entries(&bytes);
        }
    }

    #[test]
    fn entries_come_back_as_they_were_put() {
        let written = [
            (Kind::Gossip, Written::Snapshot(vec![1; 300])),
            (Kind::Attachments, Written::Append(Vec::new())),
            (Kind::Gossip, Written::Append(vec![2])),
        ];
        let mut body = Vec::new();
        for (kind, what) in &written {
            put_entry(&mut body, *kind, what).unwrap();
        }
        assert_eq!(entries(&body).unwrap(), written);
        assert!(entries(&body[..body.len() - 1]).is_none());
    }

    #[test]
    fn frames_of_another_file_do_not_hold() {
        assert_eq!(parse(8, &journal(&[vec![1], vec![2]])).bodies.len(), 0);
    }

    #[test]
    fn another_version_is_not_taken_for_a_torn_one() {
        assert_eq!(parse(7, b"weft-journal 2\n").end, End::Damaged(0));
        assert_eq!(parse(7, b"weft-jour").end, End::Torn(9));
        assert_eq!(parse(7, &[0; 64]).end, End::Torn(64));
    }
}
