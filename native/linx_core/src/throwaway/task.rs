//! A task of the kernel on a piece of the caller's stack: `clone(2)` with `CLONE_VM`.
//!
//! The caller waits until the new task has ended, so
//!
//! * nothing has to be allocated, woken or freed, and the borrow of the closure ends before the caller goes on;
//! * the task uses the thread-locals of the caller (`errno` among them) while the caller does not: to user space, the two
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

use nix::sys::ptrace;
use nix::unistd::Pid;

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

/// Calls `f` in a task of its own, on `SIZE` bytes of the caller's stack. The kernel suspends the caller until the task has
/// given up the memory (`CLONE_VFORK`).
///
/// * `flags`: of `clone(2)`, and none that asks for thread-local storage.
/// * `pidfd`: where the kernel is to write the descriptor that `CLONE_PIDFD` asks for. The number of an address: nothing
///   here reads or writes there.
pub(super) fn call<const SIZE: usize, T>(
    flags: c_int,
    pidfd: usize,
    f: impl FnOnce() -> T,
) -> Result<Ended<T>, Errno> {
    call_and_wait::<SIZE, T>(flags | libc::CLONE_VFORK, pidfd, f, |_| ())
}

/// Calls `f` in a child process, as [`call`] does, that ends with this process and that nobody else can stop or trace.
///
/// The caller traces it, if it may (`ptrace(2)`): the kernel kills a tracee whose tracer is gone (`PTRACE_O_EXITKILL`),
/// whatever it is at, and a signal that would stop it goes to the tracer, who drops it.
pub(super) fn call_supervised<const SIZE: usize, T>(
    flags: c_int,
    f: impl FnOnce() -> T,
) -> Result<Ended<T>, Errno> {
    call_and_wait::<SIZE, T>(flags, 0, f, supervise)
}

/// * `until_ended`: returns once the task of this id has given up the memory.
// Not inlined, so that the frame with these bytes is there once, whatever the caller does.
#[inline(never)]
#[allow(clippy::disallowed_methods, reason = "this is where tasks are made")]
fn call_and_wait<const SIZE: usize, T>(
    flags: c_int,
    pidfd: usize,
    f: impl FnOnce() -> T,
    until_ended: fn(libc::pid_t),
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
    let flags = flags | libc::CLONE_VM;

    // SAFETY: one past the end of the array, where a stack that grows down starts.
    let top = unsafe { stack.0.as_mut_ptr().add(1) };
    // SAFETY: `top` and `call` outlive the task: CLONE_VFORK or `until_ended` keep this frame until the task has given up
    // the memory, and a task that is killed gives it up as well. `start` is the trampoline for the type of `call`, and
    // does not unwind. The kernel checks `pidfd` before it writes there.
    let id = unsafe { libc::clone(start, top.cast(), flags, (&raw mut call).cast(), pidfd) };
    if id == -1 {
        return Err(Errno::last());
    }
    until_ended(id);
    Ok(Ended {
        id,
        returned: call.returned,
    })
}

/// Traces a child until it has ended, and takes it out of the process table.
fn supervise(child: libc::pid_t) {
    let pid = Pid::from_raw(child);
    // Refused where nobody may trace (`kernel.yama.ptrace_scope` 3, a seccomp filter): the child can be stopped then.
    let _ = ptrace::seize(pid, ptrace::Options::PTRACE_O_EXITKILL);
    while let Some(status) = wait(child) {
        if !libc::WIFSTOPPED(status) {
            return;
        }
        // Without the signal that stopped it. It fails if the child was killed since.
        let _ = ptrace::cont(pid, None);
    }
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

/// Takes an ended child out of the process table.
pub(super) fn reap(child: libc::pid_t) {
    let _ = wait(child);
}

/// Waits until a child has ended or, if it is traced, stopped, and returns its status: `waitpid(2)` with `__WALL`, as its
/// exit signal is none. `None` if there is no such child.
fn wait(child: libc::pid_t) -> Option<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: an integer that lives through the call, and the id of a child which only this thread knows of.
        let waited = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
        // With every signal blocked only a tracer interrupts it.
        if waited != -1 {
            return Some(status);
        }
        if Errno::last().raw() != libc::EINTR {
            return None;
        }
    }
}
