//! The throwaway thread: the only way of this crate to change namespace.
//!
//! `setns(2)` moves the calling thread. The caller of this crate is a scheduler thread of the BEAM, which must never be
//! moved, so the work is done on a thread that exists for one call. It is never moved back: the kernel drops its
//! namespaces, root and working directory with it, on every path.
//!
//! There are two kinds of it, and both lend their closure the same token:
//!
//! * [`run`] blocks its caller until the closure has returned, so the closure may borrow. It is for calls that touch the
//!   VM's own files only, which answer.
//! * [`spawn`] returns at once, and its caller waits as long as it likes. The closure owns what it needs. It is for calls
//!   that look names up in a container, which may keep such a call waiting forever.

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

/// The closure of [`run`], and the child of such a closure, use no more stack than this (a test measures it).
///
/// It must fit several times into the smallest stack that a dirty scheduler can be given (`+sssdio 20`: 160 KiB), as it is
/// taken from there.
const THREAD_STACK: usize = 64 * 1024;

/// Proof that the code that has it runs on a throwaway thread.
///
/// Only [`run`] and [`spawn`] make one, and a closure cannot let it out. What moves a thread is a method of this type, so
/// it cannot be called on any other.
pub(crate) struct Throwaway<'a> {
    /// Whether the caller still wants the result. `None` if it cannot go away.
    caller: Option<&'a owning::Caller>,
    not_send: PhantomData<*const ()>,
}

impl<'a> Throwaway<'a> {
    /// For a thread that was just made, and nothing else.
    fn new(caller: Option<&'a owning::Caller>) -> Self {
        Self {
            caller,
            not_send: PhantomData,
        }
    }

    /// Moves this thread into a namespace of the given kind: `setns(2)`.
    ///
    /// From here on the thread is foreign to the VM: it ends with the closure and is used for nothing else.
    #[allow(clippy::disallowed_methods, reason = "it is this thread's own")]
    pub(crate) fn enter(&self, namespace: BorrowedFd<'_>, kind: CloneFlags) -> Result<(), Errno> {
        check(nix::sched::setns(namespace, kind))
    }

    /// Gives this thread a root and a working directory of its own: `unshare(CLONE_FS)`.
    ///
    /// `setns(CLONE_NEWNS)` asks for it, and so does [`change_directory`](Self::change_directory).
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

    /// Calls `f` in a directory, after [`unshare_fs`](Self::unshare_fs), and leaves that again.
    ///
    /// The caller can have the result before the kernel has taken the working directory from the thread that ends. Until
    /// then it would keep its mount in use, and the next unmount would answer EBUSY.
    pub(crate) fn in_directory<T>(
        &self,
        directory: BorrowedFd<'_>,
        f: impl FnOnce() -> T,
    ) -> Result<T, Errno> {
        self.change_directory_to(directory)?;
        let result = f();
        // The root is the thread's already, so this keeps nothing else in use. It ends with the thread if it fails.
        let _ = self.change_directory(c"/");
        Ok(result)
    }

    /// Agrees with the caller that it gets the result, if it is not gone: [`Pending::give_up`] does not give the call up
    /// from here on.
    ///
    /// # Errors
    /// ECANCELED: the caller is gone, so what this thread did has to be undone.
    pub(crate) fn hand_over(&self) -> Result<(), Errno> {
        match self.caller {
            Some(caller) if !caller.serve() => Err(Errno::from_raw(libc::ECANCELED)),
            _ => Ok(()),
        }
    }

    /// Returns an error if the caller is gone: a call that nobody waits for changes nothing any more.
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
