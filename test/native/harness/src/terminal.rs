//! `terminal`: a pseudoterminal that no session has.

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// Makes a pseudoterminal, prints `ready PATH`, and keeps it until dismissed. The kernel then hangs it up.
pub(crate) fn run() -> Outcome {
    die_with_parent()?;
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    say(&format!("ready {}", ptsname_r(&terminal)?))?;
    until_dismissed()
}
