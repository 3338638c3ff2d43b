//! A thread that its caller need not wait for, as it owns what it needs.

use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use super::{THREAD_STACK, Throwaway};
use crate::error::Errno;

/// A call that runs on a thread of its own.
///
/// If it is dropped before [`wait`](Self::wait) has returned the result, the call is given up: it does not begin to mount
/// any more, and its thread ends, and closes what it has, as soon as the kernel lets it.
#[must_use]
pub struct Pending<T> {
    /// `None` once it was joined.
    thread: Option<JoinHandle<T>>,
    caller: Arc<Caller>,
}

/// What a thread and its caller tell each other.
#[derive(Default)]
pub(super) struct Caller {
    gone: AtomicBool,
    finished: Mutex<bool>,
    has_finished: Condvar,
}

impl Caller {
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Returns whether the closure has returned, after `timeout` at the latest.
    fn wait(&self, timeout: Duration) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .has_finished
            .wait_timeout_while(finished, timeout, |finished| !*finished);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Tells the caller that the closure has returned, or has panicked.
struct Finish<'a>(&'a Caller);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let mut finished = self
            .0
            .finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *finished = true;
        // Under the lock: the caller may free this as soon as it has seen the value, but for our share.
        self.0.has_finished.notify_one();
    }
}

/// Runs `f` on a thread that ends with it.
///
/// # Errors
/// The errno of `pthread_create(3)`: EAGAIN if a limit of threads is reached or there is no memory.
pub(crate) fn spawn<T: Send + 'static>(
    f: impl FnOnce(&Throwaway<'_>) -> T + Send + 'static,
) -> Result<Pending<T>, Errno> {
    let caller = Arc::new(Caller::default());
    let shared = Arc::clone(&caller);
    let body = move || {
        block_signals();
        let _finish = Finish(&shared);
        f(&Throwaway::new(Some(&shared)))
    };
    match Builder::new().stack_size(THREAD_STACK).spawn(body) {
        Ok(thread) => Ok(Pending {
            thread: Some(thread),
            caller,
        }),
        Err(error) => Err(errno_of(&error)),
    }
}

impl<T> Pending<T> {
    /// Returns the result once the thread has ended, and `None` if it has not after `timeout`, or if the result was
    /// returned before. A panic of the thread goes on in the caller.
    pub fn wait(&mut self, timeout: Duration) -> Option<T> {
        if !self.caller.wait(timeout) {
            return None;
        }
        let joined = self.thread.take()?.join();
        Some(joined.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Waits for the result, as long as it takes. A panic of the thread goes on in the caller.
    ///
    /// # Errors
    /// `None` if the result was returned before.
    pub fn join(mut self) -> Option<T> {
        let joined = self.thread.take()?.join();
        Some(joined.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.caller.gone.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// Keeps the handlers of the VM off this thread, which may be elsewhere for long. The two signals that the C library uses
/// internally stay unblocked: its set*id functions wait for every thread to answer one.
pub(super) fn block_signals() {
    // It fails for wrong arguments alone. Not `pthread_sigmask`: nix misses its errors.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

/// Why the standard library could not make a thread.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN))
}
