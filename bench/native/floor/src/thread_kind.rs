//! The kinds of thread that make the system calls.

#![allow(
    clippy::disallowed_methods,
    reason = "this program has threads of its own only"
)]
// The benchmark measures bare system calls.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::str::FromStr;

/// The THREAD of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ThreadKind {
    Plain,
    Clone,
    Pthread,
    Core,
}

impl FromStr for ThreadKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "plain" => Ok(Self::Plain),
            "clone" => Ok(Self::Clone),
            "pthread" => Ok(Self::Pthread),
            "core" => Ok(Self::Core),
            other => Err(format!("unknown kind of thread: {other}")),
        }
    }
}

/// The flags of the cheapest thread. It shares everything but root and working directory, which it needs to enter mount namespaces. Its
/// caller sleeps in the kernel until it has ended.
const CHEAPEST: c_int = libc::CLONE_VM
    | libc::CLONE_VFORK
    | libc::CLONE_THREAD
    | libc::CLONE_SIGHAND
    | libc::CLONE_FILES;

const STACK: usize = 32 * 1024;

#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; STACK]>);

struct Job<F, T> {
    f: Option<F>,
    returned: Option<T>,
}

/// Runs `f`, which makes system calls and nothing else, on the cheapest thread.
///
/// It neither blocks signals nor catches panics, as a library has to, because this is the lower bound.
pub(crate) fn on_clone<T>(f: impl FnOnce() -> T) -> nix::Result<T> {
    fn start<F: FnOnce() -> T, T>(_: &Job<F, T>) -> extern "C" fn(*mut c_void) -> c_int {
        clone_main::<F, T>
    }

    let mut stack = Stack(MaybeUninit::uninit());
    let mut job = Job {
        f: Some(f),
        returned: None,
    };
    let start = start(&job);
    // SAFETY: one past the end, where a stack that grows down starts.
    let top = unsafe { stack.0.as_mut_ptr().add(1) };
    // SAFETY: stack and job outlive the thread, as CLONE_VFORK suspends this frame until it is gone.
    let id = unsafe { libc::clone(start, top.cast(), CHEAPEST, (&raw mut job).cast()) };
    nix::errno::Errno::result(id)?;
    job.returned.ok_or(nix::errno::Errno::EINTR)
}

/// Runs `f` on a thread of the C library, and joins it.
pub(crate) fn on_pthread<T>(f: impl FnOnce() -> T) -> nix::Result<T> {
    fn start<F: FnOnce() -> T, T>(_: &Job<F, T>) -> extern "C" fn(*mut c_void) -> *mut c_void {
        pthread_main::<F, T>
    }

    let mut job = Job {
        f: Some(f),
        returned: None,
    };
    let start = start(&job);
    let mut thread = MaybeUninit::uninit();
    let argument = (&raw mut job).cast();
    // SAFETY: the job outlives the thread, which is joined below.
    let refused =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), start, argument) };
    if refused != 0 {
        return Err(nix::errno::Errno::from_raw(refused));
    }
    // SAFETY: `pthread_create` succeeded, so it set this.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: a thread that was made and not joined before.
    unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    job.returned.ok_or(nix::errno::Errno::EINTR)
}

extern "C" fn clone_main<F: FnOnce() -> T, T>(job: *mut c_void) -> c_int {
    do_job::<F, T>(job);
    0
}

extern "C" fn pthread_main<F: FnOnce() -> T, T>(job: *mut c_void) -> *mut c_void {
    do_job::<F, T>(job);
    ptr::null_mut()
}

fn do_job<F: FnOnce() -> T, T>(job: *mut c_void) {
    // SAFETY: what the two functions above passed; they do not touch it while the thread runs.
    let job = unsafe { &mut *job.cast::<Job<F, T>>() };
    if let Some(f) = job.f.take() {
        job.returned = Some(f());
    }
}
