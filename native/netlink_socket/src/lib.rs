//! The NIFs of `Linx.Netlink.Socket.Native`: decode, call `linx_core::netlink`, encode.

use std::os::fd::IntoRawFd;

use linx_core::{Errno, Error, netlink};
use nif_entry::{Done, caller_is_alive, stage};
use rustler::types::atom::ok;
use rustler::{Binary, Decoder, Encoder, Env, NifResult, Term};

nif_entry::init!(c"Elixir.Linx.Netlink.Socket.Native");

#[rustler::nif(schedule = "DirtyIo")]
fn open_in_netns<'a>(env: Env<'a>, path: IoList<'a>, protocol: i32) -> Term<'a> {
    match netlink::open_in_netns(path.0.as_slice(), protocol) {
        Ok(socket) if caller_is_alive(env) => (ok(), socket.into_raw_fd()).encode(env),
        // The caller was killed meanwhile. It will not see this result, so the socket is closed here.
        Ok(_) => ok().encode(env),
        Err(Error { stage: at, errno }) => env.error_tuple((stage(at), errno.raw())),
    }
}

#[rustler::nif]
fn close_fd(fd: i32) -> Done<i32> {
    netlink::close(fd);
    Done(Ok(()))
}

#[rustler::nif]
fn bind_netlink(fd: i32, groups: u32) -> Done<i32> {
    Done(netlink::bind(fd, groups).map_err(Errno::raw))
}

/// A binary or any iolist.
struct IoList<'a>(Binary<'a>);

impl<'a> Decoder<'a> for IoList<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        // A binary is used as it is. Of a list, rustler makes a new binary.
        Binary::from_term(term)
            .or_else(|_| Binary::from_iolist(term))
            .map(Self)
    }
}
