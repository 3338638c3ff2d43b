//! Namespace files: how they are looked up.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::c_string::c_string;
use crate::error::{Errno, check};

/// `O_NONBLOCK`: a FIFO in the place of a namespace would block the caller until somebody opens its other end.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK);

/// Opens one namespace file.
pub(crate) fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    check(openat(AT_FDCWD, path, FLAGS, Mode::empty()))
}

/// The namespace files of one process: its mount namespace, and its PID namespace if that is wanted too.
pub(crate) struct Files<'a> {
    mount: &'a CStr,
    pid: Option<&'a CStr>,
    /// Where both are in one directory, with their names in it.
    shared: Option<Directory<'a>>,
}

struct Directory<'a> {
    path: CString,
    mount: &'a CStr,
    pid: &'a CStr,
}

/// What [`Files::open`] opened. The PID namespace is looked at later than the mount namespace is entered, hence
/// keeps its error until then.
pub(crate) struct Opened {
    pub(crate) mount: Result<OwnedFd, Errno>,
    pub(crate) pid: Option<Result<OwnedFd, Errno>>,
}

impl<'a> Files<'a> {
    /// Takes the paths apart.
    pub(crate) fn new(mount: &'a CStr, pid: Option<&'a CStr>) -> Self {
        let shared = pid.and_then(|pid| Directory::of_both(mount, pid));
        Self { mount, pid, shared }
    }

    /// Opens them, as seen from where the calling thread is now: before it enters anything.
    pub(crate) fn open(&self) -> Opened {
        match &self.shared {
            Some(directory) => directory.open(),
            None => Opened {
                mount: open(self.mount),
                pid: self.pid.map(open),
            },
        }
    }
}

impl<'a> Directory<'a> {
    /// The common directory of two files. `None` if there is none to be seen from the paths, or if splitting them could
    /// change the answer: a path that is too long as a whole, or ends in a slash.
    fn of_both(mount: &'a CStr, pid: &'a CStr) -> Option<Self> {
        let (directory, mount) = split(mount)?;
        let (same, pid) = split(pid)?;
        if directory != same {
            return None;
        }
        Some(Self {
            path: c_string(directory).ok()?,
            mount,
            pid,
        })
    }

    fn open(&self) -> Opened {
        match self.handle() {
            Ok(handle) => self.open_in(&handle),
            Err(errno) => Opened {
                mount: Err(errno),
                pid: Some(Err(errno)),
            },
        }
    }

    /// One handle on the directory serves both look-ups. In `/proc/<pid>/ns` it stays with the process it was opened
    /// for: if that ends and its pid is given to another, the handle answers ENOENT or ESRCH, never with the other's.
    fn open_in(&self, handle: &OwnedFd) -> Opened {
        let open = |name| check(openat(handle, name, FLAGS, Mode::empty()));
        Opened {
            mount: open(self.mount),
            pid: Some(open(self.pid)),
        }
    }

    fn handle(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        check(openat(AT_FDCWD, self.path.as_c_str(), flags, Mode::empty()))
    }
}

/// The directory of a path with its slash, and the name in it.
fn split(path: &CStr) -> Option<(&[u8], &CStr)> {
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > libc::PATH_MAX as usize {
        return None;
    }
    let slash = bytes.iter().rposition(|&byte| byte == b'/')?;
    let (directory, name) = bytes.split_at_checked(slash.checked_add(1)?)?;
    let name = CStr::from_bytes_with_nul(name).ok()?;
    (!name.is_empty()).then_some((directory, name))
}

#[cfg(test)]
mod tests;
