//! The throwaway thread: the only way of this crate to change namespace.
//!
//! `setns(2)` moves the calling thread. The caller of this crate is a scheduler thread of the BEAM, which must never be
//! moved, so the work is done on a thread that exists for one call. It is never moved back: the kernel drops its
//! namespaces, root and working directory with it, on every path.
//!
//! Both the thread and the child of [`Throwaway::in_child`] are a `clone(2)` with `CLONE_VM | CLONE_VFORK` on a piece of
//! the caller's own stack. The caller is suspended in the kernel until the new task has given up the memory, so
//!
//! * nothing has to be allocated, woken, joined or freed, and the borrow of the closure ends before the caller goes on;
//! * the task uses the thread-locals of the caller (`errno` among them) while the caller cannot: to user space, the two
//!   are one thread that makes a call on another stack, as with `vfork(2)`. What differs is what the kernel sees: its
//!   thread id. glibc compares thread ids in few places (recursive and robust mutexes, `raise`, set*id), and none is
//!   reached here: a closure makes system calls and nothing else.
//!
//! Every signal is blocked around it, so no handler runs on the small stack or sees the other thread id.

// The one file that makes threads and processes.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::chdir;

use crate::error::{Errno, check};

/// Enough for the deepest path: the thread, the child on a piece of this very stack, and a panic that unwinds in the
/// child (a test measures it). It must fit several times into the smallest stack a dirty scheduler can be given
/// (`+sssdio 20`: 160 KiB).
const THREAD_STACK: usize = 64 * 1024;
const CHILD_STACK: usize = 16 * 1024;

/// A thread of this process. No `CLONE_FS`: it has a root, a working directory and a umask of its own from birth, so
/// that none of the VM's can be moved from it. `CLONE_FILES`: the descriptor it opens is the caller's.
const THREAD: c_int = libc::CLONE_VM
    | libc::CLONE_VFORK
    | libc::CLONE_THREAD
    | libc::CLONE_SIGHAND
    | libc::CLONE_FILES
    | libc::CLONE_SYSVSEM;

/// A process that shares the memory. The low byte is its exit signal: none, so no SIGCHLD, whatever the VM does with
/// that signal. `CLONE_FILES` spares a copy of a table that may have many thousands of entries.
const CHILD: c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;

/// Proof that the code that has it runs on a throwaway thread.
///
/// Only [`run`] makes one, and its closure cannot let it out. What moves a thread is a method of this type, so it cannot
/// be called on any other.
pub(crate) struct Throwaway {
    not_send: PhantomData<*const ()>,
}

/// Runs `f` on a thread that ends with it, and gives back what it returned.
///
/// `f` makes system calls and nothing else (see above). A panic in it goes on in the caller.
///
/// # Errors
/// The errno of `clone(2)`: EAGAIN where a limit of threads is reached, ENOMEM.
pub(crate) fn run<T>(f: impl FnOnce(&Throwaway) -> T) -> Result<T, Errno> {
    let mut signals = SigSet::empty();
    // On Linux this is the mask of the calling thread. Not `pthread_sigmask`: nix misses its errors.
    check(sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut signals),
    ))?;
    let result = call_on_clone::<THREAD_STACK, _>(THREAD, || {
        f(&Throwaway {
            not_send: PhantomData,
        })
    });
    // It succeeded a moment ago with the same kind of arguments; there is nothing to be done if it does not now.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&signals), None);

    match result?.returned {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => resume_unwind(panic),
        // Whatever ends one thread of a process without its doing ends the whole process, and this caller with it.
        None => Err(Errno::from_raw(libc::EINTR)),
    }
}

impl Throwaway {
    /// Moves this thread into a namespace of the given kind: `setns(2)`.
    ///
    /// From here on the thread is foreign to the VM: it ends with the closure and is used for nothing else.
    pub(crate) fn enter(&self, namespace: BorrowedFd<'_>, kind: CloneFlags) -> Result<(), Errno> {
        check(setns(namespace, kind))
    }

    /// `unshare(CLONE_FS)`, which `setns(CLONE_NEWNS)` asks for.
    ///
    /// This thread shares its root and working directory with no one, so there is nothing left to undo. It is asked for
    /// all the same: it is a stage that callers know, and a policy that refuses it is answered as ever.
    pub(crate) fn unshare_fs(&self) -> Result<(), Errno> {
        check(unshare(CloneFlags::CLONE_FS))
    }

    /// Changes the working directory of this thread alone: `chdir(2)`.
    pub(crate) fn change_directory(&self, path: &CStr) -> Result<(), Errno> {
        check(chdir(path))
    }

    /// Runs `f` in a child process that shares the memory, in the PID namespace this thread entered last.
    ///
    /// `f` makes system calls and nothing else. A panic in it goes on in this thread. `None` when the child was killed
    /// before it was done, as a process of that namespace with the right to may do.
    ///
    /// # Errors
    /// The errno of `clone(2)`: EAGAIN, ENOMEM (also where the init of the PID namespace is gone).
    pub(crate) fn in_child<T>(&self, f: impl FnOnce() -> T) -> Result<Option<T>, Errno> {
        let ended = call_on_clone::<CHILD_STACK, _>(CHILD, f)?;
        reap(ended.id);
        match ended.returned {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(panic)) => resume_unwind(panic),
            None => Ok(None),
        }
    }
}

/// A cloned task that is gone.
struct Ended<T> {
    id: libc::pid_t,
    /// `None` if it was killed on its way.
    returned: Option<Result<T, Box<dyn Any + Send>>>,
}

struct Call<F, T> {
    f: Option<F>,
    returned: Option<Result<T, Box<dyn Any + Send>>>,
}

#[repr(C, align(16))]
struct Stack<const SIZE: usize>(MaybeUninit<[u8; SIZE]>);

/// One call of `f` by a task of its own, on `SIZE` bytes of the caller's stack.
// Not inlined, so that the frame with these bytes is there once, whatever the caller does.
#[inline(never)]
fn call_on_clone<const SIZE: usize, T>(
    flags: c_int,
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
    // not unwind. The flags ask for nothing (TLS, ids) that would need further arguments.
    let id = unsafe { libc::clone(start, top.cast(), flags, (&raw mut call).cast()) };
    if id == -1 {
        return Err(Errno::last());
    }
    Ok(Ended {
        id,
        returned: call.returned,
    })
}

/// Where the new task starts. It ends with a return: `clone(3)` of the C library then makes `_exit(2)` of that task only.
extern "C" fn trampoline<F: FnOnce() -> T, T>(call: *mut c_void) -> c_int {
    // SAFETY: `call_on_clone` passed its `Call<F, T>`, which nobody else touches while this task runs.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    if let Some(f) = call.f.take() {
        call.returned = Some(catch_unwind(AssertUnwindSafe(f)));
    }
    0
}

/// Takes the ended child out of the process table: `waitpid(2)` with `__WCLONE`, as it has no exit signal.
///
/// With every signal blocked it is not interrupted; the second and third try are for a tracer that makes it so.
fn reap(id: libc::pid_t) {
    for _ in 0..3 {
        // SAFETY: no status is asked for, and the id is that of a child which only this thread knows of.
        let reaped = unsafe { libc::waitpid(id, std::ptr::null_mut(), libc::__WCLONE) };
        if reaped != -1 || Errno::last().raw() != libc::EINTR {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
