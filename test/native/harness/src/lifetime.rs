//! How long a subcommand lives: no longer than whoever started it.

use std::io::{Read, Write};

use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::Outcome;

/// Makes this process die with its parent.
pub(crate) fn die_with_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// Says one line to the caller.
pub(crate) fn say(line: &str) -> Outcome {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Returns when the caller closes our standard input, or writes to it: a port of the BEAM cannot
/// close only that and still learn that we ended.
pub(crate) fn until_dismissed() -> Outcome {
    let mut byte = [0];
    // `read_exact` retries after EINTR; running into the end is one of the two answers.
    let _ = std::io::stdin().read_exact(&mut byte);
    Ok(())
}
