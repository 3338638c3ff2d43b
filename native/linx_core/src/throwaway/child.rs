//! A child in the PID namespace that a throwaway thread has entered.

use std::ffi::c_int;
use std::panic::resume_unwind;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{Throwaway, task};
use crate::error::{Errno, check};

pub(super) const STACK: usize = 16 * 1024;

/// The flags of a process that shares the memory. The low byte, its exit signal, is 0: so there is no SIGCHLD, whatever the VM does
/// with that signal. `CLONE_FILES` avoids a copy of the descriptor table, which may have many thousands of entries.
const CHILD: c_int = libc::CLONE_FILES;

/// An address that no process can have, so that a write of the kernel to it fails.
const NOWHERE: usize = usize::MAX;

impl Throwaway<'_> {
    /// Returns an error if no child can be made in the PID namespace that this thread entered last. It makes no child.
    ///
    /// It calls `clone(2)` with an address for the child's descriptor (`CLONE_PIDFD`, since Linux 5.2) that cannot be written to. So
    /// `clone(2)` fails with EFAULT, after it has checked all that a child needs, and before a child exists that could be seen.
    ///
    /// # Errors
    /// The errno of `clone(2)`: EAGAIN, ENOMEM (also if the init of the PID namespace has ended).
    pub(crate) fn check_can_fork(&self) -> Result<(), Errno> {
        match task::call::<STACK, _>(CHILD | libc::CLONE_PIDFD, NOWHERE, || ()) {
            Err(errno) if errno.raw() == libc::EFAULT => Ok(()),
            Err(errno) => Err(errno),
            // A kernel that ignores the address has made the child, which has ended.
            Ok(ended) => {
                task::reap(ended.id);
                Ok(())
            }
        }
    }

    /// Runs `f` in a child process that shares the memory, in the PID namespace that this thread entered last.
    ///
    /// `f` makes one system call, which must not open a descriptor: the child shares the descriptor table, and can be killed before it
    /// closes one. A panic in `f` continues in this thread. Returns `None` if the child was killed before it was done. A privileged
    /// process of that namespace can kill it, but cannot stop it.
    ///
    /// # Errors
    /// The errno of `clone(2)`: EAGAIN, ENOMEM (also if the init of the PID namespace has ended).
    pub(crate) fn in_child<T>(&self, f: impl FnOnce() -> T) -> Result<Option<T>, Errno> {
        let mask = task::block_signals()?;
        let ended = task::call_supervised::<STACK, _>(CHILD, || {
            // If the VM is killed, the child is killed too, traced or not, because it has the VM's memory and descriptors.
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
