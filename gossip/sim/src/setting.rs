//! What a seed decides before anything happens: how many nodes, who makes the ring, which addresses
//! there are, and how bad everything is.

use std::{collections::BTreeSet, fmt};

use ipnet::IpNet;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use weft_crypto::PeerName;
use weft_gossip::ipam::Init;

use crate::{Options, host};

/// Things that happen before the world heals, for each node.
const STEPS_PER_NODE: usize = 8;
/// These many happen at least.
const FEWEST_STEPS: usize = 60;

/// How the ring of a history comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bootstrap {
    /// The first node is the founder, the others are observers.
    Founder,
    /// The first node finds no targets and makes a tentative ring, the others are observers.
    Tentative,
    /// All are `auto` and told of all.
    Auto,
    /// All take part in a consensus of that many.
    Consensus,
    /// The first few take part in a consensus among themselves, the others are observers.
    Few(usize),
    /// The first few are seeds, the others are observers.
    Seeds(usize),
    /// The first two found a ring each, apart from each other; the others are observers.
    Apart,
}

/// How bad the network and the disks of this history are, per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) overtaking: u64,
    pub(crate) latency_ms: u64,
    /// Writes at which the machine crashes.
    pub(crate) crashes: u64,
}

/// What a history is like.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) nodes: usize,
    pub(crate) steps: usize,
    pub(crate) removals: bool,
    pub(crate) bootstrap: Bootstrap,
    /// Whether each is told only of the one before it.
    pub(crate) chain: bool,
    pub(crate) ranges: Vec<IpNet>,
    /// Pods that run at once, all machines together.
    pub(crate) pods: usize,
    pub(crate) weather: Weather,
}

impl Setting {
    pub(crate) fn new(options: &Options, rng: &mut ChaCha8Rng) -> Self {
        let nodes = 3 + below(rng, 10);
        let nodes = options.nodes.unwrap_or(nodes).max(1);
        let removals = rng.next_u64().is_multiple_of(2);
        let removals = options.removals.unwrap_or(removals);
        let few = 1 + below(rng, nodes.min(5));
        let bootstrap = match rng.next_u64() % 7 {
            0 => Bootstrap::Founder,
            1 => Bootstrap::Tentative,
            2 => Bootstrap::Auto,
            3 => Bootstrap::Consensus,
            4 => Bootstrap::Few(few),
            5 => Bootstrap::Apart,
            _ => Bootstrap::Seeds(few),
        };
        let (ranges, room) = match rng.next_u64() % 6 {
            0 => (vec!["10.32.0.0/27"], 30),
            1 => (vec!["fd00::/123"], 30),
            2 => (vec!["10.32.0.0/26", "fd00::/120"], 62),
            3 => (vec!["10.32.0.0/25", "fd00::/112"], 126),
            _ => (vec!["10.32.0.0/24"], 254),
        };
        // One history in three asks for more than there is.
        let full = rng.next_u64().is_multiple_of(3);
        let weather = Weather {
            lost: rng.next_u64() % 60,
            repeated: rng.next_u64() % 60,
            overtaking: rng.next_u64() % 60,
            latency_ms: 1 + rng.next_u64() % 80,
            crashes: rng.next_u64() % 40,
        };
        Self {
            nodes,
            steps: options.steps.unwrap_or(FEWEST_STEPS + STEPS_PER_NODE * nodes),
            removals,
            bootstrap,
            // Where machines die, all are told of all: who restarts knows its targets only.
            chain: rng.next_u64().is_multiple_of(2) && !removals,
            ranges: ranges
                .into_iter()
                .map(|text| text.parse().expect("invariant: a range"))
                .collect(),
            pods: if full { room + nodes } else { room / 2 },
            weather,
        }
    }

    /// What the node `index` is told at its start; `names` are those of all.
    pub(crate) fn init(&self, index: usize, names: &[PeerName]) -> Init {
        match self.bootstrap {
            Bootstrap::Founder if index == 0 => Init::Founder,
            Bootstrap::Tentative if index == 0 => Init::Auto,
            Bootstrap::Auto => Init::Auto,
            Bootstrap::Consensus => Init::Consensus(Some(self.nodes)),
            Bootstrap::Few(few) if index < few => Init::Consensus(Some(few)),
            Bootstrap::Seeds(few) => {
                let seeds = Init::Seed(names.iter().take(few).copied().collect());
                if index < few { seeds } else { Init::Observer }
            }
            Bootstrap::Apart if index < 2 => Init::Founder,
            Bootstrap::Founder | Bootstrap::Tentative | Bootstrap::Few(_) | Bootstrap::Apart => {
                Init::Observer
            }
        }
    }

    /// Whether two rings are founded.
    pub(crate) fn apart(&self) -> bool {
        self.bootstrap == Bootstrap::Apart
    }

    /// On which side of a partition the node `index` is in the beginning.
    pub(crate) fn side(&self, index: usize) -> u8 {
        u8::from(self.apart() && index % 2 == 1)
    }

    /// Where the node `index` is told to connect.
    pub(crate) fn targets(&self, index: usize) -> BTreeSet<String> {
        // Without targets, `auto` makes a ring alone: the others call it.
        let alone = self.bootstrap == Bootstrap::Tentative && index == 0;
        // Who votes among all is told of all.
        let all = !self.chain
            || matches!(self.bootstrap, Bootstrap::Auto | Bootstrap::Consensus | Bootstrap::Apart);
        let told = |other: &usize| *other != index && !alone && (all || other + 1 == index);
        (0..self.nodes).filter(told).map(|other| host::address(other).to_string()).collect()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, steps, bootstrap, ranges, pods, .. } = self;
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        write!(f, "{nodes} nodes, {bootstrap:?}, {} for {pods} Pods, ", ranges.join(" and "))?;
        write!(f, "{steps} steps{}", if self.removals { " with removals" } else { "" })
    }
}

fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(1).max(1);
    usize::try_from(rng.next_u64() % bound).unwrap_or(0)
}
