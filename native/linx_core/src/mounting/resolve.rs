//! Resolves a path once, to a descriptor, beneath the root of the mount namespace.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::c_string::{c_string, check_length};
use crate::error::{Errno, check};

/// How often a look-up is repeated. The kernel gives up (EAGAIN) if directories are renamed meanwhile.
pub(super) const ROUNDS: usize = 64;

/// An absolute path, and whether symbolic links in it are followed.
#[derive(Clone, Debug)]
pub struct Path {
    /// The path. Text before the first slash is ignored.
    pub path: CString,
    /// Whether to follow links, as long as they stay beneath the root.
    pub follow: bool,
}

/// The root of the mount namespace that the thread is in.
#[derive(Clone, Copy)]
pub(super) enum Root {
    /// The root directory of the thread, opened for each look-up.
    Directory,
    /// The working directory of the thread, which has just become the root.
    WorkingDirectory,
}

impl Root {
    /// Opens a path as `O_PATH`, on the topmost mount there.
    ///
    /// # Errors
    /// ELOOP: a part of the path is a symbolic link. EXDEV: the path leaves the root. The errno of `open(2)`.
    pub(super) fn find(self, path: &CStr, follow: bool) -> Result<OwnedFd, Errno> {
        check_length(path)?;
        let bytes = path.to_bytes();
        let start = bytes.iter().position(|&byte| byte != b'/');
        let relative = bytes.get(start.unwrap_or(bytes.len())..);
        let relative = match relative.unwrap_or_default() {
            [] => c".".to_owned(),
            bytes => c_string(bytes)?,
        };
        match self {
            Self::WorkingDirectory => find(AT_FDCWD, &relative, follow),
            Self::Directory => find(open_root()?.as_fd(), &relative, follow),
        }
    }
}

/// Opens the root directory of the thread.
pub(super) fn open_root() -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    check(openat(AT_FDCWD, c"/", flags, Mode::empty()))
}

/// Opens a path as `O_PATH`, beneath a directory.
pub(super) fn find(directory: BorrowedFd<'_>, path: &CStr, follow: bool) -> Result<OwnedFd, Errno> {
    let resolve = match follow {
        true => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        false => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(resolve);
    for _ in 0..ROUNDS {
        match check(openat2(directory, path, how)) {
            Err(errno) if errno.raw() == libc::EAGAIN => {}
            done => return done,
        }
    }
    Err(Errno::from_raw(libc::EAGAIN))
}

/// Splits a path into its parent and its last name.
///
/// # Errors
/// EINVAL if there is no last name: the path is the root, or ends in `.` or `..`. ENAMETOOLONG.
pub(super) fn split(path: &CStr) -> Result<(CString, CString), Errno> {
    check_length(path)?;
    let bytes = path.to_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/');
    let end = end.map_or(0, |last| last.saturating_add(1));
    let bytes = bytes.get(..end).unwrap_or_default();
    let slash = bytes.iter().rposition(|&byte| byte == b'/');
    let start = slash.map_or(0, |slash| slash.saturating_add(1));
    match bytes.split_at_checked(start) {
        Some((_, b"" | b"." | b"..")) | None => Err(Errno::from_raw(libc::EINVAL)),
        Some((parent, name)) => Ok((c_string(parent)?, c_string(name)?)),
    }
}

#[cfg(test)]
mod tests;
