//! Which network namespace is this?

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::{namespace, syscall};

/// The device and the inode of the network namespace that a socket of any kind is in: those that `stat(2)` says of
/// `/proc/<pid>/ns/net` for a process in it. There need not be any left.
///
/// `ioctl(SIOCGSKNS)`, since Linux 4.10, of the thread that calls: it takes `CAP_NET_ADMIN` in that namespace.
///
/// # Errors
/// ENOTSOCK; EPERM; the errno of `ioctl(2)`.
pub fn of_socket(socket: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    // The number of the request may mean something else to another file.
    if !is_socket(&check(fstat(socket))?) {
        return Err(Errno::from_raw(libc::ENOTSOCK));
    }
    let namespace = syscall::socket_netns(socket)?;
    let stat = check(fstat(&namespace))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The same of a socket by the number of its descriptor, which need not be open.
///
/// # Errors
/// EBADF, and those of [`of_socket`].
pub fn of_descriptor(fd: RawFd) -> Result<(u64, u64), Errno> {
    of_socket(syscall::duplicate(fd)?.as_fd())
}

/// The device and the inode of a network namespace, given by the path of its file.
///
/// # Errors
/// EINVAL: not the file of a network namespace, or a NUL byte in `path`. The errno of `open(2)`.
pub fn of_file(path: &[u8]) -> Result<(u64, u64), Errno> {
    let path = c_string(path)?;
    of_namespace(namespace::open(&path)?.as_fd())
}

/// The same, given by a descriptor of that file by its number, which need not be open.
///
/// # Errors
/// EBADF, and those of [`of_file`].
pub fn of_file_descriptor(fd: RawFd) -> Result<(u64, u64), Errno> {
    of_namespace(syscall::duplicate(fd)?.as_fd())
}

fn of_namespace(file: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    if syscall::namespace_type(file) != Some(libc::CLONE_NEWNET) {
        return Err(Errno::from_raw(libc::EINVAL));
    }
    let stat = check(fstat(file))?;
    Ok((stat.st_dev, stat.st_ino))
}

fn is_socket(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
}

#[cfg(test)]
mod tests;
