//! The options of a socket: `setsockopt(2)`, see `netlink(7)` and `socket(7)`.

use std::ffi::c_int;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::Connection;
use crate::error::{Errno, check};
use crate::sockopt as raw;

/// A boolean option of netlink sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// Each datagram is received with the multicast group that it was sent to.
    PacketInfo,
    /// A broadcast of this socket fails if one receiver has no room for it.
    BroadcastError,
    /// Dropped datagrams are not reported, neither by ENOBUFS nor in any other way.
    NoEnobufs,
    /// The socket receives events of all namespaces that have an id in this one, since Linux 4.2.
    ListenAllNsid,
    /// Acknowledgements do not contain the request, since Linux 4.3.
    CapAck,
    /// Acknowledgements of errors contain the kernel's own message, since Linux 4.12.
    ExtAck,
    /// The kernel checks requests for dumps, since Linux 4.20.
    StrictCheck,
}

/// A buffer of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// Datagrams that were sent to the socket and are not yet received.
    Read,
    /// Datagrams that the socket has sent and that are not yet received.
    Write,
}

impl Flag {
    const fn number(self) -> c_int {
        match self {
            Self::PacketInfo => libc::NETLINK_PKTINFO,
            Self::BroadcastError => libc::NETLINK_BROADCAST_ERROR,
            Self::NoEnobufs => libc::NETLINK_NO_ENOBUFS,
            Self::ListenAllNsid => libc::NETLINK_LISTEN_ALL_NSID,
            Self::CapAck => libc::NETLINK_CAP_ACK,
            Self::ExtAck => libc::NETLINK_EXT_ACK,
            Self::StrictCheck => libc::NETLINK_GET_STRICT_CHK,
        }
    }
}

impl Connection {
    /// Sets an option.
    ///
    /// # Errors
    /// ENOPROTOOPT: this kernel does not have the option. EPERM: [`Flag::ListenAllNsid`] needs `CAP_NET_BROADCAST`.
    pub fn set(&self, flag: Flag, on: bool) -> Result<(), Errno> {
        raw::set(
            self.as_fd(),
            libc::SOL_NETLINK,
            flag.number(),
            c_int::from(on),
        )
    }

    /// Reports whether an option is set.
    ///
    /// # Errors
    /// ENOPROTOOPT: this kernel does not have the option.
    pub fn is_set(&self, flag: Flag) -> Result<bool, Errno> {
        let value = raw::get(self.as_fd(), libc::SOL_NETLINK, flag.number())?;
        Ok(value.first().is_some_and(|&value| value != 0))
    }

    /// Joins a multicast group, given by its number.
    ///
    /// # Errors
    /// EINVAL: there is no such group. EPERM: `CAP_NET_ADMIN` is needed.
    pub fn join(&self, group: c_int) -> Result<(), Errno> {
        raw::set(
            self.as_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            group,
        )
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// EINVAL: there is no such group.
    pub fn leave(&self, group: c_int) -> Result<(), Errno> {
        raw::set(
            self.as_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_DROP_MEMBERSHIP,
            group,
        )
    }

    /// Returns the groups that it has joined, in order. Since Linux 4.2.
    ///
    /// # Errors
    /// The errno of `getsockopt(2)`.
    pub fn groups(&self) -> Result<Vec<u32>, Errno> {
        let words = raw::get(
            self.as_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_LIST_MEMBERSHIPS,
        )?;
        let bits = words
            .iter()
            .flat_map(|word| (0..u32::BITS).map(move |bit| word >> bit & 1 == 1));
        // Group 1 is the lowest bit of the first word.
        Ok((1..)
            .zip(bits)
            .filter_map(|(group, member)| member.then_some(group))
            .collect())
    }

    /// Sets the size of a buffer in bytes, also beyond the system's limit if that is allowed (`CAP_NET_ADMIN`). The kernel doubles
    /// it, for its own data about each datagram.
    ///
    /// # Errors
    /// EINVAL: the size does not fit into a C `int`. The errno of `setsockopt(2)`.
    pub fn set_buffer(&self, buffer: Buffer, bytes: usize) -> Result<(), Errno> {
        // nix would truncate it.
        if c_int::try_from(bytes).is_err() {
            return Err(Errno::from_raw(libc::EINVAL));
        }
        let forced = check(match buffer {
            Buffer::Read => setsockopt(self, sockopt::RcvBufForce, &bytes),
            Buffer::Write => setsockopt(self, sockopt::SndBufForce, &bytes),
        });
        match forced {
            Err(errno) if errno.raw() == libc::EPERM => check(match buffer {
                Buffer::Read => setsockopt(self, sockopt::RcvBuf, &bytes),
                Buffer::Write => setsockopt(self, sockopt::SndBuf, &bytes),
            }),
            other => other,
        }
    }

    /// Returns the size of a buffer as the kernel counts it: twice the value that was set.
    ///
    /// # Errors
    /// The errno of `getsockopt(2)`.
    pub fn buffer(&self, buffer: Buffer) -> Result<usize, Errno> {
        check(match buffer {
            Buffer::Read => getsockopt(self, sockopt::RcvBuf),
            Buffer::Write => getsockopt(self, sockopt::SndBuf),
        })
    }

    /// Attaches a classic BPF program and replaces the previous one: `struct sock_filter`s of 8 bytes each.
    ///
    /// # Errors
    /// EINVAL: the program is empty, longer than 4096 instructions, not a whole number of them, or refused by the kernel's checks.
    /// ENOMEM: the limit of a socket (`net.core.optmem_max`), for which the replaced program counts as well.
    pub fn attach_filter(&self, program: &[u8]) -> Result<(), Errno> {
        raw::attach_filter(self.as_fd(), program)
    }

    /// Removes the program.
    ///
    /// # Errors
    /// ENOENT: there is none.
    pub fn detach_filter(&self) -> Result<(), Errno> {
        raw::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
    }

    /// Returns how many datagrams the kernel has dropped: `SO_MEMINFO`, since Linux 4.12.
    ///
    /// # Errors
    /// The errno of `getsockopt(2)`.
    pub fn drops(&self) -> Result<u32, Errno> {
        /// The index of this number in `SO_MEMINFO`, from `linux/sock_diag.h`.
        const SK_MEMINFO_DROPS: usize = 8;
        let words = raw::get(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO)?;
        Ok(words.get(SK_MEMINFO_DROPS).copied().unwrap_or(0))
    }
}
