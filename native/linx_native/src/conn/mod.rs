//! The NIFs of connections: decode, call `linx_core::connection`, encode.

mod buffer;
mod exchange;
mod options;
mod socket;

use buffer::Buffer;
use exchange::Memory;
use linx_core::connection::{Connection, Netns};
use linx_core::{Errno, Error, Stage, identity};
use nif_entry::stage;
use rustler::types::atom::{error, ok};
use rustler::{Atom, Binary, Decoder, Encoder, Env, NifResult, Reference, Term};
use socket::{Closed, Handle, UnopenedSocket};

pub(crate) use socket::register;

mod atoms {
    rustler::atoms! { host, path, fd, same_as, closed }
}

#[rustler::nif(schedule = "DirtyIo")]
fn open<'a>(env: Env<'a>, netns: NetnsArg<'a>, protocol: i32, datagram: MaxDatagram) -> Term<'a> {
    if Buffer::take(datagram.0).is_none() {
        return env.error_tuple((stage(Stage::Socket), libc::ENOMEM));
    }
    let unopened = UnopenedSocket::new(datagram.0);
    let opened = match &netns {
        NetnsArg::Host => Connection::open(Netns::Host, protocol),
        NetnsArg::Path(path) => Connection::open(Netns::Path(path.as_slice()), protocol),
        NetnsArg::Fd(fd) => Connection::open(Netns::Fd(*fd), protocol),
        NetnsArg::SameAs(socket) => match socket.connection() {
            Ok(other) => Connection::open(Netns::SameAs(&other), protocol),
            Err(Closed) => return closed(env),
        },
    };
    match opened {
        Ok(connection) => match unopened.open(env, connection) {
            Some(socket) => (ok(), socket).encode(env),
            // The caller was killed meanwhile, so this result is never seen.
            None => closed(env),
        },
        Err(Error { stage: at, errno }) => env.error_tuple((stage(at), errno.raw())),
    }
}

#[rustler::nif]
fn close(env: Env<'_>, socket: Handle<'_>) -> Atom {
    socket.close(env);
    ok()
}

#[rustler::nif(schedule = "DirtyIo")]
fn only_kernel<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with(env, &socket, Connection::only_kernel)
}

#[rustler::nif(schedule = "DirtyIo")]
fn exchange<'a>(
    env: Env<'a>,
    socket: Handle<'a>,
    messages: Messages<'a>,
    datagrams: u32,
) -> Term<'a> {
    let Ok(connection) = socket.connection() else {
        return closed(env);
    };
    let Some(max_datagram) = socket.receive() else {
        return env.error_tuple(libc::EBUSY);
    };
    let Some(mut buffer) = Buffer::take(*max_datagram) else {
        return env.error_tuple(libc::ENOMEM);
    };
    exchange::run(
        env,
        &connection,
        Memory {
            buffer: buffer.memory(),
            max_datagram: *max_datagram,
        },
        &messages.0,
        datagrams,
    )
}

#[rustler::nif]
fn select<'a>(env: Env<'a>, socket: Handle<'a>, reference: Reference<'a>) -> Term<'a> {
    match socket.select(env, reference) {
        Ok(true) => ok().encode(env),
        Ok(false) => env.error_tuple(libc::EBADF),
        Err(Closed) => closed(env),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn join<'a>(env: Env<'a>, socket: Handle<'a>, group: i32) -> Term<'a> {
    with(env, &socket, |connection| connection.join(group))
}

#[rustler::nif(schedule = "DirtyIo")]
fn leave<'a>(env: Env<'a>, socket: Handle<'a>, group: i32) -> Term<'a> {
    with(env, &socket, |connection| connection.leave(group))
}

#[rustler::nif(schedule = "DirtyIo")]
fn groups<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with_value(env, &socket, Connection::groups)
}

#[rustler::nif]
fn port_id<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with_value(env, &socket, Connection::port_id)
}

#[rustler::nif]
fn drops<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with_value(env, &socket, Connection::drops)
}

#[rustler::nif]
fn descriptor<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with_value(env, &socket, |connection| Ok(connection.descriptor()))
}

