//! A child in the PID namespace that a throwaway thread has entered.

use std::ffi::c_int;
use std::panic::resume_unwind;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{Throwaway, task};
use crate::error::{Errno, check};

pub(super) const STACK: usize = 16 * 1024;

/// Of a process that shares the memory. The low byte is its exit signal: none, so no SIGCHLD, whatever the VM does with
/// that signal. `CLONE_FILES` spares a copy of a table that may have many thousands of entries.
const CHILD: c_int = libc::CLONE_FILES;

/// An address that no process has, for the kernel to fail at.
const NOWHERE: usize = usize::MAX;

impl Throwaway<'_> {
    /// Returns an error if no child can be made in the PID namespace this thread entered last.
    ///
    /// It makes none. With an address for the descriptor of the child (`CLONE_PIDFD`, since Linux 5.2) that cannot be
    /// written to, `clone(2)` fails with EFAULT, after it has looked for all that a child needs and before there is
    /// one that anybody could see.
    ///
    /// # Errors
    /// The errno of `clone(2)`: EAGAIN, ENOMEM (also if the init of the PID namespace is gone).
    pub(crate) fn check_can_fork(&self) -> Result<(), Errno> {
        match task::call::<STACK, _>(CHILD | libc::CLONE_PIDFD, NOWHERE, || ()) {
            Err(errno) if errno.raw() == libc::EFAULT => Ok(()),
            Err(errno) => Err(errno),
            // A kernel that does not look at the address made the child, which has ended.
            Ok(ended) => {
                task::reap(ended.id);
                Ok(())
            }
        }
    }

    /// Runs `f` in a child process that shares the memory, in the PID namespace this thread entered last.
    ///
    /// `f` makes one system call, and none that opens a descriptor: the child shares the table of them, and can be killed
    /// before it closes one. A panic in it goes on in this thread. Returns `None` if the child was killed before it was
    /// done, as a process of that namespace with the right to may do; it cannot stop the child.
    ///
    /// # Errors
    /// The errno of `clone(2)`: EAGAIN, ENOMEM (also if the init of the PID namespace is gone).
    pub(crate) fn in_child<T>(&self, f: impl FnOnce() -> T) -> Result<Option<T>, Errno> {
        let mask = task::block_signals()?;
        let ended = task::call_supervised::<STACK, _>(CHILD, || {
            // If the VM is killed, this goes with it, traced or not: it has the VM's memory and descriptors.
            check(set_pdeathsig(Signal::SIGKILL))?;
            Ok(f())
        });
        task::restore_signals(&mask);
        match ended?.returned {
            Some(Ok(value)) => value.map(Some),
            Some(Err(panic)) => resume_unwind(panic),
            None => Ok(None),
        }
    }
}
