//! Receives datagrams, with their sender and their whole length.

use std::os::fd::AsFd;

use super::Connection;
use crate::error::Errno;
use crate::recvmsg::{Received, recvmsg};

/// A datagram that was received, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The port that sent it; 0 is the kernel. `None` if the kernel did not return the sender.
    pub port_id: Option<u32>,
    /// The multicast group that it was sent to; 0 if it was sent to this socket alone. Known if [`Flag::PacketInfo`] is set.
    ///
    /// [`Flag::PacketInfo`]: super::Flag::PacketInfo
    pub group: u32,
    /// The id of the network namespace that it came from, as the socket's own namespace numbers others. `None` for its own. Known if
    /// [`Flag::ListenAllNsid`] is set.
    ///
    /// [`Flag::ListenAllNsid`]: super::Flag::ListenAllNsid
    pub nsid: Option<i32>,
    /// The whole length, also if the buffer was too short.
    pub length: usize,
}

impl Connection {
    /// Receives the next datagram: `recvmsg(2)`. Returns `None` if there is none.
    ///
    /// `buffer` is overwritten with at most `max` bytes, and not more than its capacity. The rest of a longer datagram is lost; its
    /// `length` shows this. During a dump, receiving a datagram makes the kernel produce the next one, which takes as long as others
    /// hold the kernel's locks.
    ///
    /// # Errors
    /// ENOBUFS: the kernel has dropped datagrams since the last call. The socket continues to work.
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
