//! The socket as a resource of the VM, which owns the connection.
//!
//! The process that opened the socket is its owner. The socket is closed by [`Handle::close`], when the owner ends for any reason, or
//! when no process has the term any more, whichever happens first. If the VM watches the socket, it has the term too.
//!
//! Not a resource of rustler, because those have no `stop` callback, which is needed to close a descriptor that the VM watches.

// The interface of the VM is C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::{mem, ptr};

use linx_core::connection::Connection;
use nif_entry::{Allocated, Resource, ResourceType};
use rustler::sys::{ERL_NIF_SELECT_READ, ERL_NIF_SELECT_STOP, enif_select};
use rustler::{Decoder, Env, NifResult, Reference, Term};

static TYPE: ResourceType<Socket> = ResourceType::new();

/// The value of the resource.
pub(crate) struct Socket {
    #[cfg(feature = "other_layout")]
    #[expect(dead_code, reason = "it takes room, which is what it is for")]
    other: [u64; 8],
    state: Mutex<State>,
    /// The length in bytes of the longest datagram that is received whole. The call that receives holds the lock.
    max_datagram: Mutex<usize>,
}

enum State {
    /// Not opened yet, or released.
    Empty,
    /// Shared with the calls in flight: the last one closes the descriptor.
    Open(Arc<Connection>),
    /// Closing has begun. The descriptor stays open until the VM has stopped watching it, but no call may begin to use it.
    Stopping(#[expect(dead_code, reason = "only keeps the descriptor open")] Arc<Connection>),
}

impl State {
    fn open(&self) -> Result<&Arc<Connection>, Closed> {
        match self {
            Self::Open(connection) => Ok(connection),
            Self::Empty | Self::Stopping(_) => Err(Closed),
        }
    }
}

/// The error of a closed socket.
pub(crate) struct Closed;

/// A resource whose socket is not open yet. Make it before anything that may take long, see [`ResourceType::allocate`].
pub(crate) struct UnopenedSocket(Allocated<Socket>);

impl UnopenedSocket {
    /// `max_datagram` is the length of the longest datagram that the socket will receive whole, in bytes.
    pub(crate) fn new(max_datagram: usize) -> Self {
        Self(TYPE.allocate(Socket {
            #[cfg(feature = "other_layout")]
            other: [u64::MAX; 8],
            state: Mutex::new(State::Empty),
            max_datagram: Mutex::new(max_datagram),
        }))
    }

    /// Returns the term of a connection whose owner is the calling process. Returns `None` and closes the connection if that process
    /// was killed meanwhile.
    pub(crate) fn open<'a>(self, env: Env<'a>, connection: Connection) -> Option<Term<'a>> {
        let Self(socket) = self;
        *socket.state() = State::Open(Arc::new(connection));
        if !socket.monitor(env, env.pid()) {
            // No process will get the term.
            socket.close(env);
            return None;
        }
        Some(socket.term(env))
    }
}

impl Socket {
    fn state(&self) -> MutexGuard<'_, State> {
        // Never poisoned, because no code that may panic runs with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to close. Returns an error if another call has begun already.
    fn begin_stop(&self) -> Result<c_int, Closed> {
        let mut state = self.state();
        let connection = Arc::clone(state.open()?);
        let fd = connection.as_fd().as_raw_fd();
        *state = State::Stopping(connection);
        Ok(fd)
    }

    /// Returns the object of the resource, as the VM knows it.
    fn object(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Makes the VM stop watching the descriptor. The `stop` callback then releases it, at once or soon.
    fn close(&self, env: Env<'_>) {
        let Ok(fd) = self.begin_stop() else {
            return;
        };
        let undefined = rustler::types::atom::undefined();
        // SAFETY: an open descriptor, because only the `stop` callback releases it, and a resource of this library.
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
    /// Closes the socket when its owner has ended.
    fn down(&self, env: Env<'_>) {
        self.close(env);
    }

    /// Releases the descriptor.
    fn stop(&self) {
        let state = mem::replace(&mut *self.state(), State::Empty);
        // Outside of the lock, because this may close the socket.
        drop(state);
    }
}

/// A socket during a call.
pub(crate) struct Handle<'a>(&'a Socket);

impl<'a> Decoder<'a> for Handle<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        TYPE.get(term).map(Self)
    }
}

impl Handle<'_> {
    /// Returns the connection. The socket stays open until it is dropped.
    pub(crate) fn connection(&self) -> Result<Arc<Connection>, Closed> {
        self.0.state().open().map(Arc::clone)
    }

    /// Begins to receive, until the guard is dropped, which holds the length of the longest datagram. Returns `None` if another call
    /// receives: only the owner should do that, and a scheduler must not wait.
    pub(crate) fn receive(&self) -> Option<MutexGuard<'_, usize>> {
        match self.0.max_datagram.try_lock() {
            Ok(max_datagram) => Some(max_datagram),
            // The value is never written, so a poisoned lock does not matter.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Makes the VM send `{:select, socket, reference, :ready_input}` to the calling process once, when there is something to receive.
    pub(crate) fn select(&self, env: Env<'_>, reference: Reference<'_>) -> Result<bool, Closed> {
        // The lock is held during the call, so that it cannot come after the stop. The call runs no callback.
        let state = self.0.state();
        let connection = state.open()?;
        // SAFETY: an open descriptor that stays open until the VM has stopped watching it, and a resource of this library; NULL means
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

    /// Closes the socket, if it is not closed yet.
    pub(crate) fn close(&self, env: Env<'_>) {
        self.0.close(env);
    }
}

/// Registers the resource type of the sockets.
pub(crate) fn register(env: Env<'_>) -> bool {
    TYPE.register(env, "socket", env!("LINX_LIBRARY_LAYOUT"))
}
