//! The system calls of the mount API that `nix` does not have.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// Makes a procfs that shows the processes of this PID namespace; detached.
pub(crate) fn procfs_of(pid_namespace: &OwnedFd) -> nix::Result<OwnedFd> {
    const FSCONFIG_SET_FD: c_int = 5;
    const FSCONFIG_CMD_CREATE: c_int = 6;
    const CLOEXEC: c_int = 1;

    // SAFETY: a C string and an integer.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), CLOEXEC) })?;
    let fd = context.as_raw_fd();
    let (key, value) = (c"pidns".as_ptr(), pid_namespace.as_raw_fd());
    let null = ptr::null::<u8>();
    // SAFETY: a key and a descriptor, as this command takes them.
    let set = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_FD, key, null, value) };
    Errno::result(set)?;
    // SAFETY: this command takes nothing.
    let create =
        unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, null, null, 0) };
    Errno::result(create)?;
    // SAFETY: three integers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOEXEC, 0) })
}

/// Makes a tmpfs; detached.
pub(crate) fn tmpfs() -> nix::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: c_int = 6;
    const CLOEXEC: c_int = 1;

    // SAFETY: a C string and an integer.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), CLOEXEC) })?;
    let (fd, null) = (context.as_raw_fd(), ptr::null::<u8>());
    // SAFETY: this command takes nothing.
    let create =
        unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, null, null, 0) };
    Errno::result(create)?;
    // SAFETY: three integers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOEXEC, 0) })
}

/// A detached copy of the mount at a path.
pub(crate) fn copy_of(path: &CStr) -> nix::Result<OwnedFd> {
    const CLONE_CLOEXEC: c_int = 1 | libc::O_CLOEXEC;

    // SAFETY: a C string that lives through the call, and integers.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            CLONE_CLOEXEC,
        )
    })
}

/// Puts a detached mount onto a target, both by descriptor.
pub(crate) fn move_mount(mount: &OwnedFd, target: &OwnedFd) -> nix::Result<()> {
    const EMPTY_PATHS: c_int = 0x04 | 0x40;

    let (mount, target, empty) = (mount.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: two open descriptors, and C strings that live as long as the program.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            empty,
            target,
            empty,
            EMPTY_PATHS,
        )
    };
    Errno::result(moved).map(drop)
}

fn owned(returned: c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(returned)?;
    // SAFETY: a new descriptor, which nobody else has; descriptors are C ints.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}
