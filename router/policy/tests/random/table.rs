//! A table that takes commands as the kernel does: what is referred to must be there, what is removed
//! must not be referred to.

use weft_policy::nft::{Action, Command, Elements, Map, Match, Ruleset, Set, SetKind, Transaction};

/// The table.
#[derive(Default)]
pub(crate) struct Table(Ruleset);

impl Table {
    pub(crate) fn ruleset(&self) -> &Ruleset {
        &self.0
    }

    /// # Panics
    /// The kernel would refuse a command.
    pub(crate) fn apply(&mut self, transaction: &Transaction) {
        for command in &transaction.commands {
            self.command(command.clone());
        }
    }

    fn command(&mut self, command: Command) {
        let ruleset = &mut self.0;
        match command {
            Command::Reset => *ruleset = Ruleset::default(),
            Command::AddSet(name, family, kind) => {
                let elements = match kind {
                    SetKind::Addresses => Elements::Addresses(Default::default()),
                    SetKind::Prefixes => Elements::Prefixes(Default::default()),
                    SetKind::Ports => Elements::Ports(Default::default()),
                };
                assert!(ruleset.sets.insert(name, Set { family, elements }).is_none());
            }
            Command::AddElements(name, new) => {
                match (&mut ruleset.sets.get_mut(&name).unwrap().elements, new) {
                    (Elements::Addresses(set), Elements::Addresses(new)) => set.extend(new),
                    (Elements::Prefixes(set), Elements::Prefixes(new)) => set.extend(new),
                    (Elements::Ports(set), Elements::Ports(new)) => set.extend(new),
                    (set, new) => panic!("{new:?} into {set:?}"),
                }
            }
            Command::DeleteElements(name, gone) => {
                match (&mut ruleset.sets.get_mut(&name).unwrap().elements, gone) {
                    (Elements::Addresses(set), Elements::Addresses(gone)) => {
                        gone.iter().for_each(|element| assert!(set.remove(element)));
                    }
                    (Elements::Prefixes(set), Elements::Prefixes(gone)) => {
                        gone.iter().for_each(|element| assert!(set.remove(element)));
                    }
                    (Elements::Ports(set), Elements::Ports(gone)) => {
                        gone.iter().for_each(|element| assert!(set.remove(element)));
                    }
                    (set, gone) => panic!("{gone:?} out of {set:?}"),
                }
            }
            Command::DeleteSet(name) => {
                assert!(!self.refers(|line| matches!(
                    line, Match::Address(_, _, set) | Match::NamedPort(_, set) if *set == name
                )));
                self.0.sets.remove(&name).unwrap();
            }
            Command::AddMap(name, family) => {
                let empty = Map { family, elements: Default::default() };
                assert!(ruleset.maps.insert(name, empty).is_none());
            }
            Command::AddMembers(name, members) => {
                for (address, chain) in members {
                    assert!(ruleset.chains.contains_key(&chain));
                    let elements = &mut ruleset.maps.get_mut(&name).unwrap().elements;
                    assert!(elements.insert(address, chain).is_none());
                }
            }
            Command::DeleteMembers(name, members) => {
                let elements = &mut ruleset.maps.get_mut(&name).unwrap().elements;
                for (address, chain) in members {
                    assert_eq!(elements.remove(&address), Some(chain));
                }
            }
            Command::AddChain(name) => {
                assert!(ruleset.chains.insert(name, Vec::new()).is_none());
            }
            Command::FlushChain(name) => ruleset.chains.get_mut(&name).unwrap().clear(),
            Command::AddLine(chain, line) => {
                for matching in &line.matches {
                    if let Match::Address(_, _, set) | Match::NamedPort(_, set) = matching {
                        assert!(ruleset.sets.contains_key(set));
                    }
                }
                match &line.action {
                    Action::Goto(target) => assert!(ruleset.chains.contains_key(target)),
                    Action::Lookup(_, _, map) => assert!(ruleset.maps.contains_key(map)),
                    Action::Accept | Action::Drop | Action::Return | Action::Log(..) => {}
                }
                ruleset.chains.get_mut(&chain).unwrap().push(line);
            }
            Command::DeleteChain(name) => {
                let chain = ruleset.chains.remove(&name).unwrap();
                assert!(chain.is_empty());
                let mut lines = ruleset.chains.values().flatten();
                assert!(!lines.any(|line| line.action == Action::Goto(name.clone())));
                let mut members = ruleset.maps.values().flat_map(|map| map.elements.values());
                assert!(!members.any(|target| *target == name));
            }
        }
    }

    fn refers(&self, what: impl Fn(&Match) -> bool) -> bool {
        self.0.chains.values().flatten().flat_map(|line| &line.matches).any(what)
    }
}
