//! The lower bound of the benchmark: the system calls of the libraries, made by a program without a BEAM.
//!
//! Reads commands, one a line, and answers each with lines of nanoseconds, one number per call:
//!
//! ```text
//! open   THREAD CALLS NET_NS
//! mount  THREAD CALLS MOUNT_NS TARGET           answers two lines: the mounts, the unmounts
//! detached THREAD CALLS MOUNT_NS TARGET         answers two lines: the mounts of a tmpfs, those of a bind
//! procfs THREAD CALLS MOUNT_NS PID_NS TARGET
//! ```
//!
//! THREAD is `plain` (no thread), `clone` (a thread as cheap as the kernel allows), `pthread` (the C library's, joined), or
//! `core` (as `linx_core` does it).

mod mount;
mod open;
mod syscall;
mod thread_kind;

use std::error::Error;
use std::ffi::CString;
use std::io::Write;
use std::time::{Duration, Instant};

use thread_kind::ThreadKind;

/// The result of a command: its lines. An error is printed.
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
    let (operation, thread_kind, calls) = (next()?, next()?.parse()?, next()?.parse()?);
    let mut path = || Ok::<CString, Box<dyn Error>>(CString::new(next()?)?);

    match operation {
        "open" => open::run(thread_kind, calls, &path()?),
        "mount" => mount::run(thread_kind, calls, &path()?, &path()?),
        "detached" => mount::run_detached(thread_kind, calls, &path()?, &path()?),
        "procfs" => mount::run_procfs(thread_kind, calls, &path()?, &path()?, &path()?),
        other => Err(format!("unknown command: {other}").into()),
    }
}

/// Returns the result of `f`, and how long it took.
fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = f();
    (value, start.elapsed())
}

/// Returns the error of a command that does not support its THREAD.
fn unsupported<T>(thread_kind: ThreadKind) -> Result<T, Box<dyn Error>> {
    Err(format!("not supported on the thread {thread_kind:?}").into())
}
