//! A task of the kernel on a piece of the caller's stack: `clone(2)` with `CLONE_VM | CLONE_VFORK`.
//!
//! The caller is suspended in the kernel until the new task has given up the memory, so
//!
//! * nothing has to be allocated, woken, joined or freed, and the borrow of the closure ends before the caller goes on;
//! * the task uses the thread-locals of the caller (`errno` among them) while the caller cannot: to user space, the two
//!   are one thread that makes a call on another stack, as with `vfork(2)`. What differs is what the kernel sees: its
//!   thread id. The C library compares thread ids in few places (recursive and robust mutexes, `raise`, set*id), and none
//!   is reached here: a closure makes system calls and nothing else.
//!
//! Every signal that can be is blocked around it, so no handler runs on the small stack or sees the other thread id.

// The one file that makes tasks by hand.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::Errno;

/// A task that is gone.
pub(super) struct Ended<T> {
    pub(super) id: libc::pid_t,
    /// What its closure returned or panicked with. `None` if it was killed before.
    pub(super) returned: Option<Result<T, Box<dyn Any + Send>>>,
}

struct Call<F, T> {
    f: Option<F>,
    returned: Option<Result<T, Box<dyn Any + Send>>>,
}

#[repr(C, align(16))]
struct Stack<const SIZE: usize>(MaybeUninit<[u8; SIZE]>);

/// Calls `f` in a task of its own, on `SIZE` bytes of the caller's stack.
///
/// * `flags`: of `clone(2)`, with `CLONE_VM | CLONE_VFORK`, and none that asks for thread-local storage.
/// * `pidfd`: where the kernel is to write the descriptor that `CLONE_PIDFD` asks for. The number of an address: nothing
///   here reads or writes there.
// Not inlined, so that the frame with these bytes is there once, whatever the caller does.
#[inline(never)]
#[allow(clippy::disallowed_methods, reason = "this is where tasks are made")]
pub(super) fn call<const SIZE: usize, T>(
    flags: c_int,
    pidfd: usize,
    f: impl FnOnce() -> T,
) -> Result<Ended<T>, Errno> {
    fn start<F: FnOnce() -> T, T>(_: &Call<F, T>) -> extern "C" fn(*mut c_void) -> c_int {
        trampoline::<F, T>
    }

    let mut stack = Stack::<SIZE>(MaybeUninit::uninit());
    let mut call = Call {
        f: Some(f),
        returned: None,
    };
    let start = start(&call);

    // SAFETY: one past the end of the array, where a stack that grows down starts.
    let top = unsafe { stack.0.as_mut_ptr().add(1) };
    // SAFETY: `top` and `call` outlive the task: CLONE_VFORK keeps this frame suspended until the task has given up the
    // memory, and a task that is killed gives it up as well. `start` is the trampoline for the type of `call`, and does
    // not unwind. The kernel checks `pidfd` before it writes there.
    let id = unsafe { libc::clone(start, top.cast(), flags, (&raw mut call).cast(), pidfd) };
    if id == -1 {
        return Err(Errno::last());
    }
    Ok(Ended {
        id,
        returned: call.returned,
    })
}

/// Where the new task starts. It ends with a return: the `clone(3)` of the C library then makes `_exit(2)` of that task
/// only.
extern "C" fn trampoline<F: FnOnce() -> T, T>(call: *mut c_void) -> c_int {
    // SAFETY: `call` passed its `Call<F, T>`, which nobody else touches while this task runs.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    if let Some(f) = call.f.take() {
        call.returned = Some(catch_unwind(AssertUnwindSafe(f)));
    }
    0
}

/// The signal mask of a thread, from before [`block_signals`].
pub(super) struct SignalMask(u64);

/// Blocks all 64 signals of the calling thread, but for SIGKILL and SIGSTOP, which the kernel never blocks.
///
/// `rt_sigprocmask(2)` itself: `sigfillset(3)` leaves out the two that the C library uses internally, and one of these
/// without its handler would end a child.
pub(super) fn block_signals() -> Result<SignalMask, Errno> {
    set_mask(u64::MAX).map(SignalMask)
}

/// Undoes [`block_signals`].
pub(super) fn restore_signals(mask: &SignalMask) {
    // It succeeded a moment ago with the same kind of arguments; there is nothing to be done if it does not now.
    let _ = set_mask(mask.0);
}

fn set_mask(new: u64) -> Result<u64, Errno> {
    let mut old = 0_u64;
    // SAFETY: two masks of the size that is given, which is the kernel's on every machine but MIPS.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const new,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    if returned == -1 {
        return Err(Errno::last());
    }
    Ok(old)
}

/// Takes an ended child out of the process table: `waitpid(2)` with `__WCLONE`, as it has no exit signal.
pub(super) fn reap(id: libc::pid_t) {
    loop {
        // SAFETY: no status is asked for, and the id is that of a child which only this thread knows of.
        let reaped = unsafe { libc::waitpid(id, ptr::null_mut(), libc::__WCLONE) };
        // With every signal blocked only a tracer interrupts it.
        if reaped != -1 || Errno::last().raw() != libc::EINTR {
            return;
        }
    }
}
