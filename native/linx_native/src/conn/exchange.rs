//! Sending and receiving, as one call: what happened, in its order.
//!
//! The kernel acts on what it is sent before `sendto(2)` returns, so the answer is there to be received at once.

use linx_core::connection::{Connection, Datagram};
use rustler::{Binary, Encoder, Env, NewBinary, Term};

/// How many bytes one call receives before it returns, so that its result stays small; each entry counts as [`ENTRY`]
/// more.
const ROOM: usize = 256 * 1024;
/// How many it receives before it sends, whatever else there is: so nobody can keep it from sending.
const ROOM_BEFORE: usize = 64 * 1024;
const ENTRY: usize = 256;

/// What is told of a datagram that is cut: the header of its first message.
const HEADER: usize = 16;

mod atoms {
    rustler::atoms! { sent, refused, datagram, truncated, overrun, failed, drained }
}

/// Receives what there is, sends each message to its port, and receives after each. It receives so many datagrams at
/// most, and may end before all messages are sent. It is `drained` where nothing was left to be received.
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

/// Where datagrams are received, and how long the longest one that is received whole is, in bytes.
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

    /// `{:datagram, port_id, group, nsid, bytes}`; of one that was cut its beginning, and `:truncated`
    /// with its whole length.
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
