//! A block of addresses without its holes, as prefixes.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::IpBlock;

/// The fewest prefixes that together are the block without its holes.
pub(super) fn of(block: &IpBlock) -> BTreeSet<IpNet> {
    let mut prefixes = BTreeSet::new();
    subtract(block.cidr, &block.except, &mut prefixes);
    prefixes
}

/// Halves the prefix until a half is wholly in or wholly out: at most 128 times, as prefixes are no
/// longer, and once for each hole and length.
fn subtract(prefix: IpNet, holes: &[IpNet], prefixes: &mut BTreeSet<IpNet>) {
    if holes.iter().any(|hole| hole.contains(&prefix)) {
        return;
    }
    let inside: Vec<_> = holes.iter().filter(|hole| prefix.contains(*hole)).copied().collect();
    if inside.is_empty() {
        prefixes.insert(prefix);
        return;
    }
    // A hole inside the prefix is longer than it, so the prefix has halves.
    for half in prefix.subnets(prefix.prefix_len() + 1).into_iter().flatten() {
        subtract(half, &inside, prefixes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_are_cut_out() {
        let cut = |cidr: &str, except: &[&str]| {
            let except = except.iter().map(|hole| hole.parse().unwrap()).collect();
            let block = IpBlock { cidr: cidr.parse().unwrap(), except };
            of(&block).iter().map(IpNet::to_string).collect::<Vec<_>>()
        };
        assert_eq!(cut("10.0.0.0/8", &[]), ["10.0.0.0/8"]);
        assert_eq!(cut("10.0.0.0/30", &["10.0.0.1/32"]), ["10.0.0.0/32", "10.0.0.2/31"]);
        assert_eq!(cut("10.0.0.0/31", &["10.0.0.0/32", "10.0.0.1/32"]), [""; 0]);
        assert_eq!(cut("0.0.0.0/0", &["10.0.0.0/8", "10.1.0.0/16"]).len(), 8);
        assert_eq!(cut("::/0", &["::1/128"]).len(), 128);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_the_block_contains(
            length in 24u8..=32,
            holes in prop::collection::vec((any::<u8>(), 24u8..=32), 0..5),
            address in any::<u8>(),
        ) {
            let network = |last: u8, length| {
                IpNet::new([10, 0, 0, last].into(), length).unwrap().trunc()
            };
            let except = holes.iter().map(|&(last, length)| network(last, length)).collect();
            let block = IpBlock { cidr: network(0, length), except };
            let prefixes = of(&block);
            let address = [10, 0, 0, address].into();
            let holding = prefixes.iter().filter(|prefix| prefix.contains(&address)).count();
            prop_assert_eq!(holding, usize::from(block.contains(address)));
        }
    }
}
