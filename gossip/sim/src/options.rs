//! What a history is made from, and what comes of it.

use std::fmt;

/// The moments around a write at which a machine can stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The daemon handed the bytes over, and nothing of them is on the disk.
    Before,
    /// The bytes are on the disk, and the daemon was not told.
    Unreported,
    /// The daemon was told, and none or some of what waited for that left it.
    Unsent,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Unreported, Self::Unsent];

    /// As the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Unreported => "unreported",
            Self::Unsent => "unsent",
        }
    }
}

/// What a history is made from. What is `None` follows from the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// All chance in it follows from this.
    pub seed: u64,
    /// How many nodes.
    pub nodes: Option<usize>,
    /// How many things happen to them before the world heals.
    pub steps: Option<usize>,
    /// Whether machines die for ever, and operators remove nodes, some of which are alive.
    pub removals: Option<bool>,
    /// At which write of the whole history, counted from 0, a machine crashes, and when exactly:
    /// beside the crashes of the seed.
    pub crash_at: Option<(u64, CrashPoint)>,
    /// Print each event.
    pub verbose: bool,
    /// The disks say that a write is safe before it is. Breaks the machines' one assumption, to show
    /// that the simulator notices when a promise is made before it is kept.
    pub lying_disk: bool,
}

/// What a history that went well came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it was like, in words.
    pub setting: String,
    /// Addresses that were promised to Pods.
    pub allocated: u64,
    /// Requests for addresses that failed, because the node was cut off from space, say.
    pub refused: u64,
    /// Nodes that crashed.
    pub crashes: u64,
    /// Those of the crashes that came at a write.
    pub crashes_at_writes: u64,
    /// Writes that the daemons asked for.
    pub writes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Clocks that were set, or leapt.
    pub clock_steps: u64,
    /// Machines that died.
    pub deaths: u64,
    /// Removals that somebody asked for.
    pub removals: u64,
    /// Machines that came back after they had been removed, with the disk they had.
    pub returns: u64,
    /// Removed machines that were started anew with another identity.
    pub rejoined: u64,
    /// Nodes that were told to leave.
    pub leaves: u64,
    /// Those that handed all over.
    pub left: u64,
    /// Words of operators that two rings are to be one.
    pub heals: u64,
    /// Pods that lost their addresses to a removal, or to a Pod of another ring.
    pub fenced: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Times that all that must always hold was checked.
    pub checks: u64,
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
    /// What it was like, in words.
    pub setting: String,
    /// When, virtual seconds.
    pub at: f64,
    /// What broke.
    pub reason: String,
    /// The last events before it.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        let Options { seed, nodes, steps, removals, crash_at, lying_disk, .. } = self.options;
        writeln!(f, "seed {seed} ({}) failed at {:.3} s: {}", self.setting, self.at, self.reason)?;
        write!(f, "replay: cargo run -p weft-sim -- --verbose --seed {seed}")?;
        if let Some(nodes) = nodes {
            write!(f, " --nodes {nodes}")?;
        }
        if let Some(steps) = steps {
            write!(f, " --steps {steps}")?;
        }
        if let Some(removals) = removals {
            write!(f, " --removals {removals}")?;
        }
        if let Some((write, point)) = crash_at {
            write!(f, " --crash-write {write} --crash-point {}", point.name())?;
        }
        if lying_disk {
            write!(f, " --lying-disk")?;
        }
        Ok(())
    }
}
