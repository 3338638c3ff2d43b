//! `can`: whether the kernel can do something here. It is asked by doing it: versions say little, as distributions
//! port features back, and containers forbid them.

#![allow(unsafe_code, reason = "system calls that nix does not wrap")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long, socklen_t};

use crate::Outcome;
use crate::lifetime::say;

/// Says `yes` or `no`.
pub(crate) fn run(question: &str) -> Outcome {
    let answer = match question {
        "procfs-of-a-pid-namespace" => configures_pidns()?,
        "buffers-beyond-the-limit" => forces_buffers()?,
        _ => return Err(format!("can: what is {question}?").into()),
    };
    say(if answer { "yes" } else { "no" })
}

/// Whether a procfs can be given a PID namespace by its option `pidns` (since Linux 6.17).
fn configures_pidns() -> io::Result<bool> {
    const FSOPEN_CLOEXEC: c_int = 1;
    const FSCONFIG_SET_FD: c_int = 5;
    const KEY: &CStr = c"pidns";

    let namespace = own_pid_namespace()?;
    // SAFETY: a C string that lives through the call.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) };
    let Ok(context) = c_int::try_from(context) else {
        return Ok(false);
    };
    if context < 0 {
        return Ok(false);
    }
    // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    // SAFETY: two open descriptors, a C string that lives through the call, and NULL.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_SET_FD,
            KEY.as_ptr(),
            std::ptr::null::<u8>(),
            namespace.as_raw_fd(),
        )
    };
    Ok(answer == 0)
}

/// Whether a socket may have buffers beyond the system's limit: it takes `CAP_NET_ADMIN` in the initial user namespace.
fn forces_buffers() -> io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let (bytes, size) = (4096, size_of::<c_int>());
    // SAFETY: the kernel reads `size` bytes, an integer.
    let answer: c_long = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            std::ptr::from_ref::<c_int>(&bytes).cast(),
            socklen_t::try_from(size).map_err(io::Error::other)?,
        )
    }
    .into();
    Ok(answer == 0)
}

fn own_pid_namespace() -> io::Result<File> {
    File::open("/proc/self/ns/pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_an_answer() {
        for question in ["procfs-of-a-pid-namespace", "buffers-beyond-the-limit"] {
            assert!(run(question).is_ok());
        }
        assert!(run("what").is_err());
    }
}
