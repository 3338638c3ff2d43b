//! The identity of a network namespace.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::{namespace, syscall};

/// Returns the device and the inode of the network namespace of a socket of any kind. They are those that `stat(2)` returns for
/// `/proc/<pid>/ns/net` of a process in that namespace. No process needs to be left in it.
///
/// `ioctl(SIOCGSKNS)`, since Linux 4.10. The calling thread needs `CAP_NET_ADMIN` in that namespace.
///
/// # Errors
/// ENOTSOCK; EPERM; the errno of `ioctl(2)`.
pub fn of_socket(socket: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    // Only for sockets: for another file the number of the request may mean something else.
    if !is_socket(&check(fstat(socket))?) {
        return Err(Errno::from_raw(libc::ENOTSOCK));
    }
    let namespace = syscall::socket_netns(socket)?;
    let stat = check(fstat(&namespace))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns the same for a socket, given by the number of its descriptor, which need not be open.
///
/// # Errors
/// EBADF, and the errors of [`of_socket`].
pub fn of_descriptor(fd: RawFd) -> Result<(u64, u64), Errno> {
    of_socket(syscall::duplicate(fd)?.as_fd())
}

/// Returns the device and the inode of a network namespace, given by the path of its file.
///
/// # Errors
/// EINVAL: `path` is not the file of a network namespace, or contains a NUL byte. The errno of `open(2)`.
pub fn of_file(path: &[u8]) -> Result<(u64, u64), Errno> {
    let path = c_string(path)?;
    of_namespace(namespace::open(&path)?.as_fd())
}

/// Returns the same for such a file, given by the number of a descriptor, which need not be open.
///
/// # Errors
/// EBADF, and the errors of [`of_file`].
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
