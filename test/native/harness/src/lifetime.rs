//! Limits the life of a subcommand to that of its parent.

use std::io::{Read, Write};

use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::Outcome;

/// Makes this process die with its parent.
pub(crate) fn die_with_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// Prints one line.
pub(crate) fn say(line: &str) -> Outcome {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Returns when the caller closes standard input, or writes to it. A port of the BEAM cannot close only
/// that and still learn that this program has ended.
pub(crate) fn until_dismissed() -> Outcome {
    let mut byte = [0];
    // `read_exact` retries after EINTR; running into the end is one of the two answers.
    let _ = std::io::stdin().read_exact(&mut byte);
    Ok(())
}
