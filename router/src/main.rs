//! The binary `weft`: the daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_router::cli::run(std::env::args_os()).into()
}
