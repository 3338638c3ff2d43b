//! `open`: a netlink socket in another network namespace.

#![allow(
    clippy::disallowed_methods,
    reason = "this program has threads of its own only"
)]

use std::error::Error;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::Mode;

use crate::thread_kind::{ThreadKind, on_clone, on_pthread};
use crate::{Outcome, timed};

/// Returns the time of each of `calls` calls, without closing the socket.
pub(crate) fn run(thread_kind: ThreadKind, calls: usize, namespace: &CStr) -> Outcome {
    let home = open_namespace(c"/proc/self/ns/net")?;
    let one = || {
        let (socket, time) = timed(|| open_in(thread_kind, namespace, &home));
        socket.map(|_closed| time)
    };
    let samples: Result<Vec<_>, _> = (0..calls).map(|_| one()).collect();
    Ok(vec![samples?])
}

fn open_in(
    thread_kind: ThreadKind,
    namespace: &CStr,
    home: &OwnedFd,
) -> Result<OwnedFd, Box<dyn Error>> {
    match thread_kind {
        ThreadKind::Core => linx_core::netlink::open_in_netns(namespace.to_bytes(), 0)
            .map_err(|error| format!("{error:?}").into()),
        ThreadKind::Clone => Ok(on_clone(|| socket_in(namespace))??),
        ThreadKind::Pthread => Ok(on_pthread(|| socket_in(namespace))??),
        ThreadKind::Plain => {
            // There and back: what a program may do that has this thread to itself.
            let socket = socket_in(namespace)?;
            setns(home, CloneFlags::CLONE_NEWNET)?;
            Ok(socket)
        }
    }
}

fn socket_in(namespace: &CStr) -> nix::Result<OwnedFd> {
    let namespace = open_namespace(namespace)?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
}

fn open_namespace(path: &CStr) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}
