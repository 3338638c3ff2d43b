//! A netlink socket that has an owner: open, send, receive, options.

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
/// The socket never blocks and is close-on-exec. It is closed when this value is dropped. Until then it keeps its namespace alive.
///
/// Every method takes `&self` and makes one system call or a few, which the kernel allows from several threads at once.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// The network namespace for a new socket.
#[derive(Clone, Copy, Debug)]
pub enum Netns<'a> {
    /// The namespace of this process.
    Host,
    /// The namespace of a file, see [`netlink::open_in_netns`].
    Path(&'a [u8]),
    /// The namespace of an open descriptor, which stays open.
    Fd(RawFd),
    /// The namespace of another connection, also if nothing else refers to it: `ioctl(SIOCGSKNS)`, since Linux 4.10.
    SameAs(&'a Connection),
}

impl Connection {
    /// Opens a socket and binds it to an address of the kernel's choice.
    ///
    /// # Errors
    /// The errors of [`netlink::open_in_netns`]. Stage [`Open`](Stage::Open): EBADF if the descriptor of [`Netns::Fd`] is not open;
    /// EPERM for [`Netns::SameAs`] without `CAP_NET_ADMIN` in that namespace.
    /// [`Bind`](Stage::Bind): the errno of `bind(2)`.
    pub fn open(netns: Netns<'_>, protocol: c_int) -> Result<Self, Error> {
        let socket = match netns {
            Netns::Host => {
                syscall::netlink_socket(protocol, SockFlag::SOCK_NONBLOCK).at(Stage::Socket)
            }
            Netns::Path(path) => netlink::open_at(path, protocol, SockFlag::SOCK_NONBLOCK),
            Netns::Fd(fd) => {
                let namespace = syscall::duplicate(fd).at(Stage::Open)?;
                netlink::open_in(|| Ok(namespace), protocol, SockFlag::SOCK_NONBLOCK)
            }
            Netns::SameAs(connection) => {
                let namespace = syscall::socket_netns(connection.as_fd()).at(Stage::Open)?;
                netlink::open_in(|| Ok(namespace), protocol, SockFlag::SOCK_NONBLOCK)
            }
        }?;
        check(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))).at(Stage::Bind)?;
        Ok(Self(socket))
    }

    /// Makes the kernel refuse messages of other ports than its own. Their senders get ECONNREFUSED. `connect(2)`.
    ///
    /// Messages to multicast groups are still received.
    ///
    /// # Errors
    /// The errno of `connect(2)`.
    pub fn only_kernel(&self) -> Result<(), Errno> {
        check(connect(self.descriptor(), &NetlinkAddr::new(0, 0)))
    }

    /// Returns the port id, which the kernel has chosen: `getsockname(2)`.
    ///
    /// # Errors
    /// The errno of `getsockname(2)`.
    pub fn port_id(&self) -> Result<u32, Errno> {
        check(getsockname::<NetlinkAddr>(self.descriptor())).map(|address| address.pid())
    }

    /// Sends one datagram to a port. Port 0 is the kernel, which acts on the datagram before this returns. `sendto(2)`.
    ///
    /// # Errors
    /// The errno of `sendto(2)`: ECONNREFUSED (no socket has that port), EPERM, EAGAIN (another port than the kernel's has no room),
    /// EMSGSIZE (longer than the send buffer), ENOBUFS.
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

    /// Returns the device and the inode of its network namespace, see [`identity::of_socket`].
    ///
    /// # Errors
    /// The errno of `ioctl(SIOCGSKNS)`.
    pub fn netns(&self) -> Result<(u64, u64), Errno> {
        identity::of_socket(self.0.as_fd())
    }

    /// Returns the number of its descriptor. It belongs to this connection: do not close it, and do not use it after the connection.
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
