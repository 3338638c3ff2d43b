//! System calls for mounts by descriptor, and for the namespaces of a process by pidfd.

use std::ffi::{c_int, c_uint};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::statfs::FsType;

use super::{check, is_on, owned, uapi};
use crate::error::Errno;

/// The changes of [`mount_setattr`]: `struct mount_attr` of `linux/mount.h`. Zeros change nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_` flags to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_` flags to clear, before others are set.
    pub(crate) clear: u64,
    /// One of `MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE`, `MS_UNBINDABLE`.
    pub(crate) propagation: u64,
    /// With `MOUNT_ATTR_IDMAP`, the number of the descriptor of a user namespace.
    pub(crate) user_namespace: u64,
}

/// From `linux/magic.h`.
const PID_FS_MAGIC: FsType = FsType(0x5049_4446);
const ANON_INODE_FS_MAGIC: FsType = FsType(0x0904_1934);

/// Returns a detached copy of the mount of the descriptor `file`, and with `recursive` of the mounts below it: `open_tree(file, "",
/// OPEN_TREE_CLONE | AT_EMPTY_PATH …)`, since Linux 5.2.
pub(crate) fn open_tree_of(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | empty_path(recursive);
    // SAFETY: an open descriptor, and an empty C string that lives as long as the program.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Changes the mount whose root `mount` is, and with `recursive` the mounts below it: `mount_setattr(2)`, since Linux 5.12. Either all
/// of them change, or none.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: &MountAttributes,
) -> Result<(), Errno> {
    // SAFETY: an open descriptor, an empty C string that lives as long as the program, and a structure of the size that is
    // given, which lives through the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            empty_path(recursive),
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    check(returned).map(drop)
}

/// Opens the PID or user namespace (`kind`: `CLONE_NEWPID`, `CLONE_NEWUSER`) of the process of a pidfd, since Linux 6.11.
///
/// # Errors
/// ENOTTY: not a pidfd, or the kernel is older. ESRCH: the process has ended. EINVAL: another kind.
pub(crate) fn pidfd_namespace(pidfd: BorrowedFd<'_>, kind: c_int) -> Result<OwnedFd, Errno> {
    /// From `linux/pidfd.h`.
    const PIDFS_IOCTL_MAGIC: u32 = 0xff;
    let request: libc::Ioctl = match kind {
        libc::CLONE_NEWPID => libc::_IO(PIDFS_IOCTL_MAGIC, 5),
        libc::CLONE_NEWUSER => libc::_IO(PIDFS_IOCTL_MAGIC, 9),
        _ => return Err(Errno::from_raw(libc::EINVAL)),
    };
    // Another file may return any number, for example a container's in FUSE. It would be the number of a descriptor of the VM. Before
    // Linux 6.9, and on some machines later, a pidfd has no file system of its own.
    if !is_on(pidfd, &[PID_FS_MAGIC, ANON_INODE_FS_MAGIC]) {
        return Err(Errno::from_raw(libc::ENOTTY));
    }
    // SAFETY: an open descriptor of a pidfd, or of a file of the kernel that does not know this request. Its argument has to be 0.
    owned(unsafe { libc::ioctl(pidfd.as_raw_fd(), request, 0) }.into())
}

fn empty_path(recursive: bool) -> c_uint {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    (libc::AT_EMPTY_PATH | recursive) as c_uint
}
