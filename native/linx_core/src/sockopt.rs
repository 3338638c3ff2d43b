//! `setsockopt(2)` and `getsockopt(2)` for options that `nix` has no name for.

// Each function is one system call with the arguments that its manual page describes.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::Errno;

/// More 32-bit words than any option that is read here has. The longest is the list of groups; generic netlink has some hundreds.
const WORDS: usize = 1024;

/// The size of a `struct sock_filter`.
const INSTRUCTION: usize = 8;

/// Sets an option that is a C `int`.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> Result<(), Errno> {
    // SAFETY: an `int` that lives through the call, with its size.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    check(returned)
}

/// Reads an option that is a C `int`, or several words of that size.
pub(crate) fn get(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> Result<Vec<u32>, Errno> {
    let mut words = vec![0_u32; WORDS];
    let mut size = size_of_val(words.as_slice()) as libc::socklen_t;
    // SAFETY: `size` bytes that live through the call.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            words.as_mut_ptr().cast::<c_void>(),
            &raw mut size,
        )
    };
    check(returned)?;
    words.truncate((size as usize).div_ceil(size_of::<u32>()));
    Ok(words)
}

/// Attaches a program of whole instructions: `SO_ATTACH_FILTER`.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: &[u8]) -> Result<(), Errno> {
    let (instructions, []) = program.as_chunks::<INSTRUCTION>() else {
        return Err(Errno::from_raw(libc::EINVAL));
    };
    let Ok(len) = u16::try_from(instructions.len()) else {
        return Err(Errno::from_raw(libc::EINVAL));
    };
    let instructions: Vec<libc::sock_filter> = instructions.iter().map(instruction).collect();
    let program = libc::sock_fprog {
        len,
        // The kernel copies it, and does not write to it.
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: the `sock_fprog` and the `len` instructions that it points to live through the call.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast::<c_void>(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(returned)
}

fn instruction(&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; INSTRUCTION]) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    }
}

fn check(returned: c_int) -> Result<(), Errno> {
    if returned == -1 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}
