//! The target of a mount: resolved, or made and removed again if nothing came of the mount.

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

/// Where a mount goes.
#[derive(Debug)]
pub struct Target {
    /// The mount namespace it is in.
    pub namespace: Namespace,
    /// Where it is there.
    pub at: Path,
    /// What to make if there is nothing.
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
    /// Finds what is at a path, or else makes it.
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

    /// Leaves what was made where it is.
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
        // Somebody may have made it since, or swapped it: whatever it is, it is in this directory and no link.
        match find(parent.as_fd(), &name, false) {
            Ok(file) => return Ok(Found { file, made }),
            Err(errno) if errno.raw() == libc::ENOENT => result = Err(errno),
            Err(errno) => return Err(errno),
        }
    }
    result
}

/// A file that was made, to be removed unless it is kept.
struct Made {
    parent: OwnedFd,
    name: CString,
    kind: Kind,
    identity: Option<(u64, u64)>,
    kept: bool,
}

impl Made {
    fn make(parent: &OwnedFd, name: &CStr, kind: Kind) -> Result<Self, Errno> {
        // Before there is something to remove.
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

    /// Whether the name still leads to what was made, so far as that is known.
    fn is_there(&self) -> bool {
        self.identity.is_none() || stat(&self.parent, &self.name).ok() == self.identity
    }
}

impl Drop for Made {
    /// The kernel removes by name only. So between the look and the removal a container could put another file there; it
    /// can only lose one of its own so, in a directory that it can write to.
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
