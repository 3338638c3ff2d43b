//! The NIFs for options of a socket, which are given by name.

use linx_core::connection::{Buffer, Connection, Flag};
use rustler::{Atom, Decoder, Env, Error, NifResult, Term};

use super::socket::Handle;
use super::{with, with_value};

mod atoms {
    rustler::atoms! {
        packet_info, broadcast_error, no_enobufs, listen_all_nsid, cap_ack, ext_ack, strict_check,
        read_buffer, write_buffer
    }
}

/// The atom of a boolean option.
struct FlagName(Flag);

/// The atom of a buffer.
struct BufferName(Buffer);

#[rustler::nif(schedule = "DirtyIo")]
fn set_flag<'a>(env: Env<'a>, socket: Handle<'a>, name: FlagName, on: bool) -> Term<'a> {
    with(env, &socket, |connection| connection.set(name.0, on))
}

#[rustler::nif]
fn flag<'a>(env: Env<'a>, socket: Handle<'a>, name: FlagName) -> Term<'a> {
    with_value(env, &socket, |connection| connection.is_set(name.0))
}

#[rustler::nif(schedule = "DirtyIo")]
fn set_buffer<'a>(env: Env<'a>, socket: Handle<'a>, name: BufferName, bytes: u32) -> Term<'a> {
    with(env, &socket, |connection: &Connection| {
        connection.set_buffer(name.0, bytes as usize)
    })
}

#[rustler::nif]
fn buffer<'a>(env: Env<'a>, socket: Handle<'a>, name: BufferName) -> Term<'a> {
    with_value(env, &socket, |connection| connection.buffer(name.0))
}

impl<'a> Decoder<'a> for FlagName {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let name: Atom = term.decode()?;
        let flags = [
            (atoms::packet_info(), Flag::PacketInfo),
            (atoms::broadcast_error(), Flag::BroadcastError),
            (atoms::no_enobufs(), Flag::NoEnobufs),
            (atoms::listen_all_nsid(), Flag::ListenAllNsid),
            (atoms::cap_ack(), Flag::CapAck),
            (atoms::ext_ack(), Flag::ExtAck),
            (atoms::strict_check(), Flag::StrictCheck),
        ];
        find(name, &flags).map(Self)
    }
}

impl<'a> Decoder<'a> for BufferName {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let name: Atom = term.decode()?;
        let buffers = [
            (atoms::read_buffer(), Buffer::Read),
            (atoms::write_buffer(), Buffer::Write),
        ];
        find(name, &buffers).map(Self)
    }
}

fn find<T: Copy>(name: Atom, known: &[(Atom, T)]) -> NifResult<T> {
    known
        .iter()
        .find_map(|(known, value)| (*known == name).then_some(*value))
        .ok_or(Error::BadArg)
}
