//! Many histories at once, on all processors.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{Failure, Options, Report, run};

/// What came of many histories.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Histories played.
    pub played: u64,
    /// Those that went wrong.
    pub failed: u64,
    /// Counts of those that went well, added up; of the time to settle the longest.
    pub total: Report,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let total = &mut self.total;
        total.allocated += report.allocated;
        total.refused += report.refused;
        total.crashes += report.crashes;
        total.crashes_at_writes += report.crashes_at_writes;
        total.writes += report.writes;
        total.partitions += report.partitions;
        total.clock_steps += report.clock_steps;
        total.deaths += report.deaths;
        total.removals += report.removals;
        total.returns += report.returns;
        total.rejoined += report.rejoined;
        total.leaves += report.leaves;
        total.left += report.left;
        total.heals += report.heals;
        total.fenced += report.fenced;
        total.delivered += report.delivered;
        total.lost += report.lost;
        total.checks += report.checks;
        total.settled_ms = total.settled_ms.max(report.settled_ms);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        writeln!(f, "{} histories, {} failed", self.played, self.failed)?;
        writeln!(
            f,
            "{} addresses promised, {} requests refused, {} messages arrived, {} lost",
            total.allocated, total.refused, total.delivered, total.lost
        )?;
        writeln!(
            f,
            "{} crashes, {} of them at one of {} writes; {} partitions, {} clock steps",
            total.crashes,
            total.crashes_at_writes,
            total.writes,
            total.partitions,
            total.clock_steps
        )?;
        writeln!(
            f,
            "{} deaths, {} removals, {} returns, {} rejoined, {} Pods fenced",
            total.deaths, total.removals, total.returns, total.rejoined, total.fenced
        )?;
        writeln!(
            f,
            "{} told to leave, of whom {} handed all over; {} words that two rings are one",
            total.leaves, total.left, total.heals
        )?;
        write!(
            f,
            "{} checks of all invariants; healed clusters agreed after {:.1} s at the latest",
            total.checks,
            total.settled_ms as f64 / 1000.0
        )
    }
}

/// Plays `count` histories, with the seeds from that of `options` on, and hands each failure to
/// `failed` as it comes.
pub fn play_all(options: &Options, count: u64, failed: impl Fn(&Failure) + Sync) -> Sum {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let seed = options.seed.wrapping_add(index);
            let played = run(&Options { seed, ..options.clone() });
            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.played += 1;
            match played {
                Ok(report) => sum.add(&report),
                Err(failure) => {
                    sum.failed += 1;
                    failed(&failure);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(worker);
        }
    });
    sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
