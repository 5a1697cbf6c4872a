//! Where a change may deny what was allowed. Connections that stand must be looked at there, and need
//! not be elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Action, Command, Elements, Line, Match, Ruleset, Transaction};

/// Where connections that a ruleset lets open are perhaps not let open by the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tightening {
    /// At one of these addresses. With none, the change allows what was allowed.
    At(BTreeSet<IpAddr>),
    /// Perhaps anywhere.
    Anywhere,
}

/// What it means for a packet to be in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// The lines that ask for the set let it pass.
    Allows,
    /// They drop it.
    Denies,
    /// They differ, or lead to other chains.
    Mixed,
}

impl Ruleset {
    /// Where `transaction`, which has turned `old` into this ruleset, may deny what was allowed.
    ///
    /// Seen from one packet that opens a connection, a chain is a list of lines of which the first that
    /// matches decides. Denied is the worst that can be decided and allowed the best, and both
    /// directions must allow. So the following steps, one after the other, never turn allowed into
    /// denied; whatever is none of them counts as a tightening.
    ///
    /// 1. Sets change while the lines are the old ones. An element that comes to a set which only lets
    ///    packets pass, or goes from one which only drops them, lets a line that allows match more, or
    ///    one that denies match less. Other changes are of packets with the element's address at one
    ///    end. A set that is new is asked by no old line.
    /// 2. Lines change while the sets are the new ones: some that allow are put in, some that deny are
    ///    taken out, the others stay in their order. A chain that is new is reached by no old line, and
    ///    only by new members of a map.
    /// 3. Maps change. An address that leads nowhere any more is not isolated any more. One that comes
    ///    to a map, or leads to another chain than before, is where something may be denied.
    /// 4. Sets and chains go that nothing asks for any more.
    pub fn tightening(&self, old: &Self, transaction: &Transaction) -> Tightening {
        let mut at = BTreeSet::new();
        let mut chains = BTreeSet::new();
        let mut senses = None;
        for command in &transaction.commands {
            match command {
                Command::Reset => return Tightening::Anywhere,
                Command::AddElements(set, elements) | Command::DeleteElements(set, elements) => {
                    if !old.sets.contains_key(set) {
                        continue;
                    }
                    let harmless = match command {
                        Command::AddElements(..) => Sense::Allows,
                        _ => Sense::Denies,
                    };
                    let senses = senses.get_or_insert_with(|| old.senses());
                    if senses.get(set.as_str()).is_none_or(|sense| *sense == harmless) {
                        continue;
                    }
                    match elements {
                        Elements::Addresses(addresses) => at.extend(addresses),
                        Elements::Ports(ports) => at.extend(ports.iter().map(|port| port.0)),
                        Elements::Prefixes(_) => return Tightening::Anywhere,
                    }
                }
                Command::AddMembers(_, members) => at.extend(members.iter().map(|(ip, _)| *ip)),
                Command::FlushChain(chain) | Command::AddLine(chain, _) => {
                    chains.insert(chain);
                }
                Command::AddSet(..)
                | Command::DeleteSet(_)
                | Command::AddMap(..)
                | Command::DeleteMembers(..)
                | Command::AddChain(_)
                | Command::DeleteChain(_) => {}
            }
        }
        let tightened = |chain: &&String| match (old.chains.get(*chain), self.chains.get(*chain)) {
            (Some(old), Some(new)) => !only_allows_more(old, new),
            _ => false,
        };
        if chains.iter().any(tightened) { Tightening::Anywhere } else { Tightening::At(at) }
    }

    /// What it means to be in each of the sets that lines ask for.
    fn senses(&self) -> BTreeMap<&str, Sense> {
        let mut senses = BTreeMap::new();
        for line in self.chains.values().flatten() {
            let sense = match &line.action {
                Action::Log(..) => continue,
                Action::Accept | Action::Return => Sense::Allows,
                Action::Drop => Sense::Denies,
                Action::Goto(_) | Action::Lookup(..) => Sense::Mixed,
            };
            for matching in &line.matches {
                if let Match::Address(_, _, set) | Match::NamedPort(_, set) = matching {
                    let known = senses.entry(set.as_str()).or_insert(sense);
                    if *known != sense {
                        *known = Sense::Mixed;
                    }
                }
            }
        }
        senses
    }
}

