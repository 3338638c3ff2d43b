//! Netlink sockets in other network namespaces.

use std::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use nix::sys::socket::{NetlinkAddr, SockFlag};

use crate::c_string::c_string;
use crate::error::{At, Errno, Error, Stage, check};
use crate::{namespace, syscall, throwaway};

/// Opens a netlink socket in the network namespace of the file at `path`.
///
/// The socket stays in that namespace, and keeps it alive, wherever it is used from. It is close-on-exec.
///
/// * `path`: the file of a network namespace, for example `/proc/<pid>/ns/net` or `/run/netns/<name>`, of less than 4096 bytes. A
///   relative path is looked up from the working directory of the process.
/// * `protocol`: the third argument of `socket(2)`, for example `NETLINK_ROUTE`.
///
/// # Errors
/// Stage [`Open`](Stage::Open): `path` is too long (ENAMETOOLONG), contains a NUL byte (EINVAL), or cannot be opened.
/// [`Thread`](Stage::Thread): no thread could be made. [`Setns`](Stage::Setns): not a network namespace (EINVAL), or
/// `CAP_SYS_ADMIN` is missing there or here (EPERM). [`Socket`](Stage::Socket): no such protocol (EPROTONOSUPPORT), no descriptor
/// left (EMFILE).
pub fn open_in_netns(path: &[u8], protocol: c_int) -> Result<OwnedFd, Error> {
    open_at(path, protocol, SockFlag::empty())
}

/// Opens a netlink socket as [`open_in_netns`] does, with flags for the socket.
pub(crate) fn open_at(path: &[u8], protocol: c_int, flags: SockFlag) -> Result<OwnedFd, Error> {
    if path.len() >= libc::PATH_MAX as usize {
        return Err(Error::new(Stage::Open, libc::ENAMETOOLONG));
    }
    let path = c_string(path).map_err(Errno::from).at(Stage::Open)?;
    open_in(|| namespace::open(&path), protocol, flags)
}

/// Opens a netlink socket as [`open_in_netns`] does, in the namespace that a function opens on the throwaway thread.
pub(crate) fn open_in(
    namespace: impl FnOnce() -> Result<OwnedFd, Errno> + Send,
    protocol: c_int,
    flags: SockFlag,
) -> Result<OwnedFd, Error> {
    throwaway::run(|thread| {
        let namespace = namespace().at(Stage::Open)?;
        thread
            .enter(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .at(Stage::Setns)?;
        syscall::netlink_socket(protocol, flags).at(Stage::Socket)
    })
    .at(Stage::Thread)?
}

/// Closes a descriptor by its number, open or not: `close(2)`.
///
/// There is no result, because Linux frees the number even if it reports an error.
pub fn close(fd: RawFd) {
    syscall::close(fd);
}

/// Binds a netlink socket to an address of the kernel's choice and to multicast groups: `bind(2)` with `nl_pid` 0.
///
/// # Errors
/// The errno of `bind(2)`: EBADF, ENOTSOCK, EINVAL (already bound to another port, or not a netlink socket), EPERM.
pub fn bind(fd: RawFd, groups: u32) -> Result<(), Errno> {
    check(nix::sys::socket::bind(fd, &NetlinkAddr::new(0, groups)))
}
