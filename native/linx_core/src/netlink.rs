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
/// * `path`: of a network namespace, as `/proc/<pid>/ns/net` or `/run/netns/<name>`; relative to the working directory
///   of the process; less than 4096 bytes.
/// * `protocol`: as `NETLINK_ROUTE`; the third argument of `socket(2)`.
///
/// # Errors
/// Stage [`Open`](Stage::Open): `path` is too long (ENAMETOOLONG), holds a NUL byte (EINVAL), or cannot be opened.
/// [`Thread`](Stage::Thread): no thread could be made. [`Setns`](Stage::Setns): not a network namespace (EINVAL), not
/// permitted (EPERM: it takes `CAP_SYS_ADMIN` there and here). [`Socket`](Stage::Socket): no such protocol
/// (EPROTONOSUPPORT), no descriptor left (EMFILE).
pub fn open_in_netns(path: &[u8], protocol: c_int) -> Result<OwnedFd, Error> {
    open_at(path, protocol, SockFlag::empty())
}

/// The same with flags for the socket.
pub(crate) fn open_at(path: &[u8], protocol: c_int, flags: SockFlag) -> Result<OwnedFd, Error> {
    if path.len() >= libc::PATH_MAX as usize {
        return Err(Error::new(Stage::Open, libc::ENAMETOOLONG));
    }
    let path = c_string(path).map_err(Errno::from).at(Stage::Open)?;
    open_in(|| namespace::open(&path), protocol, flags)
}

/// The same in the namespace that a function opens, on the throwaway thread.
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

/// Closes a descriptor by its number, whatever it is, open or not: `close(2)`.
///
/// Linux gives the number free even where it reports an error, so there is nothing to say.
pub fn close(fd: RawFd) {
    syscall::close(fd);
}

/// Binds a netlink socket to an address of the kernel's choice and to multicast groups: `bind(2)` with `nl_pid` 0.
///
/// # Errors
/// The errno of `bind(2)`: EBADF, ENOTSOCK, EINVAL (bound already to another port, or not a netlink socket), EPERM.
pub fn bind(fd: RawFd, groups: u32) -> Result<(), Errno> {
    check(nix::sys::socket::bind(fd, &NetlinkAddr::new(0, groups)))
}
