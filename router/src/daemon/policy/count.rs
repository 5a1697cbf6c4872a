//! What the rules have counted.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_policy::nft::{Action, Ruleset, TABLE};

use super::{PolicyError, nft};

/// Packets by the full name of a policy: allowed, and denied.
pub(super) type Counts = BTreeMap<String, (u64, u64)>;

/// Reads the counters.
pub(super) fn counts(ruleset: &Ruleset) -> Result<Counts, PolicyError> {
    Ok(nft::list("inet", TABLE)?.map(|listing| added(&listing, ruleset)).unwrap_or_default())
}

/// Adds up the counters of a listing. Lines are found by their place: the listing keeps the order.
fn added(listing: &Value, ruleset: &Ruleset) -> Counts {
    let mut counts = Counts::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let rules = listing["nftables"].as_array().into_iter().flatten();
    for rule in rules.filter_map(|object| object.get("rule")) {
        let Some(chain) = rule["chain"].as_str() else { continue };
        let place = places.entry(chain).or_default();
        let line = ruleset.chains.get(chain).and_then(|lines| lines.get(*place));
        *place += 1;
        let expressions = rule["expr"].as_array().into_iter().flatten();
        let packets: u64 = expressions.filter_map(|part| part["counter"]["packets"].as_u64()).sum();
        let Some(line) = line.filter(|line| line.counted) else { continue };
        match line.action {
            // `default/web ingress[0]`.
            Action::Return => {
                if let Some((policy, _)) = line.comment.rsplit_once(' ') {
                    counts.entry(policy.to_owned()).or_default().0 += packets;
                }
            }
            Action::Drop => {
                for policy in ruleset.isolating.get(chain).into_iter().flatten() {
                    counts.entry(policy.clone()).or_default().1 += packets;
                }
            }
            Action::Accept | Action::Goto(_) | Action::Lookup(..) | Action::Log(..) => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_policy::nft::Line;

    use super::*;

    #[test]
    fn lines_count_for_their_policies() {
        let line = |action, comment: &str| Line {
            matches: Vec::new(),
            counted: true,
            action,
            comment: comment.to_owned(),
        };
        let mut ruleset = Ruleset::default();
        let lines =
            vec![line(Action::Return, "x/p ingress[0]"), line(Action::Drop, "isolated ingress")];
        ruleset.chains.insert("in_1".to_owned(), lines);
        ruleset.isolating.insert("in_1".to_owned(), vec!["x/p".to_owned(), "x/q".to_owned()]);
        let rule = |packets: u64| json!({"rule": {"chain": "in_1", "expr": [{"counter": {"packets": packets}}]}});
        let listing = json!({"nftables": [{"chain": {"name": "in_1"}}, rule(3), rule(5)]});
        let counts = added(&listing, &ruleset);
        let expected = [("x/p".to_owned(), (3, 5)), ("x/q".to_owned(), (0, 5))];
        assert_eq!(counts, Counts::from(expected));
    }
}
