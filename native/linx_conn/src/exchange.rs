//! Sending and receiving, as one call: what happened, in its order.
//!
//! The kernel acts on what it is sent before `sendto(2)` returns, so the answer is there to be received at once.

use linx_core::connection::{Connection, Datagram};
use rustler::{Binary, Encoder, Env, NewBinary, Term};

/// How many bytes one call receives before it returns, so that its result stays small; each entry counts as [`ENTRY`]
/// more.
pub(crate) const ROOM: usize = 256 * 1024;
/// The same for a call that is to be over soon.
pub(crate) const ROOM_ON_NORMAL_SCHEDULER: usize = 64 * 1024;
const ENTRY: usize = 256;

mod atoms {
    rustler::atoms! { sent, refused, datagram, truncated, overrun, failed }
}

/// Sends each message to its port, and receives what there is: before the first, so that a full buffer is nothing of
/// theirs, and after each.
///
/// The result is `{entries, more}`. `more` says that it stopped before everything was received, and before the messages
/// that have no entry were sent.
pub(crate) fn run<'a>(
    env: Env<'a>,
    connection: &Connection,
    buffer: &mut [u8],
    messages: &[(u32, Binary<'a>)],
    room: usize,
) -> Term<'a> {
    let mut exchange = Exchange {
        env,
        connection,
        buffer,
        entries: Vec::new(),
        room,
    };
    let mut left = exchange.receive_all();
    for (port_id, message) in messages {
        if left != Left::Nothing {
            break;
        }
        exchange.send(*port_id, message.as_slice());
        left = exchange.receive_all();
    }
    (exchange.entries, left == Left::More).encode(env)
}

/// What is left to be received.
#[derive(PartialEq)]
enum Left {
    Nothing,
    More,
    /// It cannot be received now.
    Unknown,
}

struct Exchange<'a, 'b> {
    env: Env<'a>,
    connection: &'b Connection,
    buffer: &'b mut [u8],
    entries: Vec<Term<'a>>,
    room: usize,
}

impl<'a> Exchange<'a, '_> {
    fn send(&mut self, port_id: u32, message: &[u8]) {
        let entry = match self.connection.send(port_id, message) {
            Ok(()) => atoms::sent().encode(self.env),
            Err(errno) => (atoms::refused(), errno.raw()).encode(self.env),
        };
        self.add(entry, 0);
    }

    fn receive_all(&mut self) -> Left {
        while self.room > 0 {
            match self.connection.receive(self.buffer) {
                Ok(None) => return Left::Nothing,
                Ok(Some(datagram)) => self.received(&datagram),
                Err(errno) if errno.raw() == libc::ENOBUFS => {
                    self.add(atoms::overrun().encode(self.env), 0);
                }
                Err(errno) => {
                    self.add((atoms::failed(), errno.raw()).encode(self.env), 0);
                    return Left::Unknown;
                }
            }
        }
        Left::More
    }

    /// `{:datagram, port_id, group, nsid, bytes}`; of one that is longer than the buffer what is there of it, and
    /// `:truncated` with its whole length.
    fn received(&mut self, datagram: &Datagram) {
        let Datagram {
            port_id,
            group,
            nsid,
            length,
        } = *datagram;
        let whole = self.buffer.get(..length);
        let received = whole.unwrap_or(self.buffer);
        let mut bytes = NewBinary::new(self.env, received.len());
        bytes.as_mut_slice().copy_from_slice(received);
        let size = received.len();
        let bytes = Binary::from(bytes);
        let entry = if whole.is_some() {
            (atoms::datagram(), port_id, group, nsid, bytes).encode(self.env)
        } else {
            (atoms::truncated(), port_id, group, nsid, bytes, length).encode(self.env)
        };
        self.add(entry, size);
    }

    fn add(&mut self, entry: Term<'a>, size: usize) {
        self.entries.push(entry);
        self.room = self.room.saturating_sub(size.saturating_add(ENTRY));
    }
}
