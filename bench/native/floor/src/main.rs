//! The floor of the benchmark: the system calls of the libraries, made by a program without a BEAM.
//!
//! Reads commands, one a line, and answers each with lines of nanoseconds, one number per call:
//!
//! ```text
//! open   HOW CALLS NET_NS
//! mount  HOW CALLS MOUNT_NS TARGET           answers two lines: the mounts, the unmounts
//! detached HOW CALLS MOUNT_NS TARGET         answers two lines: the mounts of a tmpfs, those of a bind
//! procfs HOW CALLS MOUNT_NS PID_NS TARGET
//! ```
//!
//! HOW is `plain` (no thread), `clone` (a thread as cheap as the kernel allows), `pthread` (the C library's, joined), or
//! `core` (as `linx_core` does it).

mod how;
mod mount;
mod open;
mod syscall;

use std::error::Error;
use std::ffi::CString;
use std::io::Write;
use std::time::{Duration, Instant};

use how::How;

/// What a command comes to: its lines. An error is for a person to read.
type Outcome = Result<Vec<Vec<Duration>>, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut stdout = std::io::stdout();
    for command in std::io::stdin().lines() {
        for samples in run(&command?)? {
            let numbers: Vec<String> = samples
                .iter()
                .map(|sample| sample.as_nanos().to_string())
                .collect();
            writeln!(stdout, "{}", numbers.join(" "))?;
        }
        stdout.flush()?;
    }
    Ok(())
}

fn run(command: &str) -> Outcome {
    let mut words = command.split(' ');
    let mut next = || words.next().ok_or(format!("{command}: a word is missing"));
    let (operation, how, calls) = (next()?, next()?.parse()?, next()?.parse()?);
    let mut path = || Ok::<CString, Box<dyn Error>>(CString::new(next()?)?);

    match operation {
        "open" => open::run(how, calls, &path()?),
        "mount" => mount::run(how, calls, &path()?, &path()?),
        "detached" => mount::run_detached(how, calls, &path()?, &path()?),
        "procfs" => mount::run_procfs(how, calls, &path()?, &path()?, &path()?),
        other => Err(format!("what is {other}?").into()),
    }
}

/// What `f` returned, and how long it took.
fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = f();
    (value, start.elapsed())
}

/// The answer to a command with a HOW that makes no sense for it.
fn senseless<T>(how: How) -> Result<T, Box<dyn Error>> {
    Err(format!("this cannot be done {how:?}").into())
}
