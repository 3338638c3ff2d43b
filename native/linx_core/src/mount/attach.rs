//! Attaches a mount to a descriptor, so that no name can be swapped.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Errno;
use crate::syscall::{is_directory, move_mount, open_tree_clone};

/// Binds as `mount(2)` does with `MS_BIND`, and with `MS_REC` if `recursive`, onto the file of the descriptor `target`. Its errors are
/// those of `mount(2)`.
///
/// * `wanted`: is called before anything is attached. If it returns an error, that is the result.
pub(super) fn bind(
    source: &CStr,
    recursive: bool,
    target: BorrowedFd<'_>,
    wanted: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let tree = open_tree_clone(source, recursive)?;
    wanted()?;
    attach(tree.as_fd(), target)
}

/// Attaches a detached mount to the file of the descriptor `target`, with the errors of `mount(2)`.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(mount, target).map_err(|errno| match errno.raw() {
        // A directory can be mounted only onto a directory, a file only onto a file. `move_mount(2)` gives EINVAL otherwise.
        libc::EINVAL if is_directory(mount) != is_directory(target) => {
            Errno::from_raw(libc::ENOTDIR)
        }
        // A mount namespace that would contain itself. `mount(2)` gives ELOOP only for the look-up of a name.
        libc::ELOOP => Errno::from_raw(libc::EINVAL),
        _ => errno,
    })
}
