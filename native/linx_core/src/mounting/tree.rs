//! What is changed of mounts: attributes, propagation, the id map.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::error::{At, Error, Place, Stage};
use super::namespace::Namespace;
use crate::error::Errno;
use crate::syscall::{MountAttributes, mount_setattr};
use crate::throwaway::Throwaway;

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// What to change. Zeros change nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// `MOUNT_ATTR_` flags to set.
    pub set: u64,
    /// `MOUNT_ATTR_` flags to clear, before others are set.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
    pub propagation: u64,
}

impl Changes {
    /// Changes one mount, or all of a tree: all that was asked for, or nothing.
    pub(super) fn apply(self, mount: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
        let attributes = MountAttributes {
            set: self.set,
            clear: self.clear,
            propagation: self.propagation,
            user_namespace: 0,
        };
        if attributes == MountAttributes::default() {
            return Ok(());
        }
        mount_setattr(mount, recursive, &attributes)
    }
}

/// Which ids of a file system are shown as which.
#[derive(Debug)]
pub enum IdMap {
    /// As a user namespace has them: its inner ids are those of the file system, the outer ones are shown.
    Of(Namespace),
    /// Lines of an id of the file system, the one it is shown as, and how many follow: those of `/proc/<pid>/uid_map`.
    Lines {
        /// For users.
        uids: CString,
        /// For groups.
        gids: CString,
    },
}

impl IdMap {
    /// Opens the user namespace, or makes it. For a thread that is where the VM is.
    pub(super) fn open(self, thread: &Throwaway<'_>) -> Result<OwnedFd, Error> {
        match self {
            Self::Of(namespace) => namespace.file(libc::CLONE_NEWUSER, Place::IdMap),
            Self::Lines { uids, gids } => thread
                .make_user_namespace(uids.to_bytes(), gids.to_bytes())
                .at(Stage::UserNamespace),
        }
    }
}

/// Maps the ids of a detached mount, or of all of a tree.
pub(super) fn map_ids(
    mount: BorrowedFd<'_>,
    recursive: bool,
    user_namespace: &OwnedFd,
) -> Result<(), Error> {
    let number = u64::try_from(user_namespace.as_fd().as_raw_fd()).unwrap_or(u64::MAX);
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP,
        user_namespace: number,
        ..MountAttributes::default()
    };
    mount_setattr(mount, recursive, &attributes).at(Stage::IdMap)
}
