//! Changes mounts: attributes, propagation, the id map.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::error::{At, Error, NamespaceArg, Stage};
use super::namespace::{Directories, Namespace};
use crate::error::Errno;
use crate::syscall::{MountAttributes, mount_setattr};
use crate::throwaway::Throwaway;

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Changes of a mount. Zeros change nothing.
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
    /// Changes one mount, or all mounts of a tree. If it fails, nothing has changed.
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

/// A map of the ids of a file system to the ids that are shown.
#[derive(Debug)]
pub enum IdMap {
    /// The map of a user namespace: its inner ids are those of the file system, its outer ids are shown.
    Of(Namespace),
    /// Lines as in `/proc/<pid>/uid_map`: the first id of the file system, the first id that is shown, and the count.
    Lines {
        /// For users.
        uids: CString,
        /// For groups.
        gids: CString,
    },
}

impl IdMap {
    /// Returns the namespace that the map is taken from, if it is.
    pub(super) fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Of(namespace) => Some(namespace),
            Self::Lines { .. } => None,
        }
    }

    /// Opens or makes the user namespace. The thread must still be in the VM's namespaces.
    pub(super) fn open(
        self,
        thread: &Throwaway<'_>,
        directories: &Directories,
    ) -> Result<OwnedFd, Error> {
        match self {
            Self::Of(namespace) => {
                namespace.file(directories, libc::CLONE_NEWUSER, NamespaceArg::IdMap)
            }
            Self::Lines { uids, gids } => thread
                .make_user_namespace(uids.to_bytes(), gids.to_bytes())
                .at(Stage::UserNamespace),
        }
    }
}

/// Maps the ids of a detached mount, or of all mounts of a tree.
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
