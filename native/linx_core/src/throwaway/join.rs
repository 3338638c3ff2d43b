//! Joining a thread for a limited time, which the standard library does not offer.

// The C library's functions for it.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Far from what a time can hold.
const LONGEST: Duration = Duration::from_secs(3600);

/// A thread that was not joined yet. It is detached if this is dropped.
pub(super) struct Joinable(libc::pthread_t);

// SAFETY: any thread may join or detach another one.
unsafe impl Send for Joinable {}

impl From<JoinHandle<()>> for Joinable {
    fn from(thread: JoinHandle<()>) -> Self {
        // musl has a pointer for it, the standard library a number.
        Self(thread.into_pthread_t() as libc::pthread_t)
    }
}

impl Joinable {
    /// Waits until the thread has ended.
    pub(super) fn join(self) {
        let thread = ManuallyDrop::new(self);
        // SAFETY: a thread that was neither joined nor detached, and is neither again, as nothing is dropped.
        let _ = unsafe { libc::pthread_join(thread.0, ptr::null_mut()) };
    }

    /// Waits until the thread has ended, and returns it if it has not after `timeout`, of an hour at most.
    pub(super) fn join_for(self, timeout: Duration) -> Result<(), Self> {
        // It fails for a clock that does not exist alone; the time is over then.
        let now = clock_gettime(CLOCK).map_or(Duration::ZERO, Duration::from);
        let deadline = now.saturating_add(timeout.min(LONGEST));
        let deadline = TimeSpec::from_duration(deadline);
        let thread = ManuallyDrop::new(self);
        // SAFETY: a thread that was neither joined nor detached; a time that lives through the call.
        match unsafe { join_until(thread.0, deadline.as_ref()) } {
            0 => Ok(()),
            // ETIMEDOUT is the only other one there is for a thread that can be joined.
            _ => Err(ManuallyDrop::into_inner(thread)),
        }
    }
}

impl Drop for Joinable {
    fn drop(&mut self) {
        // SAFETY: a thread that was neither joined nor detached.
        let _ = unsafe { libc::pthread_detach(self.0) };
    }
}

/// Nobody sets this clock back, which would make a turn of some milliseconds last for hours.
#[cfg(target_env = "gnu")]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// `pthread_clockjoin_np(3)`, since glibc 2.31.
#[cfg(target_env = "gnu")]
unsafe fn join_until(thread: libc::pthread_t, deadline: &libc::timespec) -> c_int {
    unsafe extern "C" {
        fn pthread_clockjoin_np(
            thread: libc::pthread_t,
            returned: *mut *mut libc::c_void,
            clock: libc::clockid_t,
            deadline: *const libc::timespec,
        ) -> c_int;
    }
    // SAFETY: the caller's.
    unsafe { pthread_clockjoin_np(thread, ptr::null_mut(), CLOCK.as_raw(), deadline) }
}

/// The clock of `pthread_timedjoin_np(3)`. musl looks at it once, to see for how long to wait.
#[cfg(not(target_env = "gnu"))]
const CLOCK: ClockId = ClockId::CLOCK_REALTIME;

/// `pthread_timedjoin_np(3)`.
#[cfg(not(target_env = "gnu"))]
unsafe fn join_until(thread: libc::pthread_t, deadline: &libc::timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe { libc::pthread_timedjoin_np(thread, ptr::null_mut(), deadline) }
}
