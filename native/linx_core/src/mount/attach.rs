//! Mounts onto a descriptor, where no name can be swapped any more.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::{SFlag, fstat};

use crate::error::{Errno, check};
use crate::syscall::{move_mount, open_tree_clone};

/// What `mount(2)` does with `MS_BIND`, and with `MS_REC` if `recursive`, onto the file that `target` is; with its errors.
pub(super) fn bind(source: &CStr, recursive: bool, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let tree = open_tree_clone(source, recursive)?;
    // A directory goes onto a directory and a file onto a file. `move_mount(2)` answers EINVAL else, `mount(2)` this:
    if is_directory(tree.as_fd())? != is_directory(target)? {
        return Err(Errno::from_raw(libc::ENOTDIR));
    }
    move_mount(tree.as_fd(), target).map_err(|errno| match errno.raw() {
        // A mount namespace that would hold itself. `mount(2)` answers ELOOP for the look-up of the source alone.
        libc::ELOOP => Errno::from_raw(libc::EINVAL),
        _ => errno,
    })
}

fn is_directory(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = SFlag::from_bits_truncate(check(fstat(file))?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFDIR)
}
