//! The target of a mount: resolved, or made and removed again if the mount fails.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::{At, Error, Stage};
use super::namespace::Namespace;
use super::resolve::{Path, ROUNDS, Root, find, split};
use crate::error::{Errno, check};
use crate::throwaway::Throwaway;

/// The target of a mount, as the caller gives it.
#[derive(Debug)]
pub struct Target {
    /// The mount namespace of the target.
    pub namespace: Namespace,
    /// The path in that namespace.
    pub at: Path,
    /// The kind of file to make if the target does not exist.
    pub create: Option<Kind>,
}

/// A kind of file that can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An empty regular file, mode 0644 less the umask.
    File,
    /// An empty directory, mode 0755 less the umask.
    Directory,
}

/// A target that was found or made.
pub(super) struct Found {
    pub(super) file: OwnedFd,
    made: Option<Made>,
}

impl Found {
    /// Resolves the target, or makes it if it does not exist.
    pub(super) fn find_or_create(
        thread: &Throwaway<'_>,
        root: Root,
        at: &Path,
        create: Option<Kind>,
        stage: Stage,
    ) -> Result<Self, Error> {
        let found = root.find(&at.path, at.follow);
        match (found, create) {
            (Err(errno), Some(kind)) if errno.raw() == libc::ENOENT => {
                make(thread, root, at, kind).at_path(Stage::Create, &at.path)
            }
            (found, _) => found
                .map(|file| Self { file, made: None })
                .at_path(stage, &at.path),
        }
    }

    /// Keeps a file that was made.
    pub(super) fn keep(mut self) {
        if let Some(made) = &mut self.made {
            made.kept = true;
        }
    }
}

fn make(thread: &Throwaway<'_>, root: Root, at: &Path, kind: Kind) -> Result<Found, Errno> {
    let (parent, name) = split(&at.path)?;
    let parent = root.find(&parent, at.follow)?;
    let mut result = Err(Errno::from_raw(libc::EAGAIN));
    for _ in 0..ROUNDS {
        thread.check_wanted()?;
        let made = match Made::make(&parent, &name, kind) {
            Ok(made) => Some(made),
            Err(errno) if errno.raw() == libc::EEXIST => None,
            Err(errno) => return Err(errno),
        };
        // Another process may have made or replaced it since. In any case it is in this directory, and not a link.
        match find(parent.as_fd(), &name, false) {
            Ok(file) => return Ok(Found { file, made }),
            Err(errno) if errno.raw() == libc::ENOENT => result = Err(errno),
            Err(errno) => return Err(errno),
        }
    }
    result
}

/// A file that was made, and is removed again unless it is kept.
struct Made {
    parent: OwnedFd,
    name: CString,
    kind: Kind,
    identity: Option<(u64, u64)>,
    kept: bool,
}

impl Made {
    fn make(parent: &OwnedFd, name: &CStr, kind: Kind) -> Result<Self, Errno> {
        // Duplicated before there is a file to remove, because this can fail.
        let own = parent.try_clone().map_err(|error| Errno::from(&error))?;
        check(match kind {
            Kind::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
            Kind::File => {
                let mode = Mode::from_bits_truncate(0o644);
                mknodat(parent, name, SFlag::S_IFREG, mode, 0)
            }
        })?;
        Ok(Self {
            identity: stat(parent, name).ok(),
            parent: own,
            name: name.to_owned(),
            kind,
            kept: false,
        })
    }

    /// Reports whether the name still leads to the file that was made, as far as that is known.
    fn is_there(&self) -> bool {
        self.identity.is_none() || stat(&self.parent, &self.name).ok() == self.identity
    }
}

impl Drop for Made {
    /// Removes the file by its name, because the kernel has no other way. Between the check and the removal a container could put
    /// another file there. It would only lose a file of its own, in a directory that it can write to.
    fn drop(&mut self) {
        if !self.kept && self.is_there() {
            let flags = match self.kind {
                Kind::Directory => UnlinkatFlags::RemoveDir,
                Kind::File => UnlinkatFlags::NoRemoveDir,
            };
            let _ = unlinkat(&self.parent, self.name.as_c_str(), flags);
        }
    }
}

fn stat(parent: &OwnedFd, name: &CStr) -> Result<(u64, u64), Errno> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    let FileStat { st_dev, st_ino, .. } = check(fstatat(parent, name, flags))?;
    Ok((st_dev, st_ino))
}
