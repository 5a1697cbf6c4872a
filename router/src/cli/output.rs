//! Writing to the terminal. A reader that went away, as in `weft status | head`, is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Writes a text to stdout.
pub(super) fn print(text: &str) -> io::Result<()> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to stdout.
pub(super) fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    forgive_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Writes a value as indented JSON to stdout.
pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    print_bytes(&text)
}

/// Whether stdout is a terminal that shows colours, and nobody asked for none (<https://no-color.org>).
pub(super) fn has_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// Writes each line to stderr, as an error or a remark. That stderr is gone cannot be told to anyone.
pub(super) fn complain(lines: &str) {
    let mut stderr = io::stderr().lock();
    for line in lines.lines() {
        let _ = writeln!(stderr, "weft: {line}");
    }
}

fn forgive_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
