//! Plays histories of simulated clusters: one by its seed, or many in a row.

use std::process::ExitCode;

use clap::Parser;
use weft_sim::{Options, run};

/// Play a seeded history of a cluster of gossip nodes with loss, partitions and crashes.
#[derive(Parser)]
struct Arguments {
    /// The seed of the history, or of the first one.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many histories to play, each with the next seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many nodes.
    #[arg(long, default_value_t = Options::default().nodes)]
    nodes: usize,
    /// How many things happen to them before the world heals.
    #[arg(long, default_value_t = Options::default().steps)]
    steps: usize,
    /// Print each event, and what the nodes log.
    #[arg(long)]
    verbose: bool,
    /// Let machines die for ever, and operators remove nodes, some of which are alive.
    #[arg(long)]
    removals: bool,
    /// Let the disks lie about what is safe, to see the simulator notice.
    #[arg(long)]
    lying_disk: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.verbose {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().init();
    }
    let mut failed = 0_u64;
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX)) {
        let options = Options {
            seed,
            nodes: arguments.nodes,
            steps: arguments.steps,
            verbose: arguments.verbose,
            removals: arguments.removals,
            lying_disk: arguments.lying_disk,
        };
        match run(&options) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(failure) => {
                println!("{failure}");
                failed += 1;
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
