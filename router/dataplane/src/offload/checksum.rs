//! The Internet checksum (RFC 1071, RFC 1624).

/// The one's complement sum of 16-bit words, of which an odd last byte is the upper half, on top of `start`.
pub(crate) fn sum(bytes: &[u8], start: u16) -> u16 {
    let mut chunks = bytes.chunks_exact(2);
    let mut sum = u64::from(start);
    for pair in chunks.by_ref() {
        if let [high, low] = *pair {
            sum += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    if let [last] = *chunks.remainder() {
        sum += u64::from(u16::from_be_bytes([last, 0]));
    }
    fold(sum)
}

/// `sum` with one of its summands, `old`, replaced.
pub(super) fn replaced(sum: u16, old: u16, new: u16) -> u16 {
    fold(u64::from(sum) + u64::from(!old) + u64::from(new))
}

/// Whether two sums are equal; zero has two forms.
pub(super) fn same(a: u16, b: u16) -> bool {
    let canonical = |sum: u16| if sum == u16::MAX { 0 } else { sum };
    canonical(a) == canonical(b)
}

/// Adds what exceeds 16 bits to what does not.
fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(sum) => return sum,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes, 0), 0xddf2);
        assert_eq!(sum(&bytes[..7], 0), sum(&[&bytes[..7], &[0]].concat(), 0));
    }

    #[test]
    fn replacing_is_summing_anew() {
        for (old, new) in [(0, 1), (1, 0), (0xffff, 0x8000), (1400, 60_000), (7, 7)] {
            let [before, after] = [old, new].map(|word: u16| {
                let [high, low] = word.to_be_bytes();
                sum(&[0x12, 0x34, high, low, 0xff, 0xff], 0)
            });
            assert!(same(replaced(before, old, new), after), "{old} to {new}");
        }
        assert!(same(0, 0xffff) && !same(0, 1));
    }
}
