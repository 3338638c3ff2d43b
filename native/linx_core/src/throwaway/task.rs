//! A task of the kernel on a part of the caller's stack: `clone(2)` with `CLONE_VM`.
//!
//! The caller waits until the new task has ended. This has two consequences:
//!
//! * Nothing has to be allocated, woken or freed, and the borrow of the closure ends before the caller continues.
//! * The task uses the thread-locals of the caller (`errno` among them) while the caller does not. In user space the two are one thread
//!   that makes a call on another stack, as with `vfork(2)`. Only the kernel sees a difference: the thread id. The C library compares
//!   thread ids in few places (recursive and robust mutexes, `raise`, set*id). None of them is reached here, because a closure makes
//!   system calls and nothing else.
//!
//! Every signal that can be blocked is blocked around it, so no handler runs on the small stack or sees the other thread id.

// The only file that calls `clone(2)`.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::ptrace;
use nix::unistd::Pid;

use crate::error::Errno;

/// A task that has ended.
pub(super) struct Ended<T> {
    pub(super) id: libc::pid_t,
    /// The result of its closure, or the payload of its panic. `None` if the task was killed before.
    pub(super) returned: Option<Result<T, Box<dyn Any + Send>>>,
}

struct Call<F, T> {
    f: Option<F>,
    returned: Option<Result<T, Box<dyn Any + Send>>>,
}

#[repr(C, align(16))]
struct Stack<const SIZE: usize>(MaybeUninit<[u8; SIZE]>);

/// Calls `f` in a task of its own, on `SIZE` bytes of the caller's stack. The kernel suspends the caller until the task has released the
/// memory (`CLONE_VFORK`).
///
/// * `flags`: flags of `clone(2)`, without one for thread-local storage.
/// * `pidfd`: the address that the kernel writes the descriptor of `CLONE_PIDFD` to. Code here neither reads nor writes there.
pub(super) fn call<const SIZE: usize, T>(
    flags: c_int,
    pidfd: usize,
    f: impl FnOnce() -> T,
) -> Result<Ended<T>, Errno> {
    call_and_wait::<SIZE, T>(flags | libc::CLONE_VFORK, pidfd, f, |_| ())
}

/// Calls `f` in a child process, as [`call`] does. The child ends with this process, and no other process can stop or trace it.
///
/// The caller traces the child, if it may (`ptrace(2)`). The kernel kills a traced process when its tracer ends
/// (`PTRACE_O_EXITKILL`), in any state. A signal that would stop the child goes to the tracer, which drops it.
pub(super) fn call_supervised<const SIZE: usize, T>(
    flags: c_int,
    f: impl FnOnce() -> T,
) -> Result<Ended<T>, Errno> {
    call_and_wait::<SIZE, T>(flags, 0, f, supervise)
}

/// Calls `f` in a task, see [`call`].
///
/// * `until_ended`: returns when the task of this id has released the memory.
// Not inlined, so that the frame with the stack exists only once, whatever the caller does.
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

    // SAFETY: one past the end of the array, where a stack that grows downwards starts.
    let top = unsafe { stack.0.as_mut_ptr().add(1) };
    // SAFETY: `top` and `call` outlive the task: CLONE_VFORK or `until_ended` keep this frame until the task has released the memory,
    // and a task that is killed releases it too. `start` is the trampoline for the type of `call`, and does not unwind. The kernel
    // checks `pidfd` before it writes there.
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

/// Traces a child until it has ended, and reaps it.
fn supervise(child: libc::pid_t) {
    let pid = Pid::from_raw(child);
    // This fails if tracing is not allowed (`kernel.yama.ptrace_scope` 3, a seccomp filter). The child can then be stopped.
    let _ = ptrace::seize(pid, ptrace::Options::PTRACE_O_EXITKILL);
    while let Some(status) = wait(child) {
        if !libc::WIFSTOPPED(status) {
            return;
        }
        // Continues without the signal that stopped the child. This fails if the child was killed meanwhile.
        let _ = ptrace::cont(pid, None);
    }
}

/// The start function of the new task. When it returns, the `clone(3)` of the C library calls `_exit(2)`, which ends only that task.
extern "C" fn trampoline<F: FnOnce() -> T, T>(call: *mut c_void) -> c_int {
    // SAFETY: `call` passed its `Call<F, T>`, which no other code touches while this task runs.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    if let Some(f) = call.f.take() {
        call.returned = Some(catch_unwind(AssertUnwindSafe(f)));
    }
    0
}

/// The signal mask of a thread, from before [`block_signals`].
pub(super) struct SignalMask(u64);

/// Blocks all 64 signals of the calling thread, except for SIGKILL and SIGSTOP, which cannot be blocked.
///
/// Uses `rt_sigprocmask(2)` itself, because `sigfillset(3)` leaves out the two signals that the C library uses internally. Without its
/// handler, one of these would end a child.
pub(super) fn block_signals() -> Result<SignalMask, Errno> {
    set_mask(u64::MAX).map(SignalMask)
}

/// Undoes [`block_signals`].
pub(super) fn restore_signals(mask: &SignalMask) {
    // A call with the same kind of arguments has just succeeded. If this one failed, nothing could be done.
    let _ = set_mask(mask.0);
}

fn set_mask(new: u64) -> Result<u64, Errno> {
    let mut old = 0_u64;
    // SAFETY: two masks of the given size, which is the kernel's size on every machine but MIPS.
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

/// Reaps a child that has ended.
pub(super) fn reap(child: libc::pid_t) {
    let _ = wait(child);
}

/// Waits until a child has ended or, if it is traced, has stopped, and returns its status. `None` if there is no such child. Uses
/// `waitpid(2)` with `__WALL`, because the child has no exit signal.
fn wait(child: libc::pid_t) -> Option<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: an integer that lives through the call, and the id of a child which only this thread knows of.
        let waited = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
        // Every signal is blocked, so only a tracer can interrupt this call.
        if waited != -1 {
            return Some(status);
        }
        if Errno::last().raw() != libc::EINTR {
            return None;
        }
    }
}
