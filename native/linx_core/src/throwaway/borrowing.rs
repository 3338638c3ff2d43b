//! A thread whose caller waits for it, so its closure may borrow.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;
use std::panic::resume_unwind;

#[cfg(target_env = "gnu")]
use super::task;
use super::{THREAD_STACK, Throwaway};
use crate::error::Errno;

/// Runs `f` on a thread that ends with it, and returns its result.
///
/// `f` makes system calls and nothing else. A panic in it continues in the caller.
///
/// # Errors
/// The errno of `clone(2)`: EAGAIN if a limit of threads is reached, ENOMEM.
#[cfg(target_env = "gnu")]
pub(crate) fn run<T: Send>(f: impl FnOnce(&Throwaway<'_>) -> T + Send) -> Result<T, Errno> {
    on_own_stack(f)
}

/// As above. With another C library than glibc, `clone(3)` may not make threads: musl refuses `CLONE_THREAD` since 1.2.5.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn run<T: Send>(f: impl FnOnce(&Throwaway<'_>) -> T + Send) -> Result<T, Errno> {
    scoped(f)
}

/// A thread of this process. Without `CLONE_FS` it has a root, a working directory and a umask of its own, so it cannot move those of
/// the VM. With `CLONE_FILES` a descriptor that it opens belongs to the caller.
#[cfg(target_env = "gnu")]
const THREAD: c_int =
    libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FILES | libc::CLONE_SYSVSEM;

/// Runs `f` on the cheapest kind of thread, see [`task`].
#[cfg(target_env = "gnu")]
pub(super) fn on_own_stack<T>(f: impl FnOnce(&Throwaway<'_>) -> T) -> Result<T, Errno> {
    let mask = task::block_signals()?;
    let ended = task::call::<THREAD_STACK, _>(THREAD, 0, || f(&Throwaway::new(None)));
    task::restore_signals(&mask);

    match ended?.returned {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => resume_unwind(panic),
        // The thread was ended from outside. Only a seccomp filter can do that (`SECCOMP_RET_KILL_THREAD`): everything else that ends a
        // thread from outside ends the whole process, with this caller.
        None => Err(Errno::from_raw(libc::EINTR)),
    }
}

/// Runs `f` on a thread of the standard library, which works with any C library.
#[cfg(any(test, not(target_env = "gnu")))]
pub(super) fn scoped<T: Send>(f: impl FnOnce(&Throwaway<'_>) -> T + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK);
        let body = || {
            super::owning::block_signals();
            f(&Throwaway::new(None))
        };
        match thread.spawn_scoped(scope, body) {
            Ok(thread) => thread.join().or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(Errno::from(&error)),
        }
    })
}
