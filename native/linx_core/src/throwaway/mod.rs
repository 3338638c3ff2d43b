//! The throwaway thread: the only way in this crate to change a namespace.
//!
//! `setns(2)` moves the calling thread. The caller of this crate is a scheduler thread of the BEAM, which must never be moved. So the
//! work is done on a thread that exists for one call. It is never moved back: the kernel drops its namespaces, root and working
//! directory with the thread, on every path.
//!
//! There are two kinds of throwaway thread. Both lend their closure the same token:
//!
//! * [`run`] blocks its caller until the closure has returned, so the closure may borrow. It is for calls that look up only a
//!   namespace file, in the VM's own mount namespace.
//! * [`spawn`] returns at once, and its caller waits as long as it likes. The closure owns all that it needs. It is for calls that look
//!   names up in a container, which may make such a call wait forever.

mod borrowing;
mod child;
mod owning;
mod posix;
mod task;
mod user_namespace;

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use nix::sched::CloneFlags;

use crate::error::{Errno, check};

pub(crate) use borrowing::run;
pub use owning::Pending;
pub(crate) use owning::spawn;

/// The stack of the closure of [`run`], and of a child of such a closure. A test measures what they use.
///
/// It is a part of the stack of a dirty scheduler, so it must leave room in the smallest one (`+sssdio 20`: 160 KiB).
const THREAD_STACK: usize = 64 * 1024;

/// Proof that code runs on a throwaway thread.
///
/// Only [`run`] and [`spawn`] make one, and it cannot leave their closure. Every function that moves a thread is a method of this type,
/// so it cannot be called on any other thread.
pub(crate) struct Throwaway<'a> {
    /// Tells whether the caller still wants the result. `None` if the caller cannot give up.
    caller: Option<&'a owning::Caller>,
    not_send: PhantomData<*const ()>,
}

impl<'a> Throwaway<'a> {
    /// Only for a thread that was just made.
    fn new(caller: Option<&'a owning::Caller>) -> Self {
        Self {
            caller,
            not_send: PhantomData,
        }
    }

    /// Moves this thread into a namespace of the given kind: `setns(2)`.
    ///
    /// Afterwards the thread must not be used for anything else of the VM. It ends with the closure.
    #[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
    pub(crate) fn enter(&self, namespace: BorrowedFd<'_>, kind: CloneFlags) -> Result<(), Errno> {
        check(nix::sched::setns(namespace, kind))
    }

    /// Gives this thread a root and a working directory of its own: `unshare(CLONE_FS)`.
    ///
    /// `setns(CLONE_NEWNS)` and [`change_directory`](Self::change_directory) need it.
    #[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
    pub(crate) fn unshare_fs(&self) -> Result<(), Errno> {
        check(nix::sched::unshare(CloneFlags::CLONE_FS))
    }

    /// Changes the working directory of this thread alone, after [`unshare_fs`](Self::unshare_fs): `chdir(2)`.
    #[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
    pub(crate) fn change_directory(&self, path: &CStr) -> Result<(), Errno> {
        check(nix::unistd::chdir(path))
    }

    /// Makes a directory the working directory of this thread alone, after [`unshare_fs`](Self::unshare_fs): `fchdir(2)`.
    #[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
    pub(crate) fn change_directory_to(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        check(nix::unistd::fchdir(directory))
    }

    /// Calls `f` in a directory, after [`unshare_fs`](Self::unshare_fs), and then leaves the directory.
    ///
    /// The caller can have the result before the kernel has released the working directory of the ending thread. Until then that
    /// directory would keep its mount in use, and the next unmount would fail with EBUSY.
    pub(crate) fn in_directory<T>(
        &self,
        directory: BorrowedFd<'_>,
        f: impl FnOnce() -> T,
    ) -> Result<T, Errno> {
        self.change_directory_to(directory)?;
        let result = f();
        // The thread has this root anyway, so no other mount is kept in use. If this fails, the directory is released with the thread.
        let _ = self.change_directory(c"/");
        Ok(result)
    }

    /// Decides that the call has succeeded, unless its caller has given up. Afterwards [`Pending::give_up`] returns `false`.
    ///
    /// # Errors
    /// ECANCELED: the caller has given up, so this thread has to undo what it did.
    pub(crate) fn hand_over(&self) -> Result<(), Errno> {
        match self.caller {
            Some(caller) if !caller.serve() => Err(Errno::from_raw(libc::ECANCELED)),
            _ => Ok(()),
        }
    }

    /// Returns an error if the caller has given up, because the call must then change nothing more.
    ///
    /// # Errors
    /// ECANCELED.
    pub(crate) fn check_wanted(&self) -> Result<(), Errno> {
        match self.caller {
            Some(caller) if caller.is_gone() => Err(Errno::from_raw(libc::ECANCELED)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
