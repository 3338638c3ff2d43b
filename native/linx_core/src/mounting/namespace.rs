//! The namespaces of a call: opened while the thread is still in the VM's namespaces, then entered one after the other.

use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::error::{At, Error, NamespaceArg, Stage};
use super::resolve::{Root, open_root};
use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::namespace;
use crate::syscall::{duplicate, namespace_type, pidfd_namespace};
use crate::throwaway::Throwaway;

/// A namespace, as the caller gives it.
#[derive(Debug)]
pub enum Namespace {
    /// The namespace of the VM.
    Host,
    /// The file of a namespace, for example `/proc/<pid>/ns/mnt`.
    Path(CString),
    /// A descriptor of such a file, or a pidfd.
    File(OwnedFd),
}

impl Namespace {
    /// Returns the namespace of a descriptor, given by its number. It is duplicated, and stays its owner's.
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn of_descriptor(fd: RawFd) -> Result<Self, Errno> {
        duplicate(fd).map(Self::File)
    }

    /// Opens the namespace. Returns `None` for the VM's.
    fn open(self, directories: &Directories) -> Result<Option<OwnedFd>, Errno> {
        match self {
            Self::Host => Ok(None),
            Self::Path(path) => directories.open_file(&path).map(Some),
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

    /// Opens the file of a namespace of this kind. For a pidfd, asks the kernel for the namespace file of its process.
    pub(super) fn file(
        self,
        directories: &Directories,
        kind: c_int,
        arg: NamespaceArg,
    ) -> Result<OwnedFd, Error> {
        let own = || match kind {
            libc::CLONE_NEWPID => namespace::open(c"/proc/thread-self/ns/pid"),
            _ => namespace::open(c"/proc/thread-self/ns/user"),
        };
        let opened = self.open(directories).and_then(|file| match file {
            None => own(),
            Some(file) => match namespace_type(file.as_fd()) {
                Some(found) if found == kind => Ok(file),
                Some(_) => Err(Errno::from_raw(libc::EINVAL)),
                None => pidfd_namespace(file.as_fd(), kind),
            },
        });
        opened.at(Stage::Open(arg))
    }
}

/// Handles on the directories that several namespace files of a call are in, for example `/proc/<pid>/ns`.
///
/// So if a process ends and its pid is reused during the call, the namespaces of two processes are not mixed.
#[derive(Default)]
pub(super) struct Directories(Vec<(Vec<u8>, Result<OwnedFd, Errno>)>);

impl Directories {
    /// Opens a handle on each directory with more than one of these files.
    pub(super) fn of<'a>(namespaces: impl Iterator<Item = &'a Namespace>) -> Self {
        let mut paths: Vec<&CStr> = namespaces
            .filter_map(|namespace| match namespace {
                Namespace::Path(path) => Some(path.as_c_str()),
                _ => None,
            })
            .collect();
        paths.sort_unstable();
        paths.dedup();
        let split = |path: &&'a CStr| namespace::split(path).map(|(directory, _)| directory);
        let mut directories: Vec<&[u8]> = paths.iter().filter_map(split).collect();
        directories.sort_unstable();
        let shared = directories
            .chunk_by(|one, other| one == other)
            .filter(|same| same.len() > 1)
            .filter_map(|same| same.first());
        let open = |directory: &&[u8]| {
            let handle = c_string(directory).map_err(Errno::from);
            let handle = handle.and_then(|path| namespace::open_directory(&path));
            (directory.to_vec(), handle)
        };
        Self(shared.map(open).collect())
    }

    fn open_file(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let shared = namespace::split(path).and_then(|(directory, name)| {
            let (_, handle) = self.0.iter().find(|(shared, _)| shared == directory)?;
            Some((handle, name))
        });
        match shared {
            None => namespace::open(path),
            Some((Ok(handle), name)) => namespace::open_in(handle, name),
            Some((Err(errno), _)) => Err(*errno),
        }
    }
}

/// The mount namespaces of the source and the target of a call.
pub(super) struct MountNamespaces {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    /// The root of the VM, if its namespace is entered again. The VM may have called `chroot(2)`.
    own_root: Option<OwnedFd>,
}

impl MountNamespaces {
    /// Opens the namespace of a target.
    pub(super) fn of_target(target: Namespace) -> Result<Self, Error> {
        let open = target.open(&Directories::default());
        let to = open.at(Stage::Open(NamespaceArg::In))?;
        Ok(Self {
            from: None,
            to,
            own_root: None,
        })
    }

    /// Opens the namespace of a source and the namespace of a target.
    pub(super) fn of_both(
        directories: &Directories,
        source: Namespace,
        target: Namespace,
    ) -> Result<Self, Error> {
        // If both are the same, it is opened only once, because a pid may be reused before a second look-up.
        let stays = source.is_same(&target);
        let from = source
            .open(directories)
            .at(Stage::Open(NamespaceArg::From))?;
        let returns = !stays && matches!(target, Namespace::Host);
        let root = || open_root().at(Stage::Open(NamespaceArg::In));
        let own_root = returns.then(root).transpose()?;
        let to = match target {
            _ if stays => None,
            Namespace::Host => Some(namespace::open(c"/proc/thread-self/ns/mnt")),
            other => other.open(directories).transpose(),
        };
        let to = to.transpose().at(Stage::Open(NamespaceArg::In))?;
        Ok(Self { from, to, own_root })
    }

    /// Enters the namespace of the source and returns its root. The thread must have a root of its own.
    pub(super) fn enter_source(&mut self, thread: &Throwaway<'_>) -> Result<Root, Error> {
        enter(thread, self.from.take(), NamespaceArg::From)
    }

    /// Enters the namespace of the target and returns its root.
    pub(super) fn enter_target(&mut self, thread: &Throwaway<'_>) -> Result<Root, Error> {
        let root = enter(thread, self.to.take(), NamespaceArg::In)?;
        if let Some(own_root) = self.own_root.take() {
            let changed = thread.change_directory_to(own_root.as_fd());
            changed.at(Stage::Enter(NamespaceArg::In))?;
        }
        Ok(root)
    }
}

fn enter(thread: &Throwaway<'_>, file: Option<OwnedFd>, arg: NamespaceArg) -> Result<Root, Error> {
    let Some(file) = file else {
        return Ok(Root::Directory);
    };
    thread
        .enter(file.as_fd(), CloneFlags::CLONE_NEWNS)
        .at(Stage::Enter(arg))?;
    Ok(Root::WorkingDirectory)
}

/// The folder in which each descriptor of this process has a name, for the system calls that take no descriptor.
///
/// It is opened before the thread enters a container, whose `/proc` may be anything. It is the folder of the process, not the one of
/// the thread, although both have the same names: for the thread the kernel would have to make its entries in `/proc` first.
pub(super) struct Descriptors(OwnedFd);

impl Descriptors {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = c"/proc/self/fd";
        check(openat(AT_FDCWD, path, flags, Mode::empty())).map(Self)
    }

    /// Makes the folder the working directory of the thread.
    pub(super) fn enter(&self, thread: &Throwaway<'_>) -> Result<(), Errno> {
        thread.change_directory_to(self.0.as_fd())
    }
}
