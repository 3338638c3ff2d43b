//! Looks up namespace files.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::c_string::c_string;
use crate::error::{Errno, check};

/// `O_NONBLOCK`, because a FIFO in the place of a namespace file would block the caller until a process opens its other end.
/// `O_NOCTTY`, because a terminal there would become the VM's if the VM leads a session without one, as a service does. The other end
/// of a pseudoterminal could then end the VM with SIGHUP.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// Opens one namespace file.
pub(crate) fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    check(openat(AT_FDCWD, path, FLAGS, Mode::empty()))
}

/// Opens a handle on a directory of namespace files. A handle on `/proc/<pid>/ns` stays with the process that it was opened for. If that
/// process ends and its pid is reused, the handle gives ENOENT or ESRCH, never the files of the new process.
pub(crate) fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    check(openat(AT_FDCWD, path, flags, Mode::empty()))
}

/// Opens a namespace file through a handle on its directory.
pub(crate) fn open_in(handle: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    check(openat(handle, name, FLAGS, Mode::empty()))
}

/// The namespace files of one call: the mount namespace, and the PID namespace if the call has one.
pub(crate) struct Files<'a> {
    mount: &'a CStr,
    pid: Option<&'a CStr>,
    /// The common directory of both files, with their names in it, if they have one.
    shared: Option<Directory<'a>>,
}

struct Directory<'a> {
    path: CString,
    mount: &'a CStr,
    pid: &'a CStr,
}

/// The files that [`Files::open`] opened. The result for the PID namespace is used only after the mount namespace was entered, so
/// its error is kept until then.
pub(crate) struct Opened {
    pub(crate) mount: Result<OwnedFd, Errno>,
    pub(crate) pid: Option<Result<OwnedFd, Errno>>,
}

impl<'a> Files<'a> {
    /// Splits the paths.
    pub(crate) fn new(mount: &'a CStr, pid: Option<&'a CStr>) -> Self {
        let shared = pid.and_then(|pid| Directory::of_both(mount, pid));
        Self { mount, pid, shared }
    }

    /// Opens the files. To be called before the thread enters a namespace, so that they are looked up in the VM's.
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
    /// Returns the common directory of two files. `None` if the paths show none, or if splitting them could change the result: a
    /// path that is too long as a whole, or that ends in a slash.
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

    /// Opens both files through one handle on the directory.
    fn open_in(&self, handle: &OwnedFd) -> Opened {
        Opened {
            mount: open_in(handle, self.mount),
            pid: Some(open_in(handle, self.pid)),
        }
    }

    fn handle(&self) -> Result<OwnedFd, Errno> {
        open_directory(&self.path)
    }
}

/// Splits a path into its directory, with the slash, and its last name. `None` if that could change what the path leads to.
pub(crate) fn split(path: &CStr) -> Option<(&[u8], &CStr)> {
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
