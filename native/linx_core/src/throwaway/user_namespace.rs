//! Makes a user namespace with id maps and without a process.

use std::ffi::c_int;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, Builder};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getpid;

use super::child::STACK;
use super::owning::block_signals;
use super::{THREAD_STACK, Throwaway, task};
use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::namespace;

/// The flags of a child as in `child.rs`, in a user namespace of its own.
const CHILD: c_int = libc::CLONE_FILES | libc::CLONE_NEWUSER;

impl Throwaway<'_> {
    /// Makes a user namespace with these maps, as `/proc/<pid>/uid_map` and `gid_map` take them.
    ///
    /// The thread must not have entered a mount namespace yet, because this needs the `/proc` of the VM.
    ///
    /// # Errors
    /// EPERM: no capability for the ids of the maps. EINVAL: a map is malformed. The errno of `clone(2)`.
    pub(crate) fn make_user_namespace(&self, uids: &[u8], gids: &[u8]) -> Result<OwnedFd, Errno> {
        self.with_child(|child| map(child, uids, gids))
    }

    /// Calls `f` with the id of a child in a new user namespace.
    ///
    /// The kernel makes a user namespace only with a process in it, and a process outside has to write the maps. So a second thread
    /// makes a child, which waits until `f` has returned. The child ends before this returns.
    pub(super) fn with_child<T>(
        &self,
        f: impl FnOnce(i32) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (until_told, tell) = pipe().map_err(|error| Errno::from(&error))?;
        let (until_ready, ready) = pipe().map_err(|error| Errno::from(&error))?;
        let child = AtomicI32::new(0);
        thread::scope(|scope| {
            let hold = || hold(&child, ready, until_told);
            let holder = Builder::new()
                .stack_size(THREAD_STACK)
                .spawn_scoped(scope, hold)
                .map_err(|error| Errno::from(&error))?;
            let result = wait(until_ready).then(|| f(child.load(Ordering::Acquire)));
            drop(tell);
            let held = holder.join().unwrap_or_else(|panic| resume_unwind(panic));
            // If the child was not ready, there was no child.
            result.unwrap_or_else(|| Err(held.err().unwrap_or(Errno::from_raw(libc::EIO))))
        })
    }
}

/// Keeps a child in a new user namespace until the other end of `until_told` is closed.
#[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
fn hold(child: &AtomicI32, ready: PipeWriter, until_told: PipeReader) -> Result<(), Errno> {
    block_signals();
    // `setns(CLONE_NEWNS)` refuses a thread that shares its root and working directory. The caller would share them with this thread
    // even for a moment after it has joined it: the kernel reports the end of a thread before it releases them.
    check(unshare(CloneFlags::CLONE_FS))?;
    let ended = task::call::<STACK, _>(CHILD, 0, || {
        check(set_pdeathsig(Signal::SIGKILL))?;
        child.store(getpid().as_raw(), Ordering::Release);
        // The two pipe ends that the child uses live as long as the thread that waits for it.
        if (&ready).write_all(b".").is_ok() {
            let _ = (&until_told).read(&mut [0]);
        }
        Ok::<(), Errno>(())
    })?;
    task::reap(ended.id);
    match ended.returned {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => Err(Errno::from_raw(libc::EIO)),
    }
}

/// Reports whether the child exists. If none could be made, its end of the pipe is closed without a byte.
fn wait(mut until_ready: PipeReader) -> bool {
    until_ready.read_exact(&mut [0]).is_ok()
}

fn map(child: i32, uids: &[u8], gids: &[u8]) -> Result<OwnedFd, Errno> {
    let write = |file: &str, content: &[u8]| {
        let written = fs::write(format!("/proc/{child}/{file}"), content);
        written.map_err(|error: io::Error| Errno::from(&error))
    };
    // An unprivileged process has to do this before it maps groups. The namespace is used only for its maps.
    write("setgroups", b"deny")?;
    write("uid_map", uids)?;
    write("gid_map", gids)?;
    namespace::open(&c_string(format!("/proc/{child}/ns/user").as_bytes())?)
}
