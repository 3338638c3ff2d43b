//! `pidfd`: runs a command with a pidfd, which Elixir cannot open.

#![allow(unsafe_code, reason = "system calls that nix does not wrap")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Outcome;

/// Replaces this process by `command`, with a pidfd of the process `pid` as descriptor `fd`.
pub(crate) fn run(pid: u32, fd: RawFd, command: &[&str]) -> Outcome {
    let (program, arguments) = command.split_first().ok_or("pidfd: no command")?;
    let pidfd = open(pid)?;
    if pidfd.as_raw_fd() == fd {
        return Err(format!("pidfd: {fd} is not free").into());
    }
    // SAFETY: two integers. What had the number before is nobody's here.
    if unsafe { libc::dup2(pidfd.as_raw_fd(), fd) } == -1 {
        return Err(io::Error::last_os_error().into());
    }
    let error = Command::new(program).args(arguments).exec();
    Err(format!("{program}: {error}").into())
}

/// `pidfd_open(2)`, since Linux 5.3.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: two integers.
    match RawFd::try_from(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
        // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_descriptor_while_it_is_there() {
        open(std::process::id()).unwrap();
        // Beyond the largest pid there can be.
        open(0x7fff_ffff).unwrap_err();
    }
}
