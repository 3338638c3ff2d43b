//! `recvmsg(2)` for netlink sockets. The function of `nix` does not report whether the kernel returned the sender's address.

// One system call that writes to the caller's memory.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::Errno;

/// The size in bytes of the buffer for control messages, more than the existing ones need: a group and a namespace id.
const CONTROL: usize = 64;
const WORD: usize = size_of::<usize>();

/// A datagram that was received.
pub(crate) struct Received {
    /// The whole length, also if the buffer was too short.
    pub(crate) length: usize,
    /// The port that sent it, if the kernel returned it.
    pub(crate) sender: Option<u32>,
    control: [u8; CONTROL],
}

/// Receives the next datagram of a socket without waiting. Writes its first bytes to `buffer`: at most `max`, and not more than the
/// capacity.
pub(crate) fn recvmsg(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    max: usize,
) -> Result<Received, Errno> {
    buffer.clear();
    let room = buffer.spare_capacity_mut();
    let max = max.min(room.len());
    let mut control = [0; CONTROL];
    // SAFETY: a `sockaddr_nl` is integers, for which zeros are values.
    let mut sender: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: max,
    };
    // SAFETY: a `msghdr` is integers and pointers, for which zeros are values.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut sender).cast();
    message.msg_namelen = size_of_val(&sender) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;

    // With MSG_TRUNC as an argument the result is the length of the datagram, not of the bytes that were copied.
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the memory that `message` points to lives through the call and has the sizes that `message` gives.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let length = usize::try_from(length).map_err(|_| Errno::last())?;
    // SAFETY: within the capacity; the kernel wrote these bytes.
    unsafe { buffer.set_len(length.min(max)) };

    let told = message.msg_namelen as usize == size_of_val(&sender)
        && c_int::from(sender.nl_family) == libc::AF_NETLINK;
    Ok(Received {
        length,
        sender: told.then_some(sender.nl_pid),
        control,
    })
}

impl Received {
    /// Returns the control messages: level, type and data of each.
    pub(crate) fn controls(&self) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
        Controls(&self.control)
    }
}

/// An iterator over `struct cmsghdr`s: the remaining bytes. Zeros follow the last one.
struct Controls<'a>(&'a [u8]);

impl<'a> Iterator for Controls<'a> {
    type Item = (c_int, c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<WORD>()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let header = self.0.len().checked_sub(rest.len())?;
        let data = rest.get(..length.checked_sub(header)?)?;
        let next = length.checked_next_multiple_of(WORD)?;
        self.0 = self.0.get(next..).unwrap_or_default();
        Some((
            c_int::from_ne_bytes(*level),
            c_int::from_ne_bytes(*kind),
            data,
        ))
    }
}
