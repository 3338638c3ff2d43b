//! Resolves or creates a target: once, to a descriptor, without links.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::c_string::check_length;
use crate::error::{Errno, check};

/// How often a look-up is repeated. A container can delay a call by making and removing the target between two look-ups, but not for
/// more than this many rounds.
const ROUNDS: usize = 64;

/// Returns a descriptor of the file at `target`. If there is none, makes an empty regular file of mode 0644 (less the umask).
///
/// * `wanted`: is called before a file is made. If it returns an error, that is the result.
///
/// # Errors
/// ELOOP: a part of the path is a symbolic link. EXDEV: the path leaves the root, or, if it is relative, the working directory.
/// ENAMETOOLONG: the path has 4096 bytes or more. ENOSYS: before Linux 5.6. EAGAIN: the target appeared and disappeared [`ROUNDS`]
/// times. Otherwise the errno of the `open(2)` that creates the file.
pub(super) fn resolve_or_create(
    target: &CStr,
    wanted: impl Fn() -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    check_length(target)?;
    match relative_to_root(target) {
        None => resolve_beneath(AT_FDCWD, target, wanted),
        Some(path) => {
            let root = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let root = check(openat(AT_FDCWD, c"/", root, Mode::empty()))?;
            resolve_beneath(root.as_fd(), path, wanted)
        }
    }
}

fn resolve_beneath(
    root: BorrowedFd<'_>,
    path: &CStr,
    wanted: impl Fn() -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    let found = |flags: OFlag, mode: Mode| {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        check(openat2(root, path, how))
    };
    // Without O_NOFOLLOW a link as the last name is refused. With O_PATH and O_NOFOLLOW it would be opened.
    let look = || found(OFlag::O_PATH, Mode::empty());
    let create = || {
        let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        found(new, Mode::from_bits_truncate(0o644))
    };

    for _ in 0..ROUNDS {
        match look() {
            Err(errno) if errno.raw() == libc::ENOENT => {}
            Err(errno) if errno.raw() == libc::EAGAIN => continue,
            done => return done,
        }
        wanted()?;
        match create() {
            // Another process has made it since, or moved a directory of the path, so look again.
            Err(errno) if matches!(errno.raw(), libc::EEXIST | libc::EAGAIN) => {}
            done => return done,
        }
    }
    Err(Errno::from_raw(libc::EAGAIN))
}

/// Returns an absolute path without its leading slashes, relative to the root. `None` for a relative path.
fn relative_to_root(path: &CStr) -> Option<&CStr> {
    let bytes = path.to_bytes_with_nul();
    let start = bytes
        .iter()
        .position(|&byte| byte != b'/')
        .filter(|&start| start > 0)?;
    match CStr::from_bytes_with_nul(bytes.get(start..)?) {
        Ok(path) if path.is_empty() => Some(c"."),
        path => path.ok(),
    }
}

#[cfg(test)]
mod tests;
