//! Who was removed from the ring, or is to be.

use weft_api::status::Removal;

use super::name;
use crate::utc::utc;

/// What `weft rmpeer` prints and what follows the table of owners: a line each, by nickname.
pub(in crate::cli) fn removals(removals: &[Removal]) -> String {
    let mut sorted: Vec<_> = removals.iter().collect();
    sorted.sort_by_key(|removal| (&removal.node.nickname, &removal.node.peer));
    sorted.into_iter().map(|removal| format!("{}\n", sentence(removal))).collect()
}

/// A removal in a line: `c1b2c3d4e5(h3) removed on a1b2c3d4e5(h1) at 2026-08-06 18:55:38 UTC`.
pub(super) fn sentence(removal: &Removal) -> String {
    let how = match (removal.complete, removal.forced) {
        (true, true) => "removed by force",
        (true, false) => "removed",
        (false, true) => "to be removed by force",
        (false, false) => "to be removed",
    };
    let node = name(&removal.node.peer, &removal.node.nickname);
    let by = name(&removal.by.peer, &removal.by.nickname);
    let mut line = format!("{node} {how} on {by} at {}", utc(removal.at));
    if !removal.complete {
        let waits_for = &removal.waits_for;
        let names: Vec<_> = waits_for.iter().map(|node| name(&node.peer, &node.nickname)).collect();
        let names = if names.is_empty() { "the others".to_owned() } else { names.join(", ") };
        line.push_str(&format!(", waits for {names}"));
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example::{H1, H2, H3};
    use super::*;
    use weft_api::status::NamedNode;

    fn node(peer: &str, nickname: &str) -> NamedNode {
        NamedNode { peer: peer.into(), nickname: nickname.into() }
    }

    pub(in crate::cli::render) fn pending() -> Removal {
        Removal {
            node: node(H3, "h3"),
            by: node(H1, "h1"),
            at: 1_786_042_538,
            forced: false,
            complete: false,
            waits_for: vec![node(H2, "h2")],
        }
    }

    #[test]
    fn pending_and_complete_by_force_or_not() {
        let forced = Removal {
            node: node(H2, "h2"),
            forced: true,
            complete: true,
            waits_for: Vec::new(),
            ..pending()
        };
        let expected = "\
b1b2c3d4e5(h2) removed by force on a1b2c3d4e5(h1) at 2026-08-06 18:55:38 UTC
c1b2c3d4e5(h3) to be removed on a1b2c3d4e5(h1) at 2026-08-06 18:55:38 UTC, waits for b1b2c3d4e5(h2)
";
        assert_eq!(removals(&[pending(), forced]), expected);
        let alone = Removal { waits_for: Vec::new(), ..pending() };
        assert!(removals(&[alone]).ends_with("waits for the others\n"));
    }
}
