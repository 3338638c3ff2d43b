//! The namespaces of a call: opened while the thread is where the VM is, then entered one after the other.

use std::ffi::{CString, c_int};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::error::{At, Error, Place, Stage};
use super::resolve::Root;
use crate::error::{Errno, check};
use crate::namespace;
use crate::syscall::{duplicate, namespace_type, pidfd_namespace};
use crate::throwaway::Throwaway;

/// Whose namespace.
#[derive(Debug)]
pub enum Namespace {
    /// That of the VM.
    Host,
    /// The file of one, for example `/proc/<pid>/ns/mnt`.
    Path(CString),
    /// A descriptor of such a file, or a pidfd.
    File(OwnedFd),
}

impl Namespace {
    /// Takes a descriptor by its number, which stays its owner's: this has a duplicate.
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn of_descriptor(fd: RawFd) -> Result<Self, Errno> {
        duplicate(fd).map(Self::File)
    }

    /// `None` for that of the VM.
    fn open(self) -> Result<Option<OwnedFd>, Errno> {
        match self {
            Self::Host => Ok(None),
            Self::Path(path) => namespace::open(&path).map(Some),
            Self::File(file) => Ok(Some(file)),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host, Self::Host) => true,
            (Self::Path(one), Self::Path(other)) => one == other,
            _ => false,
        }
    }

    /// Opens the file of a namespace of this kind, which a pidfd is not.
    pub(super) fn file(self, kind: c_int, place: Place) -> Result<OwnedFd, Error> {
        let own = || match kind {
            libc::CLONE_NEWPID => namespace::open(c"/proc/thread-self/ns/pid"),
            _ => namespace::open(c"/proc/thread-self/ns/user"),
        };
        let opened = self.open().and_then(|file| match file {
            None => own(),
            Some(file) => match namespace_type(file.as_fd()) {
                Some(found) if found == kind => Ok(file),
                Some(_) => Err(Errno::from_raw(libc::EINVAL)),
                None => pidfd_namespace(file.as_fd(), kind),
            },
        });
        opened.at(Stage::Open(place))
    }
}

/// The mount namespaces of a call that is about a source and a target.
pub(super) struct Route {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
}

impl Route {
    /// The way through a single namespace, that of the target.
    pub(super) fn to(target: Namespace) -> Result<Self, Error> {
        let to = target.open().at(Stage::Open(Place::In))?;
        Ok(Self { from: None, to })
    }

    /// The way to the namespace of the source, and from there to that of the target.
    pub(super) fn between(source: Namespace, target: Namespace) -> Result<Self, Error> {
        // Once, if it is one: a pid can be another's by the second time.
        let stays = source.is_same(&target);
        let from = source.open().at(Stage::Open(Place::From))?;
        let to = match target {
            _ if stays => None,
            Namespace::Host => Some(namespace::open(c"/proc/thread-self/ns/mnt")),
            other => other.open().transpose(),
        };
        let to = to.transpose().at(Stage::Open(Place::In))?;
        Ok(Self { from, to })
    }

    /// Goes where the source is, and returns the root there. The thread has to have a root of its own.
    pub(super) fn enter_source(&mut self, thread: &Throwaway<'_>) -> Result<Root, Error> {
        enter(thread, self.from.take(), Place::From)
    }

    /// Goes where the target is, and returns the root there.
    pub(super) fn enter_target(&mut self, thread: &Throwaway<'_>) -> Result<Root, Error> {
        enter(thread, self.to.take(), Place::In)
    }
}

fn enter(thread: &Throwaway<'_>, file: Option<OwnedFd>, place: Place) -> Result<Root, Error> {
    let Some(file) = file else {
        return Ok(Root::Directory);
    };
    thread
        .enter(file.as_fd(), CloneFlags::CLONE_NEWNS)
        .at(Stage::Enter(place))?;
    Ok(Root::WorkingDirectory)
}

/// The folder in which each descriptor of this process is a name: for the system calls that take no descriptor.
///
/// Opened before the thread enters a container, whose `/proc` may be anything. Not the folder of the thread, although it
/// has the same names: the kernel would make its entries in `/proc` for this one call.
pub(super) struct Descriptors(OwnedFd);

impl Descriptors {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = c"/proc/self/fd";
        check(openat(AT_FDCWD, path, flags, Mode::empty())).map(Self)
    }

    /// Makes the names those of the working directory.
    pub(super) fn enter(&self, thread: &Throwaway<'_>) -> Result<(), Errno> {
        thread.change_directory_to(self.0.as_fd())
    }
}
