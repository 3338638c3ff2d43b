//! System calls that neither `nix` nor a safe function of the standard library wraps.

// Each function is one system call with the arguments that its manual page describes.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long, c_uint};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::sys::socket::SockFlag;
use nix::sys::statfs::{FsType, NSFS_MAGIC, fstatfs};

use crate::error::Errno;

mod mounts;

pub(crate) use mounts::{MountAttributes, mount_setattr, open_tree_of, pidfd_namespace};

/// Numbers of `linux/mount.h` that `libc` does not have. They are the same on every architecture.
mod uapi {
    use std::ffi::c_uint;

    pub(super) const OPEN_TREE_CLONE: c_uint = 1;
    pub(super) const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
    pub(super) const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x04;
    pub(super) const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
    pub(super) const FSOPEN_CLOEXEC: c_uint = 1;
    pub(super) const FSCONFIG_SET_FLAG: c_uint = 0;
    pub(super) const FSCONFIG_SET_STRING: c_uint = 1;
    pub(super) const FSCONFIG_SET_FD: c_uint = 5;
    pub(super) const FSCONFIG_CMD_CREATE: c_uint = 6;
    pub(super) const FSMOUNT_CLOEXEC: c_uint = 1;
}

/// Converts the return value of a system call. Every call of this module whose errno is used goes through here.
fn check(returned: c_long) -> Result<c_int, Errno> {
    match c_int::try_from(returned) {
        Ok(-1) | Err(_) => Err(Errno::last()),
        Ok(value) => Ok(value),
    }
}

/// Takes ownership of the descriptor that a system call returned.
fn owned(returned: c_long) -> Result<OwnedFd, Errno> {
    let fd = check(returned)?;
    // SAFETY: the system call succeeded, so this is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a netlink socket: `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)` with further flags. Not by `nix`, which takes only
/// the protocols that it knows.
pub(crate) fn netlink_socket(protocol: c_int, flags: SockFlag) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags.bits();
    // SAFETY: three integers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
    owned(fd.into())
}

/// Duplicates a descriptor, given by its number, open or not: `fcntl(F_DUPFD_CLOEXEC)`.
pub(crate) fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) }.into())
}

/// Opens the network namespace of a socket: `ioctl(SIOCGSKNS)`. The descriptor is close-on-exec.
pub(crate) fn socket_netns(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    /// From `linux/sockios.h`.
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: an open descriptor of a socket, for which this request has no further argument.
    owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())
}

/// Closes a descriptor by a number that need not be open, and so has no owner: `close(2)`.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: an integer. The contract of `netlink::close` makes the caller responsible for the number.
    let _ = unsafe { libc::close(fd) };
}

/// Returns a detached copy of the mount at `path`, and with `recursive` of the mounts below it: `open_tree(AT_FDCWD, path,
/// OPEN_TREE_CLONE …)`, since Linux 5.2.
pub(crate) fn open_tree_clone(path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let recursive = if recursive {
        libc::AT_RECURSIVE as c_uint
    } else {
        0
    };
    let flags = uapi::OPEN_TREE_CLONE | uapi::OPEN_TREE_CLOEXEC | recursive;
    // SAFETY: `path` is a C string that lives through the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Attaches a detached mount to the file of the descriptor `target`: `move_mount(2)`, since Linux 5.2.
pub(crate) fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = uapi::MOVE_MOUNT_F_EMPTY_PATH | uapi::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: two open descriptors, and two empty C strings that live as long as the program.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    check(returned).map(drop)
}

/// A file system that is configured and then made: `fsopen(2)`, since Linux 5.2.
pub(crate) struct FsContext(OwnedFd);

/// A parameter of a file system, as `fsconfig(2)` takes it.
pub(crate) enum Parameter<'a> {
    /// A parameter without a value, for example `ro`.
    Flag(&'a CStr),
    /// A parameter with a text.
    Text(&'a CStr, &'a CStr),
    /// A parameter with a descriptor.
    Fd(&'a CStr, BorrowedFd<'a>),
}

impl FsContext {
    pub(crate) fn open(fstype: &CStr) -> Result<Self, Errno> {
        // SAFETY: `fstype` is a C string that lives through the call.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), uapi::FSOPEN_CLOEXEC) })
            .map(Self)
    }

