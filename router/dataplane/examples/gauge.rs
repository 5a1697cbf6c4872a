//! Does one step of the packet path a number of times, for an instruction counter: `scripts/gauge`.
//!
//! `gauge STEP TIMES`; without arguments it prints the names of the steps.

use std::process::ExitCode;

use weft_dataplane::gauge::{Gauge, Step};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        for (name, _) in Step::ALL {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let step = Step::ALL.into_iter().find(|(known, _)| known == name);
    let (Some((_, step)), Ok(times)) = (step, times.parse::<u32>()) else {
        return ExitCode::from(2);
    };
    let mut gauge = Gauge::new();
    for _ in 0..times {
        gauge.run(step);
    }
    ExitCode::SUCCESS
}
