//! The owners of addresses.

use weft_api::status::{IpamOwner, Removal};

use super::{NAME_WIDTH, name, removals, width};

/// `weft status ipam`: this node first, the others by nickname; empty while there is no ring. Below
/// them who was removed, or is to be.
pub(in crate::cli) fn ipam(own: &str, owners: &[IpamOwner], removed: &[Removal]) -> String {
    let mut sorted: Vec<_> = owners.iter().collect();
    sorted.sort_by_key(|owner| (owner.peer != own, &owner.nickname, &owner.peer));
    let names: Vec<_> = sorted.iter().map(|owner| name(&owner.peer, &owner.nickname)).collect();
    let name_width = width(&names, NAME_WIDTH);
    let mut text = String::new();
    for (owner, name) in sorted.into_iter().zip(names) {
        text.push_str(&format!(
            "{name:name_width$} {:>8} IPs ({:04.1}% of total) ({} active)",
            owner.addresses,
            owner.share * 100.0,
            owner.active,
        ));
        if !owner.reachable && owner.peer != own {
            text.push_str(" - unreachable!");
        }
        if owner.removal.is_some() {
            text.push_str(" - to be removed");
        }
        text.push('\n');
    }
    if !removed.is_empty() {
        text.push_str(&format!("\n{}", removals(removed)));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example::{H1, H2, H3};
    use super::*;

    fn owner(peer: &str, nickname: &str, addresses: u64, active: u64) -> IpamOwner {
        #[allow(clippy::cast_precision_loss)]
        let share = addresses as f64 / 1_048_576.0;
        IpamOwner {
            peer: peer.into(),
            nickname: nickname.into(),
            addresses,
            share,
            active,
            reachable: true,
            removal: None,
        }
    }

    /// Three owners, one of them gone, seen from `h2`.
    pub(in crate::cli::render) fn example() -> Vec<IpamOwner> {
        let mut gone = owner(H3, "h3", 256, 0);
        gone.reachable = false;
        vec![gone, owner(H1, "h1", 1_047_808, 12), owner(H2, "h2", 512, 2)]
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "\
b1b2c3d4e5(h2)                             512 IPs (00.0% of total) (2 active)
a1b2c3d4e5(h1)                         1047808 IPs (99.9% of total) (12 active)
c1b2c3d4e5(h3)                             256 IPs (00.0% of total) (0 active) - unreachable!
";

    #[test]
    fn this_node_comes_first() {
        assert_eq!(ipam(H2, &example(), &[]), EXAMPLE);
        let mut reversed = example();
        reversed.reverse();
        assert_eq!(ipam(H2, &reversed, &[]), EXAMPLE);
    }

    #[test]
    fn a_pending_removal_is_named_in_its_row_and_below() {
        let pending = removals::tests::pending();
        let mut owners = example();
        owners[0].removal = Some(pending.clone());
        let text = ipam(H2, &owners, &[pending]);
        let rows: Vec<_> = text.lines().collect();
        assert!(rows[2].ends_with("(0 active) - unreachable! - to be removed"), "{text}");
        assert_eq!(rows[3], "");
        assert!(rows[4].starts_with("c1b2c3d4e5(h3) to be removed on"), "{text}");
        assert_eq!(rows.len(), 5);
    }

    #[test]
    fn one_owner_has_all_of_ipv6() {
        assert_eq!(
            ipam(H1, &[owner(H1, "h1", 1_048_576, 0)], &[]),
            "a1b2c3d4e5(h1)                         1048576 IPs (100.0% of total) (0 active)\n"
        );
        assert_eq!(ipam(H1, &[], &[]), "");
    }
}
