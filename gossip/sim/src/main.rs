//! Plays histories of simulated clusters: one by its seed, or many in a row.

use std::process::ExitCode;

use clap::Parser;
use weft_sim::{CrashPoint, Options, play_all, run};

/// Play a seeded history of a cluster of gossip nodes with loss, partitions, crashes and removals.
///
/// What no option says follows from the seed: the number of nodes (3 to 12), the way the ring is made,
/// the ranges, the weather, and whether nodes are removed.
#[derive(Parser)]
struct Arguments {
    /// The seed of the history, or of the first one.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many histories to play, each with the next seed, on all processors.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many nodes.
    #[arg(long)]
    nodes: Option<usize>,
    /// How many things happen to them before the world heals.
    #[arg(long)]
    steps: Option<usize>,
    /// Whether machines die for ever, and operators remove nodes, some of which are alive.
    #[arg(long)]
    removals: Option<bool>,
    /// A machine crashes at this write of the history, counted from 0.
    #[arg(long, requires = "crash_point")]
    crash_write: Option<u64>,
    /// Where it crashes: before the bytes are on the disk, when the daemon does not know that they are
    /// (unreported), or before all of what waited for them has left (unsent).
    #[arg(long, value_parser = point, requires = "crash_write")]
    crash_point: Option<CrashPoint>,
    /// Print each event, and what the nodes log.
    #[arg(long)]
    verbose: bool,
    /// Let the disks lie about what is safe, to see the simulator notice.
    #[arg(long)]
    lying_disk: bool,
}

fn point(text: &str) -> Result<CrashPoint, String> {
    let found = CrashPoint::ALL.into_iter().find(|point| point.name() == text);
    found.ok_or_else(|| "it is one of before, unreported, unsent".into())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.verbose {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().init();
    }
    let options = Options {
        seed: arguments.seed,
        nodes: arguments.nodes,
        steps: arguments.steps,
        removals: arguments.removals,
        crash_at: arguments.crash_write.zip(arguments.crash_point),
        verbose: arguments.verbose,
        lying_disk: arguments.lying_disk,
    };
    if arguments.seeds == 1 {
        return match run(&options) {
            Ok(report) => {
                println!("seed {}: {report:#?}", options.seed);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let sum = play_all(&options, arguments.seeds, |failure| println!("{failure}"));
    println!("{sum}");
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
