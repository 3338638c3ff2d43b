//! A thread that owns all that it needs, so its caller need not wait for it.

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
/// If it is dropped before [`wait`](Self::wait) has returned the result, the call is given up: it begins no mount, and its thread closes
/// its descriptors and ends as soon as the kernel allows it.
#[must_use]
pub struct Pending<T> {
    /// `None` after the thread was joined.
    thread: Option<Thread>,
    shared: Arc<Shared<T>>,
}

/// The state that a thread and its caller share.
struct Shared<T> {
    caller: Caller,
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
}

/// The caller of a thread, as the thread sees it.
#[derive(Default)]
pub(super) struct Caller {
    /// [`WAITS`], then one of the others, for good.
    state: AtomicU8,
}

const WAITS: u8 = 0;
/// The caller was first: it has given up, and never sees the result.
const GONE: u8 = 1;
/// The thread was first: the caller gets the result, if it is alive.
const SERVED: u8 = 2;

impl Caller {
    pub(super) fn is_gone(&self) -> bool {
        self.state.load(Ordering::Acquire) == GONE
    }

    /// Sets the state unless it is settled already. Returns whether it is now `state`.
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
    /// Returns the result when the thread has ended. Returns `None` if it has not ended after `timeout`, or if the result was returned
    /// before. A panic of the thread continues in the caller.
    pub fn wait(&mut self, timeout: Duration) -> Option<T> {
        self.thread = self.thread.take()?.join_for(timeout).err();
        match self.thread {
            None => self.result(),
            Some(_) => None,
        }
    }

    /// Waits for the result without a timeout. Returns `None` if it was returned before. A panic of the thread continues in the caller.
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

    /// Gives the call up. Returns `false` if its thread has handed the call over before (`Throwaway::hand_over`): it has then succeeded.
    ///
    /// Does not wait for the thread, because a container may delay its end: the thread closes its descriptors, and with the last one of
    /// a mount the kernel ends the file system.
    pub fn give_up(self) -> bool {
        self.shared.caller.leave()
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

/// Blocks signals, so that the VM's handlers do not run on this thread, which may be in another namespace for long. The two signals
/// that the C library uses internally stay unblocked, because its set*id functions wait until every thread has handled one.
pub(super) fn block_signals() {
    // This fails only for wrong arguments. Not `pthread_sigmask`, because nix does not report its errors.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}
