//! A netlink socket that has an owner: what a program does with one for as long as it has it.

mod options;
mod receive;

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{MsgFlags, NetlinkAddr, SockFlag, bind, connect, getsockname, sendto};

use crate::error::{At, Errno, Error, Stage, check};
use crate::{identity, netlink, syscall};

pub use options::{Buffer, Flag};
pub use receive::Datagram;

/// An `AF_NETLINK` socket in some network namespace.
///
/// It never blocks, is close-on-exec, and is closed when this is dropped. It keeps its namespace alive until then.
///
/// Every method takes `&self` and is one system call or a few: the kernel allows them from several threads at once.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// A network namespace, for a socket to be in.
#[derive(Clone, Copy, Debug)]
pub enum Netns<'a> {
    /// That of the process.
    Here,
    /// That of a file, see [`netlink::open_in_netns`].
    Path(&'a [u8]),
    /// That of an open descriptor, which stays open.
    Fd(RawFd),
    /// That of another connection, also if nothing else leads there any more: `ioctl(SIOCGSKNS)`, since Linux 4.10.
    Beside(&'a Connection),
}

impl Connection {
    /// Opens a socket and binds it to an address of the kernel's choice.
    ///
    /// # Errors
    /// Those of [`netlink::open_in_netns`]. Stage [`Open`](Stage::Open): for [`Netns::Fd`] EBADF, if it is not open; for
    /// [`Netns::Beside`] EPERM, without `CAP_NET_ADMIN` in that namespace.
    /// [`Bind`](Stage::Bind): the errno of `bind(2)`.
    pub fn open(netns: Netns<'_>, protocol: c_int) -> Result<Self, Error> {
        let socket = match netns {
            Netns::Here => {
                syscall::netlink_socket(protocol, SockFlag::SOCK_NONBLOCK).at(Stage::Socket)
            }
            Netns::Path(path) => netlink::open_at(path, protocol, SockFlag::SOCK_NONBLOCK),
            Netns::Fd(fd) => {
                let namespace = syscall::duplicate(fd).at(Stage::Open)?;
                netlink::open_in(|| Ok(namespace), protocol, SockFlag::SOCK_NONBLOCK)
            }
            Netns::Beside(connection) => {
                let namespace = syscall::socket_netns(connection.as_fd()).at(Stage::Open)?;
                netlink::open_in(|| Ok(namespace), protocol, SockFlag::SOCK_NONBLOCK)
            }
        }?;
        check(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))).at(Stage::Bind)?;
        Ok(Self(socket))
    }

    /// From now on nothing comes from other ports than the kernel's: the senders are told ECONNREFUSED. `connect(2)`.
    ///
    /// What is sent to multicast groups is not concerned.
    ///
    /// # Errors
    /// The errno of `connect(2)`.
    pub fn only_kernel(&self) -> Result<(), Errno> {
        check(connect(self.descriptor(), &NetlinkAddr::new(0, 0)))
    }

    /// Its port id, which the kernel has chosen: `getsockname(2)`.
    ///
    /// # Errors
    /// The errno of `getsockname(2)`.
    pub fn port_id(&self) -> Result<u32, Errno> {
        check(getsockname::<NetlinkAddr>(self.descriptor())).map(|address| address.pid())
    }

    /// Sends one datagram to a port: 0 is the kernel, which acts on it before this returns. `sendto(2)`.
    ///
    /// # Errors
    /// The errno of `sendto(2)`: ECONNREFUSED (nobody has that port), EPERM, EAGAIN (no room at a port that is not the
    /// kernel's), EMSGSIZE (more than the send buffer takes), ENOBUFS.
    pub fn send(&self, port_id: u32, datagram: &[u8]) -> Result<(), Errno> {
        let address = NetlinkAddr::new(port_id, 0);
        check(sendto(
            self.descriptor(),
            datagram,
            &address,
            MsgFlags::MSG_DONTWAIT,
        ))
        .map(drop)
    }

    /// The device and the inode of the network namespace it is in, see [`identity::of_socket`].
    ///
    /// # Errors
    /// The errno of `ioctl(SIOCGSKNS)`.
    pub fn netns(&self) -> Result<(u64, u64), Errno> {
        identity::of_socket(self.0.as_fd())
    }

    /// The number of its descriptor, which is this connection's: valid for as long as it lives, and not to be closed.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
