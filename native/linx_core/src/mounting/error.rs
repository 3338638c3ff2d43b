//! Errors: a stage, the errno, the path and the kernel's own message.

use std::ffi::{CStr, CString};
use std::fmt;

use crate::error::Errno;

/// The step of a call that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The thread could not be made: `pthread_create(3)`.
    Thread,
    /// The thread could not be given a working directory of its own (`unshare(2)`), or `/proc/self/fd` could not be opened.
    Unshare,
    /// A namespace file could not be opened, or is not of the right kind.
    Open(NamespaceArg),
    /// A namespace could not be entered: `setns(2)`.
    Enter(NamespaceArg),
    /// The source could not be resolved: `openat2(2)`.
    Source,
    /// The source could not be copied: `open_tree(2)`.
    Clone,
    /// The type of file system could not be opened: `fsopen(2)`.
    FileSystem,
    /// An option of the file system was refused: `fsconfig(2)`.
    Option(CString),
    /// A layer of an overlay could not be resolved: `openat2(2)`.
    Layer,
    /// The file system could not be made: `FSCONFIG_CMD_CREATE`, `fsmount(2)`, or the `mount(2)` of a child.
    Superblock,
    /// A child in the PID namespace could not be made: `clone(2)`.
    Fork,
    /// The user namespace of an id map could not be made: `clone(2)`, or a write to its maps.
    UserNamespace,
    /// The id map was refused: `mount_setattr(2)`.
    IdMap,
    /// Attributes or the propagation were refused: `mount_setattr(2)`.
    Attributes,
    /// The target could not be resolved: `openat2(2)`.
    Target,
    /// The target could not be made: `mkdirat(2)`, `mknodat(2)`.
    Create,
    /// The mount could not be attached to the target: `move_mount(2)`.
    Attach,
    /// `umount2(2)` failed.
    Umount,
    /// The new root could not be resolved: `openat2(2)`.
    NewRoot,
    /// The path for the old root could not be resolved: `openat2(2)`.
    PutOld,
    /// `pivot_root(2)` failed.
    PivotRoot,
}

/// The argument that names a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceArg {
    /// The mount namespace of the source.
    From,
    /// The mount namespace of the target.
    In,
    /// The PID namespace that a procfs shows.
    PidNamespace,
    /// The user namespace that an id map is taken from.
    IdMap,
}

/// A stage, the errno of the system call that failed in it, the path and the kernel's own message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The step that failed.
    pub stage: Stage,
    /// The errno of the system call.
    pub errno: Errno,
    /// The path of the step, if it has one.
    pub path: Option<CString>,
    /// The kernel's own messages, oldest first, for example `e tmpfs: Unknown parameter 'sise'`.
    pub words: Vec<Vec<u8>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.stage, self.errno)
    }
}

impl std::error::Error for Error {}

/// Adds the stage, and the path, to the error of a system call.
pub(super) trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Error>;
    fn at_path(self, stage: Stage, path: &CStr) -> Result<T, Error>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, stage: Stage) -> Result<T, Error> {
        self.map_err(|errno| Error {
            stage,
            errno,
            path: None,
            words: Vec::new(),
        })
    }

    fn at_path(self, stage: Stage, path: &CStr) -> Result<T, Error> {
        self.at(stage).map_err(|error| Error {
            path: Some(path.to_owned()),
            ..error
        })
    }
}
