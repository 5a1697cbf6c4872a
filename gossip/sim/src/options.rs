//! What a history is made from, and what comes of it.

use std::fmt;

/// What a history is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// All chance in it follows from this.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many things happen to them before the world heals.
    pub steps: usize,
    /// Print each event.
    pub verbose: bool,
    /// Whether machines die for ever, and operators remove nodes, some of which are alive.
    pub removals: bool,
    /// The disks say that a write is safe before it is. Breaks the machines' one assumption, to show
    /// that the simulator notices when a promise is made before it is kept.
    pub lying_disk: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, nodes: 5, steps: 250, verbose: false, removals: false, lying_disk: false }
    }
}

/// What a history that went well came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Addresses that were promised to Pods.
    pub allocated: u64,
    /// Requests for addresses that failed, because the node was cut off from space, say.
    pub refused: u64,
    /// Nodes that crashed.
    pub crashes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Machines that died for ever.
    pub deaths: u64,
    /// Removals that somebody asked for.
    pub removals: u64,
    /// Pods that lost their addresses to a removal.
    pub fenced: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// How long the healed world took to agree, virtual milliseconds.
    pub settled_ms: u128,
    /// The digest of the whole history: two runs of one seed have the same.
    pub trace: u64,
}

/// A history that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it was made from.
    pub options: Options,
    /// When, virtual seconds.
    pub at: f64,
    /// What broke.
    pub reason: String,
    /// The last events before it.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, nodes, steps, removals, lying_disk, .. } = self.options;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {seed} failed at {:.3} s: {}", self.at, self.reason)?;
        write!(
            f,
            "replay: cargo run -p weft-sim -- --seed {seed} --nodes {nodes} --steps {steps} --verbose{}{}",
            if removals { " --removals" } else { "" },
            if lying_disk { " --lying-disk" } else { "" }
        )
    }
}
