//! The socket as a term: a resource of the VM that owns the connection.
//!
//! Whoever opened it is its owner. The socket is closed by [`Handle::close`], when the owner ends, however it does, and
//! when no process has the term any more, whichever is first; once it was watched, the VM itself has the term.
//!
//! rustler's resources have no `stop` callback, without which a descriptor that the VM watches cannot be closed.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use linx_core::connection::Connection;
use nif_entry::{Allocated, Resource, ResourceType};
use rustler::sys::{ERL_NIF_SELECT_READ, ERL_NIF_SELECT_STOP, enif_select};
use rustler::{Decoder, Env, NifResult, Reference, Term};

static TYPE: ResourceType<Socket> = ResourceType::new();

/// What the VM keeps for each socket.
pub(crate) struct Socket {
    #[cfg(feature = "other_layout")]
    #[expect(dead_code, reason = "it takes room, which is what it is for")]
    other: [u64; 8],
    state: Mutex<State>,
    /// The length of the longest datagram that is received whole, in bytes. Locked by the call that receives.
    max_datagram: Mutex<usize>,
}

struct State {
    /// Shared with the calls that are on their way: the descriptor is closed when the last one is done.
    connection: Option<Arc<Connection>>,
    /// Since then nobody may begin anything with the descriptor.
    stopping: bool,
}

impl State {
    fn open(&self) -> Result<&Arc<Connection>, Closed> {
        match &self.connection {
            Some(connection) if !self.stopping => Ok(connection),
            _ => Err(Closed),
        }
    }
}

/// A socket that was closed.
pub(crate) struct Closed;

/// A resource whose socket is not open yet. Make it before anything that may take long, see [`ResourceType::allocate`].
pub(crate) struct UnopenedSocket(Allocated<Socket>);

impl UnopenedSocket {
    /// `max_datagram` is the length of the longest datagram that the socket will receive whole, in bytes.
    pub(crate) fn new(max_datagram: usize) -> Self {
        Self(TYPE.allocate(Socket {
            #[cfg(feature = "other_layout")]
            other: [u64::MAX; 8],
            state: Mutex::new(State {
                connection: None,
                stopping: false,
            }),
            max_datagram: Mutex::new(max_datagram),
        }))
    }

    /// Makes the term of a connection whose owner is the calling process. `None` if that was killed meanwhile: the
    /// connection is closed then.
    pub(crate) fn open<'a>(self, env: Env<'a>, connection: Connection) -> Option<Term<'a>> {
        let Self(socket) = self;
        socket.state().connection = Some(Arc::new(connection));
        if !socket.monitor(env, env.pid()) {
            // Nobody will get the term.
            socket.close(env);
            return None;
        }
        Some(socket.term(env))
    }
}

impl Socket {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that may panic is done with it locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to close; an error if somebody else did.
    fn begin_stop(&self) -> Result<c_int, Closed> {
        let mut state = self.state();
        let fd = state.open()?.as_fd().as_raw_fd();
        state.stopping = true;
        Ok(fd)
    }

    /// As the VM knows it.
    fn object(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Has the VM stop to look at the descriptor; its `stop` callback then lets it go, at once or soon.
    fn close(&self, env: Env<'_>) {
        let Ok(fd) = self.begin_stop() else {
            return;
        };
        let undefined = rustler::types::atom::undefined();
        // SAFETY: an open descriptor, as only the `stop` callback lets it go; a resource of ours.
        let stopped = unsafe {
            enif_select(
                env.as_c_arg(),
                fd,
                ERL_NIF_SELECT_STOP,
                self.object(),
                ptr::null(),
                undefined.as_c_arg(),
            )
        };
        if stopped < 0 {
            self.stop();
        }
    }
}

impl Resource for Socket {
    /// The owner ended.
    fn down(&self, env: Env<'_>) {
        self.close(env);
    }

    /// Lets the descriptor go.
    fn stop(&self) {
        let connection = self.state().connection.take();
        // Outside of the lock: it may be closed here.
        drop(connection);
    }
}

/// A socket, for the time of a call.
pub(crate) struct Handle<'a>(&'a Socket);

impl<'a> Decoder<'a> for Handle<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        TYPE.get(term).map(Self)
    }
}

impl Handle<'_> {
    /// The connection; the socket stays open until it is dropped.
    pub(crate) fn connection(&self) -> Result<Arc<Connection>, Closed> {
        self.0.state().open().map(Arc::clone)
    }

    /// Begins to receive, until the guard is dropped: the length of the longest datagram. `None` while another call
    /// receives: only the owner is to do that, and a scheduler must not wait.
    pub(crate) fn receive(&self) -> Option<MutexGuard<'_, usize>> {
        match self.0.max_datagram.try_lock() {
            Ok(max_datagram) => Some(max_datagram),
            // Nobody writes to it.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Has the VM tell the calling process once, by `{:select, socket, reference, :ready_input}`, when there is something
    /// to receive.
    pub(crate) fn select(&self, env: Env<'_>, reference: Reference<'_>) -> Result<bool, Closed> {
        // Locked throughout, so that it cannot come after the stop. It calls nobody back.
        let state = self.0.state();
        let connection = state.open()?;
        // SAFETY: an open descriptor that stays open until the VM has stopped to look at it; a resource of ours; NULL is
        // the calling process.
        let selected = unsafe {
            enif_select(
                env.as_c_arg(),
                connection.as_fd().as_raw_fd(),
                ERL_NIF_SELECT_READ,
                self.0.object(),
                ptr::null(),
                reference.as_c_arg(),
            )
        };
        Ok(selected >= 0)
    }

    /// Closes the socket, if that was not done yet.
    pub(crate) fn close(&self, env: Env<'_>) {
        self.0.close(env);
    }
}

/// Registers the type of the sockets.
pub(crate) fn register(env: Env<'_>) -> bool {
    TYPE.register(env, "socket", env!("LINX_LIBRARY_LAYOUT"))
}
