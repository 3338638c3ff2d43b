//! Helpers for the tests that no ordinary command offers.
//!
//! ```text
//! linx_harness container [--net] [--mount] [--pid] [--user]
//! linx_harness seccomp NAME=ERRNO[,NAME=ERRNO...] -- COMMAND [ARGUMENT...]
//! linx_harness step NAME[,NAME...] CONTROL -- COMMAND [ARGUMENT...]
//! linx_harness race A B
//! linx_harness socket PID FD
//! linx_harness entry LIBRARY
//! linx_harness can QUESTION
//! linx_harness errnos
//! linx_harness spy
//! linx_harness signal NAME
//! linx_harness fuse FOLDER parallel|serial|never
//! linx_harness mounts
//! linx_harness pidfd PID FD -- COMMAND [ARGUMENT...]
//! linx_harness terminal
//! ```

mod calls;
mod can;
mod container;
mod entry;
mod errno;
mod fuse;
mod lifetime;
mod mounts;
mod pidfd;
mod race;
mod seccomp;
mod signal;
mod socket;
mod spy;
mod step;
mod terminal;

use std::error::Error;
use std::process::ExitCode;

/// The result of a subcommand. Its error is printed.
type Outcome = Result<(), Box<dyn Error>>;

/// The exit status of a failure of the harness itself, as in `env(1)`, because commands rarely use it.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linx_harness: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: Vec<String>) -> Outcome {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["container", options @ ..] => container::run(options),
        ["seccomp", rules, "--", command @ ..] => seccomp::run(rules, command),
        ["step", names, control, "--", command @ ..] => step::run(names, control, command),
        ["race", a, b] => race::run(a, b),
        ["socket", pid, fd] => socket::run(pid.parse()?, fd.parse()?),
        ["entry", library] => entry::run(library),
        ["can", question] => can::run(question),
        ["errnos"] => errno::run(),
        ["spy"] => spy::run(),
        ["signal", name] => signal::run(name),
        ["fuse", folder, "parallel"] => fuse::run(folder, fuse::Start::Parallel),
        ["fuse", folder, "serial"] => fuse::run(folder, fuse::Start::Serial),
        ["fuse", folder, "never"] => fuse::run(folder, fuse::Start::Never),
        ["mounts"] => mounts::run(),
        ["pidfd", pid, fd, "--", command @ ..] => pidfd::run(pid.parse()?, fd.parse()?, command),
        ["terminal"] => terminal::run(),
        _ => Err(
            "container [--net] [--mount] [--pid] [--user] | seccomp RULES -- COMMAND... | \
                  step NAMES CONTROL -- COMMAND... | race A B | socket PID FD | \
                  entry LIBRARY | can QUESTION | errnos | spy | signal NAME | \
                  fuse FOLDER parallel|serial|never | mounts | \
                  pidfd PID FD -- COMMAND... | terminal"
                .into(),
        ),
    }
}
