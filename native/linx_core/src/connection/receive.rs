//! Receiving: a datagram, who sent it, and whether it is whole.

use std::io::IoSliceMut;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, RecvMsg, recvmsg};

use super::Connection;
use crate::error::{Errno, check};

/// What is known of a datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The port that sent it; 0 is the kernel.
    pub port_id: u32,
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
    /// A datagram longer than `buffer` is cut, the rest is lost; its `length` says so. While a dump is running, taking a
    /// datagram makes the kernel produce the next one, which may take as long as the kernel's locks are held by others.
    ///
    /// # Errors
    /// ENOBUFS: the kernel had to throw datagrams away since the last call. The socket goes on working.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Datagram>, Errno> {
        // The two control messages there are: a group and a namespace id.
        let mut control = nix::cmsg_space!(u32, i32);
        let mut parts = [IoSliceMut::new(buffer)];
        // MSG_TRUNC as an argument: the length is that of the datagram, not of what fits.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;

        match check(recvmsg(
            self.descriptor(),
            &mut parts,
            Some(&mut control),
            flags,
        )) {
            Ok(message) => read(&message).map(Some),
            Err(errno) if errno.raw() == libc::EAGAIN => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

fn read(message: &RecvMsg<'_, '_, NetlinkAddr>) -> Result<Datagram, Errno> {
    let mut datagram = Datagram {
        port_id: message.address.map_or(0, |address| address.pid()),
        group: 0,
        nsid: None,
        length: message.bytes,
    };
    let controls = message
        .cmsgs()
        .map_err(|_| Errno::from_raw(libc::EMSGSIZE))?;

    for control in controls {
        if let ControlMessageOwned::Unknown(control) = control
            && control.cmsg_header.cmsg_level == libc::SOL_NETLINK
            && let Some(value) = control.data_bytes.first_chunk()
        {
            match control.cmsg_header.cmsg_type {
                libc::NETLINK_PKTINFO => datagram.group = u32::from_ne_bytes(*value),
                libc::NETLINK_LISTEN_ALL_NSID => datagram.nsid = Some(i32::from_ne_bytes(*value)),
                _ => {}
            }
        }
    }
    Ok(datagram)
}
