//! Sends and receives in one call, and returns the events in order.
//!
//! The kernel acts on a message before `sendto(2)` returns, so its answer can be received at once.

use linx_core::connection::{Connection, Datagram};
use rustler::{Binary, Encoder, Env, NewBinary, Term};

/// The number of bytes that one call receives before it returns, so that its result stays small. Each entry counts [`ENTRY`] bytes
/// more.
const ROOM: usize = 256 * 1024;
/// The number of bytes that it receives before it sends, so that a flood of messages cannot keep it from sending.
const ROOM_BEFORE: usize = 64 * 1024;
const ENTRY: usize = 256;

/// The number of bytes that are returned of a truncated datagram: the header of its first message.
const HEADER: usize = 16;

mod atoms {
    rustler::atoms! { sent, refused, datagram, truncated, overrun, failed, drained }
}

/// Receives queued datagrams, sends each message to its port, and receives after each. Receives at most the given number of datagrams,
/// and may return before all messages are sent. The entry `drained` means that nothing was left to receive.
pub(crate) fn run<'a>(
    env: Env<'a>,
    connection: &Connection,
    memory: Memory<'_>,
    messages: &[(u32, Binary<'a>)],
    datagrams: u32,
) -> Term<'a> {
    let mut exchange = Exchange {
        env,
        connection,
        memory,
        entries: Vec::new(),
        room: if messages.is_empty() {
            ROOM
        } else {
            ROOM_BEFORE
        },
        datagrams,
    };
    exchange.receive();
    exchange.room = ROOM;
    for (port_id, message) in messages {
        if exchange.room == 0 {
            break;
        }
        exchange.send(*port_id, message.as_slice());
        exchange.receive();
    }
    exchange.entries.encode(env)
}

/// The buffer for datagrams, and the length in bytes of the longest datagram that is received whole.
pub(crate) struct Memory<'a> {
    pub(crate) buffer: &'a mut Vec<u8>,
    pub(crate) max_datagram: usize,
}

struct Exchange<'a, 'b> {
    env: Env<'a>,
    connection: &'b Connection,
    memory: Memory<'b>,
    entries: Vec<Term<'a>>,
    room: usize,
    datagrams: u32,
}

impl<'a> Exchange<'a, '_> {
    fn send(&mut self, port_id: u32, message: &[u8]) {
        let entry = match self.connection.send(port_id, message) {
            Ok(()) => atoms::sent().encode(self.env),
            Err(errno) => (atoms::refused(), errno.raw()).encode(self.env),
        };
        self.add(entry, 0);
    }

    fn receive(&mut self) {
        while self.room > 0 && self.datagrams > 0 {
            match self
                .connection
                .receive(self.memory.buffer, self.memory.max_datagram)
            {
                Ok(None) => return self.entries.push(atoms::drained().encode(self.env)),
                Ok(Some(datagram)) => {
                    self.datagrams = self.datagrams.saturating_sub(1);
                    self.received(&datagram);
                }
                Err(errno) if errno.raw() == libc::ENOBUFS => {
                    self.add(atoms::overrun().encode(self.env), 0);
                }
                Err(errno) => self.add((atoms::failed(), errno.raw()).encode(self.env), 0),
            }
        }
    }

    /// Adds the entry `{:datagram, port_id, group, nsid, bytes}`. For a truncated datagram, adds `:truncated` with its first bytes and
    /// its whole length.
    fn received(&mut self, datagram: &Datagram) {
        let Datagram {
            port_id,
            group,
            nsid,
            length,
        } = *datagram;
        let received = self.memory.buffer.as_slice();
        let whole = received.len() == length;
        let told = if whole {
            received
        } else {
            received.get(..HEADER).unwrap_or(received)
        };

        let size = told.len();
        let mut bytes = NewBinary::new(self.env, size);
        bytes.as_mut_slice().copy_from_slice(told);
        let bytes = Binary::from(bytes);
        let entry = if whole {
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
