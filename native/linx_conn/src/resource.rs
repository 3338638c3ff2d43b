//! The socket as a term: a resource of the VM that owns the connection.
//!
//! Whoever opened it is its owner. The socket is closed by [`Handle::close`], when the owner ends, however it does, and
//! when no process has the term any more, whichever is first; once it was watched, the VM itself has the term.
//!
//! rustler's resources have no `stop` callback, without which a descriptor that the VM watches cannot be closed, so this
//! one is made by hand.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use linx_core::connection::Connection;
use rustler::sys::{
    ERL_NIF_SELECT_READ, ERL_NIF_SELECT_STOP, ErlNifEnv, ErlNifMonitor, ErlNifPid,
    ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit, enif_alloc_resource,
    enif_get_resource, enif_make_resource, enif_monitor_process, enif_open_resource_type_x,
    enif_release_resource, enif_select,
};
use rustler::{Decoder, Env, Error, NifResult, Reference, Term};

static TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

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

// The VM aligns the memory of a resource as `malloc` does.
const _: () = assert!(align_of::<Socket>() <= align_of::<usize>());

/// A resource whose socket is not open yet.
///
/// Make it before anything that may take long. A purge of the module kills the callers of its functions, but does not wait
/// for the calls, and the VM frees a type without resources then.
pub(crate) struct UnopenedSocket(*mut c_void);

impl UnopenedSocket {
    /// `max_datagram` is the length of the longest datagram that the socket will receive whole, in bytes.
    pub(crate) fn new(max_datagram: usize) -> Self {
        let socket = Socket {
            #[cfg(feature = "other_layout")]
            other: [u64::MAX; 8],
            state: Mutex::new(State {
                connection: None,
                stopping: false,
            }),
            max_datagram: Mutex::new(max_datagram),
        };
        // SAFETY: the type was registered when the library was loaded, and the size is that of what is written below.
        let memory =
            unsafe { enif_alloc_resource(TYPE.load(Ordering::Acquire), size_of::<Socket>()) };
        // SAFETY: new memory of that size, aligned (see above).
        unsafe { memory.cast::<Socket>().write(socket) };
        Self(memory)
    }

    /// Makes the term of a connection whose owner is the calling process. `None` if that was killed meanwhile: the
    /// connection is closed then.
    pub(crate) fn open<'a>(self, env: Env<'a>, connection: Connection) -> Option<Term<'a>> {
        // SAFETY: written by `new`, and alive as long as `self`.
        let socket = unsafe { &*self.0.cast::<Socket>() };
        socket.state().connection = Some(Arc::new(connection));

        let owner = env.pid();
        // SAFETY: a resource whose type has a `down` callback, and a process.
        let refused = unsafe {
            enif_monitor_process(env.as_c_arg(), self.0, owner.as_c_arg(), ptr::null_mut())
        };
        if refused != 0 {
            // Nobody will get the term.
            close(socket, env.as_c_arg());
            return None;
        }
        // SAFETY: a resource that `self` has a reference to; the term gets its own.
        let term = unsafe { enif_make_resource(env.as_c_arg(), self.0) };
        // SAFETY: a term that was just made in `env`.
        Some(unsafe { Term::new(env, term) })
    }
}

impl Drop for UnopenedSocket {
    fn drop(&mut self) {
        // SAFETY: the reference that `enif_alloc_resource` gave.
        unsafe { enif_release_resource(self.0) };
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

    /// The VM does not look at the descriptor any more: lets it go.
    fn stopped(&self) {
        let connection = self.state().connection.take();
        // Outside of the lock: it may be closed here.
        drop(connection);
    }
}

/// A socket, for the time of a call.
pub(crate) struct Handle<'a>(&'a Socket);

impl<'a> Decoder<'a> for Handle<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let mut object: *const c_void = ptr::null();
        // SAFETY: `term` is of this environment, and `object` is set where the call says so.
        let found = unsafe {
            enif_get_resource(
                term.get_env().as_c_arg(),
                term.as_c_arg(),
                TYPE.load(Ordering::Acquire),
                &raw mut object,
            )
        };
        if found == 0 {
            return Err(Error::BadArg);
        }
        // SAFETY: a resource of our type, which the term keeps alive for as long as its environment lasts.
        Ok(Self(unsafe { &*object.cast::<Socket>() }))
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
        close(self.0, env.as_c_arg());
    }
}

/// Has the VM stop to look at the descriptor; its `stop` callback then lets it go, at once or soon.
fn close(socket: &Socket, env: *mut ErlNifEnv) {
    let Ok(fd) = socket.begin_stop() else {
        return;
    };
    let undefined = rustler::types::atom::undefined();
    // SAFETY: an open descriptor, as only the `stop` callback lets it go; a resource of ours.
    let stopped = unsafe {
        enif_select(
            env,
            fd,
            ERL_NIF_SELECT_STOP,
            socket.object(),
            ptr::null(),
            undefined.as_c_arg(),
        )
    };
    if stopped < 0 {
        socket.stopped();
    }
}

/// Registers the type, or takes it over from an older instance of this library with the sockets there are.
pub(crate) fn register(env: Env<'_>) -> bool {
    let callbacks = ErlNifResourceTypeInit {
        dtor: destroy as *const _,
        stop: stop as *const _,
        down: down as *const _,
    };
    let Some(name) = nif_entry::type_name::<Socket>("socket", env!("LINX_LIBRARY_LAYOUT")) else {
        return false;
    };
    let open = |flags| {
        let mut tried = flags;
        // SAFETY: called while the library is loaded; the VM copies name and callbacks, which have the signatures it
        // asks for.
        unsafe {
            enif_open_resource_type_x(
                env.as_c_arg(),
                name.as_ptr(),
                &raw const callbacks,
                flags,
                &raw mut tried,
            )
        }
    };
    let mut found = open(ErlNifResourceFlags::ERL_NIF_RT_TAKEOVER);
    if found.is_null() {
        found = open(ErlNifResourceFlags::ERL_NIF_RT_CREATE);
    }
    TYPE.store(found.cast_mut(), Ordering::Release);
    !found.is_null()
}

/// Nobody has the term any more.
unsafe extern "C" fn destroy(_: *mut ErlNifEnv, object: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the last use of what `create` wrote.
        unsafe { object.cast::<Socket>().drop_in_place() };
    }));
}

/// The VM does not look at the descriptor any more.
unsafe extern "C" fn stop(_: *mut ErlNifEnv, object: *mut c_void, _: c_int, _: c_int) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of ours, alive during the callback.
        unsafe { &*object.cast::<Socket>() }.stopped();
    }));
}

/// The owner ended.
unsafe extern "C" fn down(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    _: *const ErlNifPid,
    _: *const ErlNifMonitor,
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of ours, alive during the callback.
        close(unsafe { &*object.cast::<Socket>() }, env);
    }));
}
