//! POSIX threads that can be joined with a timeout. Threads of the standard library cannot.
//!
//! They are also made without the standard library, which would take 1.5 microseconds more, of about 25 for a mount in another
//! namespace.

// The thread functions of the C library.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::error::Errno;

/// The smallest stack that glibc accepts on every supported machine (aarch64 needs the most). If a size is refused, the default of the
/// C library stays.
const STACK: usize = 128 * 1024;

/// The longest timeout of a join, so that adding it to a time cannot overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often the caller lets other threads run before it sleeps. A call that waits for nothing has ended by then. To sleep and be woken
/// takes longer than most calls.
const YIELDS: usize = 4;

/// A thread that is not joined yet. It is detached when this is dropped.
///
/// Since glibc 2.43 that waits for a thread whose function has returned. Only the VM can delay such a thread: the kernel ends the wait
/// before it gives back what the thread has of a container.
pub(super) struct Thread(libc::pthread_t);

// SAFETY: any thread may join or detach another one.
unsafe impl Send for Thread {}

impl Thread {
    /// Runs `f`, which must not panic, on a new thread.
    ///
    /// # Errors
    /// The errno of `pthread_create(3)`: EAGAIN if a limit of threads is reached or there is no memory.
    pub(super) fn spawn<F: FnOnce() + Send + 'static>(f: F) -> Result<Self, Errno> {
        let attributes = Attributes::new()?;
        let f = Box::into_raw(Box::new(f));
        let mut thread = MaybeUninit::uninit();
        // SAFETY: attributes that were initialised, and the start function for the type of `f`, which frees `f`.
        let refused = unsafe {
            libc::pthread_create(
                thread.as_mut_ptr(),
                &raw const attributes.0,
                start::<F>,
                f.cast(),
            )
        };
        if refused == 0 {
            // SAFETY: `pthread_create` succeeded, so it has set this.
            return Ok(Self(unsafe { thread.assume_init() }));
        }
        // SAFETY: no thread was made, so the box is still owned here.
        drop(unsafe { Box::from_raw(f) });
        Err(Errno::from_raw(refused))
    }

    /// Waits until the thread has ended.
    pub(super) fn join(self) {
        let thread = ManuallyDrop::new(self);
        // SAFETY: a thread that was neither joined nor detached. It is not joined or detached again, because `thread` is not dropped.
        let _ = unsafe { libc::pthread_join(thread.0, ptr::null_mut()) };
    }

    /// Waits until the thread has ended. Returns the thread if it has not ended after `timeout`, which is an hour at most.
    pub(super) fn join_for(self, timeout: Duration) -> Result<(), Self> {
        let thread = ManuallyDrop::new(self);
        for _ in 0..YIELDS {
            // SAFETY: a thread that was neither joined nor detached.
            if unsafe { libc::pthread_tryjoin_np(thread.0, ptr::null_mut()) } == 0 {
                return Ok(());
            }
            std::thread::yield_now();
        }
        // This fails only if the clock does not exist. The timeout then counts as over.
        let now = clock_gettime(CLOCK).map_or(Duration::ZERO, Duration::from);
        let deadline = now.saturating_add(timeout.min(MAX_TIMEOUT));
        let deadline = TimeSpec::from_duration(deadline);
        // SAFETY: a thread that was neither joined nor detached; a time that lives through the call.
        match unsafe { join_until(thread.0, deadline.as_ref()) } {
            0 => Ok(()),
            // For a thread that can be joined, the only other result is ETIMEDOUT.
            _ => Err(ManuallyDrop::into_inner(thread)),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: a thread that was neither joined nor detached.
        let _ = unsafe { libc::pthread_detach(self.0) };
    }
}

/// The start function of a thread.
extern "C" fn start<F: FnOnce()>(f: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` made this pointer from a box for this thread.
    let f = unsafe { Box::from_raw(f.cast::<F>()) };
    f();
    ptr::null_mut()
}

/// The attributes of a new thread.
struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: memory for attributes, which this initialises.
        match unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } {
            0 => {}
            refused => return Err(Errno::from_raw(refused)),
        }
        // SAFETY: initialised above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: attributes that were initialised.
        let _ = unsafe { libc::pthread_attr_setstacksize(&raw mut attributes.0, STACK) };
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: attributes that were initialised, for the last time.
        let _ = unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

/// A clock that cannot be set back. Otherwise a turn of some milliseconds could last for hours.
#[cfg(target_env = "gnu")]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Joins a thread with a deadline: `pthread_clockjoin_np(3)`, since glibc 2.31.
#[cfg(target_env = "gnu")]
unsafe fn join_until(thread: libc::pthread_t, deadline: &libc::timespec) -> c_int {
    unsafe extern "C" {
        fn pthread_clockjoin_np(
            thread: libc::pthread_t,
            returned: *mut *mut c_void,
            clock: libc::clockid_t,
            deadline: *const libc::timespec,
        ) -> c_int;
    }
    // SAFETY: as the caller of this function guarantees.
    unsafe { pthread_clockjoin_np(thread, ptr::null_mut(), CLOCK.as_raw(), deadline) }
}

/// The clock of `pthread_timedjoin_np(3)`. musl reads it once, to compute how long to wait.
#[cfg(not(target_env = "gnu"))]
const CLOCK: ClockId = ClockId::CLOCK_REALTIME;

/// Joins a thread with a deadline: `pthread_timedjoin_np(3)`.
#[cfg(not(target_env = "gnu"))]
unsafe fn join_until(thread: libc::pthread_t, deadline: &libc::timespec) -> c_int {
    // SAFETY: as the caller of this function guarantees.
    unsafe { libc::pthread_timedjoin_np(thread, ptr::null_mut(), deadline) }
}
