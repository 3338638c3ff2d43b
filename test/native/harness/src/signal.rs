//! `signal`: a process of a container that repeatedly sends a signal to all others there.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// Sends the signal by `kill(-1)` until dismissed, then prints `hits N`: how often there was a process to send it to.
///
/// The kernel leaves out the sender itself and the init of its PID namespace.
pub(crate) fn run(name: &str) -> Outcome {
    let signal: Signal = format!("SIG{name}").parse()?;
    die_with_parent()?;
    say("ready")?;
    let dismissed = AtomicBool::new(false);
    let hits = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = until_dismissed();
            dismissed.store(true, Ordering::Relaxed);
        });
        let mut hits: u64 = 0;
        while !dismissed.load(Ordering::Relaxed) {
            if kill(Pid::from_raw(-1), signal).is_ok() {
                hits = hits.saturating_add(1);
            }
        }
        hits
    });
    say(&format!("hits {hits}"))
}
