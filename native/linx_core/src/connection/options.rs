//! The options of a socket: `setsockopt(2)`, see `netlink(7)` and `socket(7)`.

use std::ffi::c_int;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::Connection;
use crate::error::{Errno, check};
use crate::sockopt as raw;

/// An option of netlink sockets that is on or off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// Each datagram is received with the multicast group it was sent to.
    PacketInfo,
    /// What this socket broadcasts fails if one receiver has no room for it.
    BroadcastError,
    /// No ENOBUFS when datagrams were thrown away, nor any other sign.
    NoEnobufs,
    /// Events of all namespaces that have an id in this one, since Linux 4.2.
    ListenAllNsid,
    /// Acknowledgements without the request, since Linux 4.3.
    CapAck,
    /// Acknowledgements with the kernel's words on an error, since Linux 4.12.
    ExtAck,
    /// Requests for dumps are checked, since Linux 4.20.
    StrictCheck,
}

/// A buffer of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// What was sent to it and not yet received.
    Read,
    /// What it sends and is not yet received.
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
    /// ENOPROTOOPT: this kernel does not have it. EPERM: [`Flag::ListenAllNsid`] takes `CAP_NET_BROADCAST`.
    pub fn set(&self, flag: Flag, on: bool) -> Result<(), Errno> {
        raw::set(
            self.as_fd(),
            libc::SOL_NETLINK,
            flag.number(),
            c_int::from(on),
        )
    }

    /// Whether an option is set.
    ///
    /// # Errors
    /// ENOPROTOOPT: this kernel does not have it.
    pub fn is_set(&self, flag: Flag) -> Result<bool, Errno> {
        let value = raw::get(self.as_fd(), libc::SOL_NETLINK, flag.number())?;
        Ok(value.first().is_some_and(|&value| value != 0))
    }

    /// Joins a multicast group, given by its number.
    ///
    /// # Errors
    /// EINVAL: there is no such group. EPERM: it takes `CAP_NET_ADMIN`.
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

    /// The groups it is in, in order. Since Linux 4.2.
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

    /// Sets the size of a buffer in bytes, beyond the system's limit where that is allowed (`CAP_NET_ADMIN`). The kernel
    /// doubles it, for what it adds to each datagram.
    ///
    /// # Errors
    /// EINVAL: more than a C `int` holds. The errno of `setsockopt(2)`.
    pub fn set_buffer(&self, buffer: Buffer, bytes: usize) -> Result<(), Errno> {
        // nix would cut it.
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

    /// The size of a buffer as the kernel counts: twice what was set.
    ///
    /// # Errors
    /// The errno of `getsockopt(2)`.
    pub fn buffer(&self, buffer: Buffer) -> Result<usize, Errno> {
        check(match buffer {
            Buffer::Read => getsockopt(self, sockopt::RcvBuf),
            Buffer::Write => getsockopt(self, sockopt::SndBuf),
        })
    }

    /// Attaches a classic BPF program, in place of the one there may be: `struct sock_filter`s, 8 bytes each.
    ///
    /// # Errors
    /// EINVAL: no program, too long (4096 instructions), not whole, or refused by the kernel's checks. ENOMEM: more than
    /// the system lets a socket have (`net.core.optmem_max`), for which the program it replaces counts as well.
    pub fn attach_filter(&self, program: &[u8]) -> Result<(), Errno> {
        raw::attach_filter(self.as_fd(), program)
    }

    /// Takes the program away.
    ///
    /// # Errors
    /// ENOENT: there is none.
    pub fn detach_filter(&self) -> Result<(), Errno> {
        raw::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
    }

    /// How many datagrams the kernel has thrown away: `SO_MEMINFO`, since Linux 4.12.
    ///
    /// # Errors
    /// The errno of `getsockopt(2)`.
    pub fn drops(&self) -> Result<u32, Errno> {
        /// Of `linux/sock_diag.h`: the place of this number among those of `SO_MEMINFO`.
        const SK_MEMINFO_DROPS: usize = 8;
        let words = raw::get(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO)?;
        Ok(words.get(SK_MEMINFO_DROPS).copied().unwrap_or(0))
    }
}
