//! `socket`: prints what the kernel knows about a socket of another process.

#![allow(
    unsafe_code,
    reason = "system calls that nix does not wrap, or not with these types"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use libc::{c_int, c_long, pid_t, sockaddr_nl, socklen_t};

use crate::Outcome;
use crate::lifetime::say;

/// Prints for descriptor `fd` of process `pid`, one `key value` a line, the network namespace of the
/// socket, its kind and, for netlink, its address.
pub(crate) fn run(pid: pid_t, fd: RawFd) -> Outcome {
    let process = pidfd_open(pid)?;
    let socket = pidfd_getfd(process.as_fd(), fd)?;
    let socket = socket.as_fd();
    let namespace = File::from(network_namespace(socket)?).metadata()?;
    let domain: c_int = option(socket, libc::SO_DOMAIN)?;
    say(&format!("netns_dev {}", namespace.dev()))?;
    say(&format!("netns_ino {}", namespace.ino()))?;
    if let Ok(cookie) = option::<u64>(socket, SO_NETNS_COOKIE) {
        say(&format!("cookie {cookie}"))?;
    }
    say(&format!("domain {domain}"))?;
    say(&format!("type {}", option::<c_int>(socket, libc::SO_TYPE)?))?;
    say(&format!(
        "protocol {}",
        option::<c_int>(socket, libc::SO_PROTOCOL)?
    ))?;
    if domain == libc::AF_NETLINK {
        let name = netlink_name(socket)?;
        say(&format!("nl_pid {}", name.nl_pid))?;
        say(&format!("nl_groups {}", name.nl_groups))?;
    }
    Ok(())
}

/// From linux/socket.h. Since Linux 5.14.
const SO_NETNS_COOKIE: c_int = 71;
/// From linux/sockios.h.
const SIOCGSKNS: u16 = 0x894C;

fn pidfd_open(pid: pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

fn pidfd_getfd(process: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes three integers, touches no memory.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

fn network_namespace(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: this request has no argument, so no memory is touched.
    owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS.into()) }.into())
}

/// Takes ownership of the descriptor that a system call returned.
fn owned(answer: c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(answer) {
        // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A value that the kernel may fill with any bytes.
trait Plain: Copy {}
impl Plain for c_int {}
impl Plain for u64 {}

fn option<T: Plain>(socket: BorrowedFd<'_>, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size::<T>()?;
    // SAFETY: the kernel writes at most `length` bytes, the size of `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    // SAFETY: zeroed at first, and `T` may be any bytes.
    Ok(unsafe { value.assume_init() })
}

fn netlink_name(socket: BorrowedFd<'_>) -> io::Result<sockaddr_nl> {
    let mut name = MaybeUninit::<sockaddr_nl>::zeroed();
    let mut length = size::<sockaddr_nl>()?;
    // SAFETY: the kernel writes at most `length` bytes, the size of `name`.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    // SAFETY: zeroed at first, and the structure is nothing but integers.
    Ok(unsafe { name.assume_init() })
}

fn size<T>() -> io::Result<socklen_t> {
    socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_an_ordinary_socket() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            option::<c_int>(socket.as_fd(), libc::SO_DOMAIN).unwrap(),
            libc::AF_INET
        );
        assert_eq!(
            option::<c_int>(socket.as_fd(), libc::SO_TYPE).unwrap(),
            libc::SOCK_DGRAM
        );
    }
}