#[rustler::nif(schedule = "DirtyIo")]
fn attach_filter<'a>(env: Env<'a>, socket: Handle<'a>, program: Binary<'a>) -> Term<'a> {
    with(env, &socket, |connection| {
        connection.attach_filter(program.as_slice())
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn detach_filter<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with(env, &socket, Connection::detach_filter)
}

#[rustler::nif]
fn netns<'a>(env: Env<'a>, socket: Handle<'a>) -> Term<'a> {
    with_value(env, &socket, Connection::netns)
}

#[rustler::nif]
fn netns_of_socket(env: Env<'_>, fd: i32) -> Term<'_> {
    answer(env, identity::of_descriptor(fd))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netns_of_file<'a>(env: Env<'a>, path: Binary<'a>) -> Term<'a> {
    answer(env, identity::of_file(path.as_slice()))
}

#[rustler::nif]
fn netns_of_descriptor(env: Env<'_>, fd: i32) -> Term<'_> {
    answer(env, identity::of_file_descriptor(fd))
}

/// Calls `f` with a connection and returns `:ok` or an error.
fn with<'a>(
    env: Env<'a>,
    socket: &Handle<'a>,
    f: impl FnOnce(&Connection) -> Result<(), Errno>,
) -> Term<'a> {
    match socket.connection().map(|connection| f(&connection)) {
        Ok(Ok(())) => ok().encode(env),
        Ok(Err(errno)) => env.error_tuple(errno.raw()),
        Err(Closed) => closed(env),
    }
}

/// Calls `f` with a connection and returns `{:ok, value}` or an error.
fn with_value<'a, T: Encoder>(
    env: Env<'a>,
    socket: &Handle<'a>,
    f: impl FnOnce(&Connection) -> Result<T, Errno>,
) -> Term<'a> {
    match socket.connection().map(|connection| f(&connection)) {
        Ok(result) => answer(env, result),
        Err(Closed) => closed(env),
    }
}

fn answer<T: Encoder>(env: Env<'_>, result: Result<T, Errno>) -> Term<'_> {
    match result {
        Ok(value) => (ok(), value).encode(env),
        Err(errno) => env.error_tuple(errno.raw()),
    }
}

fn closed(env: Env<'_>) -> Term<'_> {
    (error(), atoms::closed()).encode(env)
}

/// `:host`, `{:path, path}`, `{:fd, fd}` or `{:same_as, socket}`.
enum NetnsArg<'a> {
    Host,
    Path(Binary<'a>),
    Fd(i32),
    SameAs(Handle<'a>),
}

impl<'a> Decoder<'a> for NetnsArg<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if let Ok(atom) = term.decode::<Atom>()
            && atom == atoms::host()
        {
            return Ok(Self::Host);
        }
        let (kind, value): (Atom, Term<'a>) = term.decode()?;
        if kind == atoms::path() {
            value.decode().map(Self::Path)
        } else if kind == atoms::fd() {
            value.decode().map(Self::Fd)
        } else if kind == atoms::same_as() {
            value.decode().map(Self::SameAs)
        } else {
            Err(rustler::Error::BadArg)
        }
    }
}

/// A list of ports and messages.
struct Messages<'a>(Vec<(u32, Binary<'a>)>);

impl<'a> Decoder<'a> for Messages<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let mut messages = Vec::new();
        let mut rest = term;
        // Not as a `Vec`: rustler's iterator panics at the end of an improper list.
        while let Ok((message, tail)) = rest.list_get_cell() {
            messages.push(message.decode()?);
            rest = tail;
        }
        if rest.is_empty_list() {
            Ok(Self(messages))
        } else {
            Err(rustler::Error::BadArg)
        }
    }
}

/// The length of the longest datagram, in bytes.
struct MaxDatagram(usize);

impl MaxDatagram {
    /// Longer than any datagram that the kernel makes.
    const MAX: u32 = 16 * 1024 * 1024;
}

impl<'a> Decoder<'a> for MaxDatagram {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let length: u32 = term.decode()?;
        if length <= Self::MAX {
            Ok(Self(length as usize))
        } else {
            Err(rustler::Error::BadArg)
        }
    }
}
