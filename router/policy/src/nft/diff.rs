//! The smallest change from one ruleset to another.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Elements, Line, Ruleset, Set};
use crate::{Family, Protocol};

/// Commands that take effect together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// In the order in which the kernel must see them: what is referred to comes before what refers to
    /// it, and goes after it.
    pub commands: Vec<Command>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes the table, empty, whatever was there.
    Reset,
    /// Makes a set without elements.
    AddSet(String, Family, SetKind),
    /// Puts elements in a set.
    AddElements(String, Elements),
    /// Takes elements out of a set.
    DeleteElements(String, Elements),
    /// Removes a set.
    DeleteSet(String),
    /// Makes a map without elements.
    AddMap(String, Family),
    /// Leads addresses to chains.
    AddMembers(String, Vec<(IpAddr, String)>),
    /// Leads addresses nowhere.
    DeleteMembers(String, Vec<(IpAddr, String)>),
    /// Makes a chain without lines, the base chain in its hook.
    AddChain(String),
    /// Removes the lines of a chain.
    FlushChain(String),
    /// Appends a line to a chain.
    AddLine(String, Line),
    /// Removes a chain that has no lines.
    DeleteChain(String),
}

/// The type of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// Of addresses.
    Addresses,
    /// Of prefixes.
    Prefixes,
    /// Of ports of Pods.
    Ports,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
}

impl Ruleset {
    /// What turns `old` into this ruleset; with `None`, whatever there is.
    ///
    /// A Pod that comes, goes or changes its labels costs elements only. A chain is rewritten only if
    /// one of its lines is another, and keeps the counters of none then.
    pub fn transaction_from(&self, old: Option<&Self>) -> Transaction {
        let mut commands = Vec::new();
        if old.is_none() {
            commands.push(Command::Reset);
        }
        let nothing = Self::default();
        let old = old.unwrap_or(&nothing);
        self.add_sets(old, &mut commands);
        self.add_chains(old, &mut commands);
        self.change_members(old, &mut commands);
        self.delete_unused(old, &mut commands);
        Transaction { commands }
    }

    fn add_sets(&self, old: &Self, commands: &mut Vec<Command>) {
        for (name, set) in &self.sets {
            let known = old.sets.get(name);
            if known.is_none() {
                commands.push(Command::AddSet(name.clone(), set.family, set.elements.kind()));
            }
            let (gone, new) = set.elements.changes_from(known);
            if !gone.is_empty() {
                commands.push(Command::DeleteElements(name.clone(), gone));
            }
            if !new.is_empty() {
                commands.push(Command::AddElements(name.clone(), new));
            }
        }
        for (name, map) in &self.maps {
            if !old.maps.contains_key(name) {
                commands.push(Command::AddMap(name.clone(), map.family));
            }
        }
    }

    /// All new chains first: lines may lead to any of them.
    fn add_chains(&self, old: &Self, commands: &mut Vec<Command>) {
        let new = self.chains.keys().filter(|name| !old.chains.contains_key(*name));
        commands.extend(new.cloned().map(Command::AddChain));
        for (name, lines) in &self.chains {
            let known = old.chains.get(name);
            if known == Some(lines) {
                continue;
            }
            if known.is_some_and(|known| !known.is_empty()) {
                commands.push(Command::FlushChain(name.clone()));
            }
            let lines = lines.iter().cloned();
            commands.extend(lines.map(|line| Command::AddLine(name.clone(), line)));
        }
    }

    fn change_members(&self, old: &Self, commands: &mut Vec<Command>) {
        for (name, map) in &self.maps {
            let known = old.maps.get(name).map(|map| &map.elements);
            let members = |these: &Option<&std::collections::BTreeMap<IpAddr, String>>| {
                these.iter().flat_map(|map| map.iter()).map(own).collect::<BTreeSet<_>>()
            };
            let (before, after) = (members(&known), members(&Some(&map.elements)));
            let gone: Vec<_> = before.difference(&after).cloned().collect();
            let new: Vec<_> = after.difference(&before).cloned().collect();
            if !gone.is_empty() {
                commands.push(Command::DeleteMembers(name.clone(), gone));
            }
            if !new.is_empty() {
                commands.push(Command::AddMembers(name.clone(), new));
            }
        }
    }

    /// Chains first, emptied first: what their lines refer to must not go before they do.
    fn delete_unused(&self, old: &Self, commands: &mut Vec<Command>) {
        let chains: Vec<_> =
            old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        commands.extend(chains.iter().map(|name| Command::FlushChain((*name).clone())));
        commands.extend(chains.iter().map(|name| Command::DeleteChain((*name).clone())));
        let sets = old.sets.keys().filter(|name| !self.sets.contains_key(*name));
        commands.extend(sets.cloned().map(Command::DeleteSet));
    }
}

fn own((address, chain): (&IpAddr, &String)) -> (IpAddr, String) {
    (*address, chain.clone())
}

impl Elements {
    /// The type of the set.
    pub const fn kind(&self) -> SetKind {
        match self {
            Self::Addresses(_) => SetKind::Addresses,
            Self::Prefixes(_) => SetKind::Prefixes,
            Self::Ports(_) => SetKind::Ports,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Addresses(addresses) => addresses.is_empty(),
            Self::Prefixes(prefixes) => prefixes.is_empty(),
            Self::Ports(ports) => ports.is_empty(),
        }
    }

    /// What a set that holds `old` has too much, and what it lacks.
    fn changes_from(&self, old: Option<&Set>) -> (Self, Self) {
        type Ports = BTreeSet<(IpAddr, Protocol, u16)>;
        fn changes<T: Ord + Clone>(
            old: &BTreeSet<T>,
            new: &BTreeSet<T>,
        ) -> (BTreeSet<T>, BTreeSet<T>) {
            (old.difference(new).cloned().collect(), new.difference(old).cloned().collect())
        }
        match (self, old.map(|set| &set.elements)) {
            (Self::Addresses(new), Some(Self::Addresses(old))) => {
                let (gone, new) = changes(old, new);
                (Self::Addresses(gone), Self::Addresses(new))
            }
            (Self::Prefixes(new), Some(Self::Prefixes(old))) => {
                let (gone, new) = changes(old, new);
                (Self::Prefixes(gone), Self::Prefixes(new))
            }
            (Self::Ports(new), Some(Self::Ports(old))) => {
                let (gone, new) = changes(old, new);
                (Self::Ports(gone), Self::Ports(new))
            }
            // The name of a set tells its type: one of another type is not there.
            (Self::Addresses(new), _) => {
                (Self::Addresses(BTreeSet::new()), Self::Addresses(new.clone()))
            }
            (Self::Prefixes(new), _) => {
                (Self::Prefixes(BTreeSet::<IpNet>::new()), Self::Prefixes(new.clone()))
            }
            (Self::Ports(new), _) => (Self::Ports(Ports::new()), Self::Ports(new.clone())),
        }
    }
}
