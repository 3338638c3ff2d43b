//! Resolves a target that is to be created if it is not there: once, to a descriptor, without links.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::error::{Errno, check};

/// What a container can do to win time is to make and remove the target between two of our looks; it does not win more
/// than this many rounds.
const ROUNDS: usize = 64;

/// A descriptor of what is at `target`; where there is nothing, of an empty regular file of mode 0644 (less the umask)
/// made there.
///
/// * `wanted`: asked before something is made; its error is the result then.
///
/// # Errors
/// ELOOP for a symbolic link anywhere in the path. EXDEV for a path that leaves the root, or for a relative one the
/// working directory. ENOSYS before Linux 5.6. EAGAIN if the target came and went [`ROUNDS`] times meanwhile. Else that
/// of the creating `open(2)`.
pub(super) fn resolve_or_create(
    target: &CStr,
    wanted: impl Fn() -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
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
    // No O_NOFOLLOW on the first: with O_PATH it would open a link in the last place, which is refused so.
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
            // Somebody made it since, or moved a directory of the path: look again.
            Err(errno) if matches!(errno.raw(), libc::EEXIST | libc::EAGAIN) => {}
            done => return done,
        }
    }
    Err(Errno::from_raw(libc::EAGAIN))
}

/// An absolute path as seen from the root: without its leading slashes. `None` for a relative one.
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
