//! Sending and receiving, as one call: what happened, in its order.
//!
//! The kernel acts on what it is sent before `sendto(2)` returns, so the answer is there to be received at once.

use linx_core::connection::{Connection, Datagram};
use rustler::{Binary, Encoder, Env, NewBinary, Term};

/// How much one call receives before it returns, so that its result stays small. Each entry counts as [`ENTRY`] bytes
/// more.
const ROOM: usize = 256 * 1024;
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
) -> Term<'a> {
    let mut exchange = Exchange {
        env,
        connection,
        buffer,
        entries: Vec::new(),
        room: ROOM,
    };
    let mut more = exchange.receive_all();
    for (port_id, message) in messages {
        if more {
            break;
        }
        exchange.send(*port_id, message.as_slice());
        more = exchange.receive_all();
    }
    (exchange.entries, more).encode(env)
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
        self.entries.push(entry);
    }

    /// Whether there may be more than there was room for.
    fn receive_all(&mut self) -> bool {
        while self.room > 0 {
            let entry = match self.connection.receive(self.buffer) {
                Ok(None) => return false,
                Ok(Some(datagram)) => self.received(&datagram),
                Err(errno) if errno.raw() == libc::ENOBUFS => atoms::overrun().encode(self.env),
                Err(errno) => {
                    self.entries
                        .push((atoms::failed(), errno.raw()).encode(self.env));
                    return false;
                }
            };
            self.entries.push(entry);
            self.room = self.room.saturating_sub(ENTRY);
        }
        true
    }

    /// `{:datagram, port_id, group, nsid, bytes}`; of one that is longer than the buffer what is there of it, and
    /// `:truncated` with its whole length.
    fn received(&mut self, datagram: &Datagram) -> Term<'a> {
        let Datagram {
            port_id,
            group,
            nsid,
            length,
        } = *datagram;
        let whole = self.buffer.get(..length);
        let received = whole.unwrap_or(self.buffer);
        self.room = self.room.saturating_sub(received.len());

        let mut bytes = NewBinary::new(self.env, received.len());
        bytes.as_mut_slice().copy_from_slice(received);
        let bytes = Binary::from(bytes);
        if whole.is_some() {
            (atoms::datagram(), port_id, group, nsid, bytes).encode(self.env)
        } else {
            (atoms::truncated(), port_id, group, nsid, bytes, length).encode(self.env)
        }
    }
}
