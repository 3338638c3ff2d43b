//! Errors: the stage of a call, and the errno of the system call that failed in it.

use std::{fmt, io};

use crate::c_string::CStringError;

/// An errno as the kernel returned it.
///
/// The raw number, not an enumeration: a file system may return a number that no header names (for example 524), and the contract
/// promises the caller that very number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// Returns the errno of a number, for example of `libc::ENOENT`.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Returns the errno of the last system call of this thread.
    pub(crate) fn last() -> Self {
        Self(nix::errno::Errno::last_raw())
    }
}

impl From<&io::Error> for Errno {
    /// Returns the errno of the failed system call. Errors of threads and pipes always have one.
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EAGAIN))
    }
}

impl From<CStringError> for Errno {
    fn from(error: CStringError) -> Self {
        Self(match error {
            CStringError::Nul => libc::EINVAL,
            CStringError::NoMemory => libc::ENOMEM,
        })
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", nix::errno::Errno::from_raw(self.0), self.0)
    }
}

/// Converts the result of a `nix` function. Every call of `nix` in this crate whose errno is used goes through here.
///
/// Takes the errno of the thread instead of the error value, because `nix` maps every number that it does not know to one value.
pub(crate) fn check<T>(result: nix::Result<T>) -> Result<T, Errno> {
    result.map_err(|_| Errno::last())
}

/// The step of a call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The throwaway thread could not be made: `clone(2)`.
    Thread,
    /// The network namespace file could not be opened: `open(2)`.
    Open,
    /// The namespace could not be entered: `setns(2)`.
    Setns,
    /// The socket could not be made: `socket(2)`.
    Socket,
    /// The socket could not be given an address: `bind(2)`.
    Bind,
    /// The thread could not be given a working directory and root of its own: `unshare(2)`.
    Unshare,
    /// The mount namespace file could not be opened: `open(2)`.
    OpenNs,
    /// The target could not be resolved or created: `openat2(2)`.
    Create,
    /// The PID namespace file could not be opened: `open(2)`.
    OpenPidns,
    /// The PID namespace could not be entered: `setns(2)`.
    SetnsPid,
    /// The child that mounts as seen from the PID namespace could not be made: `clone(2)`.
    Fork,
    /// `mount(2)`, or the newer system calls that replace it, failed.
    Mount,
    /// `umount2(2)` failed.
    Umount,
    /// The new root could not be entered: `chdir(2)`.
    Chdir,
    /// `pivot_root(2)` failed.
    PivotRoot,
}

/// A stage, and the errno of the system call that failed in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// The step that failed.
    pub stage: Stage,
    /// The errno of the system call.
    pub errno: Errno,
}

impl Error {
    pub(crate) const fn new(stage: Stage, errno: i32) -> Self {
        Self {
            stage,
            errno: Errno::from_raw(errno),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.stage, self.errno)
    }
}

impl std::error::Error for Error {}

/// Adds the stage to the error of a system call.
pub(crate) trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Error>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, stage: Stage) -> Result<T, Error> {
        self.map_err(|errno| Error { stage, errno })
    }
}