/// Whether the new lines are the old ones with some put in that allow, and some left out that deny.
/// It may answer no where that is so, never yes where it is not.
fn only_allows_more(old: &[Line], new: &[Line]) -> bool {
    let deciding = |line: &&Line| !matches!(line.action, Action::Log(..));
    let allows = |line: &Line| matches!(line.action, Action::Accept | Action::Return);
    let denies = |line: &Line| line.action == Action::Drop;
    let mut old = old.iter().filter(deciding).peekable();
    for line in new.iter().filter(deciding) {
        loop {
            match old.peek() {
                Some(known) if known.matches == line.matches && known.action == line.action => {
                    old.next();
                    break;
                }
                _ if allows(line) => break,
                Some(known) if denies(known) => {
                    old.next();
                }
                _ => return false,
            }
        }
    }
    old.all(denies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn line(port: u16, action: Action) -> Line {
        let matches = vec![Match::Ports(Protocol::Tcp, vec![(port, port)])];
        Line { matches, counted: true, action, comment: String::new() }
    }

    #[test]
    fn lines_that_allow_may_come_and_those_that_deny_may_go() {
        let chain = |lines: &[(u16, Action)]| -> Vec<Line> {
            lines.iter().map(|(port, action)| line(*port, action.clone())).collect()
        };
        let (allow, deny) = (Action::Return, Action::Drop);
        let (pass, log) = (Action::Goto("p".into()), Action::Log(1, "ingress"));
        let before = [(1, allow.clone()), (2, deny.clone()), (3, pass.clone()), (4, deny.clone())];
        let with = |at: usize, new: (u16, Action)| {
            let mut lines = before.to_vec();
            lines.insert(at, new);
            chain(&lines)
        };
        let without = |at: usize| {
            let mut lines = before.to_vec();
            lines.remove(at);
            chain(&lines)
        };
        let before = chain(&before);
        assert!(only_allows_more(&before, &before));
        for at in 0..=4 {
            assert!(only_allows_more(&before, &with(at, (9, allow.clone()))), "{at}");
            assert!(only_allows_more(&before, &with(at, (9, Action::Accept))), "{at}");
            assert!(only_allows_more(&before, &with(at, (9, log.clone()))), "it decides nothing");
            assert!(!only_allows_more(&before, &with(at, (9, deny.clone()))), "{at}");
            assert!(!only_allows_more(&before, &with(at, (9, pass.clone()))), "{at}");
        }
        assert!(!only_allows_more(&before, &without(0)), "one that allows");
        assert!(only_allows_more(&before, &without(1)));
        assert!(!only_allows_more(&before, &without(2)), "one that leads elsewhere");
        assert!(only_allows_more(&before, &without(3)));
        let swapped: Vec<Line> = [1, 0, 2, 3].map(|at: usize| before[at].clone()).into();
        assert!(!only_allows_more(&before, &swapped), "denied first");
        assert!(!only_allows_more(&chain(&[(1, pass)]), &[]));
    }

    #[test]
    fn a_set_of_lines_that_differ_allows_nothing_more() {
        let asking = |action| Line {
            matches: vec![Match::Address(super::super::End::Source, crate::Family::V4, "s".into())],
            ..line(1, action)
        };
        let sense = |actions: &[Action]| {
            let lines = actions.iter().cloned().map(asking).collect();
            let ruleset =
                Ruleset { chains: [("c".to_owned(), lines)].into(), ..Ruleset::default() };
            ruleset.senses().get("s").copied()
        };
        assert_eq!(sense(&[Action::Return, Action::Accept]), Some(Sense::Allows));
        assert_eq!(sense(&[Action::Log(1, "ingress"), Action::Drop]), Some(Sense::Denies));
        assert_eq!(sense(&[Action::Return, Action::Drop]), Some(Sense::Mixed));
        assert_eq!(sense(&[Action::Goto("p".into())]), Some(Sense::Mixed));
        assert_eq!(sense(&[Action::Log(1, "ingress")]), None);
    }
}
