//! A thread that its caller need not wait for, as it owns what it needs.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use super::Throwaway;
use super::posix::Thread;
use crate::error::Errno;

/// A call that runs on a thread of its own.
///
/// If it is dropped before [`wait`](Self::wait) has returned the result, the call is given up: it does not begin to mount
/// any more, and its thread ends, and closes what it has, as soon as the kernel lets it.
#[must_use]
pub struct Pending<T> {
    /// `None` once it was joined.
    thread: Option<Thread>,
    shared: Arc<Shared<T>>,
}

/// What a thread and its caller share.
struct Shared<T> {
    caller: Caller,
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
}

/// Who waits for a thread.
#[derive(Default)]
pub(super) struct Caller {
    /// [`WAITS`], then one of the others, for good.
    state: AtomicU8,
}

const WAITS: u8 = 0;
/// The caller was first: it never sees the result.
const GONE: u8 = 1;
/// The thread was first: the caller, if it is alive, gets the result.
const SERVED: u8 = 2;

impl Caller {
    pub(super) fn is_gone(&self) -> bool {
        self.state.load(Ordering::Acquire) == GONE
    }

    /// Returns whether `state` is the state from here on, be it since now or since before.
    fn settle(&self, state: u8) -> bool {
        let settled =
            self.state
                .compare_exchange(WAITS, state, Ordering::AcqRel, Ordering::Acquire);
        settled.is_ok() || settled == Err(state)
    }

    pub(super) fn serve(&self) -> bool {
        self.settle(SERVED)
    }

    fn leave(&self) -> bool {
        self.settle(GONE)
    }
}

/// Runs `f` on a thread that ends with it.
///
/// # Errors
/// The errno of `pthread_create(3)`: EAGAIN if a limit of threads is reached or there is no memory.
pub(crate) fn spawn<T: Send + 'static>(
    f: impl FnOnce(&Throwaway<'_>) -> T + Send + 'static,
) -> Result<Pending<T>, Errno> {
    let shared = Arc::new(Shared {
        caller: Caller::default(),
        result: Mutex::new(None),
    });
    let theirs = Arc::clone(&shared);
    let thread = Thread::spawn(move || {
        block_signals();
        let call = AssertUnwindSafe(|| f(&Throwaway::new(Some(&theirs.caller))));
        let result = catch_unwind(call);
        *theirs.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    })?;
    Ok(Pending {
        thread: Some(thread),
        shared,
    })
}

impl<T> Pending<T> {
    /// Returns the result once the thread has ended, and `None` if it has not after `timeout`, or if the result was
    /// returned before. A panic of the thread goes on in the caller.
    pub fn wait(&mut self, timeout: Duration) -> Option<T> {
        self.thread = self.thread.take()?.join_for(timeout).err();
        match self.thread {
            None => self.result(),
            Some(_) => None,
        }
    }

    /// Waits for the result, as long as it takes. `None` if it was returned before. A panic of the thread goes on in the
    /// caller.
    pub fn join(mut self) -> Option<T> {
        self.thread.take()?.join();
        self.result()
    }

    fn result(&self) -> Option<T> {
        let mut result = self
            .shared
            .result
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = result.take()?;
        Some(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Gives the call up, unless its thread has handed its result over already (`Throwaway::hand_over`). Returns the result
    /// then.
    pub fn give_up(self) -> Option<T> {
        if self.shared.caller.leave() {
            return None;
        }
        self.join()
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.shared.caller.leave();
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