    pub(crate) fn set(&self, parameter: &Parameter<'_>) -> Result<(), Errno> {
        match *parameter {
            Parameter::Flag(key) => self.config(uapi::FSCONFIG_SET_FLAG, Some(key), None, 0),
            Parameter::Text(key, text) => {
                self.config(uapi::FSCONFIG_SET_STRING, Some(key), Some(text), 0)
            }
            Parameter::Fd(key, fd) => {
                self.config(uapi::FSCONFIG_SET_FD, Some(key), None, fd.as_raw_fd())
            }
        }
    }

    /// Makes the file system and returns a detached mount of it with these `MOUNT_ATTR_` flags.
    pub(crate) fn mount(self, attributes: c_uint) -> Result<OwnedFd, Errno> {
        self.create()?;
        self.fsmount(attributes)
    }

    /// Makes the file system: `FSCONFIG_CMD_CREATE`.
    pub(crate) fn create(&self) -> Result<(), Errno> {
        self.config(uapi::FSCONFIG_CMD_CREATE, None, None, 0)
    }

    /// Returns a detached mount of the file system that was made, with these `MOUNT_ATTR_` flags: `fsmount(2)`.
    pub(crate) fn fsmount(&self, attributes: c_uint) -> Result<OwnedFd, Errno> {
        let (context, flags) = (self.0.as_raw_fd(), uapi::FSMOUNT_CLOEXEC);
        // SAFETY: an open descriptor and two integers.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, context, flags, attributes) })
    }

    /// Reads the kernel's messages about the last failure, oldest first, for example `e tmpfs: Unknown parameter 'x'`.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        // The kernel refuses to cut a message (EMSGSIZE). A message can contain a path.
        let mut buffer = [0; 2 * libc::PATH_MAX as usize];
        // Each read returns one message. ENODATA: there are no more.
        while let Ok(length) = nix::unistd::read(&self.0, &mut buffer) {
            let message = buffer.get(..length).unwrap_or_default();
            messages.push(message.trim_ascii_end().to_vec());
        }
        messages
    }

    fn config(
        &self,
        command: c_uint,
        key: Option<&CStr>,
        text: Option<&CStr>,
        number: c_int,
    ) -> Result<(), Errno> {
        let key = key.map_or(ptr::null(), CStr::as_ptr);
        let text = text.map_or(ptr::null(), CStr::as_ptr);
        let context = self.0.as_raw_fd();
        // SAFETY: `key` and `text` are NULL or C strings that live through the call. The callers above pass those that the command
        // reads.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, context, command, key, text, number) })
            .map(drop)
    }
}

/// Reports whether a file is on one of these file systems: `fstatfs(2)`.
fn is_on(file: BorrowedFd<'_>, file_systems: &[FsType]) -> bool {
    let found = crate::error::check(fstatfs(file));
    found.is_ok_and(|found| file_systems.contains(&found.filesystem_type()))
}

/// Returns the kind of namespace of a file, for example `CLONE_NEWNET`: `ioctl(NS_GET_NSTYPE)`, since Linux 4.11. `None` for any other
/// file.
pub(crate) fn namespace_type(file: BorrowedFd<'_>) -> Option<c_int> {
    /// From `linux/nsfs.h`.
    const NS_GET_NSTYPE: libc::Ioctl = libc::_IO(0xb7, 0x3);
    // Another file may return any number, for example a container's in FUSE.
    if !is_on(file, &[NSFS_MAGIC]) {
        return None;
    }
    // SAFETY: an open descriptor of a namespace file, and a request without an argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    (kind > 0).then_some(kind)
}

/// Reports whether a descriptor is of a directory, as far as the kernel knows without asking the file system: `statx(2)`. The file
/// system may be a container's, and may never answer.
pub(crate) fn is_directory(file: BorrowedFd<'_>) -> bool {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: an open descriptor, an empty C string, and a buffer of the right type that lives through the call.
    let returned = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_TYPE,
            stat.as_mut_ptr(),
        )
    };
    // SAFETY: integers, for which zeros are valid, and which the kernel may have set.
    let stat = unsafe { stat.assume_init() };
    returned == 0 && u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR
}
