//! Mounts onto a descriptor, where no name can be swapped any more.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Errno;
use crate::syscall::{is_directory, move_mount, open_tree_clone};

/// What `mount(2)` does with `MS_BIND`, and with `MS_REC` if `recursive`, onto the file that `target` is; with its errors.
///
/// * `wanted`: asked before anything is attached; its error is the result then.
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

/// Attaches a detached mount to what `target` is, with the errors of `mount(2)`.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(mount, target).map_err(|errno| match errno.raw() {
        // A directory goes onto a directory and a file onto a file. `move_mount(2)` answers EINVAL else.
        libc::EINVAL if is_directory(mount) != is_directory(target) => {
            Errno::from_raw(libc::ENOTDIR)
        }
        // A mount namespace that would hold itself. `mount(2)` answers ELOOP for the look-up of a name alone.
        libc::ELOOP => Errno::from_raw(libc::EINVAL),
        _ => errno,
    })
}
