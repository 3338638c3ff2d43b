//! Receiving: a datagram, who sent it, and whether it is whole.

use std::os::fd::AsFd;

use super::Connection;
use crate::error::Errno;
use crate::recvmsg::{Received, recvmsg};

/// What is known of a datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The port that sent it; 0 is the kernel. `None` if the kernel did not say who sent it.
    pub port_id: Option<u32>,
    /// The multicast group it was sent to, 0 if to this socket alone. Known where [`Flag::PacketInfo`] is set.
    ///
    /// [`Flag::PacketInfo`]: super::Flag::PacketInfo
    pub group: u32,
    /// The id of the network namespace it is from, as the socket's own namespace numbers others. `None` if from its own.
    /// Known where [`Flag::ListenAllNsid`] is set.
    ///
    /// [`Flag::ListenAllNsid`]: super::Flag::ListenAllNsid
    pub nsid: Option<i32>,
    /// Its whole length, also where the buffer was too short for it.
    pub length: usize,
}

impl Connection {
    /// Takes the next datagram from the socket: `recvmsg(2)`. `None` if there is none.
    ///
    /// `buffer` is overwritten with at most `max` bytes, and with no more than it has capacity for. A longer datagram is
    /// cut, and the rest is lost; its `length` says so. While a dump is running, taking a
    /// datagram makes the kernel produce the next one, which may take as long as the kernel's locks are held by others.
    ///
    /// # Errors
    /// ENOBUFS: the kernel had to throw datagrams away since the last call. The socket goes on working.
    pub fn receive(&self, buffer: &mut Vec<u8>, max: usize) -> Result<Option<Datagram>, Errno> {
        match recvmsg(self.as_fd(), buffer, max) {
            Ok(received) => Ok(Some(read(&received))),
            Err(errno) if errno.raw() == libc::EAGAIN => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

fn read(received: &Received) -> Datagram {
    let mut datagram = Datagram {
        port_id: received.sender,
        group: 0,
        nsid: None,
        length: received.length,
    };
    for (level, kind, data) in received.controls() {
        if level == libc::SOL_NETLINK
            && let Some(value) = data.first_chunk()
        {
            match kind {
                libc::NETLINK_PKTINFO => datagram.group = u32::from_ne_bytes(*value),
                libc::NETLINK_LISTEN_ALL_NSID => datagram.nsid = Some(i32::from_ne_bytes(*value)),
                _ => {}
            }
        }
    }
    datagram
}
